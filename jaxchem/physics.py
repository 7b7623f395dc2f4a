"""Networks trained on equations alone: windows of time, and the published recipe beside them."""

import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray

from .kinetics import flux, turnover
from .models.base import About
from .models.layers import Perceptron
from .models.pinn import Windows, fresh, within
from .models.ratios import Amounts, Ratios
from .network import Network
from .system import System
from .thermal import Cloud
from .train import Job

__all__ = ["Equations", "march"]

log = logging.getLogger("jaxchem")

BLEND = 1e-3
"""Width in ln T of a switch on which a solution rests."""


class Equations(NamedTuple):
    """What a network is trained on.

    Attributes:
        system: the equations.
        frequency: `(t, y) -> [n]`, how often each state is lost, per time.
        switches: temperatures at which the equations jump; the temperature is the last state.
        smooth: the same without jumps, for where a solution rests on one.
    """

    system: System
    frequency: Callable[[Any, Any], Float[Array, " n"]]
    switches: tuple[float, ...] = ()
    smooth: Callable[[], "Equations"] | None = None

    @classmethod
    def of_cloud(cls, cloud: Cloud) -> "Equations":
        """Those of gas with a temperature."""

        def frequency(t: Any, y: Float[Array, " n"]) -> Float[Array, " n"]:
            species = _losses(cloud.network, cloud.rates(t, y), y[:-1])
            return jnp.append(species, cloud.throughput(y) / y[-1])

        def smooth() -> "Equations":
            return cls.of_cloud(cloud.under(smooth=BLEND))

        return cls(cloud.system, frequency, cloud.switches, smooth if cloud.switches else None)

    @classmethod
    def of_network(cls, network: Network, k: Any) -> "Equations":
        """Mass action with coefficients [R], or a function of time or of time and state."""
        system = System(network, k)

        def frequency(t: Any, y: Float[Array, " n"]) -> Float[Array, " n"]:
            return _losses(network, system.rates(t, y), y)

        return cls(system, frequency)

    def about(self, starts: Float[np.ndarray, "N n"]) -> About:
        """What a model says that is trained on them from these starts."""
        network = self.system.network
        low, high = (tuple(map(float, f(starts, axis=0))) for f in (np.min, np.max))
        source = f"the equations of {network.name}"
        return About(self.system.states, (), network.units, 0.0, source, low, high)


def _losses(network: Network, k: Any, y: Float[Array, " S"]) -> Float[Array, " S"]:
    """How often each species is lost; of none that is not there."""
    there = y > 0
    _, gross = turnover(network, jnp.abs(flux(network, k, y)))
    return jnp.where(there, gross / jnp.where(there, y, 1.0), 0.0)


def march(
    equations: Equations,
    y0: Float[Any, " n"],
    end: float,
    *,
    key: PRNGKeyArray,
    shift: float | None = None,
    window: float = 0.5,
    shortest: float = 1e-4,
    width: int = 16,
    points: int = 14,
    tolerance: float = 1e-9,
    target: float = 1e-14,
    iterations: int = 60,
    exact: bool = True,
    log_states: bool = True,
    job: Job = Job("windows"),
) -> tuple[Windows, dict[str, np.ndarray]]:
    """Solves equations by small networks in windows of logarithmic time.

    The residual of a logarithm is (d ln y / ds - (dt/ds) f / y) / (1 + (dt/ds) L), s being ln(t +
    shift) and L the frequency of losses: it tends to 1 - gain/loss where a state follows the
    others, so that stiffness leaves the loss. Elements, charge and the initial condition are exact.
    Each window is fitted by Levenberg-Marquardt steps in the space of residuals, which are fewer
    than parameters: (J J^T + lambda I) z = r. One whose loss stays above the tolerance is halved;
    one in which a switch is crossed ends on it. Where a solution rests on a switch, which
    drives it back from either side, the switch is blended until it is left.

    Args:
        equations: what to solve.
        y0: the start, all states positive.
        end: the last time.
        key: seeds the first weights.
        shift: added to the time before its logarithm is taken; `None` is a tenth of the time in
            which the fastest state changes at the start, and 0 marches in time itself.
        window: the longest window, in s.
        shortest: one that would have to be shorter ends the march.
        width: of both hidden layers.
        points: at which the residual is zeroed in a window, Chebyshev's with its end.
        tolerance: largest mean square residual of a window that is kept.
        target: that a fit stops at.
        iterations: most steps a window.
        exact: hold elements and charge; otherwise every state has a logarithm of its own.
        log_states: networks give logarithms; otherwise the states themselves, which may then be
            negative.
        job: label and progress.

    Returns:
        The windows; `time`, `loss` and `iterations` of each, and `cpu_s` of all once compiled.

    Raises:
        ValueError: a start that is not positive, or a window that will not be fitted.
    """
    y0 = np.asarray(y0, float)
    if log_states and not np.all(np.isfinite(y0) & (y0 > 0)):
        names = equations.system.states
        bad = [n for n, v in zip(names, y0, strict=True) if not v > 0]
        raise ValueError(f"the start of {', '.join(bad)} is not positive; it has no logarithm.")
    system = equations.system
    kind = Ratios if log_states else Amounts
    ratios = kind.of(system.network, len(system.further), exact=exact)
    if shift is None:
        slope = np.abs(system.field(jnp.zeros(()), jnp.asarray(y0)))
        shift = 0.1 * float(np.min(y0 / np.maximum(slope, y0 / end)))
    how = (ratios, y0, shift, points, width, key, target)
    sharp = solve = _fitter(equations, *how)
    blended: Any = None
    clock = (lambda t: np.log(t + shift)) if shift else (lambda t: t)
    s, last, size = float(clock(0.0)), float(clock(end)), window
    u = np.asarray(ratios.exponents(jnp.asarray(y0)))
    kept: list[tuple[float, float, Any, Any]] = []
    told: list[tuple[float, float, int]] = []
    jax.block_until_ready(solve(u, s, size, 0))  # compiles
    begin = time.process_time()
    with job.bar(round(100 * (last - s)), 0) as bar:
        while s < last - 1e-12 * abs(last):
            wide = min(size, last - s)
            found = solve(u, s, wide, iterations)
            if solve is sharp:
                wide, found = _to_switch(equations.switches, solve, found, u, s, wide, iterations)
            allowed = tolerance if solve is sharp else 1e3 * tolerance
            if not (np.isfinite(found.loss) and found.loss <= allowed):
                size = wide / 2
                if size < 0.02 and solve is sharp and equations.smooth is not None:
                    blended = blended or _fitter(equations.smooth(), *how)
                    solve, size = blended, window
                    continue
                if size < shortest:
                    raise ValueError(
                        f"{job.label}: the window at t = {np.exp(s) - shift if shift else s:.4g} "
                        f"will not be fitted (loss {float(found.loss):.2g}); smooth what jumps "
                        "there (smooth=0.004), or allow a larger tolerance."
                    )
                continue
            kept.append((s, wide, u, found.network))
            told.append((s, float(found.loss), int(found.iterations)))
            u, s = np.asarray(found.u), s + wide
            if solve is not sharp and _free(equations.switches, u[-1]):
                solve = sharp
            size = min(window, max(size, 1.5 * wide))
            bar.update(round(100 * wide))
            bar.set_postfix(loss=f"{float(found.loss):.1e}", refresh=False)
    starts, widths, exponents, networks = zip(*kept, strict=True)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *networks)
    starts, widths, exponents = map(np.array, (starts, widths, exponents))
    about = equations.about(y0[None])
    model = Windows(about, ratios, y0, starts, widths, exponents, stacked, shift)
    columns = (np.array(c) for c in zip(*told, strict=True))
    history = dict(zip(("time", "loss", "iterations"), columns, strict=True))
    return model, {**history, "cpu_s": np.array([time.process_time() - begin])}


class _Fitted(NamedTuple):
    """A window.

    Attributes:
        network: its weights.
        loss: mean square residual.
        iterations: steps that it took.
        u: [m] exponents at its end.
        course: [P] logarithm of the last state at even places, to see what it crosses.
    """

    network: Perceptron
    loss: Any
    iterations: Any
    u: Any
    course: Any


def _fitter(
    equations: Equations,
    ratios: Ratios | Amounts,
    y0: Float[np.ndarray, " n"],
    shift: float,
    points: int,
    width: int,
    key: PRNGKeyArray,
    target: float,
) -> Callable[..., _Fitted]:
    """A compiled fit of one window: start, place, width and most steps -> `_Fitted`."""
    totals = ratios.totals(jnp.asarray(y0))
    places, size = ratios.places, len(ratios.places)
    start, unravel = ravel_pytree(fresh(width, size, key))
    x = jnp.asarray((1 - np.cos(np.pi * np.arange(1, points + 1) / points)) / 2)

    def defect(z: Float[Array, " 2m"], s: Any) -> Float[Array, " m"]:
        """The residual of exponents and their slopes by s."""
        y, slope = jax.jvp(lambda u: ratios.state(u, totals), (z[:size],), (z[size:],))
        t, pace = (jnp.exp(s) - shift, jnp.exp(s)) if shift else (s, jnp.ones(()))
        change = equations.system.field(t, y)
        lost = equations.frequency(t, y)
        return ((slope - pace * change) / ratios.unit(y) / (1 + pace * lost))[places]

    def both(p: Float[Array, " P"], x: Any) -> Float[Array, " 2m"]:
        """What a window adds to the exponents, and the slope of that by x."""
        found = jax.jvp(lambda x: within(unravel(p), x), (x,), (jnp.ones(()),))
        return jnp.concatenate(found)

    def linear(p: Any, u: Any, s: Any, wide: Any) -> tuple[Any, Any]:
        """The residual and its slope by the weights, through the few numbers that it depends on."""

        def at(x: Any) -> tuple[Any, Any]:
            z, by_weights = both(p, x), jax.jacrev(both)(p, x)

            def inner(z: Any) -> tuple[Any, Any]:
                here = jnp.concatenate([u + z[:size], z[size:] / wide])
                found = defect(here, s + x * wide)
                return found, found

            by_z, r = jax.jacfwd(inner, has_aux=True)(z)
            return r, by_z @ by_weights

        r, slope = jax.vmap(at)(x)
        return r.reshape(-1), slope.reshape(-1, start.size)

    @jax.jit
    def solve(u: Any, s: Any, wide: Any, iterations: Any) -> _Fitted:
        def unfinished(carry: Any) -> Any:
            loss, damping, count = carry[4:]
            return (count <= iterations) & (loss > target) & (damping < 1e6)

        def step(carry: Any) -> Any:  # judges what the last one proposed, and proposes the next
            trial, *kept, loss, damping, count = carry
            r, slope = linear(trial, u, s, wide)
            new = jnp.mean(r**2)
            better = new < loss
            p, r, slope = (
                jnp.where(better, a, b) for a, b in zip((trial, r, slope), kept, strict=True)
            )
            damping = jnp.where(better, jnp.maximum(0.1 * damping, 1e-18), 8 * damping)
            matrix = slope @ slope.T
            ridge = damping * jnp.mean(jnp.diag(matrix))
            factor = jax.scipy.linalg.cho_factor(matrix + ridge * jnp.eye(len(r)))
            trial = p - jax.scipy.linalg.cho_solve(factor, r) @ slope
            return trial, p, r, slope, jnp.where(better, new, loss), damping, count + 1

        empty = jnp.zeros(points * size), jnp.zeros((points * size, start.size))
        carry = start, start, *empty, jnp.inf, jnp.asarray(1e-5), jnp.asarray(0)
        _, p, _, _, loss, _, count = jax.lax.while_loop(unfinished, step, carry)
        network = unravel(p)
        course = jax.vmap(lambda x: (u + within(network, x))[-1])(jnp.linspace(0.0, 1.0, 65))
        end = ratios.state(u + within(network, jnp.ones(())), totals)
        return _Fitted(network, loss, count, ratios.exponents(end), course)

    return solve


def _free(switches: tuple[float, ...], u: float) -> bool:
    """Whether a logarithm of a temperature is well away from every switch."""
    return all(abs(u - np.log(limit)) > 10 * BLEND for limit in switches)


def _to_switch(
    switches: tuple[float, ...],
    solve: Callable[..., _Fitted],
    found: _Fitted,
    u: Float[np.ndarray, " m"],
    s: float,
    wide: float,
    iterations: int,
) -> tuple[float, _Fitted]:
    """The window, or a shorter one that ends where the temperature first meets a switch."""
    for _ in range(8):
        crossed = _crossing(switches, np.asarray(found.course))
        if crossed is None:
            break
        wide *= crossed
        found = solve(u, s, wide, iterations)
    return wide, found


def _crossing(switches: tuple[float, ...], course: Float[np.ndarray, " P"]) -> float | None:
    """The first place at which a course of ln T crosses a switch, if it does within its ends."""
    first: float | None = None
    for limit in switches:
        off, places = course - np.log(limit), np.linspace(0.0, 1.0, len(course))
        if abs(off[0]) < 1e-7:  # it begins here
            off, places = off[1:], places[1:]
        change = np.flatnonzero(off[:-1] * off[1:] < 0)
        if not len(change) or abs(off[-1]) < 1e-9:
            continue
        n = change[0]
        place = places[n] - off[n] * (places[n + 1] - places[n]) / (off[n + 1] - off[n])
        if place < 1 - 1e-9 and (first is None or place < first):
            first = float(place)
    return first
