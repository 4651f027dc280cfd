"""Metrics: pure functions of samples, reference, field and oracle, each with its unit and direction."""

from __future__ import annotations

from bench.interfaces import Metric
from bench.metrics.budget import ErrorBudget
from bench.metrics.classes import ClassHistogram, Classified
from bench.metrics.energy import EnergyDistance
from bench.metrics.fidelity import FID, KID, PrecisionRecall
from bench.metrics.likelihood import LogLikelihood
from bench.metrics.manifold import DensityCoverage, NearestTrainingImage
from bench.metrics.memory import NearestTrainingPoint
from bench.metrics.mmd import MMD
from bench.metrics.modes import ModeWeightTV
from bench.metrics.velocity import VelocityError
from bench.metrics.wasserstein import SlicedWasserstein, Wasserstein, WassersteinSquared
from bench.metrics.ways import NormalisedPathEnergy, PathEnergy, Straightness

METRICS: dict[str, type[Metric]] = {
    "wasserstein": Wasserstein,
    "wasserstein_squared": WassersteinSquared,
    "sliced_wasserstein": SlicedWasserstein,
    "mmd": MMD,
    "energy_distance": EnergyDistance,
    "mode_weight_tv": ModeWeightTV,
    "error_budget": ErrorBudget,
    "velocity_error": VelocityError,
    "log_likelihood": LogLikelihood,
    "straightness": Straightness,
    "path_energy": PathEnergy,
    "normalised_path_energy": NormalisedPathEnergy,
    "nearest_training_point": NearestTrainingPoint,
    "fid": FID,
    "kid": KID,
    "precision_recall": PrecisionRecall,
    "density_coverage": DensityCoverage,
    "class_histogram": ClassHistogram,
    "classified": Classified,
    "nearest_training_image": NearestTrainingImage,
}
