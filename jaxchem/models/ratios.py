"""Coordinates in which every state holds the elements and the charge of a start."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..formula import CHARGE
from ..network import Network

__all__ = ["Amounts", "Ratios"]


class Ratios(eqx.Module):
    """States as exponents: shares of each element by a softmax, and logarithms of all else.

    The carriers of an element have n_s = N exp(u_s) / sum_j c_js exp(u_j), so that its nuclei N
    are exact whatever the exponents; electrons are what makes the state neutral; further states
    are exp(u). Exponents of an element count up to a common constant.

    All of it is part of a function, and not of what it is traced for.

    Attributes:
        nuclei: of each element in each species.
        charge: of each species but the electron.
        states: those that have an exponent; those of species come first.
        electron: where the electron stands, if there is one.
    """

    nuclei: tuple[tuple[float, ...], ...] = eqx.field(static=True)
    charge: tuple[float, ...] = eqx.field(static=True)
    states: tuple[int, ...] = eqx.field(static=True)
    electron: int | None = eqx.field(static=True)

    @classmethod
    def of(cls, network: Network, further: int = 0, *, exact: bool = True) -> "Ratios":
        """The coordinates of a network's states.

        Args:
            network: whose species each consist of one element, or of none as the electron.
            further: states that follow the species.
            exact: hold the sums; without, the exponents are the logarithms of the states.

        Raises:
            ValueError: a species of two elements, or several species without nuclei.
        """
        composition, size = network.composition, len(network.species)
        rows = [n for n, name in enumerate(network.elements) if name != CHARGE]
        counts = composition[rows] if exact else np.zeros((0, size))
        charges, electron = np.zeros(size), None
        if exact:
            for n in np.flatnonzero((counts > 0).sum(axis=0) > 1):
                raise ValueError(
                    f"{network.species[n]!r} is of several elements, whose shares are no softmax; "
                    "set exact=false."
                )
            bare = np.flatnonzero((counts == 0).all(axis=0))
            if len(bare) > 1 or (len(bare) and CHARGE not in network.elements):
                names = ", ".join(network.species[n] for n in bare)
                raise ValueError(f"{names} hold no element; set exact=false.")
            if len(bare):
                electron = int(bare[0])
                charges = composition[network.elements.index(CHARGE)].copy()
                charges[electron] = 0.0
        kept = [n for n in range(size + further) if n != electron]
        rows = tuple(tuple(map(float, row)) for row in counts)
        return cls(rows, tuple(map(float, charges)), tuple(kept), electron)

    @property
    def counts(self) -> Float[np.ndarray, "E S"]:
        """Nuclei of each element in each species."""
        return np.array(self.nuclei, float).reshape(-1, len(self.charge))

    @property
    def charges(self) -> Float[np.ndarray, " S"]:
        """Those of the species but the electron."""
        return np.array(self.charge)

    @property
    def places(self) -> Int[np.ndarray, " m"]:
        """States that have an exponent."""
        return np.array(self.states)

    @property
    def species(self) -> Bool[np.ndarray, " m"]:
        """Which of those are species, and no further states."""
        return self.places < len(self.charge)

    def totals(self, y0: Float[Array, " n"]) -> Float[Array, " E"]:
        """Nuclei of each element in a state."""
        return jnp.matmul(jnp.asarray(self.counts), y0[: len(self.charge)])

    def exponents(self, y: Float[Array, " n"]) -> Float[Array, " m"]:
        """Those of a state, as logarithms."""
        return jnp.log(y[self.places])

    def unit(self, y: Float[Array, " n"]) -> Float[Array, " n"]:
        """What a change of one in each coordinate changes its state by."""
        return y

    def state(self, u: Float[Array, " m"], totals: Float[Array, " E"]) -> Float[Array, " n"]:
        """The state of exponents that has these nuclei."""
        size = len(self.charge)
        species = size - (self.electron is not None)
        own = self.places[:species]
        logs = jnp.zeros(size).at[own].set(u[:species])
        for row, total in zip(self.counts, totals, strict=True):
            members = np.flatnonzero(row)
            whole = jax.nn.logsumexp(logs[members], b=jnp.asarray(row[members]))
            logs = logs.at[members].add(jnp.log(total) - whole)
        n = jnp.exp(logs)
        if self.electron is not None:
            n = n.at[self.electron].set(
                jnp.dot(jnp.asarray(self.charges), n.at[self.electron].set(0.0))
            )
        return jnp.concatenate([n, jnp.exp(u[species:])])


class Amounts(eqx.Module):
    """States as they are, which may be negative, moved the least way onto the sums of a start.

    Attributes:
        rows: what the reactions conserve, as sums of states.
        size: how many states there are.
    """

    rows: tuple[tuple[float, ...], ...] = eqx.field(static=True)
    size: int = eqx.field(static=True)

    @classmethod
    def of(cls, network: Network, further: int = 0, *, exact: bool = True) -> "Amounts":
        """The coordinates of a network's states; without `exact` nothing is held."""
        sums = np.pad(network.invariants, ((0, 0), (0, further)))
        rows = tuple(tuple(map(float, row)) for row in (sums if exact else sums[:0]))
        return cls(rows, sums.shape[1])

    @property
    def sums(self) -> Float[np.ndarray, "E n"]:
        """What the reactions conserve."""
        return np.array(self.rows, float).reshape(-1, self.size)

    @property
    def places(self) -> Int[np.ndarray, " n"]:
        """All states."""
        return np.arange(self.size)

    def totals(self, y0: Float[Array, " n"]) -> Float[Array, " E"]:
        """The sums of a state."""
        return jnp.matmul(jnp.asarray(self.sums), y0)

    def exponents(self, y: Float[Array, " n"]) -> Float[Array, " n"]:
        """The state itself."""
        return y

    def state(self, u: Float[Array, " n"], totals: Float[Array, " E"]) -> Float[Array, " n"]:
        """The nearest state that has these sums."""
        back = jnp.asarray(np.linalg.pinv(self.sums))
        return u + jnp.matmul(back, totals - jnp.matmul(jnp.asarray(self.sums), u))

    def unit(self, y: Float[Array, " n"]) -> Float[Array, " n"]:
        """What a change of one in each coordinate changes its state by."""
        return jnp.ones_like(y)
