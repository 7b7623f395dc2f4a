"""Autoencoders with simple dynamics in their latent space (Sulzer & Buck 2023, arXiv:2312.06015).

State -> encoder -> z0; z0 and scaled time -> z; z -> decoder -> state. Scaled time is the logarithm
of time over the range of the data, scaled states are logarithms of concentrations.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .emulator import LogScale, LogTime
from .perceptron import Perceptron

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

    def at(self, index: Any) -> "Examples":
        """The same trajectories at some of their times."""
        return self._replace(tau=self.tau[:, index], x=self.x[:, index])


class Latent(eqx.Module):
    """An emulator `(y0[S], conditions[C], ts[T]) -> y[T, S]` with dynamics in few latent variables.

    Attributes:
        encoder: scaled state and conditions to latent state.
        decoder: back, without the conditions.
        rates: what the dynamics need: coefficients [degree, L] that are the same for all
            trajectories, a perceptron that gives them for each initial state, or the right-hand
            side of the latent equation.
        bound: the right-hand side is s tanh(rates(z) / s) with this s (`neural_ode` only).
        warp: learned time of each latent; `None` takes scaled time itself.
        masses: of the species, for the loss alone.
        states: scale of the states.
        conditions: scale of the conditions.
        times: scale of the times.
        dynamics: one of `DYNAMICS`.
        settings: what rebuilds a model of this shape.
    """

    encoder: Perceptron
    decoder: Perceptron
    rates: Any
    bound: Float[Array, ""] | None
    warp: _Warp | None
    masses: Float[np.ndarray, " S"]
    states: LogScale
    conditions: LogScale
    times: LogTime
    dynamics: str = eqx.field(static=True)
    settings: tuple[tuple[str, Any], ...] = eqx.field(static=True)

    def __init__(
        self,
        size: int,
        conditions: int = 0,
        *,
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
        """A model with unit scales; `scaled_to` takes them from data.

        Args:
            size: number of species.
            conditions: number of conditions.
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
        inputs = size + conditions
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
        self.masses = np.zeros(size)
        self.states, self.conditions = LogScale.unit(size), LogScale.unit(conditions)
        self.times = LogTime(np.asarray(0.0), np.asarray(1.0))
        self.dynamics = dynamics
        self.settings = (
            *(("size", size), ("conditions", conditions), ("dynamics", dynamics)),
            *(("latent", latent), ("coder", tuple(coder)), ("decoder", back)),
            *(("activation", activation), ("squash", squash), ("degree", degree)),
            *(("slopes", slopes), ("slope_width", slope_width), ("warp", warp)),
            *(("ode", tuple(ode)), ("ode_activation", ode_activation)),
        )

    def scaled_to(
        self, ts: Any, ys: Any, conditions: Any, *, per_species: bool, masses: Any = None
    ) -> "Latent":
        """The same weights with scales of trajectories [N, T, S] and conditions [N, C].

        Args:
            ts: output times.
            ys: the trajectories.
            conditions: what they were made under.
            per_species: scale each species by itself, instead of all alike as published.
            masses: [S] molar masses, for the published mass term.
        """
        return eqx.tree_at(
            lambda m: (m.masses, m.states, m.conditions, m.times),
            self,
            (
                self.masses if masses is None else np.asarray(masses, dtype=float),
                LogScale.of(ys, per_species=per_species),
                LogScale.of(conditions, per_species=True),
                LogTime.of(ts),
            ),
        )

    def examples(self, y0: Any, conditions: Any, ts: Any, ys: Any) -> "Examples":
        """What it trains on, from states [N, S], conditions [N, C] and trajectories [N, T, S]."""
        tau = np.broadcast_to(np.asarray(self.times(jnp.asarray(ts))), (len(ys), len(ts)))
        parts = (
            self.states.forward(jnp.asarray(y0)),
            self.conditions.forward(jnp.asarray(conditions)),
            tau,
            self.states.forward(jnp.asarray(ys)),
        )
        return Examples(*(jnp.asarray(part, jnp.float32) for part in parts))

    def terms(self, batch: "Examples") -> dict[str, Float[Array, ""]]:
        """The loss terms by name, over all times of the batch.

        `trajectory`, `identity` (decoded encoded states), `first` and `second` differences along
        the times are mean squares in scaled logarithms; `mass` is the published sum over times of
        the absolute error of mass-weighted scaled logarithms, which is no mass.
        """
        latent = jax.vmap(self.evolve)(batch.x0, batch.conditions, batch.tau)
        error = jax.vmap(jax.vmap(self.decoder))(latent) - batch.x
        again = jax.vmap(lambda x, c: jax.vmap(lambda x: self.decoder(self.encode(x, c)))(x))(
            batch.x, batch.conditions
        )
        first = 0.5 * (error[:, 2:] - error[:, :-2])
        second = error[:, 2:] - 2 * error[:, 1:-1] + error[:, :-2]
        return {
            "trajectory": jnp.mean(error**2),
            "identity": jnp.mean((again - batch.x) ** 2),
            "first": jnp.mean(first**2),
            "second": jnp.mean(second**2),
            "mass": jnp.mean(jnp.sum(jnp.abs(error @ self.masses.astype(error.dtype)), axis=1)),
        }

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

    def __call__(
        self, y0: Float[Array, " S"], conditions: Float[Array, " C"], ts: Float[Array, " T"]
    ) -> Float[Array, "T S"]:
        """Concentrations at `ts` from the initial state `y0`, held outside of the trained times."""
        x, given = self.states.forward(y0), self.conditions.forward(conditions)
        latent = self.evolve(x, given, jnp.clip(self.times(ts), 0.0, 1.0))
        return self.states.backward(jax.vmap(self.decoder)(latent))


STEPS = 24
"""Steps of Tsit5 over the scaled time of a latent neural ODE, whose tendency is bounded."""
