"""The fixed part of a network: who reacts, in what numbers."""

import functools
import hashlib

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from ..sums import Sparse

__all__ = ["Structure"]


class Structure:
    """The fixed part of a network: who reacts, in what numbers.

    It is hashed by content, so two networks that differ in rates alone share compiled code.

    Attributes:
        reactants: [R, m] species index of every reacting molecule, padded with S; a species that
            reacts twice stands twice.
        stoichiometry: [S, R] net change of each species by one event of each reaction, sparse.
        pools: [P, S] weight of each species in each pool, 0 where it does not belong to it.
        pool_of: [R] the pool that multiplies the reaction, P where none does.
        composition: [E, S] count of each element (and the charge) in each species.
        digest: of the content, the same in every process.
    """

    def __init__(
        self,
        reactants: Int[np.ndarray, "R m"],
        stoichiometry: Sparse,
        pools: Float[np.ndarray, "P S"],
        pool_of: Int[np.ndarray, " R"],
        composition: Float[np.ndarray, "E S"],
    ):
        change: Sparse = sp.csr_array(stoichiometry, dtype=np.float64, copy=True)
        change.sum_duplicates()
        change.eliminate_zeros()
        self.reactants = reactants
        self.stoichiometry = change
        self.pools = pools
        self.pool_of = pool_of
        self.composition = composition
        # SciPy chooses the type of indices
        places = (part.astype(np.int64) for part in (change.indptr, change.indices))
        held = (*places, change.data)
        arrays = (reactants, *held, pools, pool_of, composition)
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
        """Every term of the Jacobian at fixed pools, as (row, column, coefficient, partial).

        They are sorted. `partial` indexes the concatenation of the partial derivatives of all
        fluxes by each reactant slot in turn: [m R].
        """
        count, size = len(self.reactants), self.stoichiometry.shape[0]
        by_slot, reaction = np.nonzero((self.reactants != size).T)
        change = self.stoichiometry.tocsc()
        start, many = change.indptr[reaction], np.diff(change.indptr)[reaction]
        term = np.repeat(np.arange(len(many)), many)
        at = start[term] + np.arange(len(term)) - np.repeat(np.cumsum(many) - many, many)
        rows, coefficients = change.indices[at], change.data[at]
        columns = self.reactants[reaction, by_slot][term]
        partials = (by_slot * count + reaction)[term]
        order = np.lexsort((partials, coefficients, columns, rows))
        found = (rows, columns, coefficients, partials)
        rows, columns, coefficients, partials = (part[order] for part in found)
        return rows, columns, coefficients, partials.astype(np.int32)

    @functools.cached_property
    def jacobian_entries(self) -> tuple[np.ndarray, np.ndarray]:
        """The rows and columns of the Jacobian that can differ from zero, each once, sorted."""
        rows, columns, _, _ = self.jacobian_terms
        size = self.stoichiometry.shape[0]
        flat = [rows.astype(np.int64) * size + columns]
        for pool, weights in enumerate(self.pools):
            changed = np.unique(self.stoichiometry[:, self.pool_of == pool].nonzero()[0])
            flat.append((changed[:, None] * size + np.flatnonzero(weights)).ravel())
        return np.divmod(np.unique(np.concatenate(flat)), size)
