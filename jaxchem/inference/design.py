"""Design of experiments: the readings that will say most of the parameters of a problem."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Float, Int

from ..brief import few, text
from ..network import Network
from ..rates import CONDITIONS
from ..suggest import closest
from .measurements import Measurements
from .noise import noise as noise_of
from .objective import evaluation
from .parameters import SEARCHED, named, number, whole
from .problem import Problem

__all__ = ["Design", "candidates", "design"]

_BETTER = 1e-9
"""An exchange that gains fewer bits is none."""


class Design(NamedTuple):
    """Readings that are worth taking, and what they will say.

    A gain is the expected fall of the entropy of the parameters (Lindley 1956, Ann. Math. Stat. 27,
    986), half the change of ln det of their information: one bit halves the volume that they are
    in. Of readings that are taken together it is that of all of them.

    Attributes:
        problem: of the candidate readings, whose values are predictions.
        chosen: [N] how often each candidate is to be read.
        alone: [N] bits that a candidate gains where nothing else is read.
        further: [N] bits that one more of it gains beside those that are chosen.
        together: whether all observables are read at once.
        gain: bits that all that are chosen gain.
        before: [n] standard deviation of each free parameter now: of its logarithm, where that is
            estimated.
        after: [n] the same with the readings.
        notes: whatever has to be said.
    """

    problem: Problem
    chosen: Int[np.ndarray, " N"]
    alone: Float[np.ndarray, " N"]
    further: Float[np.ndarray, " N"]
    together: bool
    gain: float
    before: Float[np.ndarray, " n"]
    after: Float[np.ndarray, " n"]
    notes: tuple[str, ...]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One row a candidate, those that say most by themselves first."""
        data = self.problem.measured
        return [
            {
                "experiment": data.experiments[data.experiment[n]],
                "time": float(data.ts[data.experiment[n], data.time[n]]),
                "observable": data.observables[data.observable[n]],
                "predicted": float(data.value[n]),
                "readings": int(self.chosen[n]),
                "gain_alone": float(self.alone[n]),
                "gain_further": float(self.further[n]),
            }
            for n in np.lexsort((np.arange(len(self.alone)), -self.alone.round(9)))
        ]

    def __repr__(self) -> str:
        lines = [
            f"Design: {int(self.chosen.sum())} readings of {len(self.chosen)} candidates, "
            f"{self.gain:.3g} bits",
            "deviation of each parameter (of ln, or of the value), before -> after:",
        ]
        changes = zip(self.problem.free, self.before, self.after, strict=True)
        lines += [f"- {p.name}: {a:.3g} -> {b:.3g}" for p, a, b in changes]
        shown, data = self.rows, self.problem.measured
        unit = self.problem.network.units.time
        taken: dict[Any, list[str]] = {}
        for n in np.lexsort((data.observable, data.time, data.experiment)):
            if often := int(self.chosen[n]):
                time = data.ts[data.experiment[n], data.time[n]]
                at = (data.experiments[data.experiment[n]], time, often)
                taken.setdefault(at, []).append(data.observables[data.observable[n]])
        lines.append("to be read:")
        for (experiment, time, often), names in taken.items():
            times = f" {often} times" * (often > 1)
            lines.append(f"- {time:g} {unit}{times}, {experiment}: {few(names)}")
        lines.append("would say most by themselves:")
        best: dict[str, float] = {}
        for row in shown:
            name = "all" if self.together else row["observable"]
            best.setdefault(
                f"{row['time']:g} {unit}, {row['experiment']}: {name}", row["gain_alone"]
            )
        lines += [f"- {where}, {bits:.3g} bits" for where, bits in [*best.items()][:5]]
        return text([*lines, *(f"note: {note}" for note in self.notes)])


def candidates(
    network: Network,
    *,
    times: Sequence[float],
    observables: Sequence[str] | None = None,
    experiments: Sequence[Mapping[str, float]] = ({},),
) -> Measurements:
    """Every reading that might be taken: each observable at each time of each experiment.

    Args:
        network: whose species they are.
        times: since the start, in the network's unit.
        observables: species, and what `problem` has expressions of; `None` takes all species.
        experiments: what each of them may begin with, and under which conditions: initial
            concentrations by species, and values of `jaxchem.rates.CONDITIONS` by name, which all
            of them state then. What none states is that of the problem.

    Returns:
        Measurements whose values are not known, for `problem`.

    Raises:
        ValueError: no time, observable or experiment; one that is there twice; a name that is no
            species and no condition; a value that cannot be.
    """
    for what, given in (
        ("times", times),
        ("observables", observables),
        ("experiments", experiments),
    ):
        if isinstance(given, str | Mapping | int | float):
            raise ValueError(f"{what}={given!r}: give a list.")
    for one in experiments:
        if not isinstance(one, Mapping) or not all(isinstance(name, str) for name in one):
            raise ValueError(f"experiments: {one!r} is no mapping of names to values, as {{A: 1}}.")
    ts = np.unique([number(t, "a time", "times") for t in times])
    names = network.species if observables is None else tuple(observables)
    for what, found in (("times", ts), ("observables", names), ("experiments", experiments)):
        if not len(found):
            raise ValueError(f"{what}: give one or more candidates.")
    if ts[0] < 0:
        raise ValueError(f"times: {ts[0]:g} is before the start, which is 0.")
    for name in names:
        if not isinstance(name, str):
            raise ValueError(f"observables: {name!r} is no name; write names as text.")
        if names.count(name) > 1:
            raise ValueError(f"observables: {name!r} is there twice; leave one out.")
    stated = [*dict.fromkeys(name for one in experiments for name in one)]
    if unknown := [n for n in stated if n not in network.species and n not in CONDITIONS]:
        hint = closest(unknown[0], [*network.species, *CONDITIONS]) or ""
        raise ValueError(f"experiments: {unknown[0]!r} is no species and no condition{hint}.")
    columns = {name: np.array([_stated(one, name) for one in experiments]) for name in stated}
    for name, column in columns.items():
        if name in network.species and np.any(column < 0):
            raise ValueError(f"experiments: {name} is {np.nanmin(column):g}; it is not negative.")
        if name in CONDITIONS and np.any(np.isnan(column)):
            raise ValueError(f"experiments: one has no {name}, which others have; give it in all.")
    labels = _labels(experiments)
    found = Measurements.of(
        network,
        ts,
        {name: np.zeros((len(labels), len(ts))) for name in names},
        conditions={n: v for n, v in columns.items() if n not in network.species},
        initial={n: v for n, v in columns.items() if n in network.species},
        units={name: "" for name in names if name not in network.species},
    )
    count = len(found.value)
    return dataclasses.replace(
        found, experiments=labels, value=np.full(count, np.nan), lines=np.arange(1, count + 1)
    )


def _labels(experiments: Sequence[Mapping[str, float]]) -> tuple[str, ...]:
    """What each is called: by what it has otherwise than others."""
    alike = [*experiments[0].items()] if len(experiments) > 1 else []
    alike = [item for item in alike if all(item in one.items() for one in experiments)]
    labels = []
    for one in experiments:
        own = (f"{name} {float(v):g}" for name, v in one.items() if (name, v) not in alike)
        labels.append(", ".join(own) or "as given")
    for label in labels:
        if labels.count(label) > 1:
            raise ValueError(f"experiments: {label!r} is there twice; leave one out.")
    return tuple(labels)


def _stated(one: Mapping[str, float], name: str) -> float:
    return number(one[name], name, "experiments") if name in one else np.nan


def design(
    problem: Problem,
    readings: int,
    *,
    noise: Mapping[str, Any],
    factor: float | None = None,
    together: bool = False,
    repeats: bool = True,
    draws: int = 16,
) -> Design:
    """Chooses the readings after which least is left open: D-optimal ones, by Bayes.

    The determinant of the parameters' information, their prior's and that of the readings by the
    slopes of the predictions, is made the largest: candidates are added one by one, and then each
    is exchanged for the best one in its place until no exchange helps (Fedorov 1972, Theory of
    Optimal Experiments; Cook & Nachtsheim 1980, Technometrics 22, 315). As slopes depend on
    parameters that are not known yet, ln det is averaged over what is known of them before
    (Chaloner & Verdinelli 1995, Stat. Sci. 10, 273).

    Args:
        problem: of `candidates`, or of any measurements; their values play no part.
        readings: how many may be taken; of whole times if `together`.
        noise: as of `infer_rates`; `sd` says the deviation of every observable.
        factor: within which rate coefficients are known before (one deviation) where the problem
            does not say so. `None` takes nothing as known of them.
        together: whether all observables are read at once, at each time that is chosen.
        repeats: whether a reading may be taken more than once.
        draws: of the parameters from what is known before; 1 takes their values alone.

    Raises:
        ValueError: deviations that are not stated, numbers that cannot be, or a problem that cannot
            be integrated at its values.
    """
    for name, value in (("readings", readings), ("draws", draws)):
        whole(value, name, "the design")
    for name, value in (("together", together), ("repeats", repeats)):
        if not isinstance(value, bool):
            raise ValueError(f"the design: {name} is {value!r}; write true or false.")
    named(noise, "noise", "the design")
    if factor is not None and not number(factor, "factor", "design") > 1:
        raise ValueError(f"factor={factor}: one above 1 is uncertain.")
    if not np.isfinite(problem.y0).all():
        raise ValueError("initial: first readings are not known to a design; give numbers.")
    free, notes = problem.free, [*problem.notes]
    prior = np.array([p.prior for p in free])
    if factor is not None:
        prior = np.where(np.isinf(prior) & [p.log for p in free], np.log(float(factor)), prior)
    stated = np.isfinite(prior)
    if not stated.all():
        names = few([p.name for p, there in zip(free, stated, strict=True) if not there])
        notes.append(f"taken as unknown before (give a factor, or an sd): {names}")
    x = _drawn(problem, np.where(stated, prior, 0.0), int(draws) if stated.any() else 1)
    value, slope = evaluation(problem.predicted)(x)
    done = np.asarray(np.isfinite(value).all(axis=1))
    if not done[0]:
        raise ValueError(
            "the candidates cannot be integrated at the parameters' values: give others, or "
            "raise max_steps of the solver."
        )
    if not done.all():
        notes.append(f"{int(np.sum(~done))} of {draws} draws could not be integrated: left out")
    value, slope = value[done], slope[done]
    kept = np.ones(value.shape[1], bool)
    if noise.get("kind") in ("relative", "log") and noise.get("floor") is None:
        kept = np.asarray((value > 0).all(axis=0))
        if not kept.any():
            raise ValueError("nothing is there to be read at any candidate: give other times.")
        if not kept.all():
            notes.append(f"{int(np.sum(~kept))} readings of nothing are no candidates")
    data = dataclasses.replace(problem.measured.without(~kept), value=value[0, kept])
    scaled = [
        _scaled(data, v, s, noise) for v, s in zip(value[:, kept], slope[:, kept], strict=True)
    ]
    rows, group = _grouped(data, np.stack(scaled), together)
    if not repeats and readings > rows.shape[1]:
        raise ValueError(
            f"readings={readings}: there are {rows.shape[1]} candidates; allow repeats."
        )
    prior = np.where(stated, prior, np.log(SEARCHED))
    information = np.diag(prior**-2.0)[None]
    chosen = _exchanged(information, rows, readings, repeats)
    found = information + _sum(rows, chosen)
    size = np.array([1.0 if p.log else p.size for p in free])
    variance = np.mean(np.linalg.inv(found).diagonal(axis1=1, axis2=2), axis=0)
    gain = float(np.mean(np.linalg.slogdet(found)[1])) + 2 * float(np.sum(np.log(prior)))
    return Design(
        problem._replace(measured=data),
        chosen[group],
        _gains(information, rows)[group],
        _gains(found, rows)[group],
        together,
        gain / np.log(4.0),
        prior * size,
        np.sqrt(variance) * size,
        tuple(notes),
    )


def _drawn(problem: Problem, spread: Float[np.ndarray, " n"], count: int) -> Any:
    """[count, n] coordinates: the problem's own, and others evenly from about them (Sobol)."""
    low, high, centre = (
        np.array([float(p.coordinate(getattr(p, name))) for p in problem.free])
        for name in ("low", "high", "value")
    )
    sequence = scipy.stats.qmc.Sobol(len(centre), seed=0)
    points = scipy.stats.norm.ppf(sequence.random_base2((count - 1).bit_length())[:count])
    points[0] = 0.0
    return np.clip(centre + points * spread, low, high)


def _scaled(
    data: Measurements,
    value: Float[np.ndarray, " N"],
    slope: Float[np.ndarray, "N n"],
    setting: Mapping[str, Any],
) -> Float[np.ndarray, "N n"]:
    """Slopes of what is compared, over its deviation."""
    how = noise_of(dataclasses.replace(data, value=value), setting)
    if not how.known.all():
        raise ValueError(
            "noise: a design wants the deviation of every reading: give sd, one for all or each."
        )
    _, bent = jax.jvp(how.seen, (jnp.asarray(value),), (jnp.ones(len(value)),))
    # information of Student's distribution by that of the normal one
    tail = 1.0 if np.isinf(how.tail) else np.sqrt((how.tail + 1) / (how.tail + 3))
    return slope * (np.asarray(bent) * how.weight * tail)[:, None]


def _grouped(
    data: Measurements, slope: Float[np.ndarray, "D N n"], together: bool
) -> tuple[Float[np.ndarray, "D G g n"], Int[np.ndarray, " N"]]:
    """Rows of each candidate, filled with zeros, and of which candidate each reading is."""
    if not together:
        return slope[:, :, None], np.arange(slope.shape[1])
    at = data.experiment * data.ts.shape[1] + data.time
    _, group, counts = np.unique(at, return_inverse=True, return_counts=True)
    order = np.argsort(group, kind="stable")
    place = np.empty(len(group), int)
    place[order] = np.arange(len(group)) - np.repeat(np.cumsum(counts) - counts, counts)
    rows = np.zeros((len(slope), len(counts), counts.max(), slope.shape[2]))
    rows[:, group, place] = slope
    return rows, group


def _sum(rows: Float[np.ndarray, "D G g n"], chosen: Int[np.ndarray, " G"]) -> Any:
    """[D, n, n] information of readings."""
    on = np.flatnonzero(chosen)
    return np.einsum("k,dkgi,dkgj->dij", chosen[on], rows[:, on], rows[:, on])


def _gains(information: Any, rows: Float[np.ndarray, "D G g n"]) -> Float[np.ndarray, " G"]:
    """Bits that each candidate gains beside what is known: half of log2 det(1 + F M^-1 F')."""
    draws, count, size, n = rows.shape
    root = np.linalg.cholesky(np.broadcast_to(information, (draws, n, n)))
    flat = np.linalg.solve(root, rows.reshape(draws, count * size, n).swapaxes(1, 2))
    flat = flat.swapaxes(1, 2).reshape(rows.shape)
    inner = np.eye(size) + np.einsum("dkgi,dkhi->dkgh", flat, flat)
    return np.mean(np.linalg.slogdet(inner)[1], axis=0) / np.log(4.0)


def _exchanged(
    information: Any, rows: Float[np.ndarray, "D G g n"], readings: int, repeats: bool
) -> Int[np.ndarray, " G"]:
    """How often each candidate is chosen."""
    chosen = np.zeros(rows.shape[1], int)

    def gains() -> Float[np.ndarray, " G"]:
        found = _gains(information + _sum(rows, chosen), rows)
        return found if repeats else np.where(chosen > 0, -np.inf, found)

    for _ in range(int(readings)):
        chosen[np.argmax(gains())] += 1
    changed = True
    while changed:
        changed = False
        for one in np.flatnonzero(chosen):
            chosen[one] -= 1
            found = gains()
            best = int(np.argmax(found))
            better = found[best] > found[one] + _BETTER
            chosen[best if better else one] += 1
            changed |= bool(better)
    return chosen
