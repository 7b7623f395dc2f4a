"""What every stage is given and gives back, and the models that a stage can start from."""

from typing import Any, NamedTuple, TypeVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..dataset import Observations
from ..metrics import log_rate_mae, log_rate_mse
from ..models import CRNN, NeuralODE
from ..models.base import hands_on
from ..network import Network
from ..solvers import Integrator
from ..train import Resume

__all__ = ["Problem", "Result", "Resume", "new_crnn", "new_neural_ode", "rate_metrics", "windows"]

Model = TypeVar("Model")


class Problem(NamedTuple):
    """An inverse problem: a network whose rate coefficients are to be found from data.

    Attributes:
        network: the reactions.
        integrator: how predictions are integrated.
        k_true: [R] the coefficients behind the data, where they are known; for error measures,
            for the coefficients under `known`, and for starts that perturb them.
        known: [R] True where the coefficient is given.
    """

    network: Network
    integrator: Integrator
    k_true: Float[np.ndarray, " R"] | None
    known: Bool[np.ndarray, " R"]


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
) -> tuple[Float[Array, "W L"], Float[Array, "W L S"]]:
    """Cuts trajectories into windows that each begin at an observed state.

    Args:
        data: observations of every species.
        length: points a window; `None` takes whole trajectories.
        stride: points from the start of one window to the next; `None` takes `length`.

    Returns:
        Times and states of the windows, case by case.

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
    return ts, states[:, index].reshape(cases * len(starts), length, -1)


@hands_on(NeuralODE.__init__, without=("integrator",))
def new_neural_ode(
    problem: Problem, data: Observations, key: PRNGKeyArray, **settings: Any
) -> NeuralODE:
    """A neural ODE with random weights and the scales of the observed trajectories."""
    return NeuralODE.fitted(data, integrator=problem.integrator, key=key, **settings)


def new_crnn(
    problem: Problem, data: Observations, key: PRNGKeyArray, *, noise: float | None = None
) -> CRNN:
    """A CRNN with random coefficients.

    Args:
        problem: the network, and the coefficients that are known.
        data: not used.
        key: seeds the draw.
        noise: start from k_true (1 + noise)^N(0, 1), as SPIN-ODE 1.1 does; `None` starts from
            ln k ~ N(0, 1), as SPIN-ODE 1.0 does.

    Raises:
        ValueError: `noise` is given but the true coefficients are not known, or zero; some are
            given, but not their values.
    """
    del data
    check_known(problem)
    if noise is None:
        return CRNN.random(
            problem.network,
            k_known=problem.k_true,
            known=problem.known,
            integrator=problem.integrator,
            key=key,
        )
    if problem.k_true is None:
        raise ValueError("a start with noise perturbs the true coefficients, which are not known.")
    if nothing := np.flatnonzero((problem.k_true <= 0) & ~problem.known).tolist():
        raise ValueError(
            f"a start with noise is in ln k, but the coefficients of reactions {nothing} (from 0) "
            "are zero; give them as known, or start from regress."
        )
    log_k = jnp.log(jnp.asarray(problem.k_true))
    change = jax.random.normal(key, log_k.shape) * jnp.log(1.0 + noise)
    log_k = log_k + jnp.where(problem.known, 0.0, change)
    return CRNN(problem.network, log_k, known=problem.known, integrator=problem.integrator)


def check_known(problem: Problem) -> None:
    """Refuses coefficients that count as given where their values are not there."""
    if problem.known.any() and problem.k_true is None:
        raise ValueError(
            f"{problem.known.sum()} coefficients are known, but k_true is None; put their values "
            "there (the others may be anything), or make known False."
        )


def integrate(
    model: Any,
    integrator: Integrator,
    y0: Float[Array, "B S"],
    ts: Float[Array, "B T"],
    t0: Float[Array, " B"],
    *,
    sequential: bool = False,
) -> tuple[Float[Array, "B T S"], Bool[Array, " B"]]:
    """States of a batch at its output times, and which members succeeded."""

    def one(member: tuple[Any, Any, Any]) -> Any:
        y0, ts, t0 = member
        solution = model.solution(y0, ts, t0=t0, integrator=integrator)
        states = jnp.asarray(solution.ys)
        return states, diffrax.is_successful(solution.result) & jnp.all(jnp.isfinite(states))

    members = (y0, ts, t0)
    return jax.lax.map(one, members) if sequential else eqx.filter_vmap(one)(members)


def require(model: Any, kind: type[Model], stage: str, advice: str) -> Model:
    """The stage's incoming model, refused where it is of another kind."""
    if not isinstance(model, kind):
        got = "no model" if model is None else f"a {type(model).__name__}"
        raise ValueError(f"stage {stage} starts from a {kind.__name__} but got {got}; {advice}")
    return model


def rate_metrics(problem: Problem, model: Any) -> dict[str, float]:
    """Errors of a model's rate coefficients against the true ones, where both are there.

    `err_k` and `k_err` are over all reactions, as SPIN-ODE 1.0 and 1.1 define them (a given
    coefficient counts as no error); `err_k_estimated` is over those that were estimated. A
    coefficient whose truth is zero, as of photolysis by night, has no logarithm and no part in any.
    """
    k = model.rate_coefficients
    if problem.k_true is None or k is None:
        return {}
    k_true = jnp.asarray(problem.k_true)
    some = k_true > 0
    estimated = jnp.asarray(~problem.known) & some
    error = jnp.where(estimated, jnp.abs(jnp.log(k) - jnp.log(k_true)), 0.0)
    return {
        "err_k": float(log_rate_mae(k, k_true, some)),
        "k_err": float(log_rate_mse(k, k_true, some)),
        "err_k_estimated": float(log_rate_mae(k, k_true, estimated)),
        "max_err_k": float(jnp.max(error)),
        "within_10_percent": float(jnp.mean(error < np.log(1.1), where=estimated)),
    }
