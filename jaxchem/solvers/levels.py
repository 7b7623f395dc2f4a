"""Sums and eliminations of many cells at once, in plain JAX.

Arrays have a row for each entry or unknown and a column for each cell. What can be worked out at
the same time stands together: a level of an elimination, or the rows of a sum that are about as
long, are a gather, a sum and a scatter, of which XLA makes fast loops on every device. Everything
is planned from lists of entries; nothing here has the size of a matrix.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import lu_factor, lu_solve
from jaxtyping import Array, Float, Int

from ..sums import SMALL

__all__ = [
    "Dense",
    "Elimination",
    "Sums",
    "once",
    "onto",
    "plan",
    "product",
    "put",
    "sums",
    "take",
    "total",
]

_OPERATION = 30
"""What one more operation costs, in terms of a sum; rows are padded where that is cheaper."""

_PIECE = 8
"""Terms of a sum that are added in one go: XLA makes vectors of cells of loops that it unrolls."""

_WIDEST = 64
"""Terms of one operation; longer sums are added up in several."""

_FEWEST = 2
"""Rows of one operation: for a single one XLA copies the whole array that it is put into."""


def take(x: Array, index: Any) -> Array:
    """Rows of `x` [n, ...], which all are there."""
    return x.at[index].get(mode="promise_in_bounds")


def once(x: Array, more: float | None = None) -> Array:
    """The same rows, which XLA works out now, and not again for every sum that takes them.

    Args:
        x: rows.
        more: what one more row is to have, where one is wanted.
    """
    shape = (len(x) + (more is not None), *x.shape[1:])
    return put(jnp.full(shape, more or 0.0, x.dtype), np.arange(len(x)), x)


def put(x: Array, index: Int[np.ndarray, " m"], value: Array) -> Array:
    """`x` with other rows, which all are there and of which none stands twice."""
    return x.at[index].set(value, mode="promise_in_bounds", unique_indices=True)


@jax.custom_jvp
def product(x: Float[Array, "n *B"], index: Int[np.ndarray, "m f"]) -> Float[Array, "m *B"]:
    """Products of rows of `x`."""
    return jnp.prod(take(x, index), axis=1)


@product.defjvp
def _(values: tuple[Array, Array], changes: tuple[Array, Array]) -> tuple[Array, Array]:
    x, index = values
    count = index.shape[1]
    change = jnp.zeros((len(index), *x.shape[1:]), x.dtype)
    for f in range(count):
        others = product(x, index[:, np.arange(count) != f])
        change += others * take(changes[0], index[:, f])
    return product(x, index), change


class Group(NamedTuple):
    """Rows of sums of products: which rows, and what each term multiplies [rows, terms].

    Attributes:
        target: rows of the result; the one behind its last takes what nobody wants.
        left: rows of the first factors, or their values.
        right: rows of the second factors.
    """

    target: np.ndarray
    left: np.ndarray
    right: np.ndarray


def _dot(x: Array, y: Array, group: Group) -> Array:
    """The sums of products of rows of `x` and of `y`."""
    found = jnp.zeros((len(group.target), *y.shape[1:]), y.dtype)
    for start in range(0, group.left.shape[1], _PIECE):
        piece = slice(start, start + _PIECE)
        left, right = (np.ascontiguousarray(part[:, piece]) for part in group[1:])
        found += jnp.sum(take(x, left) * take(y, right), axis=1)
    return found


def _partition(counts: Int[np.ndarray, " n"]) -> list[Int[np.ndarray, " m"]]:
    """Rows that are to stand together, each padded to the longest of its group: the cheapest."""
    lengths, sizes = np.unique(counts, return_counts=True)
    best, cut = [0.0], []
    for stop in range(1, len(lengths) + 1):
        rows = np.cumsum(sizes[:stop][::-1])[::-1]  # of groups that start at each length
        costs = np.array(best) + rows * lengths[stop - 1] + _OPERATION
        cut.append(int(np.argmin(costs)))
        best.append(costs[cut[-1]])
    found, stop = [], len(lengths)
    while stop:
        start = cut[stop - 1]
        found.append(np.flatnonzero((counts >= lengths[start]) & (counts <= lengths[stop - 1])))
        stop = start
    return found


def _groups(
    size: int,
    targets: Int[np.ndarray, " n"],
    rows: Int[np.ndarray, " m"],
    left: tuple[np.ndarray, float],
    right: tuple[np.ndarray, float],
) -> list[list[Group]]:
    """Terms of sums as groups of rows about as long; each as the pieces that it is added up in.

    Args:
        size: rows of the result.
        targets: those that are wanted, upwards; some may have no terms.
        rows: of each term.
        left: what it multiplies, and what fills up a row that is too short.
        right: likewise.
    """
    order = np.argsort(rows, kind="stable")
    starts, stops = (np.searchsorted(rows[order], targets, side) for side in ("left", "right"))
    counts = stops - starts
    found = []
    for members in _partition(counts) if len(targets) else []:
        members = np.append(members, np.repeat(members[:1], max(_FEWEST - len(members), 0)))
        target = targets[members]
        target[1:][target[1:] == target[:-1]] = size
        place = np.arange(counts[members].max())
        there = place < counts[members][:, None]
        at = np.where(there, starts[members][:, None] + place, 0)
        parts = [
            np.where(there, np.append(part[order], pad)[at], pad) for part, pad in (left, right)
        ]
        pieces = [slice(n, n + _WIDEST) for n in range(0, max(len(place), 1), _WIDEST)]
        found.append([Group(target, *(part[:, piece] for part in parts)) for piece in pieces])
    return found


class Sums(NamedTuple):
    """A sparse matrix.

    Attributes:
        size: rows.
        groups: their values, as `left`, and columns, as `right`.
        whole: the matrix itself, where it is small; for one cell it is faster.
    """

    size: int
    groups: tuple[tuple[Group, ...], ...]
    whole: np.ndarray | None


def sums(shape: tuple[int, int], rows: np.ndarray, columns: np.ndarray, values: np.ndarray) -> Sums:
    """The sparse matrix of these entries, which may stand for one place more than once."""
    found = _groups(shape[0], np.unique(rows), rows, (values, 0.0), (columns, 0))
    whole = None
    if shape[0] * shape[1] <= SMALL:
        whole = np.zeros(shape)
        np.add.at(whole, (rows, columns), values)
    return Sums(shape[0], tuple(tuple(pieces) for pieces in found), whole)


def total(matrix: Sums, x: Float[Array, "m *B"]) -> Float[Array, "n *B"]:
    """The product of a sparse matrix and `x`."""
    return onto(jnp.zeros((matrix.size + 1, *x.shape[1:]), x.dtype), matrix, x)[: matrix.size]


def onto(
    start: Float[Array, "k *B"], matrix: Sums, x: Float[Array, "m *B"]
) -> Float[Array, "k *B"]:
    """The product of a sparse matrix and `x`, added to an array that has more than its rows."""
    if matrix.whole is not None and x[0].size == 1:
        whole = jnp.asarray(matrix.whole, x.dtype)
        return start.at[: matrix.size].add(jnp.matmul(whole, x, precision="highest"))
    for pieces in matrix.groups:
        value = take(start, pieces[0].target)
        for group in pieces:
            weights = jnp.asarray(group.left, x.dtype)
            weights = weights.reshape(*weights.shape, *(1,) * (x.ndim - 1))
            for at in range(0, weights.shape[1], _PIECE):
                part = slice(at, at + _PIECE)
                column = np.ascontiguousarray(group.right[:, part])
                value += jnp.sum(take(x, column) * weights[:, part], axis=1)
        start = put(start, pieces[0].target, value)
    return start


class _Step(NamedTuple):
    """Entries of L + U that can be worked out at once: what they were less sums of products.

    Attributes:
        group: of the sums.
        pivot: the pivots that then divide them.
        inverted: they are pivots, of which the inverse is kept.
    """

    group: Group
    pivot: np.ndarray | None = None
    inverted: bool = False


class Elimination(NamedTuple):
    """How a sparse matrix becomes L D U without pivoting, and how to solve with that.

    L and U have unit diagonals, and D is kept inverted. Entries are numbered, the diagonal first;
    behind them are a zero and what nobody wants.

    Attributes:
        size: unknowns.
        rows: of the entries.
        columns: of the entries.
        steps: of the factorisation.
        upper: the entries of U, which at last are divided by the pivots of their rows.
        matrix: the products of the entries and an unknown, by rows.
        plain: substitutions with L and with U.
        transposed: with the transposes of U and of L.
    """

    size: int
    rows: np.ndarray
    columns: np.ndarray
    steps: tuple[_Step, ...]
    upper: np.ndarray
    matrix: tuple[Group, ...]
    plain: tuple[tuple[Group, ...], tuple[Group, ...]]
    transposed: tuple[tuple[Group, ...], tuple[Group, ...]]

    def factorise(self, entries: Float[Array, "F+2 *B"]) -> Float[Array, "F+2 *B"]:
        """L D U of a matrix, in the place of its entries."""
        x = entries
        for group, pivot, inverted in self.steps:
            value = take(x, group.target)
            if group.left.shape[1]:
                value = value - _dot(x, x, group)
            if pivot is not None:
                value = value * take(x, pivot)
            x = put(x, group.target, 1.0 / value if inverted else value)
        if not len(self.upper):
            return x
        return put(x, self.upper, take(x, self.upper) * take(x, self.rows[self.upper]))

    def solve(
        self, factors: Float[Array, "F+2 *B"], x: Float[Array, "n *B"], transposed: bool = False
    ) -> Float[Array, "n *B"]:
        """Multiplies by the inverse of the matrix that was factorised, or of its transpose."""
        first, second = self.transposed if transposed else self.plain
        x = _substitute(first, factors, once(x, 0.0))[: self.size] * factors[: self.size]
        return _substitute(second, factors, once(x, 0.0))[: self.size]

    def multiply(
        self, entries: Float[Array, "F+2 *B"], x: Float[Array, "n *B"]
    ) -> Float[Array, "n *B"]:
        """The product of a matrix with these entries and `x`."""
        found = jnp.zeros((self.size + 1, *x.shape[1:]), x.dtype)
        for group in self.matrix:
            found = put(found, group.target, take(found, group.target) + _dot(entries, x, group))
        return found[: self.size]


class Dense(NamedTuple):
    """The same for a few cells on a processor, whose LAPACK then is faster: a call, not a loop.

    Attributes:
        sparse: where the entries stand.
    """

    sparse: Elimination

    def factorise(self, entries: Float[Array, "F+2 B"]) -> tuple[Array, Array]:
        """LU and pivots of each cell's matrix."""
        size, count = self.sparse.size, entries.shape[1]
        matrix = jnp.zeros((count, size, size), entries.dtype)
        place = self.sparse.rows, self.sparse.columns
        matrix = matrix.at[:, *place].set(entries[: len(place[0])].T, unique_indices=True)
        return jax.vmap(lu_factor)(matrix)

    def solve(
        self, factors: tuple[Array, Array], x: Float[Array, "n B"], transposed: bool = False
    ) -> Float[Array, "n B"]:
        """As `Elimination.solve`."""
        solve = functools.partial(lu_solve, trans=int(transposed))
        return jax.vmap(solve, ((0, 0), 1), 1)(factors, x)

    def multiply(self, entries: Float[Array, "F+2 B"], x: Float[Array, "n B"]) -> Array:
        """As `Elimination.multiply`."""
        return self.sparse.multiply(entries, x)


def _substitute(groups: tuple[Group, ...], factors: Array, x: Array) -> Array:
    for group in groups:
        x = put(x, group.target, take(x, group.target) - _dot(factors, x, group))
    return x


def _members(of: np.ndarray, members: np.ndarray, size: int) -> list[np.ndarray]:
    """Those that belong to each of so many."""
    order = np.argsort(of, kind="stable")
    return np.split(members[order], np.searchsorted(of[order], np.arange(1, size)))


def plan(
    order: Int[np.ndarray, " n"], rows: Int[np.ndarray, " F"], columns: Int[np.ndarray, " F"]
) -> Elimination:
    """Works an elimination out.

    Args:
        order: the unknown that is eliminated n-th.
        rows: of the entries of L + U in any order; those of the diagonal may be missing.
        columns: likewise.
    """
    size, off = len(order), rows != columns
    rows = np.concatenate([np.arange(size), rows[off]])
    columns = np.concatenate([np.arange(size), columns[off]])
    fill = len(rows)
    place = np.argsort(order)
    number, side = np.arange(fill), np.sign(place[rows] - place[columns])
    lower, upper = number[side > 0], number[side < 0]
    below, beside = _members(columns[lower], lower, size), _members(rows[upper], upper, size)
    keys = rows * size + columns
    by_key = np.argsort(keys)

    level = np.zeros(fill, dtype=int)  # at which an entry is done
    terms = [np.zeros((3, 0), dtype=int)]
    for p in order:
        left, right = below[p], beside[p]
        level[p] += 1
        level[left] = np.maximum(level[left], level[p]) + 1
        wanted = (rows[left][:, None] * size + columns[right]).ravel()
        target = by_key[np.searchsorted(keys, wanted, sorter=by_key)]
        lefts, rights = np.repeat(left, len(right)), np.tile(right, len(left))
        # what takes from entries of a level is done at the next; L and D have one to come
        later = np.maximum(level[lefts], level[rights]) + (side[target] < 0)
        level[target] = np.maximum(level[target], later)
        terms.append(np.stack([target, lefts, rights]))
    target, lefts, rights = np.concatenate(terms, axis=1)
    steps: list[_Step] = []
    for n in range(1, level.max(initial=0) + 1):
        for kind in (-1, 0, 1):
            here = (level[target] == n) & (side[target] == kind)
            wanted = number[(level == n) & (side == kind)]
            for pieces in _groups(
                fill + 1, wanted, target[here], (lefts[here], fill), (rights[here], fill)
            ):
                steps += [_Step(group) for group in pieces[:-1]]
                own = np.minimum(pieces[-1].target, fill - 1)
                steps.append(_Step(pieces[-1], columns[own] if kind > 0 else None, kind == 0))

    def triangle(
        entries: np.ndarray, to: np.ndarray, of: np.ndarray, turns: np.ndarray
    ) -> tuple[Group, ...]:
        """Groups in which row `to` of each entry takes from row `of`."""
        to, of = to[entries], of[entries]
        takes = _members(to, of, size)
        level = np.zeros(size, dtype=int)
        for p in turns:
            if len(takes[p]):
                level[p] = 1 + level[takes[p]].max()
        found: list[Group] = []
        for n in range(1, level.max(initial=0) + 1):
            here = level[to] == n
            wanted, parts = np.flatnonzero(level == n), ((entries[here], fill), (of[here], 0))
            found += (
                group for pieces in _groups(size, wanted, to[here], *parts) for group in pieces
            )
        return tuple(found)

    matrix = _groups(size, np.arange(size), rows, (number, fill), (columns, 0))
    down, up = order, order[::-1]
    return Elimination(
        size,
        rows,
        columns,
        tuple(steps),
        upper,
        tuple(group for pieces in matrix for group in pieces),
        (triangle(lower, rows, columns, down), triangle(upper, rows, columns, up)),
        (triangle(upper, columns, rows, down), triangle(lower, columns, rows, up)),
    )
