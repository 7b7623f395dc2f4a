"""Autoencoders with simple dynamics in their latent space (Sulzer & Buck 2023, arXiv:2312.06015).

State -> encoder -> z0; z0 and scaled time -> z; z -> decoder -> state. Times and states are scaled
to the range of the data, usually as logarithms.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..dataset import Observations
from ..scale import LinearScale, LinearTime, LogScale, LogTime, of_kind
from .base import About, AbstractEmulator, hands_on
from .layers import Perceptron

__all__ = ["DYNAMICS", "Latent"]

DYNAMICS = ("linear", "polynomial", "neural_ode")
"""What the latent state may do in time."""


class _Warp(eqx.Module):
    """Monotone maps of scaled time: tau + sum_n softplus(a_n) sigmoid(e^b_n (tau - c_n))."""

    a: Float[Array, "n L"]
    b: Float[Array, "n L"]
    c: Float[Array, "n L"]

    def __init__(self, steps: int, latent: int):
        centres = np.linspace(0.05, 0.95, steps, dtype=np.float32)[:, None]
        self.a = jnp.full((steps, latent), -3.0, jnp.float32)
        self.b = jnp.full((steps, latent), 3.0, jnp.float32)
        self.c = jnp.tile(jnp.asarray(centres), (1, latent))

    def __call__(self, tau: Float[Array, ""]) -> Float[Array, " L"]:
        def bent(t: Any) -> Any:
            rise = jax.nn.sigmoid(jnp.exp(self.b) * (t - self.c))
            return jnp.sum(jax.nn.softplus(self.a) * rise, axis=0)

        return tau + bent(tau) - bent(jnp.zeros_like(tau))


class Examples(NamedTuple):
    """Scaled trajectories: initial states, conditions, times and states."""

    x0: Float[Array, "N S"]
    conditions: Float[Array, "N C"]
    tau: Float[Array, "N T"]
    x: Float[Array, "N T S"]

    def at_times(self, index: Any) -> "Examples":
        """The same trajectories at some of their times."""
        return self._replace(tau=self.tau[:, index], x=self.x[:, index])


class Latent(AbstractEmulator):
    """An emulator with dynamics in few latent variables.

    Attributes:
        about: names of states and conditions.
        encoder: scaled state and conditions to latent state.
        decoder: back, without the conditions.
        rates: what the dynamics need: coefficients [degree, L] that are the same for all
            trajectories, a perceptron that gives them for each initial state, or the right-hand
            side of the latent equation.
        bound: the right-hand side is s tanh(rates(z) / s) with this s (`neural_ode` only).
        warp: learned time of each latent; `None` takes scaled time itself.
        masses: of the species, for the loss alone.
        state_scale: of the states.
        condition_scale: of the conditions.
        time_scale: of the times, the start of the data included.
        dynamics: one of `DYNAMICS`.
    """

    about: About = eqx.field(static=True)
    encoder: Perceptron
    decoder: Perceptron
    rates: Any
    bound: Float[Array, ""] | None
    warp: _Warp | None
    masses: Float[np.ndarray, " S"]
    state_scale: LogScale | LinearScale
    condition_scale: LogScale | LinearScale
    time_scale: LogTime | LinearTime
    dynamics: str = eqx.field(static=True)

    def __init__(
        self,
        about: About,
        *,
        scales: tuple[Any, Any, Any] | None = None,
        masses: Any = None,
        dynamics: str = "linear",
        latent: int = 5,
        coder: Sequence[int] = (64, 32, 16, 8),
        decoder: Sequence[int] | None = None,
        activation: str = "tanh",
        squash: bool = True,
        degree: int = 1,
        slopes: str = "global",
        slope_width: int = 64,
        warp: int = 0,
        ode: Sequence[int] = (64, 64, 64, 64, 64),
        ode_activation: str = "tanh",
        key: PRNGKeyArray,
    ):
        """A model with random weights.

        Args:
            about: names of states and conditions.
            scales: of states, conditions and times; `None` leaves all as they are.
            masses: [S] of the species, for the published mass term.
            dynamics: one of `DYNAMICS`.
            latent: number of latent variables.
            coder: widths of the encoder's hidden layers, tanh after each and after the last.
            decoder: widths of the decoder's; `None` turns the encoder's round.
            activation: of the decoder.
            squash: tanh after the decoder's last layer, as published. An abundance at the upper
                end of its range is then out of reach.
            degree: of the polynomial in time.
            slopes: ``"global"`` coefficients of the polynomial, as published, or ``"state"``:
                from the initial state and conditions.
            slope_width: of the two layers that give them.
            warp: sigmoids in the learned time, 0 for none.
            ode: widths of the latent equation's hidden layers.
            ode_activation: in them.
            key: seeds the weights.

        Raises:
            ValueError: unknown dynamics or slopes.
        """
        if dynamics not in DYNAMICS:
            raise ValueError(f"unknown dynamics {dynamics!r}; known: {', '.join(DYNAMICS)}.")
        if slopes not in ("global", "state"):
            raise ValueError(f"unknown slopes {slopes!r}; known: global, state.")
        back = tuple(reversed(coder)) if decoder is None else tuple(decoder)
        keys = jax.random.split(key, 3)
        size, inputs = len(about.states), len(about.states) + len(about.conditions)
        final = "tanh" if squash else "identity"
        gain = 1.0 if activation == "tanh" else 2.0**0.5
        self.encoder = Perceptron(
            (inputs, *coder, latent), activation="tanh", final="tanh", key=keys[0]
        )
        self.decoder = Perceptron(
            (latent, *back, size), activation=activation, final=final, gain=gain, key=keys[1]
        )
        degree = degree if dynamics == "polynomial" else 1
        if dynamics == "neural_ode":
            self.rates = Perceptron((latent, *ode, latent), activation=ode_activation, key=keys[2])
        elif slopes == "state":
            hidden = (slope_width, slope_width)
            self.rates = Perceptron((inputs, *hidden, degree * latent), gain=1.4, key=keys[2])
        else:
            self.rates = 0.5 * jax.random.normal(keys[2], (degree, latent), jnp.float32)
        self.bound = jnp.ones((), jnp.float32) if dynamics == "neural_ode" else None
        self.warp = _Warp(warp, latent) if warp else None
        if scales is None:
            ones, none = np.ones(size), np.ones(inputs - size)
            plain = LinearScale(-ones, ones), LinearScale(-none, none)
            scales = *plain, LinearTime(np.asarray(0.0), np.asarray(1.0))
        self.about = about
        self.masses = np.zeros(size) if masses is None else np.asarray(masses, dtype=float)
        self.state_scale, self.condition_scale, self.time_scale = scales
        self.dynamics = dynamics

    @classmethod
    @hands_on(__init__, without=("scales", "masses"))
    def fitted(
        cls,
        data: Observations,
        *,
        per_species: bool = False,
        scale: str = "log",
        time: str = "log",
        key: PRNGKeyArray,
        **settings: Any,
    ) -> "Latent":
        """A model with random weights and the scales of the data.

        Args:
            data: trajectories of every species.
            per_species: scale each species by itself, instead of all alike as published.
            scale: of the states, ``"log"`` or ``"linear"``.
            time: of the times, ``"log"`` or ``"linear"``.
            key: seeds the weights.
            **settings: of `Latent`.

        Raises:
            ValueError: an unknown scale, or times that have no logarithm.
        """
        states, times = of_kind(scale, time)
        scales = (
            states.of(data.states, per_species=per_species),
            LogScale.of(data.conditions),
            times.of(data.ts),
        )
        masses = data.network.masses
        return cls(About.of(data), scales=scales, masses=masses, key=key, **settings)

    def examples(self, data: Observations) -> Examples:
        """Scaled trajectories."""
        ys, ts = data.states, self.time_scale(data.ts)
        parts = (
            self.state_scale.forward(data.y0),
            self.condition_scale.forward(data.conditions),
            jnp.broadcast_to(ts, (len(ys), len(ts))),
            self.state_scale.forward(ys),
        )
        return Examples(*(jnp.asarray(part, jnp.float32) for part in parts))

    def terms(self, batch: Examples, key: PRNGKeyArray) -> dict[str, Float[Array, ""]]:
        """The loss terms by name, over all times of the batch.

        `trajectory`, `identity` (decoded encoded states), and `first` and `second` differences
        along three times or more are mean squares in scaled logarithms; `mass` is the published
        sum over times of the absolute error of mass-weighted scaled logarithms, which is no mass.
        """
        del key
        latent = jax.vmap(self.evolve)(batch.x0, batch.conditions, batch.tau)
        error = jax.vmap(jax.vmap(self.decoder))(latent) - batch.x
        again = jax.vmap(lambda x, c: jax.vmap(lambda x: self.decoder(self.encode(x, c)))(x))(
            batch.x, batch.conditions
        )
        terms = {
            "trajectory": jnp.mean(error**2),
            "identity": jnp.mean((again - batch.x) ** 2),
            "mass": jnp.mean(jnp.sum(jnp.abs(error @ self.masses.astype(error.dtype)), axis=1)),
        }
        if error.shape[1] > 2:
            first = 0.5 * (error[:, 2:] - error[:, :-2])
            second = error[:, 2:] - 2 * error[:, 1:-1] + error[:, :-2]
            terms |= {"first": jnp.mean(first**2), "second": jnp.mean(second**2)}
        return terms

    def encode(self, x: Float[Array, " S"], conditions: Float[Array, " C"]) -> Float[Array, " L"]:
        """Latent state of a scaled state under scaled conditions."""
        return self.encoder(jnp.concatenate([x, conditions]))

    def evolve(
        self, x: Float[Array, " S"], conditions: Float[Array, " C"], tau: Float[Array, " T"]
    ) -> Float[Array, "T L"]:
        """Latent states at scaled times, from a scaled state at scaled time 0."""
        start = self.encode(x, conditions)
        tau = tau.astype(start.dtype)
        if self.dynamics == "neural_ode":
            return self._integrated(start, tau)
        inputs = jnp.concatenate([x, conditions])
        if isinstance(self.rates, Perceptron):
            rates = self.rates(inputs).reshape(-1, len(start))
        else:
            rates = self.rates
        if self.warp is None:
            spread = jnp.tile(tau[:, None], (1, len(start)))
        else:
            spread = jax.vmap(self.warp)(tau)
        powers = jnp.cumprod(jnp.tile(spread[:, None], (1, len(rates), 1)), axis=1)
        return start[None] + jnp.sum(rates[None] * powers, axis=1)

    def _integrated(self, start: Float[Array, " L"], tau: Float[Array, " T"]) -> Any:
        def field(t: Any, z: Any, model: Any) -> Any:
            del t
            return model.bound * jnp.tanh(model.rates(z) / model.bound)

        one = jnp.ones((), start.dtype)
        return diffrax.diffeqsolve(
            diffrax.ODETerm(field),  # pyright: ignore[reportArgumentType]
            diffrax.Tsit5(),
            0.0 * one,
            one,
            one / STEPS,
            start,
            self,
            saveat=diffrax.SaveAt(ts=jnp.clip(tau, 0.0, 1.0)),
            max_steps=STEPS + 1,
        ).ys

    def predict(
        self, y0: Float[Array, " S"], conditions: Float[Array, " C"], ts: Float[Array, " T"]
    ) -> Float[Array, "T S"]:
        """States at `ts`, held outside of the trained times."""
        found = jax.vmap(self.decoder)(self.latents(y0, conditions, ts))
        return self.state_scale.backward(found)

    def latents(
        self, y0: Float[Array, " S"], conditions: Float[Array, " C"], ts: Float[Array, " T"]
    ) -> Float[Array, "T L"]:
        """The latent state at `ts`."""
        x, given = self.state_scale.forward(y0), self.condition_scale.forward(conditions)
        tau = jnp.clip(self.time_scale(ts + self.about.start), 0.0, 1.0)
        return self.evolve(x, given, tau)


STEPS = 24
"""Steps of Tsit5 over the scaled time of a latent neural ODE, whose tendency is bounded."""
