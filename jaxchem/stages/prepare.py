"""The data of a run: drawn or read, solved, kept, split and observed."""

import inspect
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..checkpoint import digest
from ..dataset import Observations, draw, generate, observe, read, sample, stream, times, write
from ..ensemble import generate_ensemble
from ..network import Network
from ..parse import table
from ..suggest import no_setting

__all__ = ["Data", "prepare"]

log = logging.getLogger("jaxchem")

_NOT_MADE = ("test", "split", "observe", "floor")
"""Settings that change nothing of what is solved."""

_OURS = ("network", "fixed", "seed")
"""What a draw is given from elsewhere than its section."""


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


def prepare(
    settings: Mapping[str, Any],
    network: Network,
    conditions: Mapping[str, Any],
    *,
    seed: int,
    folder: Path,
    notes: str = "",
    progress: bool = True,
) -> Data:
    """The data that a section `data` of a configuration wants.

    Without `split` and `test` the observed cases are those that results are measured on.

    Args:
        settings: the section, as conf/data/base.yaml has it.
        network: what reacts.
        conditions: what is the same in all cases.
        seed: of draws, test draws and noise, each apart from the others (see `dataset.stream`).
        folder: keeps the trajectories; those that are there already, of these settings, are taken.
        notes: kept with the trajectories.
        progress: show bars.

    Raises:
        ValueError: settings that exclude one another, or bad ones.
    """
    tests = {name: value for name, value in settings["test"].items() if value is not None}
    share = settings["split"]
    if tests and share:
        raise ValueError("data.split and data.test exclude one another; set data.split=null.")

    def made(settings: Mapping[str, Any], name: str) -> Any:
        path = folder / {"train": "data.nc", "test": "test.nc"}[name]
        return _trajectories(settings, network, conditions, (seed, name), path, notes, progress)

    held = seen = whole = made(settings, "train")
    if tests:  # as the data, but for what `data.test` says otherwise
        own = {} if "path" in tests or not {"draw", "initial"} & set(tests) else {"path": None}
        held = made(_merged(settings, tests | own), "test")
    if share:
        order = np.random.default_rng(0).permutation(whole.sizes["case"])
        tested = round(share * len(order))
        if not 0 < tested < len(order):
            raise ValueError(
                f"data.split={share} of {len(order)} cases leaves none to train on or none to test "
                "on."
            )
        held, seen = whole.isel(case=order[:tested]), whole.isel(case=order[tested:])
    observed = observe(seen, network, seed=stream(seed, "noise"), **settings["observe"])
    log.info(
        "%s: %d species, %d reactions; %d cases, %d of %d times observed",
        network.name,
        len(network.species),
        len(network.equations),
        len(observed.y0),
        len(observed.ts),
        whole.sizes["time"],
    )
    return Data(observed, observe(held, network), held, bool(share or tests))


def _merged(settings: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with what others say otherwise, section by section."""
    result = dict(settings)
    for name, value in others.items():
        inner = result.get(name)
        if isinstance(value, Mapping) and isinstance(inner, Mapping):
            value = _merged(inner, value)
        result[name] = value
    return result


def _trajectories(
    settings: Mapping[str, Any],
    network: Network,
    conditions: Mapping[str, Any],
    seed: tuple[int, str],
    path: Path,
    notes: str,
    progress: bool,
) -> Any:
    """The trajectories that a section wants, read or made, and kept at `path`."""
    wanted = {name: value for name, value in settings.items() if name not in _NOT_MADE}
    mark = digest(table.dumps(network), dict(conditions), wanted, seed)
    store = path.with_name(f"{path.stem}-{mark}")  # of what is solved, so that a killed run goes on
    if path.exists() and (kept := read(path, network)).attrs.get("fingerprint") == mark:
        log.info("data: taken up from %s", path)
        shutil.rmtree(store, ignore_errors=True)
        return kept
    how: dict[str, Any] = {"t0": settings["t0"], "progress": progress}
    if settings["path"]:
        dataset = read(settings["path"], network, time_scale=settings["time_scale"])
    elif "draw" in settings:
        known = [p for p in inspect.signature(draw).parameters if p not in _OURS]
        for name in settings["draw"]:
            if name not in known:
                raise ValueError(
                    f"{no_setting('data.draw', name, known)}; ranges stand in data.draw.conditions "
                    "and data.draw.initial."
                )
        y0, given = draw(network, **settings["draw"], fixed=conditions, seed=stream(*seed))
        how |= {"store": store, **settings["solver"]}
        dataset, failed = generate_ensemble(network, y0, given, times(**settings["times"]), **how)
        if len(failed):
            log.warning("data: %d of %d cells failed and are left out", len(failed), len(y0))
    else:
        varied = {name: settings[name] for name in ("cases", "spread")}
        y0 = sample(network, settings["initial"], **varied, seed=stream(*seed))
        k, ts = network.rates(**conditions), times(**settings["times"])
        how |= {"conditions": conditions, **settings["truth"]}
        dataset = generate(network, k, y0, ts, **how)
    dataset.attrs |= {"fingerprint": mark, "configuration": notes}
    write(dataset, path)
    shutil.rmtree(store, ignore_errors=True)
    return dataset
