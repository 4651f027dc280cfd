"""Suites by name: those in suites/ of the working folder, and those that come with the package."""

from __future__ import annotations

import os
from pathlib import Path

from bench.errors import SuiteError, UsageError
from bench.foreign import MIB, read_foreign
from bench.words import unknown

HERE = Path("suites")
"""Where suites of one's own are sought by name first."""

PACKAGE = Path(__file__).parent

SUFFIX = ".yaml"


def shipped() -> Path:
    """The folder of the suites that come with the package: inside it once installed, beside it in a checkout."""
    inside = PACKAGE / "shipped_suites"
    return inside if inside.is_dir() else PACKAGE.parent / "suites"


def suites_by_name() -> dict[str, Path]:
    """Files by name, the shipped ones first; one in the working folder's suites/ takes its namesake's place."""
    found = {file.stem: file for file in sorted(shipped().glob(f"*{SUFFIX}"))}
    if not (HERE.is_dir() and HERE.samefile(shipped())):
        found |= {file.stem: file for file in sorted(HERE.glob(f"*{SUFFIX}"))}
    return found


def suite_file(name: str | Path) -> Path:
    """A suite by file, or by name. Raises UsageError for a name that there is not."""
    path, text = Path(name), str(name)
    if any(mark and mark in text for mark in (os.sep, os.altsep)) or (os.path.exists(path) and not path.is_dir()):
        return path
    known = suites_by_name()
    if text not in known:
        raise UsageError(unknown("suite", text, [*sorted(known), *sorted(map(str, Path().glob(f"*{SUFFIX}")))]))
    return known[text]


def question_of(file: Path) -> str:
    """What a suite asks, on one line; in brackets why that cannot be told."""
    from bench.suite.faults import Faults
    from bench.suite.reader import read_yaml

    try:
        root = read_yaml(read_foreign(file, MIB).decode("utf-8-sig"), Faults(str(file)))
    except SuiteError as error:
        return f"({error.faults[0]})"
    except UnicodeDecodeError:
        return f"({file}: not UTF-8)"
    except OSError as error:
        return f"({file}: {error.strerror or error})"
    asked = root.get("question") if root else None
    return " ".join(asked.value.split()) if asked and isinstance(asked.value, str) else f"({file}: asks no question)"
