"""Reference trajectories: sampled initial states, output times, and SciPy's integration."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy
import xarray as xr
from jaxtyping import Float
from tqdm import tqdm

from ..network import Network
from ..rates import CONDITIONS
from ..solvers.cell import check_concentrations
from ..solvers.integrator import check_rtol, check_times, default_atol
from ..system import MISSING, System, unpack
from ..workers import mapped
from .labels import laws, to_dataset

__all__ = ["generate", "sample", "times"]


def sample(
    network: Network,
    initial: Mapping[str, Any],
    *,
    cases: int = 1,
    spread: float = 0.0,
    seed: int | np.random.SeedSequence = 0,
) -> Float[np.ndarray, "case S"]:
    """Initial states: given ones, or one varied at random.

    Args:
        network: whose species `initial` names.
        initial: species -> concentration, or species -> list of one concentration a case.
        cases: how many states, where `initial` has single values; longer lists are cut.
        spread: each positive concentration is multiplied by a draw from U(1 - spread,
            1 + spread), independently in each case but the first, which stays as given.
        seed: of the draws.

    Raises:
        ValueError: an unknown species, a bad concentration, lists shorter than `cases`, no
            case, or a spread that could make a concentration negative.
    """
    if cases < 1 or not 0 <= spread <= 1:
        raise ValueError(
            f"cannot sample {cases} initial states with a spread of {spread}: at least one case, "
            "and a spread between 0 and 1."
        )
    states = []
    for case in range(cases):
        values = {}
        for name, value in initial.items():
            if not isinstance(name, str):
                raise ValueError(
                    f"the initial state names a species {name!r}: YAML reads an unquoted NO as "
                    'false; write "NO".'
                )
            if isinstance(value, Sequence) and not isinstance(value, str):
                if len(value) < cases:
                    raise ValueError(
                        f"initial state gives {len(value)} values for {name!r}, but {cases} "
                        "cases are wanted; lower data.cases or add values."
                    )
                values[name] = float(value[case])
            else:
                values[name] = float(value)
        states.append(np.asarray(network.y0(values), dtype=np.float64))
    factors = np.random.default_rng(seed).uniform(1 - spread, 1 + spread, np.shape(states))
    factors[0] = 1.0
    return np.asarray(states) * factors


def times(
    *, start: float, stop: float, points: int, spacing: str = "linear", zero: bool = False
) -> Float[np.ndarray, " T"]:
    """Output times, linear or logarithmic.

    Args:
        start: the first time.
        stop: the last time.
        points: how many in between and including both.
        spacing: ``"linear"`` or ``"log"``.
        zero: put time 0 before the grid.

    Raises:
        ValueError: an unknown spacing, or a range that the spacing cannot have.
    """
    if spacing not in ("linear", "log"):
        raise ValueError(f"unknown spacing {spacing!r}; known: linear, log.")
    if not stop > start or points < 2 or ((spacing == "log" or zero) and start <= 0):
        raise ValueError(
            f"cannot space {points} points {spacing} from {start} to {stop}: stop must exceed "
            "start, log spacing and zero=true need start > 0, and two points are the least."
        )
    grid = (np.geomspace if spacing == "log" else np.linspace)(start, stop, points)
    return np.concatenate([[0.0], grid]) if zero else grid


def generate(
    network: Network | System,
    k: Any = MISSING,
    y0: Any = MISSING,
    ts: Any = MISSING,
    *,
    t0: float = 0.0,
    method: str = "Radau",
    rtol: float = 1e-10,
    atol: Any = None,
    conditions: Mapping[str, Any] | None = None,
    executor: Any = None,
    progress: bool = True,
) -> xr.Dataset:
    """Reference trajectories from SciPy at tight tolerance, independent of `jaxchem.solve`.

    Args:
        network: the reactions; or a `System`, behind which `k` is left out:
            ``generate(system, y0, ts)``.
        k: rate coefficients [R], a function of time, or one of time and state.
        y0: [case, S] one initial state a case; may dip below zero as that of `jaxchem.solve`.
        ts: [T] output times.
        t0: time of the initial states.
        method: of `scipy.integrate.solve_ivp`; Radau (Hairer & Wanner 1996) by default.
        rtol: relative tolerance.
        atol: absolute tolerance, a number or [S]; `None` as for `Integrator`.
        conditions: written into the dataset, as is whether `k` is what the network's own laws
            give under them.
        executor: whose workers integrate the cases, as that of `jaxchem.solve_ensemble`.
        progress: show a bar.

    Raises:
        ValueError: output times before `t0` or out of order; a negative, NaN or infinite
            concentration; a negative coefficient; an `rtol` that is not positive and finite; a
            trajectory that SciPy could not integrate, with its case and reason.
    """
    system, (y0, ts) = unpack("generate", network, k=k, y0=y0, ts=ts)
    check_times(ts, t0)
    check_rtol(rtol)
    check_concentrations(system, np.asarray(y0, dtype=float), atol)
    ts = np.asarray(ts, dtype=np.float64)
    reference, results = _Reference(system, ts, float(t0), method, rtol, atol), {}
    tasks = ((case, np.asarray(start, dtype=np.float64)) for case, start in enumerate(y0))
    if executor is None:
        found = (reference(*task) for task in tasks)
    else:
        found = mapped(executor, _Reference.__call__, reference, tasks)
    for case, states in tqdm(
        found, desc="truth", total=len(y0), disable=None if progress else True
    ):
        results[case] = states
    results = [results[case] for case in range(len(y0))]
    tolerance = "default" if atol is None else f"{np.max(atol):g}"
    dataset = to_dataset(
        system,
        (ts, np.asarray(results)),
        y0=y0,
        t0=t0,
        conditions=conditions,
        provenance=f"scipy.integrate.solve_ivp {method}, rtol {rtol:g}, atol {tolerance}",
    )
    if isinstance(network, Network) and _own(network, k, conditions or {}):
        dataset.attrs["laws"] = laws(network)
    return dataset


@dataclass
class _Reference:
    """SciPy's integration of a case; what is compiled for it is made once a process."""

    system: System
    ts: np.ndarray
    t0: float
    method: str
    rtol: float
    atol: Any

    @cached_property
    def right(self) -> Callable[..., np.ndarray]:
        """The field."""
        return _plain(jax.jit(lambda t, y: self.system.field(t, y)))

    @cached_property
    def slopes(self) -> dict[str, Callable[..., np.ndarray]]:
        """Its Jacobian, for methods that take one."""
        if self.method in ("RK45", "RK23", "DOP853"):
            return {}
        return {"jac": _plain(jax.jit(lambda t, y: self.system.jacobian(t, y)))}

    def __call__(self, case: int, start: np.ndarray) -> tuple[int, np.ndarray]:
        """The number of the case, and its states [T, S]."""
        tolerances = default_atol(jnp.asarray(start)) if self.atol is None else self.atol
        y, t, first = start, self.t0, None
        states = []
        for stop in self.ts:  # land on each output: no interpolation
            if stop > t:
                outcome = scipy.integrate.solve_ivp(
                    self.right,
                    (t, stop),
                    y,
                    method=self.method,
                    rtol=self.rtol,
                    atol=np.asarray(tolerances),
                    first_step=None if first is None else min(first, stop - t),
                    **self.slopes,
                )
                if not outcome.success:
                    raise ValueError(
                        f"reference trajectory {case} failed at t = {outcome.t[-1]:g}: "
                        f"{outcome.message}"
                    )
                y, t, first = outcome.y[:, -1], stop, np.max(np.diff(outcome.t)[-2:])
            states.append(y)
        return case, np.asarray(states)


def _own(network: Network, k: Any, conditions: Mapping[str, Any]) -> bool:
    """Whether coefficients are those that the network's own laws give under these conditions."""
    try:
        own = network.rates(**{n: v for n, v in conditions.items() if n in CONDITIONS})
    except ValueError:
        return False
    return not (callable(k) or callable(own)) and np.allclose(k, own, rtol=1e-12, atol=0.0)


def _plain(function: Any) -> Any:
    return lambda t, y: np.asarray(function(t, y))
