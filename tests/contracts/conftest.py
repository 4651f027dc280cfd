"""What the tables of planted faults have in common."""

import pytest

from bench.contracts import CONTRACTS, Subject, outcome


@pytest.fixture
def breaks():
    """Assert that a component breaks a law of its room, with these words and one remedy."""

    def assert_broken(room, cls, name, words, given=None):
        (law,) = [law for law in CONTRACTS[room] if law.__name__ == name]
        found = outcome(Subject(room, "wrong", cls, given or {}), law)
        assert found.status == "FAILED", found
        assert words in found.words
        assert found.words.count("; mend: ") == 1

    return assert_broken


@pytest.fixture
def keeps():
    """Assert that a component breaks no law of its room, nor is skipped by all."""

    def assert_kept(room, cls, given=None):
        found = [outcome(Subject(room, "right", cls, given or {}), law) for law in CONTRACTS[room]]
        assert not [each for each in found if each.status == "FAILED"]
        assert any(each.status == "ok" for each in found)

    return assert_kept
