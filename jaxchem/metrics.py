"""Error measures, on plain arrays."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

__all__ = [
    "conservation_drift",
    "dex_errors",
    "emulation_scores",
    "log_rate_mae",
    "log_rate_mse",
    "scaled_mse",
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
    prediction: Float[Array, "case T S"],
    truth: Float[Array, "case T S"],
    low: float,
    high: float,
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
    """
    error = jnp.abs(prediction - truth)
    scaled = 2.0 * error / (high - low)
    size = jnp.abs(2.0 * (truth - low) / (high - low) - 1.0)
    relative = scaled / jnp.max(size, axis=1, keepdims=True)
    return {
        "mean_dex": float(jnp.mean(error)),
        "median_dex": float(jnp.median(error)),
        "p99_dex": float(jnp.quantile(error, 0.99)),
        "max_dex": float(jnp.max(error)),
        "rmse": float(jnp.sqrt(jnp.mean(scaled**2))),
        "median_relative": float(jnp.median(relative)),
        "mean_log10_relative": float(jnp.mean(jnp.log10(jnp.maximum(relative, 1e-16)))),
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
