"""Why a combination of components cannot be run: said before anything is trained for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from bench.diffusion import derivable
from bench.interfaces import ProcessSolver

if TYPE_CHECKING:
    from bench.components import Config

    Known = Callable[[Config], Any]
    """The component, or the value, of a configuration."""


def without_score(known: Known, values: Mapping[str, Config], direction: Config, solver: Config) -> str | None:
    """Why a solver cannot be used that needs the score, which the velocity must imply. Or None."""
    if not isinstance(known(solver), ProcessSolver):
        return None
    why = None
    if not known(values["source"]).standard_normal:
        why = f"the source gaussian, not {values['source'].name}"
    elif not known(values["coupling"]).independent:
        why = f"independent pairs, not the coupling {values['coupling'].name}"
    elif known(direction) != "forward":
        why = f"direction: forward, not {known(direction)}"
    elif not derivable(known(values["path"]), known(values["target"])):
        why = f"noise that shrinks against the data at all times, unlike that of this path {values['path'].name}"
    return f"{solver.name} needs the score, which follows from the velocity only with {why}" if why else None


def refusal(known: Known, values: Mapping[str, Config]) -> str | None:
    """Why a combination cannot be run, or None."""
    dataset, source = known(values["dataset"]), known(values["source"])
    if not source.standard_normal and source.shape != dataset.shape:
        return f"source {values['source'].name} has shape {source.shape}, the data {dataset.shape}"
    reason = _prediction_refusal(known, values)
    if reason:
        return reason
    if known(values["sampling"]).guidance is not None and not known(values["net"]).classes:
        return "sampling.guidance needs a net that is told the class: set net.classes"
    if known(values["sampling"]).guidance not in (None, 1) and not known(values["training"]).label_dropout:
        return "sampling.guidance needs training.label_dropout above 0: the net never learns the flow of all classes"
    if known(values["net"]).trained:
        if known(values["sampling"]).weights == "ema" and (known(values["training"]).ema is None):
            return "sampling.weights: ema needs training.ema; set a decay such as 0.999"
        return _pairing_refusal(known, values)
    if dataset.points is None and dataset.mixture() is None:
        return f"the oracle knows Gaussian mixtures and finite `points`, and {values['dataset'].name} is neither"
    if not source.standard_normal:
        return f"the oracle needs the source gaussian, not {values['source'].name}"
    if not known(values["coupling"]).independent:
        return f"the oracle needs independent pairs, not the coupling {values['coupling'].name}"
    return None


def _prediction_refusal(known: Known, values: Mapping[str, Config]) -> str | None:
    """Why a noise or data prediction does not determine the velocity of this path, or None."""
    prediction, path = known(values["prediction"]), known(values["path"])
    if prediction == "velocity":
        return None
    if path.has_noise_velocity and known(values["target"]) == "displacement":
        return f"target: displacement is a velocity, which prediction: {prediction} does not regress on"
    if not path.noisy:
        return None
    head = f"prediction: {prediction} on the path {values['path'].name}, which has noise of its own, needs"
    if not known(values["source"]).standard_normal:
        return f"{head} the source gaussian, not {values['source'].name}"
    if not known(values["coupling"]).independent:
        return f"{head} independent pairs, not the coupling {values['coupling'].name}"
    return None


def _pairing_refusal(known: Known, values: Mapping[str, Config]) -> str | None:
    """Why pairs, or the classes that are told with them, cannot be had as asked; or None."""
    coupling, training = known(values["coupling"]), known(values["training"])
    classes, there = known(values["net"]).classes, known(values["dataset"]).classes
    if classes not in (0, there):
        return f"net.classes is {classes}, and {values['dataset'].name} has {there}"
    if classes and not coupling.independent:
        return f"a net with classes needs independent pairs, not the coupling {values['coupling'].name}"
    whole = coupling.transport_batch or training.batch
    if whole % training.batch:
        return f"coupling.transport_batch ({whole}) must be a multiple of training.batch ({training.batch})"
    if there > 1:
        return None
    if coupling.labelled:
        return f"coupling {values['coupling'].name} needs classes, and {values['dataset'].name} has one"
    if training.order == "by_class":
        return f"training.order: by_class needs classes, and {values['dataset'].name} has one"
    return None
