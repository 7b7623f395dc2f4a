"""Which reactions make a species and which destroy it, in one state and over time."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..kinetics import flux
from ..network import Network, unknown_species

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
    network: Network, k: Float[Array, " R"], y: Float[Array, " S"], species: str
) -> Budget:
    """The budget of one species: which reactions make it, which destroy it, and how fast.

    Args:
        network: the reactions.
        k: rate coefficients, in the network's units.
        y: concentrations, in the network's units.
        species: a species; or a family or a pool, whose members are summed with their shares.

    Raises:
        ValueError: an unknown species, with the nearest name; arrays of the wrong length.
    """
    check(network, k, jnp.shape(y))
    return account(network, flux(network, jnp.asarray(k), jnp.asarray(y)), y, species)


def account(network: Network, rates: Any, y: Any, species: str) -> Budget:
    """The budget of one species from the rates [R] of all reactions, as `flux` gives them."""
    weights, change = _weights(network, species), _change(network, species)
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


def lifetimes(network: Network, k: Float[Array, " R"], y: Float[Array, " S"]) -> Float[Array, " S"]:
    """How long each species lasts: its concentration over its gross loss, in the network's time.

    Infinite where nothing is lost, as of a fixed or an absent species. Safe under jit, vmap, grad.

    Args:
        network: the reactions.
        k: rate coefficients.
        y: concentrations.

    Raises:
        ValueError: arrays of the wrong length.
    """
    check(network, k, jnp.shape(y))
    y = jnp.asarray(y)
    sinks = jnp.asarray(np.maximum(-network.stoichiometry, 0.0), y.dtype)
    loss = jnp.matmul(sinks, flux(network, k, y), precision=jax.lax.Precision.HIGHEST)
    return jnp.where(loss == 0, jnp.inf, y / jnp.where(loss == 0, 1.0, loss))


def over_time(network: Network, k: Any, solution: Any, species: str) -> Course:
    """The budget of one species at every output time. Safe under jit, vmap and grad.

    Args:
        network: the reactions.
        k: rate coefficients [R], or a function `(t, y) -> k[R]` as `network.rates` returns for
            conditions that vary in time.
        solution: anything with `.ts[T]` and `.ys[T, S]` (a `jaxchem.solve` result), or the pair
            `(ts, ys)`.
        species: a species; or a family or a pool, whose members are summed with their shares.

    Raises:
        ValueError: an unknown species, with the nearest name; arrays of the wrong shape.
    """
    ts, ys = solution if isinstance(solution, tuple) else (solution.ts, solution.ys)
    ts, ys = jnp.asarray(ts), jnp.asarray(ys)
    if ys.ndim != 2 or ts.shape != ys.shape[:1]:
        raise ValueError(
            f"times of shape {ts.shape} and states of shape {ys.shape}: give one trajectory, "
            "ts[T] and ys[T, S], and use jax.vmap for a batch."
        )
    at: Callable[[Any, Any], Any] = k if callable(k) else lambda t, y: k
    if ts.size:
        check(network, at(ts[0], ys[0]), ys.shape[1:])
    rates = jax.vmap(lambda t, y: flux(network, at(t, y), y))(ts, ys)
    change = _change(network, species)
    made, lost = np.flatnonzero(change > 0), np.flatnonzero(change < 0)
    gains = rates * jnp.asarray(change, rates.dtype)[None]
    return Course(
        species=species,
        units=_rate_unit(network),
        produced_by=tuple(made.tolist()),
        lost_by=tuple(lost.tolist()),
        ts=ts,
        production=gains[:, made],
        loss=-gains[:, lost],
    )


def check(network: Network, k: Any, state: tuple[int, ...]) -> None:
    """Refuses coefficients and states that indexing would silently cut or stretch."""
    if callable(k):
        raise ValueError("k is a function of time; give k(t, y), its value at the time of y.")
    size, count = network.stoichiometry.shape
    if state != (size,) or jnp.shape(k) != (count,):
        raise ValueError(
            f"network {network.name!r} wants k of shape ({count},) and states of ({size},); "
            f"these are {jnp.shape(k)} and {state}. Use jax.vmap for a batch."
        )


def _weights(network: Network, name: str) -> Float[np.ndarray, " S"]:
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
    weights = _weights(network, name)
    change = weights @ network.stoichiometry
    size = np.abs(weights) @ np.abs(network.stoichiometry)
    return np.where(np.abs(change) > 1e-12 * size, change, 0.0)


def _rate_unit(network: Network) -> str:
    return f"{network.units.concentration} {network.units.time}-1".removeprefix("1 ")
