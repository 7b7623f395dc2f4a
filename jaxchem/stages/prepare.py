"""The data of a run: drawn or read, solved, kept, split and observed."""

import dataclasses
import inspect
import json
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from ..checkpoint import digest
from ..dataset import (
    Observations,
    course,
    draw,
    generate,
    label_cells,
    laws,
    observe,
    read,
    sample,
    scattered,
    stream,
    times,
    under,
    write,
)
from ..ensemble import cases_of, generate_ensemble, solve_ensemble
from ..network import Network
from ..parse import table
from ..solvers import Integrator
from ..suggest import no_setting
from ..workers import check_setting, opened

__all__ = ["Data", "Plan", "unused"]

log = logging.getLogger("jaxchem")

_NOT_MADE = ("test", "split", "observe", "floor", "counted", "executor")
"""Settings that change nothing of what is solved."""

_DRAWN = ("draw", "course", "spin_up", "scatter", "solver")
"""Settings of states that are drawn."""

_SAMPLED = ("initial", "cases", "spread", "truth")
"""Settings of states that are given."""

_KNOWN = ("path", "true_rates", "time_scale", "t0", "times", *_DRAWN, *_SAMPLED, *_NOT_MADE)

_MOST = 2048
"""Cases that are sketched at most."""


class Data(NamedTuple):
    """What a run learns from and is measured on.

    Attributes:
        seen: what is observed.
        test: the trajectories that results are measured on, as they are.
        held: the same as a dataset.
        apart: whether the two share no trajectory.
    """

    seen: Observations
    test: Observations
    held: Any
    apart: bool


class Plan:
    """The data that a section `data` of a configuration wants, before they are made.

    Without `split` and `test` the observed cases are those that results are measured on.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        network: Network,
        conditions: Mapping[str, Any],
        *,
        seed: int,
        folder: Path,
    ):
        """Checks the settings.

        Args:
            settings: the section, as conf/data/base.yaml has it.
            network: what reacts.
            conditions: what is the same in all cases.
            seed: of draws, test draws and noise, each apart from the others (see `stream`).
            folder: keeps the trajectories; those that are there already, of these settings, are
                taken.

        Raises:
            ValueError: settings that there are not, or that exclude one another.
        """
        tests = {
            name: value for name, value in (settings["test"] or {}).items() if value is not None
        }
        if settings["split"] and settings.get("course"):
            raise ValueError(
                "data.split would part the segments of a course, of which each follows from the "
                "one before; set data.split=null, and data.test."
            )
        if settings.get("scatter") and not tests:
            raise ValueError(
                "data.scatter sets off what is learned from, and what is measured on must not be: "
                "give data.test (and data.split=null), or set data.scatter=null."
            )
        if "executor" in tests:
            raise ValueError("data.test.executor is that of the data: set data.executor.")
        if "scatter" in tests:
            raise ValueError("data.test.scatter: what is measured starts as it is; leave it out.")
        if tests and settings["split"]:
            raise ValueError("data.split and data.test exclude one another; set data.split=null.")
        self.settings, self.seed, self.folder = settings, seed, folder
        self.network, self.conditions = network, conditions
        self.sections = {"train": settings}
        self._files: dict[str, Any] = {}  # what is read, by section: to sketch and to make
        for name in ("observe", "floor", "counted", "split", "test"):
            if name in tests:
                raise ValueError(f"data.test.{name} is that of the data: set data.{name}.")
        if tests:  # as the data, but for what `data.test` says otherwise
            own = {} if "path" in tests or not {"draw", "initial"} & set(tests) else {"path": None}
            own |= {"scatter": None} if settings.get("scatter") else {}
            self.sections["test"] = _merged(settings, tests | own)
            path = self.sections["test"]["path"]
            if path and path == settings["path"]:
                raise ValueError(f"data.test is read from {path}, as the data are; give another.")
        for section in self.sections.values():
            _check(section)
        self._kept = {name: self._found(name) for name in self.sections}

    def sketch(self, cases: int = 16) -> Data:
        """Data of this form that took no solving, to rehearse with: a few cases, not true ones."""
        known = {name: self._kept.get(name) for name in self.sections}
        made = {n: self._made(n, None) if part is None else part for n, part in known.items()}
        data = self._data(made)
        few = slice(cases)
        return data._replace(seen=data.seen.chosen(few), test=data.test.chosen(few))

    def make(self, *, notes: str = "", progress: bool = True) -> Data:
        """The data.

        Args:
            notes: kept with the trajectories.
            progress: show bars.

        Raises:
            ValueError: bad settings, or a damaged file.
        """
        with opened(self.settings.get("executor")) as executor:
            return self._solved(notes, progress=progress, executor=executor)

    def _solved(self, notes: str, **by: Any) -> Data:
        made = {}
        for name in self.sections:
            path, mark = self._path(name), self._mark(name)
            store = path.with_name(f"{path.stem}-{mark}")  # so that a killed run goes on
            dataset = self._kept.pop(name) if name in self._kept else self._found(name)
            if dataset is not None:
                log.info("data: taken up from %s", path)
            else:
                dataset = self._made(name, store, **by)
                dataset.attrs |= {"fingerprint": mark, "configuration": notes}
                write(dataset, path)
            made[name] = dataset  # which may fill much of the memory, so that it stays nowhere
            shutil.rmtree(store, ignore_errors=True)
        data = self._data(made)
        log.info(
            "%s: %d species, %d reactions; %d cases, %d of %d times observed",
            self.network.name,
            len(self.network.species),
            len(self.network.equations),
            len(data.seen.y0),
            len(data.seen.ts),
            made["train"].sizes["time"],
        )
        return data

    def _path(self, name: str) -> Path:
        """Where the trajectories of a section are kept."""
        return self.folder / ("data.nc" if name == "train" else "test.nc")

    def _mark(self, name: str) -> str:
        """Tells the trajectories of a section from those of other settings."""
        wanted = {n: v for n, v in self.sections[name].items() if n not in _NOT_MADE}
        return digest(table.dumps(self.network), dict(self.conditions), wanted, (self.seed, name))

    def _found(self, name: str) -> Any:
        """The trajectories of a section if they are kept, else `None`."""
        path = self._path(name)
        dataset = read(path, self.network) if path.exists() else None
        right = dataset is not None and dataset.attrs.get("fingerprint") == self._mark(name)
        return dataset if right else None

    def _data(self, made: Mapping[str, Any]) -> Data:
        """Splits and observes."""
        seen = whole = made["train"]
        held, share = made.get("test", whole), self.settings["split"]
        if share:
            order = np.random.default_rng(0).permutation(whole.sizes["case"])
            tested = round(share * len(order))
            if not 0 < tested < len(order):
                raise ValueError(
                    f"data.split={share} of {len(order)} cases leaves none to train on or none to "
                    "test on."
                )
            held, seen = whole.isel(case=order[:tested]), whole.isel(case=order[tested:])
        how = {"seed": stream(self.seed, "noise"), **self.settings["observe"]}
        observed = observe(seen, self.network, **how)
        return Data(observed, observe(held, self.network), held, bool(share or "test" in made))

    def _made(self, name: str, store: Path | None, **by: Any) -> Any:
        """The trajectories of a section, kept in parts at `store`; a sketch where it is `None`."""
        section, network, seed = self.sections[name], self.network, stream(self.seed, name)
        start = {"t0": section["t0"], **by}
        if section["path"]:
            if name not in self._files:
                dataset = read(section["path"], network, time_scale=section["time_scale"])
                _under(dataset, self.conditions, section["path"])
                if section.get("true_rates"):
                    dataset.attrs["laws"] = laws(network)
                self._files[name] = dataset
            return self._files[name]
        ts = times(**section["times"])
        if "draw" in section:
            y0, given = draw(network, **section["draw"], fixed=self.conditions, seed=seed)
            if section.get("course") and store is not None:
                return self._along(y0, given, ts, name, store, by)
            if section.get("course"):
                given = under(given, self._course(name, len(y0), ts), 0)
            if store is None:
                return _sketched(network, ts, y0, given, section["t0"])
            if section.get("spin_up"):
                good, y0 = self._spun(y0, given, section, by)
                given = cases_of(given, good)
            y0 = self._scattered(y0, name, 0)
            how = {"store": store, **start, **section["solver"]}
            dataset, failed = generate_ensemble(network, y0, given, ts, **how)
            _tell(failed, len(y0))
            return dataset
        try:
            k = network.rates(**self.conditions)
        except ValueError as error:
            raise ValueError(f"{error} On the command line: +conditions.NAME=VALUE.") from None
        y0 = sample(
            network,
            section["initial"],
            cases=section["cases"],
            spread=section["spread"],
            seed=seed,
        )
        if store is None:
            dataset = _sketched(network, ts, y0, {}, section["t0"])
            _under(dataset, self.conditions, "data")
            return dataset
        how = {"conditions": self.conditions, **start, **section["truth"]}
        return generate(network, k, y0, ts, **how)

    def _along(
        self, y0: Any, given: Any, ts: Any, name: str, store: Path, by: Mapping[str, Any]
    ) -> Any:
        """Trajectories through the segments of a course, each a case; a cell's are consecutive.

        A segment is as long as the output times reach, and ends where the next one begins, save
        for `scatter`.
        """
        section, along = self.sections[name], self._course(name, len(y0), ts)
        if section.get("spin_up"):
            good, y0 = self._spun(y0, under(given, along, 0), section, by)
            given, along = cases_of(given, good), cases_of(along, good)
        parts: list[dict[str, Any]] = []
        for n in range(section["course"]["segments"]):
            y0, here = self._scattered(y0, name, n), under(given, along, n)
            how = {"store": store / str(n), "t0": section["t0"], **by}
            dataset, failed = generate_ensemble(
                self.network, y0, here, ts, **how, **section["solver"]
            )
            ys = dataset["concentration"].values
            if len(failed):
                _tell(failed, len(y0))
                good = np.delete(np.arange(len(y0)), failed)
                parts = [cases_of(part, good) for part in parts]
                y0, here = y0[good], cases_of(here, good)
                given, along = cases_of(given, good), cases_of(along, good)
            parts.append({"ys": ys, "y0": y0, "given": here})
            y0 = ys[:, -1]

        def joined(*values: Any) -> Any:
            """Of all segments, those of a cell together; or what all cells have."""
            if not np.ndim(values[0]):
                return values[0]
            stacked = np.stack(values, axis=1)
            return stacked.reshape(-1, *stacked.shape[2:])

        whole = jax.tree.map(joined, *parts)
        how = {"t0": section["t0"], "provenance": dataset.attrs["provenance"]}
        labelled = label_cells(self.network, ts, whole["ys"], whole["y0"], whole["given"], **how)
        if not section.get("scatter"):
            labelled.attrs["segments"] = len(parts)
        labelled.attrs["laws"] = laws(self.network)
        return labelled

    def _course(self, name: str, cases: int, ts: Any) -> dict[str, Any]:
        """What the conditions of a section do, [case, segment] each."""
        section, units = self.sections[name], self.network.units
        if units.time != "s":
            raise ValueError(
                f"network {self.network.name!r} counts in {units.time}; data.course wants s."
            )
        length = float(ts[-1]) - section["t0"]
        seed = stream(self.seed, name).spawn(1)[0]
        return course(cases, length=length, seed=seed, **section["course"])

    def _scattered(self, y0: Any, name: str, segment: int) -> Any:
        """Starts of a segment, as off as a section wants them."""
        how = self.sections[name].get("scatter")
        if not how:
            return y0
        return scattered(y0, seed=stream(self.seed, name).spawn(2 + segment)[-1], **how)

    def _spun(self, y0: Any, given: Any, section: Any, by: Mapping[str, Any]) -> tuple[Any, Any]:
        """Which cells can be solved, and their states after a while under their conditions."""
        ts = [float(section["spin_up"])]
        how = {**by, **section["solver"]}
        found = solve_ensemble(self.network, given, y0, ts, **how)
        good = found.result == 0
        _tell(np.flatnonzero(~good), len(y0))
        return good, np.asarray(found.ys)[good, -1]


def _tell(failed: Any, count: int) -> None:
    if len(failed):
        log.warning("data: %d of %d cells failed and are left out", len(failed), count)


def _sketched(network: Network, ts: Any, y0: Any, given: Mapping[str, Any], t0: float) -> Any:
    """Smooth trajectories from these states, of which none is a solution."""
    y0, given = y0[:_MOST], cases_of(given, slice(_MOST))
    cases, points, species = (np.arange(n) for n in (len(y0), len(ts), y0.shape[1]))
    bend = np.sin(cases[:, None, None] + points[:, None] / len(ts) * (1 + species))
    least = 1e-12 * np.max(y0, axis=1, keepdims=True)
    ys = np.maximum(y0, least)[:, None] * np.exp(0.1 * bend)
    return label_cells(network, ts, ys, y0, given, t0=t0, provenance="a sketch")


def _under(dataset: Any, conditions: Mapping[str, Any], path: Any) -> None:
    """Writes the conditions of a run into a file's data, where these do not say otherwise."""
    told = json.loads(dataset.attrs.get("conditions") or "{}")
    names = [] if "given" not in dataset else [str(n) for n in dataset["condition"].values]
    for name, value in conditions.items():
        if name in names or (name in told and told[name] != value):
            log.warning(
                "%s has its own %s, which counts instead of conditions.%s", path, name, name
            )
    ours = {name: value for name, value in conditions.items() if name not in names}
    if set(ours) - set(told):  # laws that were evaluated without these may have other values
        dataset.attrs.pop("laws", None)
    dataset.attrs["conditions"] = json.dumps(ours | told)


def unused(section: Mapping[str, Any]) -> tuple[str, ...]:
    """What a section has and does not read: how to make data that are read, or the reverse."""
    return ("times", *_DRAWN, *_SAMPLED) if section["path"] else ("true_rates", "time_scale")


def _merged(settings: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with what others say otherwise, section by section."""
    result = dict(settings)
    for name, value in others.items():
        inner = result.get(name)
        if isinstance(value, Mapping) and isinstance(inner, Mapping):
            value = _merged(inner, value)
        result[name] = value
    return result


def _check(section: Mapping[str, Any]) -> None:
    """Refuses settings that there are not, and those of another way to come by data."""
    kinds: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
        "times": (times, ()),
        "truth": (generate, ("t0", "conditions", "executor", "progress")),
        "observe": (observe, ("seed",)),
        "draw": (draw, ("fixed", "seed")),
        "course": (course, ("length", "seed")),
        "scatter": (scattered, ("seed",)),
    }
    known = {
        name: [
            p.name
            for p in inspect.signature(function).parameters.values()
            if p.kind is p.KEYWORD_ONLY and p.name not in ours
        ]
        for name, (function, ours) in kinds.items()
    }
    known["solver"] = [field.name for field in dataclasses.fields(Integrator)]
    for name, value in section.items():
        if name not in _KNOWN:
            raise ValueError(f"{no_setting('data', name, _KNOWN)}.")
        for inner in value if name in known and value else ():
            if inner not in known[name]:
                hint = "; ranges stand in data.draw.conditions and data.draw.initial."
                end = hint if name == "draw" else "."
                raise ValueError(f"{no_setting(f'data.{name}', inner, known[name])}{end}")
    if not isinstance(section.get("true_rates", False), bool):
        raise ValueError(f"data.true_rates={section['true_rates']}: give true or false.")
    check_setting(section.get("executor"))
    spin = section.get("spin_up")
    if spin is not None and not spin > 0:
        raise ValueError(f"data.spin_up={spin}: give a time that is positive, or null.")
    scatter = section.get("scatter")
    if scatter and not (
        set(scatter) == set(known["scatter"]) and all(0 < v < np.inf for v in scatter.values())
    ):
        raise ValueError(
            f"data.scatter={dict(scatter)}: give {', '.join(known['scatter'])}, all positive."
        )
    if scatter and section.get("draw", {}).get("balance"):
        raise ValueError(
            "data.scatter would undo data.draw.balance, which makes states neutral; leave one out."
        )
    drawn = "draw" in section
    for name in _SAMPLED if drawn else _DRAWN:
        if section.get(name) and not section["path"]:
            way = "are drawn" if drawn else "are given"
            raise ValueError(
                f"data.{name}={section[name]} has no part where initial states {way} "
                f"(data.{'draw' if drawn else 'initial'}); leave it out."
            )
