"""Emulators of gas of any state, taught by its equations alone or by a solver."""

import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .collocation import newton
from .models.gas_map import Clock, GasMap
from .models.ratios import Ratios
from .physics import Equations
from .solvers import solve
from .train import Job, fit, recipe

__all__ = ["learn"]

PILOT = 2000
"""Starts from which scales are taken."""
EARLY = 0.2
"""Weight of readings before the first time, which only lead there."""
SPACING = 0.2
"""Of readings, in dex."""


class Lessons(NamedTuple):
    """What a map is taught.

    Attributes:
        starts: [N, n] states.
        changes: [N, K, m] of exponents, from the start to the readings.
        weights: [N, K, m] of each.
    """

    starts: Any
    changes: Any
    weights: Any


def learn(
    equations: Equations,
    starts: Float[np.ndarray, "N n"],
    times: tuple[float, float],
    *,
    key: PRNGKeyArray,
    data: str = "none",
    counted: float = 1e-19,
    width: int = 384,
    depth: int = 4,
    batch_size: int = 1024,
    redraw: int = 20,
    steps: int = 5000,
    optimizer: str = "soap",
    learning_rate: float = 3e-3,
    rtol: float = 1e-4,
    job: Job = Job("general"),
) -> tuple[GasMap, dict[str, np.ndarray]]:
    """Trains a map from any start to any time.

    The loss is the mean distance in dex, over readings and states, from what is taught. Without
    data that is what a Newton step of the collocation of the equations (`collocation.newton`)
    makes of the map's own output for starts drawn anew: the Gauss-Newton direction of the residual,
    in the space of trajectories, to which the steps of the optimiser bring the network. Nothing is
    ever integrated. With data it is trajectories of `solve`.

    Args:
        equations: autonomous ones, such as `Equations.of_cloud`.
        starts: states, all positive, that training draws from.
        times: the first and the last that count.
        key: seeds weights and batches.
        data: ``"none"``, or ``"solver"`` for a trajectory from each start.
        counted: a density below, in the units of the network, means nothing.
        width: of each hidden layer.
        depth: number of hidden layers.
        batch_size: starts a step.
        redraw: steps from one Newton step, of other starts, to the next.
        steps: of the optimiser.
        optimizer: as of `train.recipe`.
        learning_rate: the highest.
        rtol: of the trajectories.
        job: label, progress and checkpoint.

    Returns:
        The map; `loss` of each step and `cpu_s` of all, data and compilation included.

    Raises:
        ValueError: an unknown kind of data, or starts that are not positive.
    """
    if data not in ("none", "solver"):
        raise ValueError(f"data={data!r} is unknown; write none or solver.")
    starts = np.asarray(starts, float)
    if not np.all(np.isfinite(starts) & (starts > 0)):
        bad = np.flatnonzero(~np.all(starts > 0, axis=0))
        names = ", ".join(equations.system.states[n] for n in bad)
        raise ValueError(f"starts of {names} are not positive; they have no logarithm.")
    begin = time.process_time()
    system = equations.system
    ratios = Ratios.of(system.network, len(system.further))
    density = np.asarray(jax.vmap(ratios.totals)(jnp.asarray(starts))).sum(axis=1)
    first, last = density.min() * times[0] / 2, density.max() * times[1] * 10**SPACING
    count = int(np.ceil(np.log10(last / first) / SPACING)) + 1
    clock = Clock(float(first), float(last), count)
    teach = jax.jit(jax.vmap(lambda y, u: newton(system.field, ratios, clock, u, y)))
    counts = _Counting(ratios, clock, times, counted)
    weights_key, key = jax.random.split(key)
    if data == "solver":
        lessons = _solved(system, ratios, clock, starts, times, counts, rtol)
    else:
        lessons = _piloted(teach, ratios, starts[:PILOT], count, counts)
    few = [np.asarray(part[: 5 * PILOT], float) for part in lessons]
    model = GasMap.of_examples(
        equations.about(starts),
        ratios,
        clock,
        float(times[1]),
        *few,
        width=width,
        depth=depth,
        key=weights_key,
    )
    reach, mean = jnp.asarray(model.reach), jnp.asarray(model.mean)
    unit = jnp.asarray(reach / np.log(10.0), jnp.float32)

    def distance(model: GasMap, lessons: Lessons) -> Float[Array, ""]:
        off = (jax.vmap(model.scaled)(lessons.starts) - lessons.changes) * unit[None, None]
        # smooth within 3e-4 dex
        sizes = jnp.sqrt(off**2 + np.float32(1e-7))
        return jnp.sum(lessons.weights * sizes) / jnp.sum(lessons.weights)

    def scaled(starts: Any, changes: Any, weights: Any) -> Lessons:
        """In the model's units."""
        changes = ((jnp.asarray(changes, mean.dtype) - mean[None]) / reach[None, None]).astype(
            jnp.float32
        )
        return Lessons(starts, changes, jnp.asarray(weights, jnp.float32))

    chosen = recipe(steps=steps, optimizer=optimizer, learning_rate=learning_rate)
    how: dict[str, Any] = {"optimizer": chosen, "steps": steps, "key": key, "job": job}
    if data == "solver":
        everything = scaled(*map(jnp.asarray, lessons))
        model, history = fit(
            lambda model, batch, key: distance(model, batch),
            model,
            everything,
            batch_size=batch_size,
            **how,
        )
    else:
        table = jnp.asarray(starts)

        def sampler(key: PRNGKeyArray) -> Any:
            return table[jax.random.randint(key, (batch_size,), 0, len(table))]

        def renew(state: Any, model: GasMap, y0: Any, key: Any, step: Any) -> Any:
            del key

            def anew() -> Any:
                lessons = counts.lessons(y0, teach(y0, jax.vmap(model.exponents)(y0)))
                return tuple(scaled(*lessons))[1:]

            return jax.lax.cond(step % redraw == 0, anew, lambda: state)

        none = jnp.zeros((batch_size, *model.mean.shape), jnp.float32)
        model, history = fit(
            lambda model, y0, key, state: distance(model, Lessons(y0, *state)),
            model,
            sampler,
            redraw=redraw,
            auxiliary=((none, none), renew),
            **how,
        )
    return model, {
        "loss": history["loss"],
        "cpu_s": np.array([time.process_time() - begin]),
    }


class _Counting(NamedTuple):
    """What of trajectories counts."""

    ratios: Ratios
    clock: Clock
    times: tuple[float, float]
    counted: float

    def lessons(self, starts: Any, exponents: Any) -> Lessons:
        """Those of exponents [N, K, m]; what is not finite has no weight."""
        begin = jax.vmap(self.ratios.exponents)(starts)[:, None]
        density = jnp.sum(jax.vmap(self.ratios.totals)(starts), axis=1)
        t = jnp.asarray(self.clock.readings)[None] / density[:, None]
        at = jnp.where(t >= 0.5 * self.times[0], 1.0, EARLY)
        at = jnp.where(t <= 10**SPACING * self.times[1], at, 0.0)
        least = jnp.where(self.ratios.species, np.log(self.counted), -np.inf)
        there = exponents > least[None, None]
        good = jnp.isfinite(exponents)
        weights = jnp.where(good & there, at[:, :, None], 0.0)
        return Lessons(starts, jnp.where(good, exponents - begin, 0.0), weights)


def _piloted(
    teach: Any, ratios: Ratios, starts: np.ndarray, count: int, counts: _Counting
) -> Lessons:
    """What two Newton steps make of states that do not change."""
    y0 = jnp.asarray(starts)
    still = jnp.repeat(jax.vmap(ratios.exponents)(y0)[:, None], count, axis=1)
    return counts.lessons(y0, teach(y0, teach(y0, still)))


def _solved(
    system: Any,
    ratios: Ratios,
    clock: Clock,
    starts: np.ndarray,
    times: tuple[float, float],
    counts: _Counting,
    rtol: float,
    *,
    block: int = 5000,
) -> Lessons:
    """Trajectories at the readings of the clock."""
    how: dict[str, Any] = {"method": "rodas4", "rtol": rtol, "atol": 1e-20, "max_steps": 20_000}

    def one(y0: Any) -> Any:
        t = clock.readings / jnp.sum(ratios.totals(y0))
        latest = 2 * times[1] * (1 + 1e-6 * np.arange(clock.count))
        ts = jnp.minimum(t, latest)  # readings beyond that have no weight
        found = solve(system, y0, ts, output="interpolate", throw=False, **how).ys
        return jax.vmap(ratios.exponents)(jnp.asarray(found))

    run = jax.jit(jax.vmap(one))
    taught = jax.jit(counts.lessons)
    parts: list[Lessons] = []
    for n in range(0, len(starts), block):
        y0 = jnp.asarray(starts[n : n + block])
        parts.append(jax.tree.map(lambda a: np.asarray(a, np.float32), taught(y0, run(y0))))
    joined = Lessons(*(np.concatenate(part) for part in zip(*parts, strict=True)))
    return joined._replace(starts=starts)
