"""Training on equations as Branca & Pallottini (2022) published it, with its parts to choose from.

doi:10.1093/mnras/stac3512. The residual is eq. 23, of log10 of states by log10 of time; its weights
are those of Wang, Teng & Perdikaris (2021, doi:10.1137/20M1318043).
"""

import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float, PRNGKeyArray

from .models.layers import DeepGalerkin, Perceptron
from .models.pinn import Galerkin
from .models.ratios import Ratios
from .physics import Equations
from .train import Job, fit, recipe, trainable

__all__ = ["halton", "train_galerkin"]

_SMOOTHING = 0.9
"""Of adaptive weights, on the old ones."""


def halton(count: int, dimensions: int, key: PRNGKeyArray) -> Float[Array, "N D"]:
    """Points of a Halton sequence from 0 to 1, all moved by one random amount."""
    plain = jnp.asarray(scipy.stats.qmc.Halton(dimensions, scramble=False).random(count + 1)[1:])
    shift = jax.random.uniform(key, (1, dimensions))
    return (plain + shift) % 1.0


def train_galerkin(
    equations: Equations,
    starts: Float[Any, "N n"],
    times: tuple[float, float],
    *,
    key: PRNGKeyArray,
    layers: int = 6,
    width: int = 32,
    deep: bool = True,
    adaptive: bool = True,
    weighted: bool = True,
    hard: bool = False,
    scaled: bool = False,
    exact: bool = False,
    linear: bool = False,
    points: int = 1024,
    redraw: int = 1000,
    refresh: int = 10,
    steps: int = 10_000,
    polish: int = 200,
    optimizer: str = "adam",
    learning_rate: float = 1e-3,
    job: Job = Job("galerkin"),
) -> tuple[Galerkin, dict[str, np.ndarray]]:
    """Trains a network on equations alone.

    Args:
        equations: what the states follow.
        starts: initial states; one is a network of time alone, several are inputs too.
        times: first and last, over which points are drawn.
        key: seeds weights and points.
        layers: Deep Galerkin ones, or hidden ones of a perceptron.
        width: of each.
        deep: Deep Galerkin layers; a perceptron without.
        adaptive: train the slopes of the sigmoids.
        weighted: adapt the weights of the terms of the loss.
        hard: meet the initial condition exactly, without terms for it.
        scaled: divide the residual by 1 + t L, L being the frequency of losses.
        exact: hold elements and charge (`models.ratios.Ratios`).
        linear: time instead of its logarithm, as an input and for the points.
        points: of a Halton sequence.
        redraw: steps for which they serve.
        refresh: steps from one look at the weights to the next.
        steps: of the optimiser, with warm-up and decay.
        polish: steps of L-BFGS afterwards, at fixed points and weights.
        optimizer: as of `train.recipe`.
        learning_rate: the highest.
        job: label, progress and checkpoint.

    Returns:
        The model; `loss` of each step, `residual` [n], its mean square by state at the end, and
        `cpu_s` of all, compilation included.
    """
    starts = np.asarray(starts, float)
    logs = np.log10(starts)
    count, size = logs.shape
    ends = np.log10(np.asarray(times, float))
    varied = tuple(int(n) for n in np.flatnonzero(np.ptp(logs, axis=0) > 1e-9)) if count > 1 else ()
    of_start = logs[:, list(varied)]
    low = np.concatenate([ends[:1], of_start.min(axis=0)])
    high = np.concatenate([ends[1:], of_start.max(axis=0)])
    first, second, third = jax.random.split(key, 3)
    network: Any
    if deep:
        network = DeepGalerkin(
            len(low), width, size, layers=layers, adaptive=adaptive, dtype=np.float64, key=first
        )
    else:
        sizes = (len(low), *(layers * [width]), size)
        network = Perceptron(sizes, activation="tanh", dtype=np.float64, key=first)
    system = equations.system
    centre = logs.mean(axis=0)
    about = equations.about(starts)
    ratios = Ratios.of(system.network, len(system.further)) if exact else None
    how = (np.ones(size), varied, hard, linear, ratios)
    model = Galerkin(about, network, low, high, centre, *how)
    table = jnp.asarray(logs)

    def sampler(key: PRNGKeyArray) -> Any:
        one, two = jax.random.split(key)
        u = halton(points, 1, one)[:, 0]
        tau = ends[0] + (ends[1] - ends[0]) * u
        if linear:
            tau = jnp.log10(times[0] + (times[1] - times[0]) * u)
        return tau, table[jax.random.randint(two, (points,), 0, count)]

    def residual(model: Galerkin, tau: Any, start: Any) -> Float[Array, " n"]:
        given = jnp.ones_like(tau)
        y, slope = jax.jvp(lambda tau: model.logs(start, tau), (tau,), (given,))
        t, states = 10.0**tau, 10.0 ** jnp.clip(y, -40.0, 20.0)
        found = slope - t * system.field(t, states) / states
        return found / (1 + t * equations.frequency(t, states)) if scaled else found

    def terms(model: Galerkin, batch: Any) -> Float[Array, " L"]:
        """Mean squares by state: of the residual, and of what the initial condition misses."""
        tau, start = batch
        found = jnp.mean(jax.vmap(lambda t, s: residual(model, t, s))(tau, start) ** 2, axis=0)
        if hard:
            return found
        at_start = jax.vmap(lambda s: model.logs(s, jnp.asarray(ends[0])))
        own = start if count > 1 else table
        return jnp.concatenate([found, jnp.mean((at_start(own) - own) ** 2, axis=0)])

    ones = jnp.ones(size if hard else 2 * size)

    def loss(model: Galerkin, batch: Any, key: Any, weights: Any) -> Float[Array, ""]:
        del key
        return jnp.dot(weights, terms(model, batch))

    def reweigh(weights: Any, model: Galerkin, batch: Any, key: Any, step: Any) -> Any:
        del key
        if not weighted:
            return weights

        def anew() -> Any:
            own, static = eqx.partition(model, trainable)
            by_term = jax.jacrev(lambda own: terms(eqx.combine(own, static), batch))(own)
            flat = [g.reshape(len(ones), -1) for g in jax.tree.leaves(by_term)]
            gradients = jnp.abs(jnp.concatenate(flat, axis=1))
            largest = jnp.max(jnp.sum(gradients[:size], axis=0))
            wanted = largest / jnp.maximum(jnp.mean(gradients, axis=1), 1e-12 * largest)
            return _SMOOTHING * weights + (1 - _SMOOTHING) * wanted

        return jax.lax.cond(step % refresh == 0, anew, lambda: weights)

    begin = time.process_time()
    drawn = {"key": second, "redraw": redraw}
    auxiliary = (ones, reweigh)
    chosen = recipe(steps=steps, optimizer=optimizer, learning_rate=learning_rate)
    model, history = fit(
        loss, model, sampler, optimizer=chosen, steps=steps, auxiliary=auxiliary, job=job, **drawn
    )
    parts = [history["loss"]]
    if polish:
        batch = sampler(third)
        final, look = ones, jax.jit(reweigh)
        for _ in range(3):
            final = look(final, model, batch, third, jnp.asarray(0))
        path = job.path and job.path.with_name("last_polish.eqx")
        model, history = fit(
            lambda model, batch, key: loss(model, jax.tree.map(lambda x: x[0], batch), key, final),
            model,
            jax.tree.map(lambda x: x[None], batch),
            optimizer=recipe(steps=polish, optimizer="lbfgs"),
            steps=polish,
            key=third,
            job=job._replace(label=f"{job.label}, L-BFGS", path=path),
        )
        parts.append(history["loss"])
    left = jax.jit(terms)(model, sampler(third))[:size]
    told = {"loss": np.concatenate(parts), "residual": np.asarray(left)}
    return model, {**told, "cpu_s": np.array([time.process_time() - begin])}
