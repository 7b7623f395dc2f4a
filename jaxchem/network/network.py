"""A reaction network: species, reactions, composition and rate coefficients."""

import difflib
import graphlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jax.core import Tracer
from jaxtyping import Array, Bool, Float

from ..brief import few, safely, table, text
from ..expression import Expression, Name, Number, call, names, show
from ..formula import CHARGE, STANDARD_WEIGHTS
from ..rates import (
    CONDITIONS,
    NAMED,
    Conditions,
    Quantities,
    RateLaw,
    library,
    mcm,
    reads,
    validate,
)
from ..suggest import closest
from .checks import floating, impossible
from .reaction import Reaction, Units, as_tree, split, sums_of, unknown_species
from .report import Report, examine, unbalanced
from .structure import Structure

__all__ = ["Network", "RateFunction"]


_TIMES = ("start", "end", "step")
"""What a mechanism may propose besides conditions: of its own runs [s]."""


class RateFunction(eqx.Module):
    """k(t, y): rate coefficients under conditions that vary in time, or that read the state.

    To compile it by itself: ``eqx.filter_jit(k)``, or ``jax.jit(lambda t: k(t))``.
    """

    network: "Network"
    conditions: Conditions

    def __repr__(self) -> str:
        own = repr(self.conditions).splitlines()[1:]
        of = "of time" + " and state" * bool(safely(lambda: self.reads, ()))
        first = safely(lambda: f"Rates of network {self.network.name}, {of}", f"Rates, {of}")
        return text([first, *own])

    def __call__(self, t: Any, y: Any = None) -> Float[Array, " R"]:
        """Coefficients at time `t` and, where some of them read it, the state `y` [S + ...].

        Raises:
            ValueError: no state, where one is read.
        """
        return self.network._evaluate(self.conditions.at(t), y)

    @property
    def reads(self) -> tuple[int, ...]:
        """The places in the state that coefficients depend on."""
        members = self.network.structure.pools.any(axis=0, where=self.network._read_pools[:, None])
        return tuple(int(i) for i in np.flatnonzero(members))


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
        pool_names: names of the pools (weighted sums of species that rates name).
        fixed: species that react but whose concentration nothing changes.
        quantities: what rates name besides conditions and pools, each with its definition;
            `None` where the user gives it as `quantities` or `photolysis` of `rates`.
        defaults: conditions that the mechanism itself proposes, used where none are given;
            perhaps also the `start`, `end` and `step` [s] of its own runs.
        initial: concentrations that the mechanism itself proposes.
        supplied: quantities and conditions that the mechanism names without saying what they
            are, each with where its value or unit comes from.
        families: name -> species of it, each with its share, for accounts.
        laws: rate coefficients; between them they serve each reaction once.
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
    fixed: tuple[str, ...] = eqx.field(static=True)
    quantities: tuple[tuple[str, Expression | None], ...] = eqx.field(static=True)
    defaults: tuple[tuple[str, float], ...] = eqx.field(static=True)
    initial: tuple[tuple[str, float], ...] = eqx.field(static=True)
    supplied: tuple[tuple[str, str], ...] = eqx.field(static=True)
    families: tuple[tuple[str, tuple[tuple[str, float], ...]], ...] = eqx.field(static=True)
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
        pools: Mapping[str, Sequence[str] | Mapping[str, float]] | None = None,
        balanced: Sequence[str] | None = None,
        references: Mapping[str, str] | None = None,
        fixed: Sequence[str] = (),
        quantities: Mapping[str, Expression | str | float | None] | None = None,
        defaults: Mapping[str, float] | None = None,
        initial: Mapping[str, float] | None = None,
        supplied: Mapping[str, str] | None = None,
        families: Mapping[str, Mapping[str, float]] | None = None,
        places: Mapping[tuple[str, str], str] | None = None,
    ) -> "Network":
        """Builds a network from reactions that name their species.

        Args:
            name: short name.
            species: name -> element counts, `None` where the composition is not known.
            reactions: in the order that rate vectors will have.
            units: of concentration and time.
            title: one line of description.
            pools: name -> member species, or species -> weight in the sum where these are not 1.
            balanced: the elements that the mechanism balances (an atmospheric mechanism leaves
                O2 and H2O of the air unwritten, and so balances neither O nor H); all if `None`.
            references: key -> full reference.
            fixed: species whose concentration nothing changes.
            quantities: name -> definition of what rates name, `None` where the user gives it.
            defaults: condition -> value that is used where none is given.
            initial: species -> concentration that the mechanism proposes.
            supplied: what the mechanism names and does not define -> where it comes from.
            families: name -> species -> share.
            places: (argument, name in it) such as ``("pools", "RO2")`` -> file and line, for
                messages.

        A rate may name pools anywhere, and quantities that do. Where it is linear in them, each of
        its terms becomes a reaction of the same equation, with a pool that multiplies it (the
        coefficients stay numbers of the run); all else stays in the coefficient, which is then a
        function of the state.

        Raises:
            ValueError: an unknown species, a weight that is zero or not finite, a rate that names
                what is not declared or calls what is no law, quantities that are defined by one
                another in a circle; with the place where it is known.
        """
        ordered = tuple(species)
        index = {n: i for i, n in enumerate(ordered)}
        pools = dict(pools or {})
        defined = {n: as_tree(d) for n, d in (quantities or {}).items()}

        def at(what: str, argument: str, key: str) -> str:
            return f"{what} ({(places or {}).get((argument, key), name)})"

        for where, members in (
            *((at(f"pool {p!r}", "pools", p), m) for p, m in pools.items()),
            *((at(f"family {f!r}", "families", f), m) for f, m in (families or {}).items()),
            *((at("the fixed species", "fixed", n), [n]) for n in fixed),
            *((at("the initial state", "initial", n), [n]) for n in initial or ()),
        ):
            if not members:
                raise ValueError(f"{where} has no species; name one.")
            for member in members:
                if member not in index:
                    raise ValueError(unknown_species(member, ordered, where))
        for condition in set(NAMED) & set(defaults or ()):
            where = at(f"the default {condition!r}", "defaults", condition)
            raise ValueError(f"{where} is no number; define the quantities themselves.")
        for default in defaults or ():
            if default not in (conditions := (*CONDITIONS, *_TIMES)):
                where = at(f"the default {default!r}", "defaults", default)
                hint = closest(default, conditions) or f"; known: {', '.join(conditions)}"
                raise ValueError(f"{where} is no condition{hint}")
        known = {*CONDITIONS, *defined} - {*NAMED}
        for pool in pools:
            if pool in known:
                where = at(f"pool {pool!r}", "pools", pool)
                raise ValueError(f"{where} has the name of a quantity or condition; rename it.")
            if len(set(pools[pool])) < len(pools[pool]):
                where = at(f"pool {pool!r}", "pools", pool)
                raise ValueError(f"{where} names a species twice; give it a weight, as 2 in 2 A.")
        known |= {*pools}
        for quantity, tree in defined.items():
            if tree is not None:
                try:
                    validate(tree, known)
                except ValueError as error:
                    where = at(f"quantity {quantity!r}", "quantities", quantity)
                    raise ValueError(f"{where}: {error}.") from None
        parts = {
            quantity: {part for part in names(tree) if part in defined}
            for quantity, tree in defined.items()
            if tree is not None
        }
        try:
            ordered_quantities = [*graphlib.TopologicalSorter(parts).static_order()]
        except graphlib.CycleError as error:
            circle = error.args[1][::-1]
            where = at(f"quantity {circle[0]!r}", "quantities", circle[0])
            raise ValueError(f"{where}: {' -> '.join(circle)} are defined in a circle.") from None
        sums = sums_of(pools, [(q, defined[q]) for q in ordered_quantities])
        if not reactions:
            raise ValueError(f"network {name!r} has no reactions; give it at least one.")
        trees, factors, written = [], [], reactions
        reactions = []
        known_terms: dict[Any, Any] = {}  # of each rate once, however many reactions have it
        for reaction in written:
            for member in (*reaction.reactants, *reaction.products):
                if member not in index:
                    raise ValueError(unknown_species(member, ordered, reaction.placed(name)))
            if (terms := known_terms.get(reaction.rate)) is None:
                try:
                    rate = as_tree(reaction.rate) or Number(0.0)
                    validate(rate, known)
                    terms = known_terms[reaction.rate] = split(rate, sums)
                except ValueError as error:
                    raise ValueError(f"{reaction.placed(name)}: {error}.") from None
            for tree, pool in terms:
                reactions.append(reaction)
                trees.append(tree)
                factors.append(pool)
        size, count = len(ordered), len(reactions)
        order = max(1, max(sum(r.reactants.values()) for r in reactions))
        reactants = np.full((count, order), size, dtype=np.int32)
        change: list[tuple[int, int, float]] = []  # (species, reaction, number)
        pool_of = np.full(count, len(pools), dtype=np.int32)
        place = {pool: i for i, pool in enumerate(pools)}
        for j, reaction in enumerate(reactions):
            molecules = [index[n] for n, c in reaction.reactants.items() for _ in range(c)]
            reactants[j, : len(molecules)] = molecules
            change += [(index[n], j, -c) for n, c in reaction.reactants.items()]
            change += [(index[n], j, c) for n, c in reaction.products.items()]
            if factors[j] is not None:
                pool_of[j] = place[factors[j]]
        rows, columns, numbers = zip(*change, strict=True) if change else ((), (), ())
        still = np.isin(rows, [index[n] for n in fixed])
        stoichiometry = sp.csr_array(
            (np.where(still, 0.0, numbers), (rows, columns)), shape=(size, count)
        )
        members = np.zeros((len(pools), size))
        for i, (pool, weights) in enumerate(pools.items()):
            if not isinstance(weights, Mapping):
                weights = dict.fromkeys(weights, 1.0)
            for n, weight in weights.items():
                if not np.isfinite(weight) or weight == 0:
                    where = at(f"pool {pool!r}", "pools", pool)
                    raise ValueError(
                        f"{where}: the weight of {n!r} is {weight}; it must be finite and not "
                        "zero. Leave out what does not count."
                    )
                members[i, index[n]] = weight
        found = {e for counts in species.values() if counts for e in counts}
        for element in balanced or ():
            if element not in found:
                where = at("the balanced elements", "balanced", element)
                raise ValueError(f"{where}: no species has {element!r}; drop it.")
        elements = sorted(found - {CHARGE}) + ([CHARGE] if CHARGE in found else [])
        composition = np.array(
            [[float((species[n] or {}).get(e, 0)) for n in ordered] for e in elements]
        ).reshape(len(elements), size)
        return cls(
            name=name,
            title=title,
            species=ordered,
            equations=tuple(r.equation for r in reactions),
            sources=tuple(r.source for r in reactions),
            references=tuple((references or {}).items()),
            elements=tuple(elements),
            balanced=tuple(elements if balanced is None else balanced),
            undeclared=tuple(n for n in ordered if species[n] is None),
            units=units,
            pool_names=tuple(pools),
            fixed=tuple(n for n in ordered if n in fixed),
            quantities=tuple(defined.items()),
            defaults=tuple((defaults or {}).items()),
            initial=tuple((initial or {}).items()),
            supplied=tuple((supplied or {}).items()),
            families=tuple((f, tuple(m.items())) for f, m in (families or {}).items()),
            structure=Structure(reactants, stoichiometry, members, pool_of, composition),
            laws=RateLaw.group(trees),
        )

    def __repr__(self) -> str:
        rows = [f"[{j}] {equation} ; {rate}" for j, equation, rate in self._reactions(3)]
        return text([*self._about(), *rows], len(self.equations) - len(rows))

    def _repr_html_(self) -> str:
        rows, head = self._reactions(50), ("", "reaction", "rate")
        return table(text(self._about()), head, rows, len(self.equations) - len(rows))

    def _about(self) -> list[str]:
        """What it is, in lines."""
        unit, time = self.units
        families = [name for name, _ in self.families]
        further = {"fixed": self.fixed, "pools": self.pool_names, "families": families}
        return [
            f"Network {self.name}" + f": {self.title}" * bool(self.title),
            f"species ({len(self.species)}, {unit}): {few(self.species)}",
            f"elements: {few(self.elements)}; balanced: {few(self.balanced)}",
            f"rates need: {few(safely(lambda: self.needs, ('?',)))}",
            *(f"{what}: {few(names)}" for what, names in further.items() if names),
            f"reactions ({len(self.equations)}, time in {time}):",
        ]

    def _reactions(self, most: int) -> list[tuple[str, str, str]]:
        """Number, equation and rate of the first reactions, ``?`` for what is traced or gone."""
        rates = safely(lambda: [*map(show, self.expressions()[:most])], ["?"] * most)
        return list(zip(map(str, range(most)), self.equations, rates, strict=False))

    @property
    def stoichiometry(self) -> Float[np.ndarray, "S R"]:
        """Net change of each species by one event of each reaction, written out.

        `network.structure.stoichiometry` is the same as a sparse matrix, which is what a mechanism
        of thousands of species wants.
        """
        whole = self.structure.stoichiometry.toarray()
        whole.flags.writeable = False
        return whole

    @property
    def composition(self) -> Float[np.ndarray, "E S"]:
        """Count of each element (and charge) in each species."""
        return self.structure.composition

    @property
    def conserved(self) -> Float[np.ndarray, "E S"]:
        """The rows of `composition` that the mechanism balances, in the order of `balanced`."""
        rows = [self.elements.index(e) for e in self.balanced if e in self.elements]
        return self.composition[rows]

    @property
    def invariants(self) -> Float[np.ndarray, "I S"]:
        """Orthonormal sums of species that the reactions leave alone, of whatever elements."""
        basis = np.linalg.svd(self.stoichiometry)
        rank = int(np.sum(1e-10 * np.max(basis.S, initial=0.0) < basis.S))
        return basis.U[:, rank:].T

    def index(self, name: str) -> int:
        """Position of a species in the state vector; `ValueError` with the nearest name."""
        if name not in self.species:
            raise ValueError(unknown_species(name, self.species, f"network {self.name!r}"))
        return self.species.index(name)

    def y0(self, values: Mapping[str, Any], default: float = 0.0) -> Float[Array, " S"]:
        """A state vector [S] from named concentrations, `default` for every other species.

        A concentration that lies below zero by no more than the round-off of the largest is kept,
        so that what a solver gives can be started from (`jaxchem.network.impossible`).

        Raises:
            ValueError: an unknown species, or a negative, NaN or infinite concentration.
        """
        known: dict[str | None, Any] = {None: default, **values}
        known = {n: float(np.asarray(v)) for n, v in known.items() if not isinstance(v, Tracer)}
        for place in np.flatnonzero(impossible(np.array([*known.values()], dtype=float)))[:1]:
            name = [*known][place] or "every other species"
            raise ValueError(
                f"concentration of {name!r} is {[*known.values()][place]}; it must be finite "
                f"and not negative ({self.units.concentration})."
            )
        place = {n: i for i, n in enumerate(self.species)}
        if unknown := [n for n in values if n not in place]:
            self.index(unknown[0])  # says what is near
        traced = {n: v for n, v in values.items() if n not in known}
        state = np.full(len(self.species), known.get(None, 0.0))
        plain = [n for n in values if n not in traced]
        state[[place[n] for n in plain]] = [known[n] for n in plain]
        found = jnp.asarray(state, dtype=float)
        if isinstance(default, Tracer):
            found = jnp.where(
                np.isin(self.species, [*values]), found, jnp.asarray(default, found.dtype)
            )
        for name, value in traced.items():
            found = found.at[place[name]].set(jnp.asarray(value, found.dtype))
        return found

    @property
    def needs(self) -> tuple[str, ...]:
        """The conditions, and the quantities without a definition, that the rates depend on."""
        return tuple(self._reads(Conditions())[1])

    @property
    def masses(self) -> Float[np.ndarray, " S"] | None:
        """Molar masses, g mol-1, without that of electrons; nothing where one is not known."""
        weights = {CHARGE: 0.0, **STANDARD_WEIGHTS}
        if self.undeclared or not {*self.elements} <= {*weights}:
            return None
        return np.array([weights[name] for name in self.elements]) @ self.composition

    @property
    def user_quantities(self) -> tuple[str, ...]:
        """The quantities that the mechanism names but leaves to its user."""
        return tuple(n for n, definition in self.quantities if definition is None)

    def rates(self, **conditions: Any) -> "Float[Array, ' R'] | RateFunction":
        """Rate coefficients under these conditions.

        Args:
            **conditions: by the names of `jaxchem.rates.CONDITIONS`; a scalar, or a function of
                time that returns one. `photolysis` and `quantities` are dictionaries of such
                values, for what the mechanism names itself, in place of its own definitions
                (photolysis of the MCM as ``J4``, ``J_NO2`` or 4, of MUSICA without ``PHOTO.``);
                ``quantities={"*": 0.0}`` stands for all that is not given otherwise. Conditions
                that no rate needs are accepted and ignored. A quantity that is linear in
                concentrations is part of the rates that name it, and cannot be given.

        Returns:
            k[R] in the network's units; where a condition is a function of time, or a coefficient
            one of concentrations, a function `(t, y) -> k[R]`.

        Raises:
            ValueError: a condition or quantity that the rates need is missing, or a name is
                neither.
        """
        given = self._given(conditions)
        used, missing = self._reads(given)
        if missing:
            known = [n for n in missing if n in CONDITIONS]
            own = [n for n in missing if n not in CONDITIONS]
            call_ = [f"{n}=..." for n in known]
            call_ += [f"quantities={{{', '.join(f'{n!r}: ...' for n in own[:8])}}}"] if own else []
            wants = "; ".join([f"{n} [{CONDITIONS[n]}]" for n in known] + own[:40])
            more = f" and {len(own) - 40} more" if len(own) > 40 else ""
            raise ValueError(
                f"network {self.name!r} needs {wants}{more}: call rates({', '.join(call_)})"
                + (', or give quantities={"*": 0.0} for what shall be zero.' if own else ".")
            )
        given = given.only(used)
        if given.varying or self._read_pools.any():
            return RateFunction(self, given)
        return self._evaluate(given)

    def _given(self, conditions: Mapping[str, Any]) -> Conditions:
        """These conditions, and those that the mechanism proposes."""
        conditions = {n: v for n, v in conditions.items() if v is not None}
        for kind in ("photolysis", "quantities"):
            if kind in conditions:
                conditions[kind] = self._known(kind, conditions[kind])
        proposed = {n: v for n, v in self.defaults if n in CONDITIONS}
        if {"density", "pressure"} & set(conditions):  # either gives the other
            proposed = {n: v for n, v in proposed.items() if n not in ("density", "pressure")}
        return Conditions(**{**proposed, **conditions})

    @property
    def _read_pools(self) -> Bool[np.ndarray, " P"]:
        """Which pools the coefficients themselves depend on."""
        read = self._reads(Conditions())[0] if self.pool_names else ()
        return np.array([name in read for name in self.pool_names], dtype=bool)

    def _known(self, kind: str, values: Mapping[Any, Any]) -> dict[str, Any]:
        """`photolysis` or `quantities` by the mechanism's own names."""
        quantities, found, written_out = dict(self.quantities), {}, self._written_out
        for name, value in values.items():
            own = str(name)
            if kind == "photolysis" and own not in quantities:
                number = mcm.PHOTOLYSIS_NAMES.get(own, own.removeprefix("J"))
                own = next((n for n in (f"J{number}", f"PHOTO.{own}") if n in quantities), own)
                if own not in quantities and f"J{number}" in mcm.DEFINITIONS:
                    continue  # one of the MCM's that this mechanism does without
            if own not in (*quantities, "*"):
                near = difflib.get_close_matches(own, quantities, n=1)
                hint = f"did you mean {near[0]!r}?" if near else "network.quantities lists them."
                raise ValueError(f"network {self.name!r} has no quantity {own!r}; {hint}")
            if own in written_out:
                raise ValueError(
                    f"network {self.name!r}: {own!r} depends on concentrations and is written out "
                    "in the rates that name it, so it cannot be given; change the mechanism."
                )
            found[own] = value
        return found

    @property
    def _written_out(self) -> set[str]:
        """Quantities that name pools, and that no coefficient names any more."""
        found: set[str] = {*self.pool_names}
        defined = {n: {*names(t)} for n, t in self.quantities if t is not None}
        for name in graphlib.TopologicalSorter(defined).static_order() if found else ():
            if defined.get(name, set()) & found:
                found.add(name)
        return found - {*self.pool_names} - self._reads(Conditions())[0]

    def _reads(self, given: Conditions) -> tuple[set[str], list[str]]:
        """The names that the rates need, and those of them that these conditions do not have."""
        defined, named = dict(self.quantities), given.named
        found: dict[str, None] = {}
        waiting = sorted(set().union(*(law.reads for law in self.laws)), reverse=True)
        missing = []
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            found[name] = None
            if name in named or name in self.pool_names:
                continue
            if (tree := defined.get(name)) is not None:
                waiting += sorted(reads(tree), reverse=True)
            elif name in defined:
                missing += [] if "*" in named else [name]
            elif name not in given:
                other = {"density": "pressure", "pressure": "density"}.get(name, "")
                if other in given and self.units.per_mole:
                    waiting += ["temperature", other]
                else:
                    missing.append(name)
        order = [*CONDITIONS, *defined]
        return set(found), sorted(missing, key=order.index)

    def _evaluate(self, conditions: Conditions, y: Any = None) -> Float[Array, " R"]:
        if jnp.result_type(float) == jnp.float32:
            self._warn_underflow()
        totals = {}
        for place in np.flatnonzero(self._read_pools):
            name, weights = self.pool_names[place], self.structure.pools[place]
            if y is None:
                raise ValueError(
                    f"network {self.name!r}: the rates depend on concentrations, of {name!r}; "
                    "call them with the state, k(t, y)."
                )
            y = floating(y)
            if y.ndim != 1 or len(y) < len(self.species):
                raise ValueError(
                    f"network {self.name!r} wants a state of {len(self.species)} species for its "
                    f"rates, and this has shape {y.shape}. Use jax.vmap for a batch."
                )
            members = np.flatnonzero(weights)
            parts = y[members]
            if np.any(weights[members] != 1):
                parts = jnp.asarray(weights[members], parts.dtype) * parts
            totals[name] = jnp.sum(parts)
        lookup = Quantities(dict(self.quantities), conditions, self.units.per_mole, totals)
        order = np.argsort(np.concatenate([law.reactions for law in self.laws]))
        found = [law(lookup) for law in self.laws]
        # at once where an eager call would compile two operations for so many shapes
        return jnp.asarray(library(*found).concatenate(found)[order])

    def _warn_underflow(self) -> None:
        smallest = float(np.finfo(np.float32).tiny)
        for law in self.laws:
            if isinstance(law.numbers, np.ndarray):
                small = (np.abs(law.numbers) < smallest) & (law.numbers != 0)
                for column in np.flatnonzero(small.any(axis=0))[:1]:
                    equation = self.equations[law.reactions[column]]
                    warnings.warn(
                        f"network {self.name!r}: the rate of {equation!r} has a number that "
                        "is zero in 32 bits; call jax.config.update('jax_enable_x64', True) "
                        "before any array is made.",
                        stacklevel=4,
                    )
                    return

    def expressions(self) -> list[Expression]:
        """The rate expression of each reaction, pools included."""
        found: dict[int, Expression] = {}
        for law in self.laws:
            found.update(zip(law.reactions, law.expressions(), strict=True))
        for j, place in enumerate(self.structure.pool_of):
            if place < len(self.pool_names):
                pool = Name(self.pool_names[place])
                found[j] = pool if found[j] == Number(1.0) else call("*", found[j], pool)
        return [found[j] for j in range(len(self.equations))]

    def pattern(self) -> Bool[np.ndarray, "S S"]:
        """Which entries of the Jacobian can be non-zero: [i, j] if dy_i/dt depends on y_j."""
        pattern = np.zeros((len(self.species),) * 2, dtype=bool)
        pattern[self.structure.jacobian_entries] = True
        return pattern

    def check(self, **conditions: Any) -> Report:
        """What a chemist would want to know of the mechanism; empty if there is nothing.

        Reactions that are unbalanced (with the elements), there twice (the same equation and
        pool, and rates that differ in numbers alone), or the terms of one rate; yields below
        what reacts; quantities that the user has to give, and those that come from elsewhere;
        species without a declared composition, and those that no reaction makes, consumes
        (sinks) or touches; coefficients that are negative or no number, and those that are
        faster than molecules fall apart or meet (`jaxchem.network.limits`).

        Args:
            **conditions: for the coefficients, as `rates` takes them. What neither they nor the
                mechanism say of temperature and pressure is taken to be 298.15 K and 101325 Pa;
                coefficients that need more are left out. Functions of time are evaluated at the
                start, and concentrations that coefficients read are the initial ones.

        Returns:
            A list of sentences, which prints on one screen; its `notes` say under what conditions
            coefficients were evaluated, and how many were not.

        Raises:
            ValueError: a name that is no condition or quantity.
        """
        return examine(self, self._given(conditions))

    def unbalanced(self) -> dict[int, str]:
        """Reaction index -> sentence for each reaction that creates or destroys an element.

        Reactions that involve a species of undeclared composition are passed over.
        """
        return unbalanced(self)
