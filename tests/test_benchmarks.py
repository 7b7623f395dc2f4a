"""Benchmarks: that their problems are what they say, and that each script runs."""

import importlib.util
import inspect
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import jaxchem

FOLDER = Path(__file__).parents[1] / "benchmarks"


def module(name):
    """A file of the benchmarks, whose names are also those of files here."""
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", FOLDER / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="module")
def problems():
    return module("problems")


def test_saprc99_is_built_from_its_table(problems, tmp_path, monkeypatch):
    for folder in ("networks", "kpp"):
        (tmp_path / folder).mkdir()
    (tmp_path / "networks" / "saprc99_noon.csv").write_text(
        "id,reactants,products,k\n1,NO2,NO + O3,0.01\n2,NO + O3,NO2,2e-14\n3,,0.5 NO,10.0\n"
    )
    np.savez(
        tmp_path / "kpp" / "sap_rodas4_fixed.npz",
        species=np.array(["NO", "NO2", "O3", "AIR"]),
        n_var=3,
        conc=np.array([[1e10, 2e10, 1e12, 2e19]] * 3),
        time_s=np.array([0.0, 900.0, 1800.0]),
    )
    monkeypatch.setattr(problems, "DATA", tmp_path)
    problem = problems.saprc99(4)
    assert problem.network.equations == ("NO2 -> NO + O3", "NO + O3 -> NO2", "-> 0.5 NO")
    np.testing.assert_array_equal(problem.k, [0.01, 2e-14, 10.0])
    assert problem.y0.shape == (4, 3)
    assert list(problem.ts) == [900.0, 1800.0]
    monkeypatch.setattr(problems, "DATA", tmp_path / "nowhere")
    assert problems.saprc99(4) is None


def test_saprc99_is_that_of_kpp(problems):
    states = problems.DATA / "kpp" / "sap_rodas4_fixed.npz"
    if not states.is_file():
        pytest.skip("KPP's trajectory of saprc99 is not here")
    problem, found = problems.saprc99(1), np.load(states)["conc"]
    species = len(problem.network.species)
    how = {"t0": problem.t0, "rtol": 1e-6, "atol": 1e-3}
    solution = jaxchem.solve(problem.network, problem.k, found[0, :species], problem.ts, **how)
    error = problem.log10(np.asarray(solution.ys)) - problem.log10(found[1:, :species])
    assert np.abs(error).max() < 1e-5


@pytest.fixture(scope="module")
def thermal(problems):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "problems", problems)
        patch.setitem(sys.modules, "readme", module("readme"))
        yield module("thermal")


def krome(thermal, name):
    path = thermal.DATA / "krome" / f"{name}.npz"
    if not path.is_file():
        pytest.skip("KROME's references are not here")
    return np.load(path)


def start(script, *arguments, good=True, **environment):
    """What a benchmark prints, in a process of its own: each pins itself to one core."""
    command = [sys.executable, FOLDER / f"{script}.py", *map(str, arguments)]
    # scripts import the jaxchem that is tested, and find no KPP unless it is given
    kept = {name: value for name, value in os.environ.items() if name != "KPP_BENCH"}
    kept["PYTHONPATH"] = str(FOLDER.parent)
    done = subprocess.run(command, env={**kept, **environment}, capture_output=True, text=True)
    assert (done.returncode == 0) is good, done.stderr
    return done.stdout if good else done.stderr


def test_solvers_side_by_side(tmp_path):
    peers = ("jaxchem rodas4", "scipy odeint")
    start(
        "solve",
        "--problems",
        "pollu",
        "--peers",
        *peers,
        "--quick",
        "--batch",
        1,
        "--out",
        tmp_path,
    )
    text = (tmp_path / "README.md").read_text()
    assert "| jaxchem rodas4 |" in text
    assert (tmp_path / "work_precision.png").is_file()


def test_kpp_is_absent_by_default(tmp_path):
    assert "KPP_BENCH names no folder" in start("solve", "--kpp", "--out", tmp_path, good=False)
    assert not list(tmp_path.iterdir())


MODEL = """
#include <string.h>
static const char *all[] = {%s};
enum {SPECIES = %d, REACTIONS = %d};
void kpp_sizes(int *s) {s[0] = s[1] = SPECIES; s[2] = 0; s[3] = REACTIONS; s[4] = 0;}
void kpp_names(char *n) {
    memset(n, ' ', 32 * SPECIES);
    for (int i = 0; i < SPECIES; i++) memcpy(n + 32 * i, all[i], strlen(all[i]));
}
void kpp_solve(int cells, int times, const double *y0, const double *ts, double t0,
               const double *rates, double rtol, const double *atol, const int *icntrl,
               const double *rcntrl, int clock, int keep, double *ys, int *stats) {
    for (int c = 0; c < cells; c++) {
        for (int t = 0; t < times; t++)
            for (int i = 0; i < SPECIES; i++)
                ys[(c * times + t) * SPECIES + i] = y0[c * SPECIES + i] * (1 + ts[t] - t0);
        stats[9 * c + 2] = 7 + c;
    }
}
"""


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
def test_kpp_is_measured_where_it_is_given(tmp_path):
    """A library with the interface of KPP's, whose states grow in time."""
    network = jaxchem.load("osu29")
    names = [n.replace("+", "p").replace("-", "m") for n in reversed(network.species)]
    listed = ", ".join(f'"{name}"' for name in names)
    source = tmp_path / "osu.c"
    source.write_text(MODEL % (listed, len(names), len(network.equations)))
    (tmp_path / "lib").mkdir()
    library = tmp_path / "lib" / "osu.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    out = tmp_path / "out"
    start("solve", "--kpp", "--quick", "--problems", "osu29", "--out", out, KPP_BENCH=str(tmp_path))
    rows = [row.split(",") for row in (out / "kpp.csv").read_text().splitlines()]
    place = {name: column for column, name in enumerate(rows[0])}
    theirs = [row for row in rows[1:] if row[place["solver"]] == "KPP"]
    assert len(theirs) == len(rows[1:]) / 2 == 4
    assert {float(row[place["error_dex"]]) for row in theirs} == {0.0}  # its own reference
    steps = {row[place["cells"]]: float(row[place["steps"]]) for row in theirs}
    assert steps == {"2": 7.5, "1": 7.0}
    assert "| osu29 | 2 |" in (out / "README.md").read_text()


@pytest.mark.skipif(not hasattr(jaxchem, "System"), reason="no systems yet")
def test_thermo_chemistry_is_solved(thermal):
    krome(thermal, "krome_atom_general")
    text = start("thermal", "--cells", 2, "--rtol", "1e-2")
    assert "molecular | step | 1e-02" in text


def test_derivatives_are_timed(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- sensitivity -->\nold\n<!-- /sensitivity -->\nafter\n")
    small = ("--only", "pollu", "--methods", "rodas4", "--exact", 1e-6)
    text = start("sensitivity", *small, "--out", tmp_path)
    row = next(line for line in text.splitlines() if line.startswith("| rodas4 |"))
    assert float(row.split("|")[-2]) < 1e-3
    first, *middle, last = readme.read_text().splitlines()
    assert (first, last) == ("before", "after")
    assert row in middle and "old" not in middle


def test_an_ensemble_is_timed(tmp_path):
    text = start("ensemble", 16, tmp_path / "store")
    assert "failed 0" in text
    assert any((tmp_path / "store").iterdir())


@pytest.mark.slow
def test_lockstep_is_timed():
    text = start("lockstep", "--problems", "pollu", "--cells", 2)
    assert len(text.splitlines()) == 3


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
def test_builds_for_other_processors_are_timed():
    text = start("levels", "--cells", 2, "--turns", 1)
    assert "| this processor (-march=native) |" in text
    assert text.splitlines()[2].endswith("| 1.00 |")


@pytest.mark.slow
def test_first_calls_are_timed(problems):
    if problems.saprc99_sunlit(1) is None:
        pytest.skip("KPP's saprc99 is not here")
    text = start("first_call", "--problems", "saprc99_sunlit", "--rtol", "1e-2")
    assert text.count("| saprc99 under the sun |") == 2
    assert "FAILED" not in text


@pytest.mark.slow
def test_the_gradient_of_a_sunlit_day_is_timed(problems):
    if problems.saprc99_sunlit(1) is None:
        pytest.skip("KPP's saprc99 is not here")
    assert "| gradient, 211 factors |" in start("sensitivity", "--only", "saprc99")


@pytest.mark.slow
@pytest.mark.skipif(
    "cells" not in inspect.signature(jaxchem.solve_ensemble).parameters,
    reason="no ensembles of cells with rates of their own yet",
)
def test_an_ensemble_of_sunlit_boxes_is_timed(problems, tmp_path):
    if problems.saprc99_sunlit(1) is None:
        pytest.skip("KPP's saprc99 is not here")
    assert "failed 0" in start("ensemble", "--problem", "saprc99", 16, tmp_path / "store")
