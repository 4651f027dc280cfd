from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.errors import SuiteError
from bench.suite import Suite, load_suite

Load = Callable[..., Suite]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load a suite from its text; a question is put in front."""

    def loaded(text: str, **options: object) -> Suite:
        file = tmp_path / "s.yaml"
        file.write_text(f"question: what?\n{text}")
        return load_suite(file, **options)

    return loaded


@pytest.fixture
def faults(load: Load) -> Callable[[str], dict[str, str]]:
    """The faults of a suite's text, as key -> message."""

    def found(text: str) -> dict[str, str]:
        with pytest.raises(SuiteError) as caught:
            load(text)
        return {fault.key: fault.message for fault in caught.value.faults}

    return found
