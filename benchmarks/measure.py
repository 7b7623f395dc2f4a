"""Timings: ladders of tolerances for each peer, and time against batch size."""

import argparse
import csv
import os
import statistics
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import jax
import numpy as np
from peers import PEERS, Peer, jaxchem_peer
from problems import PROBLEMS, Problem, reference

jax.config.update("jax_enable_x64", True)

RTOLS = tuple(10.0**-n for n in range(2, 9))
COLUMNS = ("problem", "peer", "atol", "rtol", "cells", "failed", "error_dex", "ms", "repeats")
BATCHES = (1, 8, 64, 512, 4096)
SCALING_COLUMNS = ("problem", "cores", "batch", "microseconds")
LEAST = 0.02
"""Seconds: shorter runs are repeated within their turn until they last as long."""


def work_precision(options: argparse.Namespace) -> None:
    """Runs every peer on every problem and writes results.csv as it goes."""
    path = options.out / "results.csv"
    names = known_names(options.problems, PROBLEMS), known_names(options.peers, PEERS)
    kept = [
        row
        for row in (read(path) if options.add else [])
        if row["problem"] not in names[0] or row["peer"] not in names[1]
    ]
    rows: list[dict[str, Any]] = []
    for name in names[0]:
        problem = PROBLEMS[name](min(options.batch, 8) if options.quick else options.batch)
        if problem is None:
            print(f"{name}: skipped, its data are not here")
            continue
        truth = reference(problem, options.out)
        for peer in names[1]:
            missing = PEERS[peer].missing()
            if missing:
                print(f"{peer}: skipped, {', '.join(missing)} not installed")
                continue
            for row in ladder(PEERS[peer], problem, truth, options.quick, options.limit):
                rows.append({"problem": name, "peer": peer, **row})
                print(_line(rows[-1]), flush=True)
                write_rows(path, COLUMNS, sorted(kept + rows, key=_place))


def _place(row: dict[str, Any]) -> tuple[int, int]:
    return list(PROBLEMS).index(row["problem"]), list(PEERS).index(row["peer"])


def known_names(chosen: list[str] | None, all_of_them: Collection[str]) -> list[str]:
    """Those of all names that are chosen, by default every one."""
    unknown = set(chosen or ()) - set(all_of_them)
    if unknown:
        raise SystemExit(f"unknown: {', '.join(unknown)}; known: {', '.join(all_of_them)}")
    return [name for name in all_of_them if not chosen or name in chosen]


def _line(row: dict[str, Any]) -> str:
    failed = f", {row['failed']} FAILED" if row["failed"] else ""
    return (
        f"{row['problem']:8} {row['peer']:20} atol {row['atol']:.0e} rtol {row['rtol']:.0e}: "
        f"{row['ms']:9.4f} ms, error {row['error_dex']:.1e} dex{failed}"
    )


def ladder(
    peer: Peer, problem: Problem, truth: np.ndarray, quick: bool, limit: float
) -> Iterator[dict[str, Any]]:
    """One row a tolerance, from loose to tight, until a run takes longer than `limit` seconds."""
    cells = min(peer.cells or len(truth), len(truth))
    if quick:
        cells = min(cells, 2) if peer.cells else cells
    problem = problem._replace(y0=problem.y0[:cells])
    run = peer.prepare(problem)
    for atol in problem.atols[:1] if quick else problem.atols:
        for rtol in RTOLS[::2] if quick else RTOLS:
            ys, failed = run(rtol, atol)
            difference = np.abs(problem.log10(ys) - truth[:cells])[~failed]
            times = cpu_seconds(lambda rtol=rtol, atol=atol: run(rtol, atol), limit)
            yield {
                "atol": atol,
                "rtol": rtol,
                "cells": cells,
                "failed": int(failed.sum()),
                "error_dex": float(difference.max()) if difference.size else np.nan,
                "ms": 1e3 * statistics.median(times) / cells,
                "repeats": len(times),
            }
            if times[0] > limit:
                break


def cpu_seconds(call: Callable[[], Any], limit: float) -> list[float]:
    """Three repeats and more of a short call; one of a call longer than `limit` seconds."""
    times: list[float] = []
    while len(times) < 3 or (sum(times) < 0.3 and len(times) < 15):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
        if times[0] > limit:
            break
    return times


def in_turns(runs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median CPU seconds of each run, taken in turns: A, B, A, B, ...

    What else the machine does falls on all of them alike. Each runs once before it is timed.
    """
    loops = {}
    for name, run in runs.items():
        run()
        start = time.process_time()
        run()
        loops[name] = max(1, int(LEAST / max(time.process_time() - start, 1e-6)))
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.process_time()
            for _ in range(loops[name]):
                run()
            times[name].append((time.process_time() - start) / loops[name])
    return {name: statistics.median(values) for name, values in times.items()}


def scaling(out: Path, cores: Collection[int]) -> None:
    """Writes scaling.csv: wall time of jaxchem's Rodas4 on one core and on all of them."""
    rows = []
    for used in ({max(cores)}, set(cores)):
        # a process of its own: pools of threads are sized by the cores at their start
        with ProcessPoolExecutor(
            1, get_context("spawn"), initializer=os.sched_setaffinity, initargs=(0, used)
        ) as pool:
            for name in ("osu29", "pollu"):
                for batch in BATCHES:
                    wall = pool.submit(wall_seconds, name, batch).result()
                    values = (name, len(used), batch, 1e6 * wall / batch)
                    rows.append(dict(zip(SCALING_COLUMNS, values, strict=True)))
                    print(rows[-1], flush=True)
    write_rows(out / "scaling.csv", SCALING_COLUMNS, rows)


def wall_seconds(name: str, batch: int) -> float:
    """Median wall time of one batch at rtol 1e-4."""
    problem = PROBLEMS[name](batch)
    assert problem is not None
    run = jaxchem_peer("rodas4")(problem)
    _, failed = run(1e-4, problem.atols[0])
    if failed.any():
        raise RuntimeError(f"{failed.sum()} cells of {name} failed")
    times: list[float] = []
    while len(times) < 3 or (sum(times) < 0.5 and len(times) < 50):
        start = time.perf_counter()
        run(1e-4, problem.atols[0])
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a table that was written here; none where there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [{name: _value(text) for name, text in row.items()} for row in csv.DictReader(file)]


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def write_rows(path: Path, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    """Writes a table that `read` reads, numbers to four digits."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({c: f"{v:.4g}" if isinstance(v, float) else v for c, v in row.items()})
