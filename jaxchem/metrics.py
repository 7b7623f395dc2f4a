"""Error measures, on plain arrays."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

__all__ = [
    "conservation_drift",
    "dex_errors",
    "emulation_scores",
    "error_scores",
    "largest_scaled",
    "linear_rmse",
    "log_rate_mae",
    "log_rate_mse",
    "rate_errors",
    "scaled_mse",
    "uncertainty_scores",
]


def log_rate_mae(
    k: Float[Array, " R"], k_true: Float[Array, " R"], where: Bool[Array, " R"] | None = None
) -> Float[Array, ""]:
    """mean_j |ln k_j - ln k_true_j| (err_k, "LogMAE", of SPIN-ODE 1.0), over `where` if given."""
    return jnp.mean(jnp.abs(jnp.log(k) - jnp.log(k_true)), where=where)


def log_rate_mse(
    k: Float[Array, " R"], k_true: Float[Array, " R"], where: Bool[Array, " R"] | None = None
) -> Float[Array, ""]:
    """mean_j (ln k_j - ln k_true_j)^2 (k_err of SPIN-ODE 1.1), over `where` if given."""
    return jnp.mean((jnp.log(k) - jnp.log(k_true)) ** 2, where=where)


def rate_errors(
    k: Float[np.ndarray, " R"], k_true: Float[np.ndarray, " R"], estimated: Bool[np.ndarray, " R"]
) -> dict[str, float]:
    """Errors of rate coefficients.

    `err_k` and `k_err` are over all reactions, as SPIN-ODE 1.0 and 1.1 define them (a given
    coefficient counts as no error); `err_k_estimated` is over those that were estimated. A
    coefficient whose truth is zero, as of photolysis by night, has no logarithm and no part in any.
    """
    some = k_true > 0
    counts = estimated & some
    error = np.abs(np.log(k[counts]) - np.log(k_true[counts]))
    return {
        "err_k": float(log_rate_mae(jnp.asarray(k), jnp.asarray(k_true), jnp.asarray(some))),
        "k_err": float(log_rate_mse(jnp.asarray(k), jnp.asarray(k_true), jnp.asarray(some))),
        "err_k_estimated": float(np.mean(error)) if len(error) else np.nan,
        "max_err_k": float(np.max(error, initial=0.0)),
        "within_10_percent": float(np.mean(error < np.log(1.1))) if len(error) else np.nan,
    }


def scaled_mse(
    prediction: Float[Array, "*n S"], truth: Float[Array, "*n S"], scale: Float[Array, " S"]
) -> Float[Array, ""]:
    """Mean square of the error of each species over its scale (err_y and err_dy of SPIN-ODE)."""
    axes = (1,) * (truth.ndim - 1)
    return jnp.mean(((prediction - truth) / scale.reshape(*axes, -1)) ** 2)


def dex_errors(
    prediction: Float[Array, " *n"], truth: Float[Array, " *n"], floor: float = 1e-30
) -> Float[Array, " *n"]:
    """|log10 prediction - log10 truth|, both held above `floor` (in their own unit)."""
    return jnp.abs(jnp.log10(jnp.maximum(prediction, floor)) - jnp.log10(jnp.maximum(truth, floor)))


def emulation_scores(
    prediction: Float[Any, "case T S"],
    truth: Float[Any, "case T S"],
    low: float,
    high: float,
    counts: Bool[Any, "case T S"] | None = None,
) -> dict[str, float]:
    """How far an emulator is off, from log10 concentrations.

    `mean_dex`, `median_dex`, `p99_dex` and `max_dex` are of |prediction - truth|. The other three
    are those of Sulzer & Buck (2023, arXiv:2312.06015), of logarithms that are scaled to [-1, 1]
    by one range for all species: `rmse`, and the median and the mean log10 of the error relative to
    each trajectory's largest |value|, which is no relative error of abundances.

    Args:
        prediction: log10 of concentrations.
        truth: likewise.
        low: log10 of what the scale calls -1.
        high: and 1.
        counts: those that do; all if `None`, and NaN where none does.
    """
    truth = np.asarray(truth)
    error = np.abs(np.asarray(prediction) - truth)
    return error_scores(error, largest_scaled(truth, low, high), high - low, counts)


def largest_scaled(
    truth: Float[Any, "case T S"], low: float, high: float
) -> Float[np.ndarray, "case S"]:
    """Largest |value| of each trajectory, of logarithms that are scaled as `emulation_scores` has
    them."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = [2.0 * (f(truth, axis=1) - low) / (high - low) - 1.0 for f in (np.min, np.max)]
    return np.maximum(*np.abs(ends))


def error_scores(
    error: Float[np.ndarray, "case T S"],
    largest: Float[np.ndarray, "case S"],
    width: float,
    counts: Bool[Any, "case T S"] | None = None,
) -> dict[str, float]:
    """`emulation_scores` from errors, of which there may be so many that a copy costs.

    Args:
        error: |prediction - truth| in dex; it is overwritten.
        largest: of `largest_scaled`.
        width: high - low.
        counts: those that do; all if `None`, and NaN where none does.
    """
    if counts is not None and not np.any(counts):
        counts, error[...] = None, np.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        unit, off = np.divide(2.0, width), error.flatten() if counts is None else error[counts]
        found = {
            "mean_dex": np.mean(off),
            "max_dex": np.max(off),
            "rmse": unit * np.sqrt(np.dot(off, off) / len(off)),
        }
        # nothing is copied: the order of the errors is of no more use
        found["median_dex"], found["p99_dex"] = np.quantile(off, [0.5, 0.99], overwrite_input=True)
        del off
        error *= (unit / largest)[:, None]
        relative = error.reshape(-1) if counts is None else error[counts]
        found["median_relative"] = np.median(relative, overwrite_input=True)
        np.log10(np.maximum(relative, 1e-16, out=relative), out=relative)
        found["mean_log10_relative"] = np.mean(relative)
    return {name: float(value) for name, value in found.items()}


def linear_rmse(
    prediction: Float[Any, "case T S"], truth: Float[Any, "case T S"], scale: Float[Any, " S"]
) -> float:
    """Root mean square error of concentrations, of each species over its scale.

    With the range of the training set it is that of min-max scaled concentrations, as atmospheric
    emulators have it (ChemNNE, arXiv:2408.01829).
    """
    error = np.asarray(prediction) - np.asarray(truth)
    error /= np.asarray(scale)
    return float(np.sqrt(np.mean(np.square(error, out=error))))


def uncertainty_scores(
    error: Float[Any, "case T S"],
    spread: Float[Any, "case T S"],
    *,
    large: float = 0.3,
    share: float = 0.05,
) -> dict[str, float]:
    """How well a spread tells errors, and what a gate that leaves doubtful states to a solver does.

    A state (case and time) is doubtful where the spread of any species is above a limit. The limit
    is the one that puts `share` of these states in doubt, which needs no truth.

    Args:
        error: of the prediction, in dex.
        spread: predicted standard deviation, in dex.
        large: an error above this shall not go unnoticed.
        share: of the states that may be left to the solver.

    Returns:
        `gate/limit`; `gate/recall`, the part of the large errors that lies in doubtful states;
        `gate/states` and `gate/missed`, the part of all states that hold a large error and of those
        not in doubt; `gate/mean_dex` and `gate/p99_dex` of the states that are not in doubt;
        `spread/correlation` with |error|, and `spread/within_1` and `spread/within_2`, how many
        errors are within one and two spreads (a calibrated normal one: 0.68 and 0.95).
    """
    error, spread = np.abs(np.asarray(error)), np.asarray(spread)
    worst = np.max(spread, axis=2)
    limit = np.quantile(worst, 1 - share)
    doubtful = worst > limit
    bad = error > large
    kept = error[~doubtful]
    some = bad.any(axis=2)
    one, two = (part.ravel() - part.mean() for part in (error, spread))
    with np.errstate(invalid="ignore"):  # a spread that is the same everywhere has no correlation
        correlation = float(np.dot(one, two) / np.sqrt(np.dot(one, one) * np.dot(two, two)))
    return {
        "gate/limit": float(limit),
        "gate/recall": float(bad[doubtful].sum() / max(bad.sum(), 1)),
        "gate/states": float(some.mean()),
        "gate/missed": float((some & ~doubtful).mean()),
        "gate/mean_dex": float(kept.mean()),
        "gate/p99_dex": float(np.quantile(kept, 0.99, overwrite_input=True)),
        "spread/correlation": correlation,
        "spread/within_1": float(np.mean(error <= spread)),
        "spread/within_2": float(np.mean(error <= 2 * spread)),
    }


def conservation_drift(
    composition: Float[Array, "E S"], y: Float[Array, "*n T S"], y0: Float[Array, "*n S"]
) -> Float[Array, "*n T E"]:
    """Change of each element's total (and of the charge) since `y0`.

    Relative to the sum of the magnitudes that enter the total at `y0`, so that a net charge of
    zero has a scale too.
    """
    weights = jnp.asarray(composition, y.dtype).T
    start = jnp.matmul(y0, weights)[..., None, :]
    scale = jnp.matmul(y0, jnp.abs(weights))[..., None, :]
    return (jnp.matmul(y, weights) - start) / jnp.where(scale == 0, 1, scale)
