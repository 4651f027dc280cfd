"""Contracts: what each room's components promise, as code that tests and `bench check` both run."""

from __future__ import annotations

from bench.contracts.check import CONTRACTS, Outcome, Subject, check, outcome, subjects
from bench.contracts.require import Law

__all__ = ["CONTRACTS", "Law", "Outcome", "Subject", "check", "outcome", "subjects"]
