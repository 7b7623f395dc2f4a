"""jaxchem beside KPP's Rodas4, in one process and in turns: ``python benchmarks/solve.py --kpp``.

KPP (Sandu & Sander 2006, doi:10.5194/acp-6-187-2006) is GPL, so neither it nor what it generates
is here. The environment variable KPP_BENCH names a folder that holds, for each model, what KPP
and a Fortran compiler made of it: ``lib/sap.so`` (its example ``saprc99``), ``lib/osu.so`` (osu29
at the rates of 50 K, species ``C+`` and ``e-`` as ``Cp`` and ``em``), ``lib/mcm.so`` (its example
``mcm_isoprene``). A library offers

    void kpp_sizes(int sizes[5]);              /* NSPEC, NVAR, NFIX, NREACT, LU_NONZERO */
    void kpp_names(char names[NSPEC][32]);     /* padded with blanks */
    void kpp_solve(int cells, int times, const double y0[cells][NSPEC], const double ts[times],
                   double t0, const double rates[NREACT], double rtol, const double atol[NVAR],
                   const int icntrl[20], const double rcntrl[20], int clock, int keep,
                   double ys[cells][times][NSPEC], int stats[cells][9]);

that integrates cell after cell, output after output: at `rates`, or with those of the clock if
`clock` is 1; if `keep` is 1, with the last step (RSTATUS(3)) as the next start (RCNTRL(3)). `stats`
are KPP's eight counters and IERR. Two switches make KPP faster than its stock code: with
RCNTRL(2) > 0 the step that an output is reached with is not cut to the length of the interval
before it is kept, and ICNTRL(15) = 6 has photolysis alone evaluated inside the integrator (stock
code evaluates every rate).
"""

import argparse
import ctypes
import functools
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from measure import in_turns, known_names, read, write_rows
from problems import Problem, isoprene, osu29, reference, saprc99, saprc99_sunlit

import jaxchem

jax.config.update("jax_enable_x64", True)

RTOLS = (1e-2, 1e-3, 3e-4, 1e-4, 1e-5)
REPEATS = 5
COLUMNS = ("problem", "cells", "solver", "rtol", "failed", "error_dex", "ms", "steps", "repeats")
_RODAS4 = 5

Outcome = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Concentrations [N, T, S], and [N] whether a cell failed and its attempted steps."""


class Kpp:
    """A model that KPP generated, behind the interface that this file describes.

    Attributes:
        names: its species, in its order.
    """

    def __init__(self, path: Path):
        self._library = ctypes.CDLL(str(path))
        sizes = np.zeros(5, np.int32)
        self._library.kpp_sizes(_address(sizes))
        self.species, self.variable, _, self.reactions, self.entries = map(int, sizes)
        names = np.zeros((self.species, 32), "S1")
        self._library.kpp_names(_address(names))
        self.names = [b"".join(row).decode().strip() for row in names]

    def prepare(
        self,
        y0: np.ndarray,
        ts: np.ndarray,
        t0: float,
        k: np.ndarray | None,
        rtol: float,
        atol: float,
    ) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
        """A function that integrates and returns states [N, T, NSPEC] and counters [N, 9].

        Args:
            y0: [N, NSPEC] initial states.
            ts: [T] output times.
            t0: the time of the initial states.
            k: [NREACT] rate coefficients; those of the clock where there are none.
            rtol: relative tolerance.
            atol: absolute tolerance.
        """
        y0, ts = np.ascontiguousarray(y0, float), np.ascontiguousarray(ts, float)
        rates = np.zeros(self.reactions) if k is None else np.ascontiguousarray(k, float)
        if rates.shape != (self.reactions,) or y0.shape[1:] != (self.species,):
            raise ValueError(f"KPP's model has {self.species} species, {self.reactions} reactions")
        integers, reals = np.zeros(20, np.int32), np.zeros(20)
        integers[0] = k is not None  # autonomous
        integers[2] = _RODAS4
        integers[14] = 6 if k is None else -1
        reals[1] = 1e300
        atols = np.full(self.variable, atol)
        ys = np.zeros((len(y0), len(ts), self.species))
        stats = np.zeros((len(y0), 9), np.int32)

        def run() -> tuple[np.ndarray, np.ndarray]:
            self._library.kpp_solve(
                *(len(y0), len(ts), _address(y0), _address(ts), ctypes.c_double(t0)),
                *(_address(rates), ctypes.c_double(rtol), _address(atols)),
                *(_address(integers), _address(reals), int(k is None), 1),
                *(_address(ys), _address(stats)),
            )
            return ys, stats

        return run


def _address(array: np.ndarray) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)


class Case(NamedTuple):
    """One mechanism for both.

    Attributes:
        problem: what jaxchem solves.
        library: the name of KPP's model.
        k: what KPP is given for rates; `None` for those of its clock.
        tight: rtol of KPP's own reference.
        held: species that KPP has besides.
        coupled: whether KPP solves the same equations. Where it does not (pools), each is
            compared with a reference of its own.
    """

    problem: Problem
    library: str
    k: np.ndarray | None
    tight: float
    held: Mapping[str, float] = MappingProxyType({})
    coupled: bool = True


def _fixed(make: Callable[[int], Problem | None], library: str) -> Callable[[int], Case | None]:
    def case(cells: int) -> Case | None:
        problem = make(cells)
        return None if problem is None else Case(problem, library, problem.k, 1e-9)

    return case


def _noon(cells: int) -> Case | None:
    """KPP's rates do not have the fixed species in them, as those of the table do."""
    problem, sunlit = saprc99(cells), saprc99_sunlit(1)
    if problem is None or sunlit is None:
        return None
    network, y0 = sunlit.network, sunlit.y0[0]
    held = {name: y0[network.index(name)] for name in network.fixed}
    return Case(problem, "sap", np.asarray(sunlit.k(sunlit.t0, y0)), 1e-9, held)


def _sunlit(cells: int) -> Case | None:
    problem = saprc99_sunlit(cells)
    return None if problem is None else Case(problem, "sap", None, 1e-9)


def _pool(cells: int) -> Case | None:
    """KPP has no pools: it holds RO2 during a call. It is given the reactions without it."""
    problem = isoprene(cells)
    if problem is None:
        return None
    pools = problem.network.structure.pool_of < len(problem.network.pool_names)
    return Case(problem, "mcm", np.where(pools, 0.0, problem.k), 1e-8, coupled=False)


CASES: dict[str, tuple[Callable[[int], Case | None], int]] = {
    "saprc99 under the sun": (_sunlit, 64),
    "saprc99 at noon": (_noon, 64),
    "osu29": (_fixed(osu29, "osu"), 64),
    "MCM isoprene with its RO2 pool": (_pool, 16),
}
"""By the name in the table: how it is built, and how many cells a batch of it has."""


def compare(options: argparse.Namespace) -> None:
    """Writes kpp.csv as it goes, problem after problem."""
    folder = Path(os.environ["KPP_BENCH"])
    path = options.out / "kpp.csv"
    chosen = known_names(options.problems, CASES)
    rows = [row for row in read(path) if row["problem"] not in chosen]
    for name in chosen:
        make, cells = CASES[name]
        case = make(min(cells, 2) if options.quick else cells)
        if case is None:
            print(f"{name}: skipped, its data are not here")
            continue
        if not (folder / "lib" / f"{case.library}.so").is_file():
            print(f"{name}: skipped, {folder} has no lib/{case.library}.so")
            continue
        model = Kpp(folder / "lib" / f"{case.library}.so")
        for row in ladder(case, model, options):
            rows.append({"problem": name, **row})
            print(_line(rows[-1]), flush=True)
            rows.sort(key=lambda row: (list(CASES).index(row["problem"]), row["cells"] == 1))
            write_rows(path, COLUMNS, rows)


def _line(row: dict[str, Any]) -> str:
    failed = f", {row['failed']} FAILED" if row["failed"] else ""
    return (
        f"{row['problem']}, {row['cells']} cells, {row['solver']:8} rtol {row['rtol']:.0e}: "
        f"{row['ms']:9.4f} ms, error {row['error_dex']:.1e} dex, {row['steps']:.0f} steps{failed}"
    )


def ladder(case: Case, model: Kpp, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One row a tolerance and solver, for the batch and for its first cell alone."""
    problem = case.problem
    columns = [model.names.index(_safe(name, model.names)) for name in problem.network.species]
    states = np.zeros((len(problem.y0), model.species))
    for name, value in case.held.items():
        states[:, model.names.index(name)] = value
    states[:, columns] = problem.y0
    atol = problem.atols[0]

    def theirs(cells: int, rtol: float, atol: float) -> Callable[[], Outcome]:
        run = model.prepare(states[:cells], problem.ts, problem.t0, case.k, rtol, atol)

        def outcome() -> Outcome:
            ys, stats = run()
            return ys[:, :, columns], stats[:, 8] < 0, stats[:, 2]

        return outcome

    ours = jaxchem_runs(problem)
    tight = problem.log10(theirs(len(states), case.tight, problem.exact)()[0])
    truths = {"KPP": tight, "jaxchem": tight}
    if not case.coupled:
        few = problem._replace(y0=problem.y0[: 1 if options.quick else 4])
        truths["jaxchem"] = reference(few, options.out)
    for cells in dict.fromkeys((len(states), 1)):
        for rtol in RTOLS[1::2] if options.quick else RTOLS:
            runs = {
                "KPP": theirs(cells, rtol, atol),
                "jaxchem": functools.partial(ours, cells, rtol, atol),
            }
            repeats = 1 if options.quick else REPEATS
            seconds = in_turns(runs, repeats)
            for solver, run in runs.items():
                ys, failed, steps = run()
                truth = truths[solver][: len(ys)]
                difference = np.abs(problem.log10(ys)[: len(truth)] - truth)
                difference = difference[~failed[: len(truth)]]
                yield {
                    "cells": cells,
                    "solver": solver,
                    "rtol": rtol,
                    "failed": int(failed.sum()),
                    "error_dex": float(difference.max()) if difference.size else np.nan,
                    "ms": 1e3 * seconds[solver] / cells,
                    "steps": float(steps.mean()),
                    "repeats": repeats,
                }


def _safe(name: str, names: list[str]) -> str:
    """A species as KPP can spell it."""
    return name if name in names else name.replace("+", "p").replace("-", "m")


def jaxchem_runs(problem: Problem) -> Callable[[int, float, float], Outcome]:
    """Rodas4 of one cell, which is not a batch, or of the first ones."""

    def one(y0: Any, rtol: Any, atol: Any) -> Any:
        how = {"rtol": rtol, "atol": atol, "method": "rodas4", "t0": problem.t0, "throw": False}
        solution = jaxchem.solve(problem.network, problem.k, y0, problem.ts, **how)
        good = jnp.all(jnp.isfinite(solution.ys))
        return solution.ys, ~good, solution.stats["num_steps"]

    single, many = jax.jit(one), jax.jit(jax.vmap(one, in_axes=(0, None, None)))
    y0 = jnp.asarray(problem.y0)

    def run(cells: int, rtol: float, atol: float) -> Outcome:
        if cells > 1:
            found = many(y0[:cells], rtol, atol)
            return tuple(map(np.asarray, jax.block_until_ready(found)))
        found = single(y0[0], rtol, atol)
        return tuple(np.asarray(x)[None] for x in jax.block_until_ready(found))

    return run
