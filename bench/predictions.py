"""What a net's output may stand for, and how it becomes the velocity that a solver integrates.

For x_t = alpha x1 + s e with s^2 = sigma^2 + gamma^2 and e = (sigma x0 + gamma xi) / s:

| prediction | the net regresses on | velocity |
| --- | --- | --- |
| velocity | u_t (or d_t) | the output |
| noise | e | (alpha' / alpha) (x - s e) + ((sigma sigma' + gamma gamma') / s) e |
| data | x1 | alpha' x1 + ((sigma sigma' + gamma gamma') / s^2) (x - alpha x1) |

Both conversions are exact for conditional means where gamma = 0 (e is then x0, whatever source and coupling); with
gamma > 0 they need a Gaussian source and independent pairs, since e must not depend on x1. They use s s' and never
divide by sigma or gamma alone. Ho et al. 2020, arXiv:2006.11239 (noise); Karras et al. 2022, arXiv:2206.00364 (data).

One end of each is 0 / 0: noise where alpha vanishes (t = 0), data where s does (t = 1); errors of a net grow as
1 / alpha and 1 / s towards it. So a field made of a noise prediction stands still in time below t = .05, and of a data
prediction above t = .95: net and coefficients are both asked at the clamped time. An end that all but vanishes is as
bad, since Heun's method, RK4 and adaptive solvers ask there: with sigma_min = 1e-5 an error of the data would be
multiplied by 1e5. Hence the clamp holds

    for noise   where alpha' / alpha more than doubles from t = .05 to 0    (on vp it is beta / 2 and hardly grows)
    for data    where s falls to less than half from t = .95 to 1           (sigma_min < .048; constant noise s < .029)

and the coefficient of the output stays at about 20 or less on every path. Elsewhere nothing of the kind is needed. At a
path's singular ends the coefficients keep to the times that training has seen.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.interfaces import Path

CLAMP = 0.05
"""Distance from an end at which the conversion is 0 / 0, or all but so, within which the field stands still in time."""

TWICE = 2.0
"""Growth over that distance from which on it does."""


def noise_of(path: Path, t: Tensor, x0: Tensor, xi: Tensor) -> Tensor:
    """All noise of x_t at unit scale, e = (sigma x0 + gamma xi) / s. t: (B,); x0, xi: (B, *S); returns (B, *S)."""
    if not path.noisy:
        return x0
    sigma, gamma = path.sigma(t), path.gamma(t)
    s = (sigma**2 + gamma**2).sqrt()
    # Only s = 0 (an end at which nothing is left of either noise) takes e to be x0.
    own = torch.where(s > 0, sigma / s, 1.0), torch.where(s > 0, gamma / s, 0.0)
    return _times(own[0], x0) + _times(own[1], xi)


def asked_time(path: Path, prediction: str, t: Tensor) -> Tensor:
    """The time at which net and coefficients are asked for the velocity at t: t off the conversion's 0 / 0 end."""
    if prediction == "velocity":
        return t
    low, high = path.margin, 1 - path.margin
    if prediction == "noise":
        near = torch.tensor([0.0, CLAMP], dtype=torch.float64)
        at_end, off = (path.d_alpha(near) / path.alpha(near)).tolist()
        low = CLAMP if at_end > TWICE * off else low
    else:
        off, at_end = path.noise_variance(torch.tensor([1 - CLAMP, 1.0], dtype=torch.float64)).sqrt().tolist()
        high = 1 - CLAMP if off > TWICE * at_end else high
    return t.clamp(low, high)


def velocity_of(path: Path, prediction: str, t: Tensor, x: Tensor, output: Tensor) -> Tensor:
    """Velocity at x out of a prediction there, at an asked time. t: scalar or (B,); x, output: (B, *S)."""
    if prediction == "velocity":
        return output
    from_x, from_output = coefficients(path, prediction, t.reshape(-1))
    return _times(from_x.to(x), x) + _times(from_output.to(x), output)


def prediction_of(path: Path, prediction: str, t: Tensor, x: Tensor, velocity: Tensor) -> Tensor:
    """The prediction that `velocity_of` turns into this velocity: its inverse at the same t."""
    if prediction == "velocity":
        return velocity
    from_x, from_output = coefficients(path, prediction, t.reshape(-1))
    return _times((1 / from_output).to(x), velocity) - _times((from_x / from_output).to(x), x)


def coefficients(path: Path, prediction: str, t: Tensor) -> tuple[Tensor, Tensor]:
    """(a, b) such that velocity = a x + b output. t: (B,), off the 0 / 0 end; in t's precision."""
    alpha, d_alpha = path.alpha(t), path.d_alpha(t)
    s, turn = path.noise_variance(t).sqrt(), path.s_d_s(t)
    if prediction == "noise":
        d_s = torch.where(s > 0, turn / s, path.d_sigma(t))
        return d_alpha / alpha, d_s - d_alpha * s / alpha
    return turn / s**2, d_alpha - alpha * turn / s**2


def _times(coefficient: Tensor, x: Tensor) -> Tensor:
    """Coefficient (B,) or (1,) times points (B, *S)."""
    return coefficient.view((-1,) + (1,) * (x.dim() - 1)) * x
