"""Sparse LU in plain JAX: planned once from a pattern, run level by level in batches."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Bool

from ..network import Structure
from .elimination import eliminate

__all__ = ["Pattern", "SparseLU", "prefers_sparse"]


class Pattern:
    """Where a matrix [n, n] can differ from zero; it is hashed by content.

    Attributes:
        matrix: true at those entries.
    """

    def __init__(self, matrix: Bool[np.ndarray, "n n"]):
        self.matrix = matrix
        self.digest = (matrix.shape, np.packbits(matrix).tobytes())

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and self.digest == other.digest


class _Level(NamedTuple):
    """Unknowns start to stop: each is what it was less a sum of products, over a divisor.

    Factors and divisors are numbers of entries of L + U (the last two are 0 and 1, for what is
    not there) and of unknowns.
    """

    start: int
    stop: int
    left: np.ndarray  # [n, m] entries of L + U
    right: np.ndarray  # [n, m] unknowns
    divisor: np.ndarray  # [n] entries of L + U


class _Pass(NamedTuple):
    """Unknowns in the order `take`, then level by level."""

    take: np.ndarray
    levels: tuple[_Level, ...]


class _Solve(NamedTuple):
    """Two substitutions, and where the solution's elements then stand."""

    first: _Pass
    second: _Pass
    give: np.ndarray


class _Schedule(NamedTuple):
    entries: tuple[np.ndarray, np.ndarray]  # rows and columns in the matrix of each of L + U
    factor: tuple[_Level, ...]
    plain: _Solve
    transposed: _Solve


def _plan(
    needs: Sequence[Sequence[int] | np.ndarray],
    left: Sequence[np.ndarray],
    right: Sequence[np.ndarray],
    divisor: np.ndarray,
    pad: int,
    order: Sequence[int],
) -> _Pass:
    """Groups unknowns that can be computed at once.

    Args:
        needs: the unknowns that each unknown waits for.
        left: of each unknown, the entries in its products.
        right: the unknowns in its products.
        divisor: [n] entry that divides each unknown.
        pad: the entry that is zero.
        order: in which every unknown comes after those that it needs.
    """
    depth = np.zeros(len(needs), dtype=int)
    for n in order:
        depth[n] = 1 + max((depth[m] for m in needs[n]), default=-1)
    take = np.argsort(depth, kind="stable")
    place = np.argsort(take)
    levels, start = [], 0
    for level in range(depth.max(initial=-1) + 1):
        members = take[start : start + np.count_nonzero(depth == level)]
        width = max(len(left[n]) for n in members)
        products = np.full((len(members), width), pad)
        others = np.zeros((len(members), width), dtype=int)
        for row, n in enumerate(members):
            products[row, : len(left[n])] = left[n]
            others[row, : len(right[n])] = place[right[n]]
        stop = start + len(members)
        levels.append(_Level(start, stop, products, others, divisor[members]))
        start = stop
    return _Pass(take, tuple(levels))


@functools.lru_cache(maxsize=64)
def _schedule(structure: Structure | Pattern) -> _Schedule:
    if isinstance(structure, Pattern):
        pattern = structure.matrix
    else:
        pattern = np.zeros((structure.stoichiometry.shape[0],) * 2, dtype=bool)
        pattern[structure.jacobian_entries] = True
    size = len(pattern)
    plan = eliminate(pattern)
    fill = len(plan.pivot)
    zero, one = fill, fill + 1
    start, lower, upper = plan.updates
    spans = [slice(start[e], start[e + 1]) for e in range(fill)]
    diagonal = np.diag(plan.slot)[plan.order]
    divisor = np.where(plan.pivot >= 0, diagonal[plan.pivot], one)
    factor = _plan(
        [
            [*lower[s], *upper[s], *([d] if d < fill else [])]
            for s, d in zip(spans, divisor, strict=True)
        ],
        [lower[s] for s in spans],
        [upper[s] for s in spans],
        divisor,
        zero,
        range(fill),
    )
    # entries from here on are numbered as the factorisation leaves them
    moved = np.concatenate([np.argsort(factor.take), [zero, one]])
    levels = tuple(
        level._replace(left=moved[level.left], divisor=moved[level.divisor])
        for level in factor.levels
    )
    number = np.where(plan.slot >= 0, moved[plan.slot], -1)
    entries = np.nonzero(number >= 0)
    entries = tuple(axis[np.argsort(number[entries])] for axis in entries)
    number = number[np.ix_(plan.order, plan.order)]

    def triangle(matrix: np.ndarray, lower: bool, unit: bool) -> _Pass:
        kept = np.tril(matrix >= 0, -1) if lower else np.triu(matrix >= 0, 1)
        needs = [np.flatnonzero(row) for row in kept]
        slots = [matrix[n, need] for n, need in enumerate(needs)]
        divisor = np.full(size, one) if unit else np.diag(matrix)
        order = range(size) if lower else range(size - 1, -1, -1)
        return _plan(needs, slots, needs, divisor, zero, order)

    def solve(first: _Pass, second: _Pass) -> _Solve:
        between = np.argsort(first.take)[second.take]
        return _Solve(
            first._replace(take=plan.order[first.take]),
            second._replace(take=between),
            np.argsort(plan.order[second.take]),
        )

    return _Schedule(
        entries,  # pyright: ignore[reportArgumentType]
        levels,
        solve(triangle(number, True, True), triangle(number, False, False)),
        solve(triangle(number.T, True, False), triangle(number.T, False, True)),
    )


def _march(levels: tuple[_Level, ...], lu: Array | None, x: Array) -> Array:
    """Computes the unknowns level by level; without `lu` they are the entries of L + U."""
    for start, stop, left, right, divisor in levels:
        value = x[start:stop]
        factors = x if lu is None else lu
        if left.shape[1]:
            value = value - jnp.sum(factors[left] * x[right], axis=1)
        if np.any(divisor != factors.shape[0] - 1):
            value = value / factors[divisor]
        x = x.at[start:stop].set(value)
    return x


def _batch_last(function: Callable[..., Array]) -> Callable[..., Array]:
    """`function` of arrays with batch axes at the end, for `jax.vmap` to use with one there."""
    wrapped = jax.custom_batching.custom_vmap(function)

    @wrapped.def_vmap
    def _(axis_size: int, batched: list[bool], *arrays: Array) -> tuple[Array, bool]:
        last = [
            jnp.moveaxis(a, 0, -1) if b else jnp.broadcast_to(a[..., None], (*a.shape, axis_size))
            for a, b in zip(arrays, batched, strict=True)
        ]
        return jnp.moveaxis(_batch_last(function)(*last), -1, 0), True

    return wrapped


def prefers_sparse(structure: Structure | Pattern) -> bool:
    """Whether a batch is faster with `SparseLU` than with dense LU (benchmarks/README.md)."""
    of = structure.matrix if isinstance(structure, Pattern) else structure.stoichiometry
    size = of.shape[0]
    if size < 12:
        return False
    schedule = _schedule(structure)
    # a pool of many members makes long updates, which XLA takes minutes to compile
    updates = sum(right.size for _, _, _, right, _ in schedule.factor)
    return len(schedule.entries[0]) < 0.4 * size**2 and updates < 1e5


class SparseLU(lx.AbstractLinearSolver):
    """LU without pivoting of matrices with a known pattern, such as a network's Jacobian has.

    The diagonal is in it, whether or not the pattern says so.

    Order, fill and schedule are worked out once from the pattern (see `eliminate`); a batch runs
    as few, long operations, as processors with vector units and GPUs want them.

    Attributes:
        structure: of the network whose Jacobian it is, or any `Pattern`.
    """

    structure: Structure | Pattern = eqx.field(static=True)

    def init(self, operator: lx.AbstractLinearOperator, options: dict[str, Any]) -> Any:
        """Factorises."""
        del options
        schedule = _schedule(self.structure)

        def factorise(matrix: Array) -> Array:
            ends = [jnp.full((1, *matrix.shape[2:]), value, matrix.dtype) for value in (0, 1)]
            entries = jnp.concatenate([matrix[schedule.entries], *ends])
            return _march(schedule.factor, None, entries)

        return _batch_last(factorise)(operator.as_matrix()), eqxi.Static(False)

    def compute(self, state: Any, vector: Any, options: dict[str, Any]) -> Any:
        """Substitutes."""
        del options
        lu, transposed = state
        schedule = _schedule(self.structure)
        first, second, give = schedule.transposed if transposed.value else schedule.plain

        def substitute(lu: Array, x: Array) -> Array:
            x = _march(first.levels, lu, x[first.take])
            return _march(second.levels, lu, x[second.take])[give]

        return _batch_last(substitute)(lu, vector), lx.RESULTS.successful, {}

    def transpose(self, state: Any, options: dict[str, Any]) -> Any:
        """The same factors, for the transposed matrix."""
        lu, transposed = state
        return (lu, eqxi.Static(not transposed.value)), options

    def conj(self, state: Any, options: dict[str, Any]) -> Any:
        """Real matrices are their own conjugates."""
        return state, options

    def assume_full_rank(self) -> bool:
        """A matrix that is singular, or needs pivoting, gives infinities."""
        return True
