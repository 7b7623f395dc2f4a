"""One step of a Rosenbrock method for many cells together, in plain JAX.

Arrays have a row for each state, entry or coefficient and a column for each cell. A network's sums
and its elimination are planned once, from its structure.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jax import lax
from jaxtyping import Array

from ..network import Structure
from . import native
from .elimination import order_of_elimination
from .levels import Dense, Elimination, Sums, once, onto, plan, product, sums, take, total
from .program import Functions
from .rosenbrock import Tableau, combine

__all__ = ["PROJECT", "REJECT", "Step", "Tables", "tabulate"]

_FEW, _LONG = 128, 32
"""Unknowns of all lanes up to which, and operations of a lane's elimination from which, a
processor's LAPACK is faster (benchmarks/lockstep.py)."""

REJECT, PROJECT = 1, 2
"""Of `NEGATIVE` of `integrator`."""


class Tables(NamedTuple):
    """A network's sums and elimination. Unknowns are the states, then the pools.

    Attributes:
        states: how many.
        factors: [R, m] unknowns that multiply each reaction's coefficient, padded with their count.
        change: fluxes to tendencies.
        pools: states to totals.
        partial: [Q] the reaction of each partial derivative of a flux.
        others: [Q, m - 1] the unknowns that multiply its coefficient.
        entry: partial derivatives to entries of -J.
        constant: [F + 2] what entries are besides, a zero and what nobody wants.
        more: those that coefficients and tendencies that are functions add to.
        elimination: of the matrix.
    """

    states: int
    factors: np.ndarray
    change: Sums
    pools: Sums
    partial: np.ndarray
    others: np.ndarray
    entry: Sums
    constant: np.ndarray
    more: np.ndarray
    elimination: Elimination


@functools.lru_cache(maxsize=64)
def tabulate(structure: Structure, further: int, more: tuple[tuple[int, int], ...]) -> Tables:
    """The tables of a network with further states; functions add to `more`, (row, column) each."""
    species = structure.stoichiometry.shape[0]
    states, pools = species + further, len(structure.pools)
    size = states + pools
    factors = np.where(structure.reactants < species, structure.reactants, size)
    pool = np.where(structure.pool_of < pools, states + structure.pool_of, size)
    factors = np.sort(np.column_stack([factors, pool]), axis=1)
    factors = factors[:, : max(int(np.max(np.sum(factors < size, axis=1), initial=0)), 1)]
    # one partial derivative for each reaction and kind of factor
    first = np.diff(factors, axis=1, prepend=-1) != 0
    reaction, slot = np.nonzero(first & (factors < size))
    column = factors[reaction, slot]
    many = np.sum(factors[reaction] == column[:, None], axis=1)
    kept = np.arange(factors.shape[1]) != slot[:, None]
    others = factors[reaction][kept].reshape(len(reaction), -1)
    change = sp.coo_array(structure.stoichiometry)
    term: Any = structure.stoichiometry.T.tocsr()[reaction].tocoo()
    rows, which = term.col, term.row
    member: Any = sp.coo_array(structure.pools)
    added = np.array(more, dtype=np.int64).reshape(-1, 2).T
    order, row, to = order_of_elimination(
        np.concatenate([rows, states + member.row, added[0]]),
        np.concatenate([column[which], member.col, added[1]]),
        size,
    )
    elimination = plan(order, order[row], order[to])
    keys = elimination.rows.astype(np.int64) * size + elimination.columns
    by_key = np.argsort(keys)

    def place(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        wanted = np.asarray(rows, np.int64) * size + columns
        return by_key[np.searchsorted(keys, wanted, sorter=by_key)]

    constant = np.zeros(len(keys) + 2)
    constant[states:size] = 1.0
    constant[place(states + member.row, member.col)] = -member.data
    return Tables(
        states,
        factors,
        sums((size, len(factors)), change.row, change.col, change.data),
        sums((pools, states), member.row, member.col, member.data),
        reaction,
        others,
        sums(
            (len(keys), len(reaction)), place(rows, column[which]), which, -term.data * many[which]
        ),
        constant,
        place(*added),
        elimination,
    )


class Step:
    """One step of all lanes, as a function of states, coefficients and numbers.

    Args:
        tables: of the network.
        tableau: of the method.
        functions: of coefficients and tendencies, where they are functions.
        settings: whether it lands, and what becomes of negative concentrations.
    """

    def __init__(
        self,
        tables: Tables,
        tableau: Tableau,
        functions: Functions | None,
        settings: native.Settings,
    ):
        self.tables = tables
        self.tableau = tableau
        self.functions = functions
        self.settings = settings

    def tendency(self, t: Array, y: Array, k: Array, numbers: Array) -> Array:
        """dy/dt [n, W] of the states."""
        k, g = self._rates(t, y, k, numbers)
        return self._change(k, self._whole(y))[: self.tables.states] + g

    def __call__(
        self, t: Array, h: Array, y: Array, k: Array, numbers: Array
    ) -> tuple[Array, Array, list[Array]]:
        """The states at the end, the last stage (the error), and the continuous extension.

        Args:
            t: [W] absolute time at the start.
            h: [W] length.
            y: [n, W] states.
            k: [R, W or 1] coefficients, where they are no functions.
            numbers: [Q, W or 1] what functions hold.
        """
        tables, tableau, functions = self.tables, self.tableau, self.functions
        states, dtype = tables.states, y.dtype
        start = self._whole(y)
        now, _ = self._rates(t, y, k, numbers)
        partial = once(take(now, tables.partial) * product(once(start, 1.0), tables.others))
        inverse = 1.0 / h
        constant, own = (
            jnp.asarray(part, dtype)[:, None]
            for part in (tables.constant, np.arange(len(tables.constant)) < states)
        )
        entries = onto(constant + own * (inverse[None] / tableau.gamma), tables.entry, partial)
        slope = None
        if functions is not None:
            if len(tables.more):
                added = _by_lane(functions.slopes, t, y, numbers)
                entries = entries.at[tables.more].add(-added)
            (_, _), (dk, dg) = jax.jvp(
                lambda t: self._rates(t, y, k, numbers), (t,), (jnp.ones_like(t),)
            )
            slope = self._change(dk, start)[:states] + dg
        eliminate: Any = tables.elimination
        few = len(h) * len(start) <= _FEW and len(eliminate.steps) >= _LONG
        if few and jax.default_backend() == "cpu":
            eliminate = Dense(eliminate)
        factors = eliminate.factorise(lax.stop_gradient(entries))

        def solve(right: Array) -> Array:
            return lax.custom_linear_solve(
                lambda x: eliminate.multiply(entries, x),
                right,
                lambda _, b: eliminate.solve(factors, b),
                lambda _, b: eliminate.solve(factors, b, transposed=True),
            )

        def stage(found: Array, row: Any) -> tuple[Array, None]:
            number, a, c, node, time = row
            at = start + jnp.sum(a[:, None, None] * found, axis=0)
            k_here, g = self._rates(t + node * h, at[:states], k, numbers)
            right = self._change(k_here, at)
            right += inverse[None] * jnp.sum(c[:, None, None] * found, axis=0)
            right = right[:states] + g
            if slope is not None:
                right += (time * h)[None] * slope
            pools = jnp.zeros((len(start) - states, *right.shape[1:]), dtype)
            solution = solve(jnp.concatenate([right, pools]))
            return lax.dynamic_update_index_in_dim(found, solution, number, 0), None

        count = tableau.stages
        square = np.zeros((2, count, count))
        for rows, full in zip((tableau.a, tableau.c_over_h), square, strict=True):
            for i, row in enumerate(rows):
                full[i, : len(row)] = row
        coefficients = (*square, np.asarray(tableau.nodes), np.asarray(tableau.time))
        rows = (np.arange(count), *(jnp.asarray(part, dtype) for part in coefficients))
        found, _ = lax.scan(stage, jnp.zeros((count, *start.shape), dtype), rows)
        found = found[:, :states]
        y1 = y + jnp.tensordot(jnp.asarray([*tableau.a[-1], 1.0], dtype), found, 1)
        curve = []
        if not self.settings.land:
            curve = [combine(row, list(found)) for row in tableau.dense]
        return y1, found[-1], curve

    def advance(
        self, t: Array, h: Array, y: Array, k: Array, numbers: Array
    ) -> tuple[Array, Array, Array, list[Array]]:
        """A step's end, as it was and as it is kept, its error and its continuous extension."""
        y1, error, curve = self(t, h, y, k, numbers)
        kept = jnp.where(y1 < 0, 0.0, y1) if self.settings.negative == PROJECT else y1
        return y1, kept, error, curve

    def _rates(self, t: Array, y: Array, k: Array, numbers: Array) -> tuple[Array, Any]:
        if self.functions is None:
            return k, 0.0
        return _by_lane(self.functions.function, t, y, numbers)

    def _whole(self, y: Array) -> Array:
        """The states and the pools."""
        return jnp.concatenate([y, total(self.tables.pools, y)]) if self.tables.pools.size else y

    def _change(self, k: Array, unknowns: Array) -> Array:
        """What mass action changes; of pools nothing."""
        flux = once(k * product(once(unknowns, 1.0), self.tables.factors))
        return total(self.tables.change, flux)


def _by_lane(function: Callable[..., Any], t: Array, y: Array, numbers: Array) -> Any:
    """A function of one cell's time, state and numbers, for all lanes."""
    if numbers.shape[1] == 1:
        return jax.vmap(function, (0, 1, None), -1)(t, y, numbers[:, 0])
    return jax.vmap(function, (0, 1, 1), -1)(t, y, numbers)
