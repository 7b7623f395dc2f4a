"""The fixed part of a network: who reacts, in what numbers."""

import functools
import hashlib

import numpy as np
from jaxtyping import Float, Int

__all__ = ["Structure"]


class Structure:
    """The fixed part of a network: who reacts, in what numbers.

    It is hashed by content, so two networks that differ in rates alone share compiled code.

    Attributes:
        reactants: [R, m] species index of every reacting molecule, padded with S; a species that
            reacts twice stands twice.
        stoichiometry: [S, R] net change of each species by one event of each reaction.
        pools: [P, S] weight of each species in each pool, 0 where it does not belong to it.
        pool_of: [R] the pool that multiplies the reaction, P where none does.
        composition: [E, S] count of each element (and the charge) in each species.
        digest: of the content, the same in every process.
    """

    def __init__(
        self,
        reactants: Int[np.ndarray, "R m"],
        stoichiometry: Float[np.ndarray, "S R"],
        pools: Float[np.ndarray, "P S"],
        pool_of: Int[np.ndarray, " R"],
        composition: Float[np.ndarray, "E S"],
    ):
        self.reactants = reactants
        self.stoichiometry = stoichiometry
        self.pools = pools
        self.pool_of = pool_of
        self.composition = composition
        arrays = (reactants, stoichiometry, pools, pool_of, composition)
        digest = hashlib.sha256()
        for array in arrays:
            array.flags.writeable = False
            digest.update(f"{array.shape}{array.dtype}".encode())
            digest.update(np.ascontiguousarray(array).data)
        self.digest = digest.digest()

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Structure) and self.digest == other.digest

    @functools.cached_property
    def jacobian_terms(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Every term of the analytic Jacobian as (row, column, coefficient, partial).

        `partial` indexes the concatenation of the partial derivatives of all fluxes by each
        reactant slot in turn and, last, by the pool: [m R + R].
        """
        count, slots = self.reactants.shape
        size = self.stoichiometry.shape[0]
        entries = []  # (reaction, column, weight, partial)
        for slot in range(slots):
            for reaction in np.flatnonzero(self.reactants[:, slot] < size):
                column = self.reactants[reaction, slot]
                entries.append((reaction, column, 1.0, slot * count + reaction))
        for reaction in np.flatnonzero(self.pool_of < len(self.pools)):
            weights = self.pools[self.pool_of[reaction]]
            for column in np.flatnonzero(weights):
                entries.append((reaction, column, weights[column], slots * count + reaction))
        terms = [
            (row, column, weight * self.stoichiometry[row, reaction], partial)
            for reaction, column, weight, partial in entries
            for row in np.flatnonzero(self.stoichiometry[:, reaction])
        ]
        rows, columns, coefficients, partials = (
            zip(*sorted(terms), strict=True) if terms else ((), (), (), ())
        )
        return (
            np.asarray(rows, dtype=np.int32),
            np.asarray(columns, dtype=np.int32),
            np.asarray(coefficients, dtype=np.float64),
            np.asarray(partials, dtype=np.int32),
        )
