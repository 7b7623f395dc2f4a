"""Conservation of elements and charge, imposed on states: near ones that hold given sums."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["conserve", "settle"]


def conserve(
    composition: Float[Any, "E S"],
    y: Float[Array, "*n S"],
    totals: Float[Array, "*n E"],
    *,
    iterations: int = 256,
) -> Float[Array, "*n S"]:
    """The states nearest to `y` that hold these totals.

    y_i exp(w_i sum_e lambda_e a_ei), so that a positive state stays positive and a zero stays zero.
    Equal weights w would give the nearest state in the sense of Kullback and Leibler, which moves
    the trace species of an element as far as its main carrier, though their share of the excess is
    nothing; here w_i is the eighth root of the share of species i in the whole, and what they are
    predicted to be stays. The lambda minimise a convex function, by Newton steps with the damping
    that makes each of them a descent (Sun & Tran-Dinh 2019, Math. Program. 178, 145). The result
    is in the precision of `y` and exact to its rounding; derivatives are those of the exact
    solution.

    Args:
        composition: [E, S] count of each element (and the charge) in each species.
        y: [*n, S] states, in any unit; what is negative counts as zero.
        totals: [*n, E] what `composition @ y` is to be, in that unit. Leading axes broadcast
            against those of `y`. Where an element's total is zero, so are the species that hold it.
        iterations: the most steps to take; a state a factor of two off takes about six.

    Returns:
        [*n, S] states. Totals that no positive state has, as that of an element whose species
        are all zero, are missed and raise nothing.

    Raises:
        ValueError: shapes that do not match.
    """
    a = jnp.asarray(composition, y.dtype)
    _check_shapes(a, y, totals)
    ahead = jnp.broadcast_shapes(y.shape[:-1], totals.shape[:-1])
    columns = [
        jnp.broadcast_to(x.astype(y.dtype), (*ahead, x.shape[-1])).reshape(-1, x.shape[-1]).T
        for x in (y, totals)
    ]
    # the totals of float32 are no better than their sums, so none of the coarser products of GPUs
    with jax.default_matmul_precision("highest"):
        return _conserve(a, columns[0], columns[1], iterations).T.reshape(*ahead, y.shape[-1])


def settle(
    composition: Float[Any, "E S"], y: Float[Array, "*n S"], totals: Float[Array, "*n E"]
) -> Float[Array, "*n S"]:
    """States with given totals, the reservoirs of each element making up for what is off.

    y_i + y_i^2 sum_e lambda_e a_ei, the least change in the norm of 1 / y^2: what holds most of an
    element takes most of what is off, and a trace in proportion to its share less. It is one linear
    step, exact to rounding, for a small part of what `conserve` takes. A state in which some
    species would lose more than half stays as it is, sums and all.

    Args:
        composition: as of `conserve`.
        y: [*n, S] states, none negative.
        totals: [*n, E] what `composition @ y` is to be.

    Raises:
        ValueError: shapes that do not match.
    """
    a = jnp.asarray(composition, y.dtype)
    _check_shapes(a, y, totals)
    count, precise = len(a), functools.partial(jnp.matmul, precision="highest")
    excess = totals.astype(y.dtype) - precise(y, a.T)
    lower = [(i, j) for i in range(count) for j in range(i + 1)]
    entries = precise(y * y, jnp.stack([a[i] * a[j] for i, j in lower], axis=1))
    matrix = {pair: entries[..., n] for n, pair in enumerate(lower)}
    found = _cholesky(matrix, [excess[..., i] for i in range(count)])
    share = y * precise(jnp.stack(found, axis=-1), a)
    settled = jnp.all(share > -0.5, axis=-1, keepdims=True)
    return jnp.where(settled, y + y * share, y)


# Below, states and totals are columns, so that all is arithmetic on long rows.


def _conserve(
    a: Float[Array, "E S"], y: Float[Array, "S N"], totals: Float[Array, "E N"], iterations: int
) -> Float[Array, "S N"]:
    # a total of zero without opposite signs to cancel has no lambda but -inf
    signs = (jnp.all(a >= 0, axis=1), jnp.all(a <= 0, axis=1))
    empty = signs[0][:, None] & (totals <= 0) | signs[1][:, None] & (totals >= 0)
    gone = jnp.any(empty[:, None] & (a != 0)[:, :, None], axis=0)
    y = jnp.where(gone | (y < 0), 0, y)
    whole = jnp.sum(y, axis=0, keepdims=True)
    # no less than that of a share of 1e-20, so that it has derivatives where a species is zero
    share = y / jnp.where(whole > 0, whole, 1) + 1e-20
    weights = jnp.sqrt(jnp.sqrt(jnp.sqrt(share)))
    return y * jnp.exp(weights * _spread(a, _multipliers(iterations, a, y, weights, totals)))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _multipliers(
    iterations: int, a: Array, y: Array, weights: Array, totals: Array
) -> Float[Array, "E N"]:
    eps = jnp.finfo(y.dtype).eps

    def unfinished(carry: tuple[Array, Array, Array]) -> Array:
        count, _, change = carry
        # the error is the square of the last change
        return (count < iterations) & jnp.any(change > eps**0.5)

    def step(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        count, multipliers, _ = carry
        state = y * jnp.exp(weights * _spread(a, multipliers))
        newton = _solve(a, weights * state, totals - a @ state)
        change = jnp.where(state > 0, jnp.abs(weights * _spread(a, newton)), 0)  # of any ln y
        size = jnp.max(change, axis=0)
        damped = jnp.maximum(size, eps)
        return count + 1, multipliers + newton * (jnp.log1p(damped) / damped)[None], size

    start = jnp.zeros((), jnp.int32), jnp.zeros_like(totals), jnp.full_like(totals[0], jnp.inf)
    return jax.lax.while_loop(unfinished, step, start)[1]


@_multipliers.defjvp
def _(iterations: int, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    """The implicit function theorem at the solution; the composition is a constant."""
    a, y, weights, totals = primals
    _, dy, dweights, dtotals = tangents
    multipliers = _multipliers(iterations, a, y, weights, totals)
    exponents = _spread(a, multipliers)
    factors = jnp.exp(weights * exponents)
    change = (dy + y * dweights * exponents) * factors
    return multipliers, _solve(a, weights * y * factors, dtotals - a @ change)


def _check_shapes(a: Array, y: Array, totals: Array) -> None:
    if a.ndim != 2 or y.shape[-1:] != a.shape[1:]:
        raise ValueError(
            f"composition {a.shape} does not fit states {y.shape}; give it one row for each "
            "element and one column for each species of the state, as network.conserved."
        )
    if totals.shape[-1:] != a.shape[:1]:
        raise ValueError(
            f"totals {totals.shape} do not fit composition {a.shape}; give one for each of its "
            "rows, as y0 @ composition.T."
        )


def _spread(a: Float[Array, "E S"], of_element: Float[Array, "E N"]) -> Float[Array, "S N"]:
    """a.T @ of_element, as sums that fuse with what is done to them."""
    zero = jnp.zeros((a.shape[1], of_element.shape[1]), a.dtype)
    return sum((row[:, None] * x[None] for row, x in zip(a, of_element, strict=True)), zero)


def _solve(
    a: Float[Array, "E S"], slope: Float[Array, "S N"], excess: Float[Array, "E N"]
) -> Float[Array, "E N"]:
    """The change of the multipliers that changes the totals by `excess`.

    `slope` is the derivative of each species by what its multipliers add up to.
    """
    lower = [(i, j) for i in range(len(a)) for j in range(i + 1)]
    pairs = jnp.stack([a[i] * a[j] for i, j in lower])
    return jnp.stack(_cholesky(dict(zip(lower, pairs @ slope, strict=True)), list(excess)))


def _cholesky(matrix: Mapping[tuple[int, int], Array], excess: Sequence[Array]) -> list[Array]:
    """Solutions of many small systems, each of the lower entries of a matrix and a right side.

    Written out: LAPACK would be called for each of them.
    """
    count, eps = len(excess), jnp.finfo(excess[0].dtype).eps
    diagonal = [matrix[i, i] for i in range(count)]
    scale = [jax.lax.rsqrt(jnp.where(d > 0, d, jnp.inf)) for d in diagonal]  # none: no change
    # elements in fixed proportion make it singular; this much is below its rounding
    ridge = 8 * count * eps
    rows: list[list[Array]] = []
    found: list[Array] = []
    for i in range(count):
        row: list[Array] = []
        for j in range(i):
            inner = sum(row[k] * rows[j][k] for k in range(j))
            row.append((matrix[i, j] * scale[i] * scale[j] - inner) / rows[j][j])
        pivot = matrix[i, i] * scale[i] * scale[i] + ridge - sum(x * x for x in row)
        known = sum(x * f for x, f in zip(row, found, strict=True))
        rows.append([*row, jnp.sqrt(pivot)])
        found.append((excess[i] * scale[i] - known) / rows[i][i])
    for i in reversed(range(count)):
        known = sum(rows[k][i] * found[k] for k in range(i + 1, count))
        found[i] = (found[i] - known) / rows[i][i]
    return [f * s for f, s in zip(found, scale, strict=True)]
