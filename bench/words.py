"""Words that messages, displays and pages share: values as they are quoted, names that were nearly right, times."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from typing import Any

TOPICS = ("paths", "conventions", "couplings", "solvers", "networks", "diffusion", "data")
"""What a claim may be about, in the order of the index of claims."""


def shown(value: Any) -> str:
    """A value as a message quotes it: JSON on one line, shortened past 60 characters."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def quoted(text: str) -> str:
    """A name as a message quotes it: 'huen', on one line and shortened past 60 characters."""
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def meant(word: str, known: Iterable[str]) -> str:
    """`Did you mean 'heun'?`, in full, so that it can be typed; empty where no known name is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.55)
    return f"Did you mean {near[0]!r}?" if near else ""


def hint(word: str, known: Iterable[str]) -> str:
    """`Did you mean 'heun'? Known: euler, heun.`: the nearest known name, if one is near, and the list."""
    names = list(dict.fromkeys(known))
    more = f", ... ({len(names) - 40} more)" if len(names) > 40 else ""
    return f"{meant(word, names)} Known: {', '.join(names[:40]) or 'none'}{more}.".lstrip()


def unknown(title: str, word: str, known: Iterable[str]) -> str:
    """`no solver named 'huen'. Did you mean 'heun'? Known: dopri5, euler, heun.`."""
    return f"no {title} named {quoted(word)}. {hint(word, known)}"


def duration(seconds: float) -> str:
    """Seconds as people say them: 8 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min"


CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Text without what moves a terminal's cursor or changes its colours: such characters are shown as escapes."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
