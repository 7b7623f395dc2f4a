"""Loss terms, as functions of prediction and observation."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

__all__ = ["gradient_similarity", "log_mse", "masked_mean", "scaled_mse", "total_variation"]


def masked_mean(values: Float[Array, "W *n"], good: Bool[Array, " W"]) -> Float[Array, ""]:
    """Mean over the members whose solve succeeded; failed members add nothing, not even NaN.

    Where all members failed the value is infinite, so that the step can be refused.
    """
    mask = good.reshape(-1, *(1,) * (values.ndim - 1))
    total = jnp.sum(jnp.where(mask, values, 0.0))
    count = jnp.sum(good, dtype=values.dtype) * (values.size // values.shape[0])
    return jnp.where(count > 0, total / jnp.maximum(count, 1), jnp.inf)


def scaled_mse(
    prediction: Float[Array, "W T S"],
    observed: Float[Array, "W T S"],
    scale: Float[Array, " S"],
    good: Bool[Array, " W"],
) -> Float[Array, ""]:
    """Mean of ((prediction - observed) / scale)^2 over the successful windows."""
    safe = jnp.where(good[:, None, None], prediction, observed)
    return masked_mean(((safe - observed) / scale[None, None]) ** 2, good)


def log_mse(
    prediction: Float[Array, "W T S"],
    observed: Float[Array, "W T S"],
    good: Bool[Array, " W"],
    floor: float = 1e-8,
) -> Float[Array, ""]:
    """Mean of (ln(prediction + floor) - ln(observed + floor))^2 (SPIN-ODE 1.1)."""
    safe = jnp.where(good[:, None, None], jnp.maximum(prediction, 0.0), observed)
    return masked_mean((jnp.log(safe + floor) - jnp.log(observed + floor)) ** 2, good)


def _differences(y: Float[Array, "W T S"], order: int) -> Float[Array, "W T S"]:
    for _ in range(order):
        y = jnp.asarray(jnp.gradient(y, axis=1))
    return y


def gradient_similarity(
    prediction: Float[Array, "W T S"],
    observed: Float[Array, "W T S"],
    good: Bool[Array, " W"],
) -> Float[Array, ""]:
    """Scaled MSE of first and second differences along time (optional term of SPIN-ODE 1.0)."""
    total = jnp.zeros((), observed.dtype)
    for order in (1, 2):
        truth = _differences(observed, order)
        spread = jnp.max(truth, axis=(0, 1)) - jnp.min(truth, axis=(0, 1))
        spread = jnp.where(spread == 0, 1.0, spread)
        total = total + scaled_mse(_differences(prediction, order), truth, spread, good)
    return total


def total_variation(
    prediction: Float[Array, "W T S"],
    scale: Float[Array, " S"],
    good: Bool[Array, " W"],
    lag: int = 5,
) -> Float[Array, ""]:
    """Mean square change over `lag` points of first and second differences (SPIN-ODE 1.0).

    Raises:
        ValueError: windows of no more than `lag` points.
    """
    if prediction.shape[1] <= lag:
        raise ValueError(
            f"total variation compares points {lag} apart, but windows predict only "
            f"{prediction.shape[1]}; use longer windows or total_variation=0."
        )
    total = jnp.zeros((), prediction.dtype)
    for order in (1, 2):
        slopes = _differences(prediction, order)
        change = (slopes[:, lag:] - slopes[:, :-lag]) / scale[None, None]
        total = total + masked_mean(jnp.where(good[:, None, None], change, 0.0) ** 2, good)
    return total
