"""What a value is called where people read it; records, files' names and claims keep the metric's own key."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.report.results import Score

TAGGED = re.compile(r"(?P<name>\w+)\[(?P<extractor>[^@=\]]+)(?:@[^\]]+)?\]")

TITLES = {
    "wasserstein": "W2 (root)",
    "wasserstein_squared": "W2² (squared)",
    "sliced_wasserstein": "sliced W2 (root)",
    "mmd": "MMD (biased, root)",
    "energy_distance": "energy distance (biased, root)",
    "fid": "FID (squared)",
    "fid_infinity": "FID at infinite n (squared)",
    "kid": "KID (unbiased, squared)",
    "mode_weight_tv": "mode weights (total variation)",
    "class_histogram": "classes (total variation)",
    "classified": "classified (share at .9)",
    "log_likelihood": "log-likelihood",
    "velocity_error": "velocity error (root mean square)",
}
"""Root or square, biased or not, where the same name stands for both in the literature."""


def title(name: str) -> str:
    """What a value is called in a sentence: `W2 (root)` for wasserstein, `FID (squared, lenet64)` for fid[lenet64@...].

    The hash of the extractor's weights stays in the key: within a run there is one.
    """
    found = TAGGED.fullmatch(name)
    plain, extractor = (found["name"], found["extractor"]) if found else (name, "")
    words = TITLES.get(plain, plain.replace("_", " ") if plain.isidentifier() else plain)
    if extractor:
        words = f"{words[:-1]}, {extractor})" if words.endswith(")") else f"{words} ({extractor})"
    return words


def short(name: str) -> str:
    """A metric's title without what stands in brackets: `W2`, `FID`."""
    return title(name).partition(" (")[0]


def titles(scores: Sequence[Score]) -> dict[str, str]:
    """What each score is called on a page, by its key: `W2 (root)`, `FID (squared, lenet64)`; the key where two scores
    would be called the same.
    """
    named = {score.key: _title(score) for score in scores}
    many = Counter(named.values())
    return {key: name if many[name] == 1 else key for key, name in named.items()}


def _title(score: Score) -> str:
    """A score's title, and the sample size where the run has several."""
    words, tail = title(score.value), score.key.removeprefix(score.value)
    return f"{words} {tail}" if tail else words
