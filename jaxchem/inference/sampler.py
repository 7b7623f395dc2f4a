"""Draws from the posterior of a fit: intervals also where it is far from normal."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Bool, Float

from ..train import Job
from .fit import Fit
from .parameters import whole

__all__ = ["LEAST", "Samples", "library", "log_density", "sample", "unlike_normal"]

LEAST = {"draws": 4, "warmup": 1, "chains": 1}
"""The settings of `sample` that are counts, and the least that each may be."""

_CHUNK = 50
"""Draws between two moves of the bar."""

_FIRST = 0.1
"""Length of the first step; dual averaging begins about ten times as far, where most end."""

_DOUBLINGS = 8
"""A trajectory has at most two to this power of steps: enough for a ridge, not for a plain."""

_BESIDE = 1e-3
"""How far from a bound, at least, chains begin: part of a box, or coordinate."""

_ENOUGH = 400
"""Effective draws that quantiles need (Vehtari et al. 2021)."""

_MIXED = 1.01
"""R-hat above which chains have not met (likewise)."""

_ALIKE = 0.1
"""Ends of intervals agree within this part of half of them."""

_QUANTILE = 1.36
"""Standard error of a quantile of 2.5 % of a normal distribution, of its distance from the mean,
times the root of the number of draws."""

_BENT = 0.3
"""Correlation of what is left of one with the square of another, above which both are bent."""


class Samples(NamedTuple):
    """Draws from the posterior, and how far they can be trusted.

    Attributes:
        names: of the parameters that are estimated.
        units: of their values.
        x: [chains, draws, n] coordinates.
        values: [chains, draws, n] of the parameters.
        low: [n] lower ends of central intervals of 95 % of the values; NaN for what is held.
        high: [n] their upper ends.
        effective: [n] how many independent draws tell as much, in the bulk or in the tails,
            whichever is less.
        r_hat: [n] spread of all chains over that of each, by ranks: 1 where they have met.
        accepted: mean probability of accepting a trajectory.
        divergences: trajectories that were given up: the posterior bends more than their steps.
        gradients: that were evaluated for the draws, each one solve with its sensitivities.
        held: names of parameters without which the posterior is proper: nothing is known of them.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    x: Float[np.ndarray, "chains draws n"]
    values: Float[np.ndarray, "chains draws n"]
    low: Float[np.ndarray, " n"]
    high: Float[np.ndarray, " n"]
    effective: Float[np.ndarray, " n"]
    r_hat: Float[np.ndarray, " n"]
    accepted: float
    divergences: int
    gradients: int
    held: tuple[str, ...]


def library() -> Any:
    """BlackJAX, of which only draws have need.

    Raises:
        ImportError: without the extra `sampler`.
    """
    try:
        import blackjax
        import blackjax.adaptation.step_size
    except ImportError as error:
        raise ImportError(
            "draws from a posterior want BlackJAX: pip install 'jaxchem[sampler]'"
        ) from error
    return blackjax


def log_density(fit: Fit) -> Callable[[Float[Array, " n"]], Float[Array, ""]]:
    """ln of the posterior of the coordinates, `x [n] -> []`, but for a constant.

    Priors are those of the problem, and flat in the coordinates where there is none. A deviation
    that is estimated has Jeffreys' prior 1/sigma (flat in its logarithm), and is integrated over:
    of N residuals whose sum of squares is S,

        integral of sigma^-N exp(-S / (2 sigma^2)) dsigma / sigma  ~  S^(-N/2).

    For a linear model of p parameters S is S0 + Q with a quadratic form Q, and (S0 + Q)^(-N/2) is
    Student's distribution in p dimensions with N - p degrees of freedom: its power is half of
    degrees and dimension together. So intervals are those of least squares (Box & Tiao 1973,
    Bayesian Inference in Statistical Analysis, section 2.7); Jeffreys' rule for all parameters at
    once, 1/sigma^(p + 1), would leave N degrees. The likelihood with the likeliest deviation, which
    `Objective` has, is the same function of the parameters.

    Readings that are not independent count less: the likelihood is taken to the power 1/w^2, where
    the fit widens its deviations by w (Ribatet, Cooley & Davison 2012, Stat. Sinica 22, 813). Where
    deviations follow predictions they are those of the best. Derivatives are those of one pass of
    forward sensitivities. Where a solve fails it is minus infinite.
    """
    asked, power = fit.objective, fit.posterior.widened**-2.0
    misfit, counts = asked.misfit, jnp.asarray(asked.misfit.counts)
    of = jnp.asarray((misfit.group[:, None] == np.arange(len(misfit.known))).astype(float))
    known, least = jnp.asarray(misfit.known), jnp.asarray(counts * misfit.least**2)
    centre, precision = jnp.asarray(misfit.centre), jnp.asarray(misfit.prior**-2.0)

    def value(x: Any, residual: Any) -> Any:
        squares = residual**2 @ of
        squares = jnp.where(known, squares, counts * jnp.log(jnp.maximum(squares, least)))
        found = -0.5 * (power * jnp.sum(squares) + jnp.sum(precision * (x - centre) ** 2))
        return jnp.where(jnp.isfinite(found), found, -jnp.inf)

    @jax.custom_jvp
    def density(x: Float[Array, " n"]) -> Float[Array, ""]:
        return value(x, asked.residual(x))

    @density.defjvp
    def _(at: Any, along: Any) -> Any:
        (x,), (change,) = at, along

        def both(x: Any) -> Any:
            found = asked.residual(x)
            return found, found

        slope, residual = jax.jacfwd(both, has_aux=True)(x)
        squares = jnp.maximum(residual**2 @ of, least)
        weight = of @ jnp.where(known, 1.0, counts / squares)
        gradient = -power * ((weight * residual) @ slope) - precision * (x - centre)
        found, fine = value(x, residual), jnp.all(jnp.isfinite(gradient))
        return jnp.where(fine, found, -jnp.inf), jnp.where(fine, gradient, 0.0) @ change

    return density


def sample(
    fit: Fit,
    *,
    draws: int = 2000,
    warmup: int = 1000,
    chains: int = 4,
    seed: int = 0,
    job: Job = Job("sample"),
) -> Samples:
    """Draws from the posterior about the best of a fit, by Hamiltonian trajectories.

    They turn back by themselves (NUTS: Hoffman & Gelman 2014, J. Mach. Learn. Res. 15, 1593). The
    metric is the fit's covariance at first and that of the draws of all chains later, so that few
    steps lead across, and the length of a step is one for all chains, which run in step as one
    batch. Bounds are met by coordinates that have none (`_Box`).

    A gradient is a solve with sensitivities to every parameter. A draw takes three where the
    posterior is nearly normal, ten or so along a ridge, and a hundred where many parameters are
    open: a prior of each, where there is one to be had, is the best remedy.

    What the readings do not see and no prior tells is held where it is: its posterior is none. A
    parameter of which they tell a limit alone goes as far as its bounds, as its interval shows.

    Args:
        fit: of `infer_rates`.
        draws: of each chain.
        warmup: draws before those, from which the metric and the steps are learnt.
        chains: that begin apart, about as far as the posterior reaches.
        seed: of all that is drawn; the same one gives the same draws.
        job: label and bar.

    Raises:
        ImportError: without the extra `sampler`.
        ValueError: too few draws or chains; nothing to be drawn; solves fail all around the best;
            correlated readings that count less than the parameters.
    """
    blackjax = library()
    for name, given in (("draws", draws), ("warmup", warmup), ("chains", chains)):
        whole(given, name, job.label, LEAST[name])
    best, misfit = fit.posterior, fit.objective.misfit
    of = np.flatnonzero(best.seen | np.isfinite(misfit.prior))
    held = tuple(name for i, name in enumerate(best.names) if i not in of)
    if not len(of):
        raise ValueError(f"{job.label}: the readings see no parameter, so none can be drawn.")
    independent, alone = len(misfit.group) * best.widened**-2.0, np.isinf(misfit.prior[of]).sum()
    if not misfit.known.all() and independent <= alone:
        raise ValueError(
            f"{job.label}: {len(misfit.group)} readings count as {independent:.1f} independent "
            f"ones, too few for {alone} parameters: state the deviation (noise: {{sd: ...}})."
        )
    box, full = _Box(fit.objective.low[of], fit.objective.high[of]), log_density(fit)

    def density(u: Float[Array, " m"]) -> Float[Array, ""]:
        inside, slope = box.inside(u)
        return full(jnp.asarray(best.x).at[of].set(inside)) + jnp.sum(slope)

    kernel = blackjax.nuts.build_kernel()
    begin, update, end = blackjax.adaptation.step_size.dual_averaging_adaptation(0.8)

    @jax.jit
    def start(u: Any) -> Any:
        return jax.vmap(lambda u: blackjax.nuts.init(u, density))(u)

    @jax.jit
    def advance(states: Any, steps: Any, metric: Any, key: Any, learn: Any) -> Any:
        def one(carry: Any, key: Any) -> Any:
            states, steps = carry
            length = jnp.where(learn, jnp.exp(steps.log_step_size), end(steps))

            def move(key: Any, state: Any) -> Any:
                return kernel(key, state, density, length, metric, _DOUBLINGS)

            states, told = jax.vmap(move)(jax.random.split(key, chains), states)
            later = update(steps, jnp.mean(told.acceptance_rate))
            steps = jax.tree.map(lambda new, old: jnp.where(learn, new, old), later, steps)
            kept = (told.acceptance_rate, told.is_divergent, told.num_integration_steps)
            return (states, steps), (states.position, *kept)

        return jax.lax.scan(one, (states, steps), jax.random.split(key, _CHUNK))

    # BlackJAX counts on the usual promotion of types and ranks
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        key, first = jax.random.split(jax.random.key(seed))
        metric = box.covariance(best.x[of], best.covariance[np.ix_(of, of)])
        states = _apart(start, box.outside(best.x[of]), metric, first, chains, job.label)
        kept, rounds = [], [*_rounds(warmup), -(-draws // _CHUNK)]
        # of types that are as strong as those of later ones, or all is compiled twice
        steps = fresh = jax.tree.map(lambda part: jnp.asarray(np.asarray(part)), begin(_FIRST))
        with job.bar(_CHUNK * sum(rounds), 0) as bar:
            for number, chunks in enumerate(rounds):
                kept, learn = [], number < len(rounds) - 1
                for _ in range(chunks):
                    key, now = jax.random.split(key)
                    (states, steps), found = advance(states, steps, metric, now, learn)
                    kept.append(jax.device_get(found))
                    bar.update(_CHUNK)
                if learn and number < len(rounds) - 2:
                    metric = _learnt(metric, np.concatenate([part[0] for part in kept]))
                    steps = fresh
        u, accepted, divergent, counted = (
            np.concatenate(part)[:draws].swapaxes(0, 1) for part in zip(*kept, strict=True)
        )
        x = np.tile(best.x, (chains, draws, 1))
        x[..., of] = np.asarray(jax.jit(jax.vmap(jax.vmap(lambda u: box.inside(u)[0])))(u))
        reached, r_hat = _quality(blackjax, x[..., of])
    values = np.stack([p.back(x[..., i]) for i, p in enumerate(best.parameters)], axis=-1)
    ends = np.quantile(values.reshape(-1, len(best.x)), (0.025, 0.975), axis=0)

    def spread(told: Any) -> np.ndarray:
        found = np.full(len(best.x), np.nan)
        found[of] = told
        return found

    return Samples(
        best.names,
        best.units,
        x,
        values,
        spread(ends[0][of]),
        spread(ends[1][of]),
        spread(reached),
        spread(r_hat),
        float(np.mean(accepted)),
        int(np.sum(divergent)),
        int(np.sum(counted)),
        held,
    )


class _Box(NamedTuple):
    """Coordinates without bounds for those with some.

    Between two bounds the logistic function leads inside, beside one bound ln(1 + exp u), which
    far from it changes nothing (as Stan's reference manual, chapter Constraint Transforms, has
    it but for the latter).

    Attributes:
        low: [m] bounds, infinite where there is none.
        high: likewise.
    """

    low: Float[np.ndarray, " m"]
    high: Float[np.ndarray, " m"]

    @property
    def _kinds(self) -> tuple[Bool[np.ndarray, " m"], ...]:
        """Which have a lower bound alone, an upper one alone, and both."""
        low, high = np.isfinite(self.low), np.isfinite(self.high)
        return low & ~high, high & ~low, low & high

    def inside(self, u: Float[Any, " m"]) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
        """The coordinates, and the logarithm of how they change with these."""
        above, below, between = self._kinds
        low, high = (np.where(np.isfinite(end), end, 0.0) for end in self)
        width = np.where(between, high - low, 1.0)
        up, down = jax.nn.log_sigmoid(u), jax.nn.log_sigmoid(-u)
        x = jnp.where(between, low + width * jnp.exp(up), u)
        x = jnp.where(above, low - down, jnp.where(below, high + up, x))
        slope = jnp.where(between, np.log(width) + up + down, 0.0)
        return x, jnp.where(above, up, jnp.where(below, down, slope))

    def outside(self, x: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
        """Where coordinates lie; those at a bound a little beside it."""
        above, below, between = self._kinds
        with np.errstate(all="ignore"):
            share = np.clip((x - self.low) / (self.high - self.low), _BESIDE, 1 - _BESIDE)
            far = np.maximum(np.where(below, self.high - x, x - self.low), _BESIDE)
            free = np.where(below, -1.0, 1.0) * (far + np.log(-np.expm1(-far)))
            return np.where(between, np.log(share / (1 - share)), np.where(above | below, free, x))

    def covariance(
        self, x: Float[np.ndarray, " m"], covariance: Float[np.ndarray, "m m"]
    ) -> Float[np.ndarray, "m m"]:
        """What it is at these coordinates, no wider than a box lets it be."""
        slope = np.exp(np.asarray(self.inside(jnp.asarray(self.outside(x)))[1]))
        found = covariance / np.outer(slope, slope)
        most = np.diag(np.where(np.isfinite(self.low) | np.isfinite(self.high), 4.0, 25.0))
        found = most - most @ np.linalg.solve(found + most, most)
        size = np.sqrt(np.maximum(np.diag(found), 1e-12))
        values, vectors = np.linalg.eigh(0.5 * (found + found.T) / np.outer(size, size))
        return (vectors * np.maximum(values, 1e-12)) @ vectors.T * np.outer(size, size)


def _apart(
    start: Any, best: np.ndarray, metric: np.ndarray, key: Any, chains: int, label: str
) -> Any:
    """States from which chains begin: drawn about the best, nearer to it where solves fail."""
    root = np.linalg.cholesky(metric)
    away = np.asarray(jax.random.normal(key, (chains, len(best)))) @ root.T
    for _ in range(10):
        states = start(best + away)
        lost = ~np.isfinite(np.asarray(states.logdensity))
        if not lost.any():
            return states
        away = np.where(lost[:, None], 0.5 * away, away)
    raise ValueError(f"{label}: solves fail all around the best; raise max_steps of the solver.")


def _rounds(warmup: int) -> list[int]:
    """Chunks of the rounds of a warm-up, each as long as all before; the last learns no metric."""
    parts = np.ceil(-(-warmup // _CHUNK) * np.array([0, 0.125, 0.25, 0.5, 1.0]))
    return np.diff(np.unique(parts)).astype(int).tolist()


def _learnt(metric: np.ndarray, u: Float[np.ndarray, "T chains m"]) -> np.ndarray:
    """The covariance of the later half of draws, with a little of what it was before."""
    late = u[len(u) // 2 :].reshape(-1, u.shape[2])
    return (len(late) * np.cov(late.T).reshape(metric.shape) + 5 * metric) / (len(late) + 5)


def _quality(blackjax: Any, x: Float[np.ndarray, "chains draws m"]) -> tuple[Any, Any]:
    """[m] effective draws and R-hat, by ranks (Vehtari et al. 2021, Bayesian Anal. 16, 667)."""

    @jax.jit
    def told(x: Any) -> Any:
        return jnp.minimum(blackjax.ess_bulk(x), blackjax.ess_tail(x)), blackjax.rhat(x)

    return jax.device_get(told(x))


def unlike_normal(fit: Fit, samples: Samples) -> list[str]:
    """What has to be said of draws: where the posterior is not normal, and whether to trust them.

    A parameter is named where an end of its interval lies elsewhere than the curvature at the best
    has it, by a tenth of half the interval and what chance does to quantiles; two of them where
    one goes with the square of the other, so that no ellipse holds both.
    """
    best, told = fit.posterior, []
    of = np.flatnonzero(np.isfinite(samples.effective))
    x = samples.x.reshape(-1, samples.x.shape[2])
    ends = np.quantile(x, (0.025, 0.975), axis=0)
    reach = scipy.stats.t.ppf(0.975, max(best.degrees, 1.0)) * np.sqrt(np.diag(best.covariance))
    off = np.abs(ends - best.x - np.array([[-1.0], [1.0]]) * reach) / reach
    chance = 2 * _QUANTILE / np.sqrt(np.maximum(samples.effective, 1.0))
    strange = [i for i in of if np.max(off[:, i]) > _ALIKE + chance[i]]
    limits = ("at least", "at most", "open")
    limited = [i for i in of if best.verdict[i] in limits and np.isinf(best.parameters[i].prior)]
    named = []
    for i in strange:
        p, low, high = best.parameters[i], samples.low[i], samples.high[i]
        wald = (p.back(best.x[i] + sign * reach[i]) for sign in (-1, 1))
        ends = {"curvature": tuple(wald)}
        if best.profiled[i]:
            ends["profile"] = (best.low[i], best.high[i])
        others = (f"{name} {_interval(*pair)}" for name, pair in ends.items())
        named.append(f"{p.name} ({_interval(low, high)}; {', '.join(others)})")
    if named:
        told.append(f"the posterior is not normal; 95 % of draws are within: {', '.join(named)}")
    if limited:
        told.append(
            f"the readings tell a limit alone, if any, of {_listed(best.names, limited)}: draws go "
            "as far as their bounds, which their intervals show; say what is known before (factor)"
        )
    if bent := _bent(x, of):
        pairs = "; ".join(f"{best.names[i]} and {best.names[j]}" for i, j in bent[:5])
        more = f", and {len(bent) - 5} pairs more" * (len(bent) > 5)
        told.append(f"draws lie along a curve, in no ellipse: {pairs}{more}")
    if apart := [i for i in of if not samples.r_hat[i] <= _MIXED]:
        worst = np.nanmax(samples.r_hat[apart])
        told.append(
            f"chains have not met in {_listed(best.names, apart)} (R-hat {worst:.3g}): more warmup "
            "and draws, or say what is known before"
        )
    if few := [i for i in of if samples.effective[i] < _ENOUGH]:
        least = np.min(samples.effective[few])
        told.append(
            f"draws of {_listed(best.names, few)} are worth {least:.0f} independent ones at least, "
            f"and intervals want {_ENOUGH}: more draws"
        )
    if samples.divergences:
        told.append(
            f"{samples.divergences} trajectories of the draws were given up: parts of the "
            "posterior may be missed"
        )
    if samples.held:
        told.append(f"held while others were drawn: {', '.join(samples.held)}")
    return told


def _bent(x: Float[np.ndarray, "M n"], of: Any) -> list[tuple[int, int]]:
    """Pairs of which one goes with the square of the other beside going with it, worst first."""
    found = []
    with np.errstate(invalid="ignore"):
        z = (x - x.mean(axis=0)) / x.std(axis=0)
    for i in of:
        square = z[:, i] ** 2
        square -= square.mean() + np.mean(square * z[:, i]) * z[:, i]
        rest = z - np.mean(z * z[:, i : i + 1], axis=0) * z[:, i : i + 1]
        for j in of:
            if j != i:
                found.append((abs(np.corrcoef(square, rest[:, j])[0, 1]), *sorted((i, j))))
    pairs = [(int(i), int(j)) for bend, i, j in sorted(found, reverse=True) if bend > _BENT]
    return list(dict.fromkeys(pairs))


def _interval(low: float, high: float) -> str:
    return " to ".join(f"{end:.4g}" if np.isfinite(end) else "open" for end in (low, high))


def _listed(names: tuple[str, ...], of: Any) -> str:
    return ", ".join(names[i] for i in of)
