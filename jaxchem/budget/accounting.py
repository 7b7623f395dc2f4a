"""Which reactions make a species and which destroy it, in one state and over time."""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..kinetics import flux, turnover
from ..network import Network, RateFunction, unknown_species
from ..system import MISSING, System, unpack

__all__ = ["Budget", "Contribution", "Course", "contributions", "lifetimes", "over_time"]


class Contribution(NamedTuple):
    """What one reaction does to a species.

    Attributes:
        reaction: its index in the network.
        equation: the reaction as text.
        rate: net change of the species by it, concentration per time, negative for a loss.
        share: of the gross production, or of the gross loss; 0 where that is 0.
    """

    reaction: int
    equation: str
    rate: float
    share: float


class Budget(NamedTuple):
    """Production and loss of a species, or of a family of them, in one state.

    A reaction that both consumes and makes the species counts by its net change, so what a
    family's members do to one another is in neither sum. `str()` is a table.

    Attributes:
        species: of which species, family or pool.
        concentration: of it, weighted by the shares of a family.
        production: gross, the sum of `producing`, concentration per time.
        loss: gross, minus the sum of `consuming`.
        producing: reactions that make it, those that contribute most first.
        consuming: reactions that destroy it, likewise.
        units: of the concentration, of the rates and of time.
    """

    species: str
    concentration: float
    production: float
    loss: float
    producing: tuple[Contribution, ...]
    consuming: tuple[Contribution, ...]
    units: tuple[str, str, str]

    def __str__(self) -> str:
        return self.table()

    def table(self, limit: int = 12) -> str:
        """The budget as text, at most `limit` reactions of each kind."""
        concentration, rate, time = self.units
        lifetime = self.concentration / self.loss if self.loss else math.inf
        lines = [f"{self.species}: {self.concentration:.4g} {concentration}"]
        lines[0] += f", lifetime {lifetime:.4g} {time}"
        for title, total, parts in (
            ("production", self.production, self.producing),
            ("loss", self.loss, self.consuming),
        ):
            lines.append(f"{title} {total:.4g} {rate}")
            rows = [(c.rate, c.share, f"[{c.reaction}] {c.equation}") for c in parts[:limit]]
            if rest := parts[limit:]:
                sums = sum(c.rate for c in rest), sum(c.share for c in rest)
                rows.append((*sums, f"{len(rest)} more"))
            lines += [f"{r:+14.4e} {100 * share:6.1f} %  {text}" for r, share, text in rows]
        lines.append(f"net {self.production - self.loss:+.4g} {rate}")
        return "\n".join(lines)


class Course(eqx.Module):
    """Production and loss of a species by reaction, over time.

    Attributes:
        species: of which species, family or pool.
        units: of `production` and `loss`.
        produced_by: indices of the P reactions that make it.
        lost_by: indices of the L reactions that destroy it.
        ts: times.
        production: rate at which each reaction makes it.
        loss: rate at which each reaction destroys it, positive.
    """

    species: str = eqx.field(static=True)
    units: str = eqx.field(static=True)
    produced_by: tuple[int, ...] = eqx.field(static=True)
    lost_by: tuple[int, ...] = eqx.field(static=True)
    ts: Float[Array, " T"]
    production: Float[Array, "T P"]
    loss: Float[Array, "T L"]


def contributions(
    network: Network | System,
    k: Any = MISSING,
    y: Any = MISSING,
    species: Any = MISSING,
    *,
    t: Any = 0.0,
) -> Budget:
    """The budget of one species: which reactions make it, which destroy it, and how fast.

    Args:
        network: the reactions; or a `System`, behind which `k` is left out:
            ``contributions(system, y, species)``. What its tendency does is in no budget.
        k: rate coefficients [R], in the network's units.
        y: concentrations [S], in the network's units; of a system all states.
        species: a species; or a family or a pool, whose members are summed with their shares.
        t: the time, for the rates of a system.

    Raises:
        ValueError: an unknown species, with the nearest name; arrays of the wrong length.
    """
    inside, k, y, species = at_state("contributions", network, t, k=k, y=y, species=species)
    return account(inside, flux(inside, jnp.asarray(k), y), y, species)


def account(network: Network, rates: Any, y: Any, species: str) -> Budget:
    """The budget of one species from the rates [R] of all reactions, as `flux` gives them."""
    weights, change = shares_in(network, species), _change(network, species)
    gains = change * np.asarray(rates, dtype=float)

    def side(of: np.ndarray) -> tuple[float, tuple[Contribution, ...]]:
        total = float(gains[of].sum())
        order = of[np.argsort(-np.abs(gains[of]), kind="stable")]
        shares = gains[order] / total if total else np.zeros(len(order))
        return total, tuple(
            Contribution(int(j), network.equations[j], float(gains[j]), float(share))
            for j, share in zip(order, shares, strict=True)
        )

    production, producing = side(np.flatnonzero(change > 0))
    lost, consuming = side(np.flatnonzero(change < 0))
    concentration = float(weights @ np.asarray(y, dtype=float))
    units = (network.units.concentration, _rate_unit(network), network.units.time)
    loss = 0.0 - lost
    return Budget(species, concentration, production, loss, producing, consuming, units)


def lifetimes(
    network: Network | System, k: Any = MISSING, y: Any = MISSING, *, t: Any = 0.0
) -> Float[Array, " S"]:
    """How long each species lasts: its concentration over its gross loss, in the network's time.

    Infinite where nothing is lost, as of a fixed or an absent species. Safe under jit, vmap, grad.

    Args:
        network: the reactions; or a `System`, behind which `k` is left out: ``lifetimes(system,
            y)``. What its tendency does is no loss.
        k: rate coefficients [R].
        y: concentrations [S]; of a system all states.
        t: the time, for the rates of a system.

    Raises:
        ValueError: arrays of the wrong length.
    """
    inside, k, y = at_state("lifetimes", network, t, k=k, y=y)
    _, loss = turnover(inside, flux(inside, k, y))
    return jnp.where(loss == 0, jnp.inf, y / jnp.where(loss == 0, 1.0, loss))


def over_time(
    network: Network | System, k: Any = MISSING, solution: Any = MISSING, species: Any = MISSING
) -> Course:
    """The budget of one species at every output time. Safe under jit, vmap and grad.

    Args:
        network: the reactions; or a `System`, behind which `k` is left out: ``over_time(system,
            solution, species)``. What its tendency does is in no budget.
        k: rate coefficients [R], a function of time (as `network.rates` returns for conditions
            that vary), or one of time and state.
        solution: anything with `.ts[T]` and `.ys[T, S]` (a `jaxchem.solve` result), or the pair
            `(ts, ys)`.
        species: a species; or a family or a pool, whose members are summed with their shares.

    Raises:
        ValueError: an unknown species, with the nearest name; arrays of the wrong shape.
    """
    system, (solution, species) = unpack(
        "over_time", network, k=k, solution=solution, species=species
    )
    network = system.network
    ts, ys = solution if isinstance(solution, tuple) else (solution.ts, solution.ys)
    ts, ys = jnp.asarray(ts), jnp.asarray(ys)
    if ys.ndim != 2 or ts.shape != ys.shape[:1]:
        raise ValueError(
            f"times of shape {ts.shape} and states of shape {ys.shape}: give one trajectory, "
            "ts[T] and ys[T, S], and use jax.vmap for a batch."
        )
    check(system, ys.shape[1:])
    size = len(network.species)
    rates = jax.vmap(lambda t, y: flux(network, system.rates(t, y), y[:size]))(ts, ys)
    return course(network, ts, rates, species)


def course(network: Network, ts: Any, rates: Any, species: str) -> Course:
    """The budget of one species from the rates [T, R] of all reactions at the times [T]."""
    change = _change(network, species)
    made, lost = np.flatnonzero(change > 0), np.flatnonzero(change < 0)
    gains = rates * change.astype(rates.dtype)[None]
    return Course(
        species=species,
        units=_rate_unit(network),
        produced_by=tuple(made.tolist()),
        lost_by=tuple(lost.tolist()),
        ts=ts,
        production=gains[:, made],
        loss=-gains[:, lost],
    )


def at_state(call: str, of: Network | System, t: Any, **given: Any) -> tuple[Any, ...]:
    """Network, coefficients, concentrations and the rest, of a network or of a system at `t`."""
    k = given["k"]
    if isinstance(k, RateFunction) and not k.conditions.varying:  # of the state alone
        given["k"] = k(0.0, given["y"])
    elif callable(k):
        raise ValueError(
            "k is a function of time; give k(t, y), its value at the time of y, or "
            "jaxchem.System(network, k) and t."
        )
    if isinstance(of, Network):
        size, count = len(of.species), len(of.equations)
        if jnp.shape(given["y"]) != (size,) or jnp.shape(given["k"]) != (count,):
            raise ValueError(
                f"network {of.name!r} wants k of shape ({count},) and states of ({size},); these "
                f"are {jnp.shape(given['k'])} and {jnp.shape(given['y'])}. Use jax.vmap for a "
                "batch."
            )
    system, (y, *rest) = unpack(call, of, **given)
    y = jnp.asarray(y)
    check(system, y.shape)
    return system.network, system.rates(t, y), y[: len(system.network.species)], *rest


def check(system: System, state: tuple[int, ...]) -> None:
    """Refuses states that indexing would silently cut or stretch."""
    if state != (len(system.states),):
        raise ValueError(
            f"network {system.network.name!r} wants states of ({len(system.states)},); these are "
            f"{state}. Use jax.vmap for a batch."
        )


def shares_in(network: Network, name: str) -> Float[np.ndarray, " S"]:
    """How much of `name` each species is."""
    families, weights = dict(network.families), np.zeros(len(network.species))
    if name in network.species:
        weights[network.species.index(name)] = 1.0
    elif name in families:
        for member, share in families[name]:
            weights[network.species.index(member)] = share
    elif name in network.pool_names:
        weights[:] = network.structure.pools[network.pool_names.index(name)]
    else:
        known = (*families, *network.pool_names, *network.species)
        raise ValueError(unknown_species(name, known, f"network {network.name!r}"))
    return weights


def _change(network: Network, name: str) -> Float[np.ndarray, " R"]:
    """Net change of `name` by one event of each reaction; what cancels is exactly 0."""
    weights = shares_in(network, name)
    change = weights @ network.structure.stoichiometry
    size = np.abs(weights) @ abs(network.structure.stoichiometry)
    return np.where(np.abs(change) > 1e-12 * size, change, 0.0)


def _rate_unit(network: Network) -> str:
    return f"{network.units.concentration} {network.units.time}-1".removeprefix("1 ")
