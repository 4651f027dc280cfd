"""When training looks at the path, and how much each time weighs in the loss.

Drawn in [0, 1], internal time (0 noise, 1 data), then mapped affinely onto [eps, 1 - eps] with the path's margin:

| time_sampling | t | source |
| --- | --- | --- |
| uniform | U(0, 1) | |
| stratified | (i + U(0, 1)) / B for i = 0 .. B - 1, shuffled within each batch of B | after arXiv 2107.00630 |
| logit_normal | sigmoid(time_location + time_scale z), z ~ N(0, 1) | arXiv 2403.03206, section 3.1 |
| beta | Beta(time_a, time_b) | arXiv 2410.24164 |

| weighting | w(t) in E w(t) |output - target|^2 | source |
| --- | --- | --- |
| none | 1 | |
| inverse_variance | 1 / (alpha'^2 + sigma'^2 + gamma'^2) for velocities, else 1 | arXiv 2206.00364, section 5 |
| min_snr | min(SNR, 5) in the error of the data that the output implies, SNR = (alpha / s)^2 | arXiv 2303.09556 |

inverse_variance gives the velocities of a unit source and unit data the same variance at every t, as the other two
predictions have from the start. With s^2 = sigma^2 + gamma^2, a data error of 1 is a noise error of alpha / s and
a velocity error of D / s^2, D = alpha' s^2 - alpha (sigma sigma' + gamma gamma'); hence min_snr weighs
min(SNR, 5) for data, min(1, 5 / SNR) for noise and min(SNR, 5) s^4 / D^2 for velocities. The displacement target
lacks the noise's velocity: for it both formulas lose their term in gamma', and s stays as it is.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.interfaces import Path
from bench.settings import Training

SNR_CAP = 5.0
"""The cap that Hang et al. recommend."""


def training_times(settings: Training, path: Path, steps: int, generator: torch.Generator) -> Tensor:
    """Times of `steps` batches, (steps * batch,) float32 in [eps, 1 - eps]."""
    n = steps * settings.batch
    if settings.time_sampling == "logit_normal":
        u = (settings.time_location + settings.time_scale * torch.randn(n, generator=generator)).sigmoid()
    elif settings.time_sampling == "beta":
        from scipy.special import betaincinv

        quantile = torch.rand(n, generator=generator, dtype=torch.float64).numpy()
        u = torch.from_numpy(betaincinv(settings.time_a, settings.time_b, quantile)).float()
    elif settings.time_sampling == "stratified":
        order = torch.rand(steps, settings.batch, generator=generator).argsort(dim=1)
        u = ((order + torch.rand(steps, settings.batch, generator=generator)) / settings.batch).flatten()
    else:
        u = torch.rand(n, generator=generator)
    return path.margin + (1 - 2 * path.margin) * u


def weight(weighting: str, path: Path, prediction: str, t: Tensor, target: str = "exact") -> Tensor:
    """w(t) of the table above. t: (B,) as drawn; target: of a velocity; returns (B,)."""
    if weighting == "none" or (weighting == "inverse_variance" and prediction != "velocity"):
        return torch.ones_like(t)
    if weighting == "inverse_variance":
        variance = path.d_alpha(t) ** 2 + path.d_sigma(t) ** 2
        return 1 / (variance if target == "displacement" else variance + path.d_gamma(t) ** 2)
    signal, noise = path.alpha(t) ** 2, path.noise_variance(t)
    tiny = torch.finfo(t.dtype).tiny
    if prediction == "data":
        return (signal / noise.clamp_min(tiny)).clamp_max(SNR_CAP)
    if prediction == "noise":
        return (SNR_CAP * noise / signal.clamp_min(tiny)).clamp_max(1)
    steep = (path.d_alpha(t) * noise - path.alpha(t) * path.s_d_s(t, target)).clamp_min(tiny)
    return (noise / steep) * (torch.minimum(signal, SNR_CAP * noise) / steep)
