"""A reaction network: species, reactions, composition and rate laws."""

import difflib
import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int

from .formula import CHARGE
from .rates import CONDITIONS, LAWS, Conditions, RateLaw

__all__ = ["Network", "RateFunction", "Reaction", "Structure", "Units"]


class Units(NamedTuple):
    """The units of every concentration and time of a network."""

    concentration: str
    time: str


class Reaction(NamedTuple):
    """One reaction as it is written down, before a network is built from it.

    Attributes:
        reactants: species name -> how many molecules of it react (the order in that species).
        products: species name -> yield, which may be fractional.
        law: the name of its rate law (a key of `jaxchem.rates.LAWS`).
        parameters: the parameters of that law.
        source: where the rate comes from.
        pool: name of the pool whose total concentration multiplies the rate, or `None`.
        where: file and line for error messages.
    """

    reactants: Mapping[str, int]
    products: Mapping[str, float]
    law: str
    parameters: tuple[float, ...]
    source: str
    pool: str | None = None
    where: str = ""

    @property
    def equation(self) -> str:
        """The reaction as text, such as ``2 B -> B + C``."""
        return f"{_side(self.reactants)} -> {_side(self.products)}".strip()


def _side(terms: Mapping[str, float]) -> str:
    return " + ".join(n if c == 1 else f"{_exact(c)} {n}" for n, c in terms.items())


def _exact(number: float) -> str:
    """Digits that read back as the same number, without a needless point."""
    return str(int(number)) if number == int(number) else repr(float(number))


class Structure:
    """The fixed part of a network: who reacts, in what numbers.

    It is hashed by content, so two networks that differ in rates alone share compiled code.

    Attributes:
        reactants: [R, m] species index of every reacting molecule, padded with S; a species that
            reacts twice stands twice.
        stoichiometry: [S, R] net change of each species by one event of each reaction.
        pools: [P, S] 1 where a species belongs to a pool.
        pool_of: [R] the pool that multiplies the reaction, P where none does.
        composition: [E, S] count of each element (and the charge) in each species.
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
            digest.update(f"{array.shape}{array.dtype}".encode() + array.tobytes())
        self._digest = digest.digest()

    def __hash__(self) -> int:
        return hash(self._digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Structure) and self._digest == other._digest

    @functools.cached_property
    def jacobian_terms(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Every term of the analytic Jacobian as (row, column, coefficient, partial).

        `partial` indexes the concatenation of the partial derivatives of all fluxes by each
        reactant slot in turn and, last, by the pool: [m R + R].
        """
        count, slots = self.reactants.shape
        size = self.stoichiometry.shape[0]
        entries = []  # (reaction, column, partial)
        for slot in range(slots):
            for reaction in np.flatnonzero(self.reactants[:, slot] < size):
                column = self.reactants[reaction, slot]
                entries.append((reaction, column, slot * count + reaction))
        for reaction in np.flatnonzero(self.pool_of < len(self.pools)):
            for column in np.flatnonzero(self.pools[self.pool_of[reaction]]):
                entries.append((reaction, column, slots * count + reaction))
        terms = [
            (row, column, self.stoichiometry[row, reaction], partial)
            for reaction, column, partial in entries
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


class RateFunction(eqx.Module):
    """k(t, y): the rate coefficients of a network under conditions that vary in time."""

    network: "Network"
    conditions: Conditions

    def __call__(self, t: Any, y: Any) -> Float[Array, " R"]:
        """Coefficients at time `t`; the state is not used."""
        del y
        return self.network._evaluate(self.conditions.at(t))


class Network(eqx.Module):
    """What reacts: species, reactions, their composition and rate laws.

    The structure is static and the law parameters are arrays, so a network passes through
    `jax.jit` and `jax.vmap` like any other pytree. Build one with [`jaxchem.load`][] or
    [`Network.build`][].

    Attributes:
        name: short name.
        species: the S species, in the order of every state vector.
        equations: the R reactions as text, in the order of every rate vector.
        sources: for each reaction, where its rate comes from.
        references: key -> full reference, for the keys that `sources` uses.
        elements: names of the rows of `composition`; the last may be ``"charge"``.
        balanced: those elements that the mechanism means to conserve.
        undeclared: species that have no known composition.
        units: of concentration and time.
        pool_names: names of the pools (sums of species that multiply rates).
        laws: the rate laws; between them they serve each reaction once.
    """

    name: str = eqx.field(static=True)
    title: str = eqx.field(static=True)
    species: tuple[str, ...] = eqx.field(static=True)
    equations: tuple[str, ...] = eqx.field(static=True)
    sources: tuple[str, ...] = eqx.field(static=True)
    references: tuple[tuple[str, str], ...] = eqx.field(static=True)
    elements: tuple[str, ...] = eqx.field(static=True)
    balanced: tuple[str, ...] = eqx.field(static=True)
    undeclared: tuple[str, ...] = eqx.field(static=True)
    units: Units = eqx.field(static=True)
    pool_names: tuple[str, ...] = eqx.field(static=True)
    structure: Structure = eqx.field(static=True)
    laws: tuple[RateLaw, ...]

    @classmethod
    def build(
        cls,
        *,
        name: str,
        species: Mapping[str, Mapping[str, int] | None],
        reactions: Sequence[Reaction],
        units: Units,
        title: str = "",
        pools: Mapping[str, Sequence[str]] | None = None,
        balanced: Sequence[str] | None = None,
        references: Mapping[str, str] | None = None,
    ) -> "Network":
        """Builds a network from reactions that name their species.

        Args:
            name: short name.
            species: name -> element counts, `None` where the composition is not known.
            reactions: in the order that rate vectors will have.
            units: of concentration and time.
            title: one line of description.
            pools: name -> member species.
            balanced: the elements that the mechanism balances (an atmospheric mechanism leaves
                O2 and H2O of the air unwritten, and so balances neither O nor H); all if `None`.
            references: key -> full reference.

        Raises:
            ValueError: a reaction or pool with an unknown species, or an unknown law or pool.
        """
        names = tuple(species)
        index = {n: i for i, n in enumerate(names)}
        pools = dict(pools or {})
        if not reactions:
            raise ValueError(f"network {name!r} has no reactions; give it at least one.")
        for pool, members in pools.items():
            for member in members:
                if member not in index:
                    raise ValueError(unknown_species(member, names, f"pool {pool!r} of {name!r}"))
        for reaction in reactions:
            where = f"reaction {reaction.equation!r} ({reaction.where or name})"
            for member in (*reaction.reactants, *reaction.products):
                if member not in index:
                    raise ValueError(unknown_species(member, names, where))
            if reaction.law not in LAWS:
                raise ValueError(f"{where}: unknown rate law {reaction.law!r}: {', '.join(LAWS)}.")
            if reaction.pool is not None and reaction.pool not in pools:
                raise ValueError(
                    f"{where}: the rate names {reaction.pool!r}, which is neither a number, a "
                    f"rate law nor a declared pool ({', '.join(pools) or 'none is declared'})."
                )
        size, count = len(names), len(reactions)
        order = max(1, max(sum(r.reactants.values()) for r in reactions))
        reactants = np.full((count, order), size, dtype=np.int32)
        stoichiometry = np.zeros((size, count))
        pool_of = np.full(count, len(pools), dtype=np.int32)
        for j, reaction in enumerate(reactions):
            molecules = [index[n] for n, c in reaction.reactants.items() for _ in range(c)]
            reactants[j, : len(molecules)] = molecules
            for n, c in reaction.reactants.items():
                stoichiometry[index[n], j] -= c
            for n, c in reaction.products.items():
                stoichiometry[index[n], j] += c
            if reaction.pool is not None:
                pool_of[j] = list(pools).index(reaction.pool)
        members = np.zeros((len(pools), size))
        for i, pool in enumerate(pools.values()):
            members[i, [index[n] for n in pool]] = 1.0
        unknown = set(balanced or ()) - {e for counts in species.values() for e in counts or ()}
        if unknown:
            raise ValueError(
                f"network {name!r} balances {', '.join(sorted(unknown))}, which no species has."
            )
        found = {e for counts in species.values() if counts for e in counts}
        elements = sorted(found - {CHARGE}) + ([CHARGE] if CHARGE in found else [])
        composition = np.array(
            [[float((species[n] or {}).get(e, 0)) for n in names] for e in elements]
        ).reshape(len(elements), size)
        groups: dict[str, list[int]] = {}
        for j, reaction in enumerate(reactions):
            groups.setdefault(reaction.law, []).append(j)
        return cls(
            name=name,
            title=title,
            species=names,
            equations=tuple(r.equation for r in reactions),
            sources=tuple(r.source for r in reactions),
            references=tuple((references or {}).items()),
            elements=tuple(elements),
            balanced=tuple(elements if balanced is None else balanced),
            undeclared=tuple(n for n in names if species[n] is None),
            units=units,
            pool_names=tuple(pools),
            structure=Structure(reactants, stoichiometry, members, pool_of, composition),
            laws=tuple(
                LAWS[law].build(tuple(rows), [reactions[j].parameters for j in rows])
                for law, rows in groups.items()
            ),
        )

    @property
    def stoichiometry(self) -> Float[np.ndarray, "S R"]:
        """Net change of each species by one event of each reaction."""
        return self.structure.stoichiometry

    @property
    def composition(self) -> Float[np.ndarray, "E S"]:
        """Count of each element (and charge) in each species."""
        return self.structure.composition

    @property
    def conserved(self) -> Float[np.ndarray, "E S"]:
        """The rows of `composition` that the mechanism balances, in the order of `balanced`."""
        rows = [self.elements.index(e) for e in self.balanced if e in self.elements]
        return self.composition[rows]

    def index(self, name: str) -> int:
        """Position of a species in the state vector; `ValueError` with the nearest name."""
        if name not in self.species:
            raise ValueError(unknown_species(name, self.species, f"network {self.name!r}"))
        return self.species.index(name)

    def y0(self, values: Mapping[str, Any], default: float = 0.0) -> Float[Array, " S"]:
        """A state vector [S] from named concentrations, `default` for every other species.

        Raises:
            ValueError: an unknown species, or a negative, NaN or infinite concentration.
        """
        for name, value in {"every other species": default, **values}.items():
            if isinstance(value, Tracer):
                continue
            number = float(np.asarray(value))
            if not (np.isfinite(number) and number >= 0):
                raise ValueError(
                    f"concentration of {name!r} is {number}; it must be finite and not negative "
                    f"({self.units.concentration})."
                )
        state = jnp.full(len(self.species), default, dtype=float)
        for name, value in values.items():
            state = state.at[self.index(name)].set(jnp.asarray(value, state.dtype))
        return state

    @property
    def needs(self) -> tuple[str, ...]:
        """The conditions that the rate laws need."""
        return tuple(dict.fromkeys(n for law in self.laws for n in law.needs))

    def rates(self, **conditions: Any) -> "Float[Array, ' R'] | RateFunction":
        """Rate coefficients under these conditions.

        Args:
            **conditions: by the names of `jaxchem.rates.CONDITIONS`; a scalar, or a function of
                time that returns one. Conditions that no law needs are accepted and ignored.

        Returns:
            k[R] in the network's units; where a condition is a function of time, a function
            `(t, y) -> k[R]`.

        Raises:
            ValueError: a condition that the laws need is missing, or a name is no condition.
        """
        given = Conditions(**conditions)
        missing = [n for n in self.needs if n not in given]
        if missing:
            wants = "; ".join(
                f"{n} [{CONDITIONS[n]}] for {', '.join(w.name for w in self.laws if n in w.needs)}"
                for n in missing
            )
            call = ", ".join(f"{n}=..." for n in missing)
            raise ValueError(f"network {self.name!r} needs {wants}: call rates({call}).")
        if given.varying:
            return RateFunction(self, given)
        return self._evaluate(given)

    def _evaluate(self, conditions: Conditions) -> Float[Array, " R"]:
        order = np.argsort(np.concatenate([law.reactions for law in self.laws]))
        return jnp.concatenate([law(conditions) for law in self.laws])[order]

    def pattern(self) -> Bool[np.ndarray, "S S"]:
        """Which entries of the Jacobian can be non-zero: [i, j] if dy_i/dt depends on y_j."""
        rows, columns, _, _ = self.structure.jacobian_terms
        size = len(self.species)
        pattern = np.zeros((size, size), dtype=bool)
        pattern[rows, columns] = True
        return pattern

    def check(self) -> list[str]:
        """Problems a chemist would want to know of, each as one sentence; empty if none.

        Unbalanced reactions (with the elements), duplicates, species without a declared
        composition, species that no reaction consumes (sinks) or that no reaction touches.
        """
        problems = list(self.unbalanced().values())
        seen: dict[tuple, int] = {}
        for j, equation in enumerate(self.equations):
            sides = tuple(tuple(sorted(s.strip().split(" + "))) for s in equation.split("->"))
            key = (*sides, int(self.structure.pool_of[j]))
            if key in seen:
                problems.append(f"duplicate: reactions {seen[key]} and {j} are both {equation!r}.")
            seen.setdefault(key, j)
        for name in self.undeclared:
            problems.append(f"undeclared: species {name!r} has no known composition.")
        for i, name in enumerate(self.species):
            consumed = np.any(self.structure.reactants == i)
            if not consumed:
                made = np.any(self.stoichiometry[i] > 0)
                kind = "sink: no reaction consumes" if made else "unused: no reaction touches"
                problems.append(f"{kind} species {name!r}.")
        return problems

    def unbalanced(self) -> dict[int, str]:
        """Reaction index -> sentence for each reaction that creates or destroys an element.

        Reactions that involve a species of undeclared composition are passed over.
        """
        excess = self.conserved @ self.stoichiometry
        known = ~np.isin(np.asarray(self.species), self.undeclared)
        problems = {}
        for j in np.flatnonzero((np.abs(excess) > 1e-9).any(axis=0)):
            if not np.all(known[np.flatnonzero(self.stoichiometry[:, j])]):
                continue
            parts = ", ".join(
                f"{e} {excess[i, j]:+g}" for i, e in enumerate(self.balanced) if excess[i, j]
            )
            problems[int(j)] = f"unbalanced: reaction {j} {self.equations[j]!r} changes {parts}."
        return problems


def unknown_species(name: str, known: Iterable[str], where: str) -> str:
    """The message about a species that is not there: its name, the place and the nearest one."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known species: {', '.join(known[:20])}"
    return f"unknown species {name!r} in {where}; {hint}"
