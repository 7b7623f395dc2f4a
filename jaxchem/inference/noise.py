"""How readings scatter about what was predicted of them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Bool, Float, Int

from ..suggest import closest
from .measurements import Measurements
from .parameters import named, number

__all__ = ["Noise", "noise"]

_KINDS = ("absolute", "relative", "log", "both")
_PER = ("unit", "observable", "all")
_NEGLIGIBLE = 1e-9
_KNOWN = ("kind", "per", "sd", "relative", "floor", "tail", "autocorrelated")


class Noise(NamedTuple):
    """The distribution of readings about predictions.

    What is compared is the readings themselves, or their logarithms (`kind` is ``"log"``). Those of
    a group have one standard deviation, over `weight`.

    Attributes:
        kind: ``"absolute"``, ``"relative"``, ``"log"`` or ``"both"``.
        floor: [N] what is well below it is compared itself, also where the rest is by its
            logarithm: asinh(y / 2 floor).
        weight: [N] one over a deviation, or over what it is proportional to.
        group: [N] of which group a reading is.
        known: [G] whether weights are one over the deviation itself.
        names: of the groups.
        tail: degrees of freedom of Student's distribution; infinite for the normal one.
        parts: [N, 2] absolute and relative part of the deviations of ``"both"``; NaN where they are
            estimated.
        split: [G, 2] the parts that were estimated, else NaN.
    """

    kind: str
    floor: Float[np.ndarray, " N"]
    weight: Float[np.ndarray, " N"]
    group: Int[np.ndarray, " N"]
    known: Bool[np.ndarray, " G"]
    names: tuple[str, ...]
    tail: float
    parts: Float[np.ndarray, "N 2"]
    split: Float[np.ndarray, "G 2"]

    def seen(self, values: Float[Any, " N"]) -> Float[Array, " N"]:
        """What is compared of readings, or of what is predicted of them."""
        if self.kind != "log":
            return jnp.asarray(values)
        return jnp.arcsinh(values / (2 * self.floor))

    def back(self, seen: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
        """The readings of which this is seen."""
        if self.kind != "log":
            return np.asarray(seen)
        return 2 * self.floor * np.sinh(seen)

    def residual(self, values: Float[Array, " N"], seen: Float[Any, " N"]) -> Float[Array, " N"]:
        """Differences of predictions from what is seen of readings, over their deviations."""
        found = (self.seen(values) - seen) * self.weight
        return found if np.isinf(self.tail) else student(found, self.tail)

    def unbent(self, residual: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
        """Residuals as they are where the distribution has no heavy tails."""
        if np.isinf(self.tail):
            return residual
        squared = np.expm1(residual**2 / (1 + self.tail)) * self.tail
        return np.sign(residual) * np.sqrt(squared)

    def log_densities(self, values: Float[np.ndarray, " N"]) -> float:
        """What has to be added to ln L for it to be that of the readings themselves.

        That is ln of the weights, and of what is seen by what is read.
        """
        found = float(np.sum(np.log(self.weight)))
        if self.kind == "log":
            found -= 0.5 * float(np.sum(np.log(values**2 + 4 * self.floor**2)))
        if np.isfinite(self.tail):  # Student's density at 0 over the normal one
            half = self.tail / 2
            top = scipy.special.gammaln(half + 0.5) - scipy.special.gammaln(half)
            found += len(values) * float(top - 0.5 * np.log(half))
        return found

    def adapted(
        self, predicted: Float[np.ndarray, " N"], values: Float[np.ndarray, " N"]
    ) -> "Noise":
        """With deviations that follow what is predicted, and their parts those that are likeliest.

        This is the pseudo-likelihood of Davidian & Carroll (1987, J. Am. Stat. Assoc. 82, 1079):
        between fits of the parameters, those of the variance are fitted to their residuals.
        """
        if self.kind != "both":
            return self
        weight, split = self.weight.copy(), self.split.copy()
        for g in range(len(self.known)):
            of = self.group == g
            size, off = np.abs(predicted[of]), predicted[of] - values[of]
            a, b = self.parts[of].T
            if np.isnan(a).any():
                split[g] = a, b = _parts(size, off)
            weight[of] = 1 / np.hypot(a, b * size)
        return self._replace(weight=weight, split=split)


def _parts(size: Float[np.ndarray, " n"], off: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """The likeliest absolute and relative part of deviations."""
    spread, largest = float(np.sqrt(np.mean(off**2))), float(size.max())
    squares, weights = (off / spread) ** 2, (size / largest) ** 2

    def twice(parts: np.ndarray) -> float:
        variance = np.exp(2 * parts[0]) + np.exp(2 * parts[1]) * weights
        return float(np.sum(squares / variance + np.log(variance)))

    starts = np.log([[1.0, 1e-3], [1e-3, 1.0], [0.5, 1.0]])
    how = {"method": "Nelder-Mead", "options": {"xatol": 1e-8, "fatol": 1e-10}}
    found = [scipy.optimize.minimize(twice, s, **how) for s in starts]
    a, b = np.exp(min(found, key=lambda one: one.fun).x)
    return float(a) * spread, float(b) * spread / largest


def student(z: Float[Array, " m"], tail: float) -> Float[Array, " m"]:
    """Residuals whose squares are -2 ln of Student's density at z over that at 0.

    Lange, Little & Taylor 1989, J. Am. Stat. Assoc. 84, 881.
    """
    squared = z**2 / tail
    small = squared < 1e-8
    safe = jnp.where(small, 1.0, squared)
    ratio = jnp.where(small, 1.0 - squared / 2, jnp.log1p(safe) / safe)
    return z * jnp.sqrt((1.0 + 1.0 / tail) * ratio)


def noise(data: Measurements, setting: Mapping[str, Any] | None = None) -> Noise:
    """The noise of measurements, from its settings, which `infer_rates` describes.

    Raises:
        ValueError: a setting that there is not, or that the readings cannot have.
    """
    named(setting, "noise", "the fit")
    setting = setting or {}
    for name in setting:
        if name not in _KNOWN:
            raise ValueError(
                f"noise has no setting {name!r}{closest(name, _KNOWN)} Known: {', '.join(_KNOWN)}."
            )
    if setting.get("autocorrelated") not in (None, True, False):
        raise ValueError("noise: autocorrelated is true or false, or left out to be looked for.")
    kind, per = setting.get("kind", "absolute"), setting.get("per", "unit")
    if kind not in _KINDS or per not in _PER:
        raise ValueError(
            f"noise: kind {kind!r} per {per!r}; kinds are {', '.join(_KINDS)}, and one deviation "
            f"is per {', '.join(_PER)}."
        )
    for name, of in (("floor", "log"), ("relative", "both")):
        if setting.get(name) is not None and kind != of:
            raise ValueError(f"noise: {name} is of kind {of}, and this one is {kind}.")
    floor = _NEGLIGIBLE * data.value  # far below, a prediction may be negative by rounding
    if setting.get("floor") is not None:
        floor = _positive(setting["floor"], "floor") * _largest(data)
    elif kind in ("relative", "log") and np.any(data.value <= 0):
        n = int(np.argmax(data.value <= 0))
        hint = ", or give it a floor" * (kind == "log")
        raise ValueError(
            f"noise: kind {kind} wants positive readings, but "
            f"{data.observables[data.observable[n]]} is {data.value[n]:g} (line {data.lines[n]}); "
            f"use kind absolute{hint}."
        )
    units = [*dict.fromkeys(data.units)]
    names = {"unit": units, "observable": [*data.observables], "all": ["all"]}[per]
    index = {
        "unit": np.array([units.index(u) for u in data.units]),
        "observable": np.arange(len(data.observables)),
        "all": np.zeros(len(data.observables), int),
    }[per]
    group = index[data.observable]
    weight = 1 / data.value if kind == "relative" else np.ones(len(data.value))
    known = np.zeros(len(names), bool)
    parts = np.full((len(data.value), 2), np.nan)
    stated = np.asarray(np.isfinite(data.deviation))
    if stated.any():
        own = np.hypot(data.value, 2 * floor) if kind == "log" else np.ones(len(data.value))
        weight = np.where(stated, own / np.where(stated, data.deviation, 1.0), weight)
        parts[stated] = np.stack([data.deviation[stated], np.zeros(stated.sum())], 1)
        group = np.where(stated, len(names), group)
        names, known = [*names, "stated"], np.append(known, True)
    sd = setting.get("sd")
    if kind == "both" and (sd is None) != (setting.get("relative") is None):
        raise ValueError("noise: kind both: give sd and relative, or neither to estimate them.")
    if sd is not None:
        each = dict.fromkeys(data.observables, sd) if not isinstance(sd, Mapping) else dict(sd)
        for name, value in each.items():
            if name not in data.observables:
                raise ValueError(f"noise: sd of {name!r}, which is not observed.")
            value = _positive(value, f"sd of {name}")
            of = (data.observable == data.observables.index(name)) & ~stated
            weight = np.where(of, weight / value, weight)
            if kind == "both":
                parts[of] = value, _positive(setting["relative"], "relative")
            group = np.where(of, len(names), group)
        names, known = [*names, "given"], np.append(known, True)
    kept = [g for g in range(len(names)) if np.any(group == g)]
    group = np.searchsorted(kept, group)
    tail = np.inf if setting.get("tail") is None else _positive(setting["tail"], "tail")
    if np.isfinite(tail) and not (known[kept].all() and kind != "both"):
        raise ValueError("noise: tail: state the deviation of all readings (sd), not in parts.")
    for g, name in enumerate(np.array(names, dtype=object)[kept] if kind == "both" else ()):
        of = group == g
        if np.isnan(parts[of]).any() and not np.any(data.value[of]):
            raise ValueError(
                f"noise: kind both: readings of {name} are all zero, so the parts of their "
                "deviation cannot be estimated; give sd and relative, or write kind: absolute."
            )
    groups, split = tuple(names[g] for g in kept), np.full((len(kept), 2), np.nan)
    found = Noise(kind, floor, weight, group, known[kept], groups, tail, parts, split)
    return found if not known[kept].all() else found.adapted(data.value, data.value)


def _positive(given: Any, name: str) -> float:
    value = number(given, name, "noise")
    if not value > 0:
        raise ValueError(f"noise: {name} is {value:g}; give a positive number.")
    return value


def _largest(data: Measurements) -> Float[np.ndarray, " N"]:
    """Of each reading, the largest magnitude that its observable has; 1 where all are zero."""
    found = np.zeros(len(data.observables))
    np.maximum.at(found, data.observable, np.abs(data.value))
    return np.where(found > 0, found, 1.0)[data.observable]
