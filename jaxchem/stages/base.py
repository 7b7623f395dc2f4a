"""What every stage gives back, and what several of them need."""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..dataset import Observations
from ..metrics import rate_errors
from ..models import AbstractIntegrated

__all__ = ["Result", "coefficients", "integrated", "rate_metrics", "true_rates", "windows"]


class Result(NamedTuple):
    """What a stage gives back.

    Attributes:
        model: for the next stage.
        history: name -> values by step.
        metrics: name -> number.
        deviation: [R] posterior standard deviation of ln k, where the stage knows it.
    """

    model: Any
    history: dict[str, np.ndarray]
    metrics: dict[str, float]
    deviation: np.ndarray | None = None


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


def rate_metrics(data: Observations, model: Any) -> dict[str, float]:
    """Errors of a model's rate coefficients against those of the network's own laws.

    They are `metrics.rate_errors` in the middle of what the data vary; none where there are no
    coefficients, or the laws give no constants here.
    """
    data = data.in_order(model.about.conditions)
    middle = jnp.asarray(data.middle)
    k, k_true = coefficients(model, data), true_rates(data, middle)
    if k is None or k_true is None:
        return {}
    known = getattr(model, "known", np.zeros(len(k), bool))
    return rate_errors(np.asarray(k), k_true, ~known)


def coefficients(model: Any, data: Observations) -> Float[Array, " R"] | None:
    """A model's rate coefficients in the middle of the data, where its reactions are theirs."""
    k = model.rate_coefficients(data.in_order(model.about.conditions).middle)
    same = k is not None and model.network.equations == data.network.equations
    return k if same else None


def true_rates(data: Observations, conditions: Any) -> Float[np.ndarray, " R"] | None:
    """What the network's own laws give, where these are constants that can be evaluated."""
    try:
        k = data.rates(conditions)
    except ValueError:
        return None
    return None if callable(k) else np.asarray(k)
