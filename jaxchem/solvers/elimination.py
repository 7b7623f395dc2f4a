"""Sparse Gaussian elimination worked out once from a pattern: order, fill, and what to subtract."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

__all__ = ["Elimination", "eliminate", "order_of_elimination"]


class Elimination(NamedTuple):
    """The static part of a factorisation P A P^T = L U without pivoting (unit lower L).

    Entries of L + U are numbered in the order in which they can be computed: for each pivot its
    row of U and then its column of L. Ragged lists are kept as `start` and concatenated members.

    Attributes:
        order: [S] row of A that is eliminated n-th.
        slot: [S, S] number of each entry of L + U in the rows and columns of A, -1 where it is
            zero.
        pivot: [F] for an entry of L the pivot that divides it, -1 for an entry of U.
        updates: start [F + 1], and the entries of L and of U whose products are subtracted.
        lower: start [S + 1], slots and columns of the rows of L, by pivots.
        upper: start [S + 1], slots and columns of the rows of U beyond the diagonal, by pivots.
    """

    order: Int[np.ndarray, " S"]
    slot: Int[np.ndarray, "S S"]
    pivot: Int[np.ndarray, " F"]
    updates: tuple[np.ndarray, np.ndarray, np.ndarray]
    lower: tuple[np.ndarray, np.ndarray, np.ndarray]
    upper: tuple[np.ndarray, np.ndarray, np.ndarray]


def order_of_elimination(
    pattern: Bool[np.ndarray, "S S"],
) -> tuple[Int[np.ndarray, " S"], Bool[np.ndarray, "S S"]]:
    """Chooses an order of little fill (Markowitz 1957, Manage. Sci. 3, 255).

    No pivoting for size: 1/(h gamma) - J of chemical kinetics is close to diagonally dominant in
    its columns (KPP does the same, Sandu et al. 1996, Comput. Math. Appl. 32, 91).

    Args:
        pattern: which entries of the Jacobian can differ from zero; the diagonal is added.

    Returns:
        The row that is eliminated n-th, and the pattern of L + U in that order.
    """
    size = len(pattern)
    filled = np.array(pattern, dtype=bool) | np.eye(size, dtype=bool)
    left = np.ones(size, dtype=bool)
    rows = filled.sum(axis=1)
    columns = filled.sum(axis=0)
    order = np.empty(size, dtype=np.int32)
    for n in range(size):
        cost = np.where(left, (rows - 1) * (columns - 1), np.iinfo(np.int64).max)
        pivot = order[n] = int(np.argmin(cost))
        left[pivot] = False
        below, beside = filled[:, pivot] & left, filled[pivot] & left
        new = np.outer(below, beside) & ~filled
        filled |= new
        rows += new.sum(axis=1) - below
        columns += new.sum(axis=0) - beside
    return order, filled[np.ix_(order, order)]


def eliminate(pattern: Bool[np.ndarray, "S S"]) -> Elimination:
    """Lists the work of an elimination in an order of little fill.

    Args:
        pattern: which entries of the Jacobian can differ from zero; the diagonal is added.
    """
    size = len(pattern)
    order, sorted_fill = order_of_elimination(pattern)
    number = np.full((size, size), -1, dtype=np.int32)
    count = 0
    for n in range(size):
        row = n + np.flatnonzero(sorted_fill[n, n:])
        number[n, row] = count + np.arange(len(row))
        count += len(row)
        column = n + 1 + np.flatnonzero(sorted_fill[n + 1 :, n])
        number[column, n] = count + np.arange(len(column))
        count += len(column)
    at_row, at_column = np.nonzero(number >= 0)
    sequence = np.argsort(number[at_row, at_column])
    at_row, at_column = at_row[sequence], at_column[sequence]
    lowers, uppers = [], []
    for i, j in zip(at_row, at_column, strict=True):
        m = min(i, j)
        both = np.flatnonzero(sorted_fill[i, :m] & sorted_fill[:m, j])
        lowers.append(number[i, both])
        uppers.append(number[both, j])
    start, lower = _ragged(lowers)
    _, upper = _ragged(uppers)
    place = np.argsort(order)
    return Elimination(
        order=order,
        slot=number[np.ix_(place, place)],
        pivot=np.where(at_row > at_column, at_column, -1).astype(np.int32),
        updates=(start, lower, upper),
        lower=_rows(number, [np.flatnonzero(sorted_fill[n, :n]) for n in range(size)]),
        upper=_rows(number, [n + 1 + np.flatnonzero(sorted_fill[n, n + 1 :]) for n in range(size)]),
    )


def _ragged(lists: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    start = np.concatenate([[0], np.cumsum([len(members) for members in lists])])
    members = np.concatenate([np.zeros(0, dtype=np.int32), *lists])
    return start.astype(np.int32), members.astype(np.int32)


def _rows(
    number: np.ndarray, columns: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    start, members = _ragged(columns)
    _, slots = _ragged([number[n, row] for n, row in enumerate(columns)])
    return start, slots, members
