"""A network as the compiled kernel reads it: places of its unknowns, sums, and its elimination.

Everything here is worked out once from the structure. Unknowns (states, then pools) stand in the
order of elimination; L + U are kept in blocks of a few rows of a column, as the build that reads
the tables wants them (kernel/element.h).
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from ..network import Structure
from .elimination import order_of_elimination

__all__ = ["Layout", "layout"]

_TOGETHER = 8
"""Rows of a sum that stand together; kernel/sums.h knows it."""

_LONGEST = 32
"""Terms after which a row of a sum is cut."""


class Layout(NamedTuple):
    """The tables of a network for kernel.c, and what else must know where things stand.

    Attributes:
        integers: in the order in which kernel.c reads them.
        numbers: likewise.
        place: [n] place of each unknown in the kernel's vectors.
        reaction: [R] the reaction at each of the kernel's positions.
        position: [n, n] where an entry of the matrix stands, -1 where it is zero throughout.
    """

    integers: Int[np.ndarray, " I"]
    numbers: Float[np.ndarray, " N"]
    place: Int[np.ndarray, " n"]
    reaction: Int[np.ndarray, " R"]
    position: Int[np.ndarray, "n n"]


class _Terms(NamedTuple):
    """The mass-action part of J as sums over rate coefficients and partial derivatives."""

    rows: np.ndarray
    columns: np.ndarray
    which: np.ndarray  # position in [k, partials]
    factors: np.ndarray
    partial_reaction: np.ndarray
    others: list[tuple[int, ...]]


@functools.lru_cache(maxsize=64)
def layout(
    structure: Structure,
    rows: int,
    further: int = 0,
    entries: tuple[tuple[int, int], ...] = (),
) -> Layout:
    """The tables of a network.

    Args:
        structure: who reacts.
        rows: of a block of L + U.
        further: states that follow the species.
        entries: (row, column) of entries of the Jacobian that mass action does not make.
    """
    species, count = structure.stoichiometry.shape
    states, pools = species + further, len(structure.pools)
    size = states + pools
    factors = [
        [int(i) for i in row if i < species] + ([states + int(p)] if p < pools else [])
        for row, p in zip(structure.reactants, structure.pool_of, strict=True)
    ]
    number = np.array([max(len(f), 1) for f in factors])
    reaction = np.argsort(number, kind="stable")
    position = np.argsort(reaction)
    orders = int(number.max())
    terms = _jacobian_terms(structure, factors, position)
    pattern = np.eye(size, dtype=bool)
    pattern[terms.rows, terms.columns] = True
    pattern[states:, :species] |= structure.pools != 0
    for row, column in entries:
        pattern[row, column] = True
    order, filled = order_of_elimination(pattern)
    blanks = -size % rows
    place = np.empty(size, dtype=np.int64)
    place[order] = blanks + np.arange(size)
    blocks = (size + blanks) // rows
    width = -(-(size + blanks + 2) // 8) * 8
    spare, one = width - 2, width - 1
    matrix = _Matrix(filled, rows, blanks)
    where = matrix.position[np.ix_(place - blanks, place - blanks)]

    changes = _rows_of(structure.stoichiometry)
    change = _sums(
        [(int(place[i]), position[j], values) for i, (j, values) in enumerate(changes)],
        pad=count,
        spare=spare,
    )
    pulls = _rows_of(structure.stoichiometry.T[reaction])
    pull = _sums([(j, place[i], values) for j, (i, values) in enumerate(pulls)], spare, count)
    total = count + len(terms.others)  # of the coefficients, the last of which is zero
    starts = np.flatnonzero(np.diff(terms.rows * size + terms.columns, prepend=-1))
    stops = np.append(starts[1:], len(terms.rows))
    sums = [
        (int(where[terms.rows[a], terms.columns[a]]), terms.which[a:b], -terms.factors[a:b])
        for a, b in zip(starts, stops, strict=True)
    ]
    nobody = matrix.fill * rows
    pieces = [(target, *piece) for target, *row in sums for piece in _cut(*row)]
    firsts = np.flatnonzero(np.diff([target for target, *_ in pieces], prepend=-1))
    rest = np.setdiff1d(np.arange(len(pieces)), firsts)
    entry = _sums([pieces[i] for i in firsts], total, nobody)
    more = _sums([pieces[i] for i in rest], total, nobody)

    constant = np.where(matrix.real, 0.0, np.nan)
    constant[[target for target, *_ in sums]] = np.nan
    pooled = _rows_of(structure.pools)
    for p, (members, weights) in enumerate(pooled):
        constant[where[states + p, members]] = -weights
        constant[where[states + p, states + p]] = 1.0
    constant_at = np.flatnonzero(~np.isnan(constant))

    place_of = np.append(place, one)
    stacked = [place_of[f or [size]] for f in (factors[j] for j in reaction)]
    others = [place_of[list(o)] for o in terms.others]
    header = [
        *(states, pools, width, blocks, blanks, one, count, orders),
        *(sum(map(len, stacked)), sum(map(len, others)), len(others)),
        *(matrix.fill, len(constant_at), len(matrix.upper_from)),
        *(len(matrix.lower_from), len(matrix.upper_at), len(matrix.target)),
        *(len(matrix.lower.pivot), len(matrix.upper.pivot)),
    ]
    integers = [
        header,
        place[:states],
        place[states:],
        np.cumsum([0, *(len(members) for members, _ in pooled)]),
        *(place[members] for members, _ in pooled),
        np.searchsorted(number[reaction], np.arange(1, orders + 2)),
        *stacked,
        reaction,
        np.searchsorted([len(o) for o in others], np.arange(1, orders + 1)),
        terms.partial_reaction,
        *others,
        *(part for sums in (change, pull, entry, more) for part in sums[:-1]),
        constant_at,
        where[np.arange(states), np.arange(states)],
        *matrix.elimination,
        matrix.lower.pairs,
        matrix.lower.pivot,
        matrix.upper.pairs,
        matrix.upper.pivot,
    ]
    weights = [weights for _, weights in pooled]
    numbers = [*weights, change[-1], pull[-1], entry[-1], more[-1], constant[constant_at]]
    return Layout(
        np.concatenate([np.ravel(part) for part in integers]).astype(np.int32),
        np.concatenate(numbers),
        place,
        reaction,
        where,
    )


def _rows_of(matrix: Float[np.ndarray, "n m"]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Columns and values of what is not zero, row by row."""
    found = [np.flatnonzero(row) for row in matrix]
    return [(columns, matrix[i, columns]) for i, columns in enumerate(found)]


def _jacobian_terms(
    structure: Structure, factors: Sequence[Sequence[int]], position: Int[np.ndarray, " R"]
) -> _Terms:
    """Terms sorted by row, column and what they multiply.

    The derivative of a flux by one of its factors is k times the others: k itself where there are
    none, and else one partial derivative, shared by factors that are alike.
    """
    changes = _rows_of(structure.stoichiometry.T)
    derivatives = []  # (reaction, column, others, multiplicity)
    for j, of in enumerate(factors):
        for column in sorted(set(of)):
            others = list(of)
            others.remove(column)
            derivatives.append((j, column, tuple(others), of.count(column)))
    partials = sorted((len(o), int(position[j]), o) for j, _, o, _ in derivatives if o)
    count = len(factors)
    number = {(j, o): count + q for q, (_, j, o) in enumerate(partials)}
    rows, columns, which, values = [], [], [], []
    for j, column, others, many in derivatives:
        species, net = changes[j]
        rows.append(species)
        columns.append(np.full(len(species), column))
        at = int(position[j])
        which.append(np.full(len(species), number[at, others] if others else at))
        values.append(many * net)
    flat = [np.concatenate(part) for part in (rows, columns, which, values)]
    sequence = np.lexsort(flat[2::-1])
    rows_, columns_, which_, factors_ = (part[sequence] for part in flat)
    reactions = np.array([j for _, j, _ in partials], dtype=np.int64)
    return _Terms(rows_, columns_, which_, factors_, reactions, [o for _, _, o in partials])


def _cut(index: np.ndarray, values: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """The terms of a row in even pieces of at most `_LONGEST`."""
    many = max(-(-len(index) // _LONGEST), 1)
    parts = zip(np.array_split(index, many), np.array_split(values, many), strict=True)
    return [(i, v) for i, v in parts if len(i)]


def _sums(
    rows: Sequence[tuple[int, np.ndarray, np.ndarray]], pad: int, spare: int
) -> tuple[list[int], np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows (target, indices, coefficients) of a sparse matrix as kernel/sums.h reads them.

    Args:
        rows: may be empty, or longer than a piece.
        pad: index of a number that is zero, for what fills a group up.
        spare: target of rows that fill a group up.

    Returns:
        Sizes, first group of each run, lengths, targets, indices, and coefficients.
    """
    pieces = [(target, *piece) for target, *row in rows for piece in _cut(*row)]
    pieces.sort(key=lambda piece: -len(piece[1]))
    groups = -(-len(pieces) // _TOGETHER)
    targets = np.full(groups * _TOGETHER, spare)
    targets[: len(pieces)] = [target for target, *_ in pieces]
    lengths = [len(pieces[g * _TOGETHER][1]) for g in range(groups)]
    indices, values = [], []
    for g, length in enumerate(lengths):
        index = np.full((length, _TOGETHER), pad)
        value = np.zeros((length, _TOGETHER))
        for r, (_, i, v) in enumerate(pieces[g * _TOGETHER : (g + 1) * _TOGETHER]):
            index[: len(i), r] = i
            value[: len(v), r] = v
        indices.append(index.ravel())
        values.append(value.ravel())
    runs = np.flatnonzero(np.diff(lengths, prepend=-1))
    index = np.concatenate([np.zeros(0, dtype=int), *indices])
    return (
        [len(runs), groups, len(index)],
        np.append(runs, groups),
        np.asarray(lengths, dtype=int)[runs],
        targets,
        index,
        np.concatenate([np.zeros(0), *values]),
    )


class _Triangle(NamedTuple):
    """A substitution by blocks of rows: pairs of earlier unknowns that each one gathers from."""

    pairs: np.ndarray
    pivot: np.ndarray
    to: np.ndarray  # block of each (pivot, block of rows) in the order of the elimination


class _Matrix:
    """L + U in blocks of rows of a column, its elimination and its substitutions.

    Args:
        filled: [n, n] pattern of L + U in the order of elimination.
        rows: of a block.
        blanks: places before the first unknown.
    """

    def __init__(self, filled: Bool[np.ndarray, "n n"], rows: int, blanks: int):
        size = len(filled)
        self._rows, self._blanks = rows, blanks
        self._blocks = (size + blanks) // rows
        block = (blanks + np.arange(size)) // rows  # of each unknown
        i, j = np.nonzero(filled)
        below, above = i > j, i < j
        present, lower, upper = (np.zeros((size, self._blocks), dtype=bool) for _ in range(3))
        present[j, block[i]] = True  # [column, block]
        lower[j[below], block[i[below]]] = True
        upper[j[above], block[i[above]]] = True
        number = np.full((size, self._blocks), -1)
        self.fill = int(present.sum())
        number[present] = np.arange(self.fill)
        row = (blanks + np.arange(size)) % rows
        self.position = np.full((size, size), -1)
        self.position[i, j] = number[j, block[i]] * rows + row[i]
        self.real = np.zeros(self.fill * rows, dtype=bool)
        self.real[self.position[i, j]] = True

        lower_pivot, lower_block = np.nonzero(lower)  # by pivots, upwards
        upper_pivot, upper_block = (axis[::-1] for axis in np.nonzero(upper[:, ::-1]))
        upper_block = self._blocks - 1 - upper_block  # by pivots, downwards
        own = np.arange(size), block
        beside, targets = [], []
        for pivot in range(size):
            columns = pivot + 1 + np.flatnonzero(filled[pivot, pivot + 1 :])
            beside.append(columns)
            targets.append(number[columns[:, None], np.flatnonzero(lower[pivot])].ravel())
        self.upper_at = np.concatenate([self.position[p, c] for p, c in enumerate(beside)])
        self.lower_from = number[lower_pivot, lower_block]
        self.target = np.concatenate(targets)
        self.upper_from = number[upper_pivot, upper_block]
        self.lower = self._triangle(lower_pivot, lower_block, block, range(self._blocks))
        down = range(self._blocks - 1, -1, -1)
        self.upper = self._triangle(upper_pivot, upper_block, block, down)
        self.elimination = [
            np.diag(self.position),
            lower.sum(axis=1),
            [len(columns) for columns in beside],
            lower[own],
            upper[own],
            self.upper_at,
            self.lower_from,
            self.lower.to,
            self.target,
            self.upper_from,
            self.upper.to,
            upper_block,
        ]

    def _triangle(
        self, pivots: np.ndarray, blocks: np.ndarray, block: np.ndarray, turns: Sequence[int]
    ) -> _Triangle:
        rows = self._rows
        pairs, gathered, to = [], [], np.full(len(pivots), -1)
        count = 0
        outside = block[pivots] != blocks
        for b in turns:
            mine = np.flatnonzero(outside & (blocks == b))
            to[mine] = count + np.arange(len(mine))
            filled_up = [*(pivots[mine] + self._blanks), *([b * rows] * (len(mine) % 2))]
            gathered += filled_up
            count += len(filled_up)
            pairs.append(len(filled_up) // 2)
        turn = np.argsort(turns)  # of each block
        inside = ~outside
        row = (pivots + self._blanks) % rows
        to[inside] = count + turn[blocks[inside]] * rows + row[inside]
        return _Triangle(np.array(pairs), np.array(gathered, dtype=int), to)
