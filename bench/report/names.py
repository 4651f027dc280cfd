"""What a value is called where people read it; records, files' names and claims keep the metric's own key."""

from __future__ import annotations

from bench.report.results import Score

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
    "log_likelihood": "log-likelihood",
    "velocity_error": "velocity error (root mean square)",
}
"""Root or square, biased or not, where the same name stands for both in the literature."""

EXPLAINED = {
    "displacement": "the regression target x1 − x0, which leaves out the velocity of the path's own noise",
    "oracle": "the exact velocity field of a Gaussian mixture in the place of a net: what the path can reach",
    "bridge": "noise on the path that is 0 at both ends and largest in the middle",
    "lenet64": "a small digit classifier that ships with this package; FID and its kin compare its 64 features",
    "fid": "distance between Gaussians fitted to features of samples and of test images, in squared feature units",
}
"""Words that stand in labels and columns without an explanation; those of components come from their docstrings."""


def title(score: Score) -> str:
    """What a score is called on a page: `W2 (root)`, with what its key says beside the metric's name."""
    name, bracket, settings = score.value.partition("[")
    return TITLES.get(name, name.replace("_", " ") if name.isidentifier() else name) + bracket + settings + _tail(score)


def _tail(score: Score) -> str:
    """Sample size, where the run has several."""
    tail = score.key.removeprefix(score.value)
    return f" {tail}" if tail else ""
