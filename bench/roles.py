"""Who plays each role that jobs declare, and what a key holds of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from bench.components import SETTINGS, Config, Tables
from bench.inputs import Needs


class Roles:
    """Who plays each role for some cells: a few configurations laid over those that more cells share."""

    def __init__(self, tables: Tables, own: Mapping[str, Config], shared: Roles | None = None) -> None:
        self.tables, self.own, self.shared = tables, dict(own), shared
        self._parts: dict[Needs, tuple[str, ...]] = {}

    def get(self, role: str) -> Config | None:
        """The configuration that plays a role, or None."""
        return self.own.get(role) or (self.shared.get(role) if self.shared else None)

    def __getitem__(self, role: str) -> Config:
        config = self.get(role)
        if config is None:
            raise KeyError(role)
        return config

    def component(self, role: str) -> Any:
        """The component or the value that plays a role."""
        return self.tables.build(self[role])

    def configs(self, needs: Needs) -> dict[str, Config]:
        """Those that play what is needed."""
        return {role: config for role in needs.factors if (config := self.get(role)) is not None}

    def fields(self, needs: Needs) -> dict[str, Any]:
        """Single fields by their dotted names, as plain JSON."""
        return {name: self._field(name) for name in needs.fields}

    def parts(self, needs: Needs) -> tuple[str, ...]:
        """What a key holds of these roles; what is shared is hashed once."""
        known = self._parts.get(needs)
        if known is None:
            above = self.shared.parts(needs) if self.shared else ()
            mine = [f"{role}={self.own[role].digest}" for role in needs.factors if role in self.own]
            mine += [
                f"{name}={json.dumps(self._field(name))}" for name in needs.fields if name.partition(".")[0] in self.own
            ]
            parts = (*above, *mine)
            known = self._parts[needs] = parts if self.shared else (digest(parts),)
        return known

    def _field(self, name: str) -> Any:
        factor, _, field_name = name.partition(".")
        if factor in SETTINGS:
            return self[factor].values[field_name]
        return list(getattr(self.component(factor), field_name))


def digest(parts: Iterable[str]) -> str:
    """32 hex digits; stable across machines, runs and Python versions."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
