"""What every stage gives back, and what several of them need."""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..dataset import Observations
from ..inference import Posterior
from ..metrics import rate_errors
from ..models import AbstractIntegrated
from ..network import Network

__all__ = [
    "Result",
    "coefficients",
    "deviations",
    "integrated",
    "rate_metrics",
    "true_rates",
    "windows",
]


class Result(NamedTuple):
    """What a stage gives back.

    Attributes:
        model: for the next stage.
        history: name -> values by step.
        metrics: name -> number.
        posterior: of the rate coefficients that were estimated, where the stage knows it.
    """

    model: Any
    history: dict[str, np.ndarray]
    metrics: dict[str, float]
    posterior: Posterior | None = None


def windows(
    data: Observations, length: int | None, stride: int | None
) -> tuple[Float[Array, "W L"], Float[Array, "W L S"], Float[Array, "W C"]]:
    """Cuts trajectories into windows that each begin at an observed state.

    Args:
        data: observations of every species.
        length: points a window; `None` takes whole trajectories.
        stride: points from the start of one window to the next; `None` takes `length`.

    Returns:
        Times, states and conditions of the windows, case by case.

    Raises:
        ValueError: not every species is observed, or a window is longer than a trajectory.
    """
    states = data.states
    cases, points, _ = states.shape
    length = points if length is None else length
    stride = length if stride is None else stride
    if not 2 <= length <= points or stride < 1:
        raise ValueError(
            f"windows of {length} points every {stride} do not fit trajectories of {points} "
            "points; lower the stage's window."
        )
    starts = np.arange(0, points - length + 1, stride)
    index = starts[:, None] + np.arange(length)
    ts = jnp.tile(data.ts[index], (cases, 1))
    conditions = jnp.repeat(data.conditions, len(starts), axis=0)
    return ts, states[:, index].reshape(cases * len(starts), length, -1), conditions


def integrated(model: Any, stage: str, advice: str, *, rates: bool = False) -> Any:
    """The stage's incoming model, refused where it has no tendency (or no rate coefficients)."""
    fits = isinstance(model, AbstractIntegrated)
    if not fits or (rates and not eqx.is_inexact_array(getattr(model, "log_k", None))):
        got = "no model" if model is None else f"a {type(model).__name__}"
        what = "with rate coefficients" if rates else "that is integrated"
        raise ValueError(f"stage {stage} starts from a model {what} but got {got}; {advice}")
    return model


def deviations(found: Posterior, network: Network) -> Float[np.ndarray, " R"]:
    """The posterior standard deviation of each ln k, 0 where it was given."""
    full = np.zeros(len(network.equations))
    for p, deviation in zip(found.parameters, found.deviation, strict=True):
        full[[*p.of]] = deviation
    return full


def rate_metrics(data: Observations, model: Any, begin: Any = None) -> dict[str, float]:
    """Errors of a model's rate coefficients against the true ones, or how far they have moved.

    Errors are `metrics.rate_errors` in the middle of what the data vary, where these are known to
    be of the network's own laws. Elsewhere nobody knows the truth: `change_k` is the mean of
    |ln k - ln k at the start| over those that were estimated. There is neither where there are no
    coefficients, or the laws give no constants here.

    Args:
        data: what the model was estimated from, or is measured on.
        model: any.
        begin: the model that the estimate started from, if there is one.
    """
    data = data.in_order(model.about.conditions)
    k, k_true = coefficients(model, data), true_rates(data, jnp.asarray(data.middle))
    if k is None:
        return {}
    estimated = ~getattr(model, "known", np.zeros(len(k), bool))
    if k_true is not None:
        return rate_errors(np.asarray(k), k_true, estimated)
    before = None if begin is None else coefficients(begin, data)
    if before is None:
        return {}
    change = np.abs(np.log(np.asarray(k)) - np.log(np.asarray(before)))[estimated]
    return {"change_k": float(np.mean(change))}


def coefficients(model: Any, data: Observations) -> Float[Array, " R"] | None:
    """A model's rate coefficients in the middle of the data, where its reactions are theirs."""
    k = model.rate_coefficients(data.in_order(model.about.conditions).middle)
    same = k is not None and model.network.equations == data.network.equations
    return k if same else None


def true_rates(data: Observations, conditions: Any) -> Float[np.ndarray, " R"] | None:
    """What the network's own laws give, where the data are known to be of these and they are
    constants that can be evaluated."""
    if not data.own_laws:
        return None
    try:
        k = data.rates(conditions)
    except ValueError:
        return None
    return None if callable(k) else np.asarray(k)
