"""Runs that are killed wherever they are, and gone on with: the result is that of one undisturbed.

The points are drawn between the first file of a run and its end; `-m slow` takes thirty of them.
"""

import json
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray as xr

ENSEMBLE = """
import sys
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
import jaxchem
network = jaxchem.load("robertson")
y0 = np.linspace(0.5, 1.5, 400)[:, None] * np.asarray(network.y0({"A": 1.0}))
ts = np.linspace(0.1, 100.0, 200)
jaxchem.solve_ensemble(
    network, network.rates(), y0, ts, chunk=10, store=sys.argv[1], rtol=1e-9, progress=False
)
"""
RUN = [sys.executable, "-m", "jaxchem.run"]
MADE = ["data.draw.cases=4200", "data.times.points=4", "gradients=0"]
RUNS = {
    "generate": ["+experiment=emulate_osu29", *MADE, "stages.emulate.steps=2", "model.width=4"],
    "train": ["+experiment=spin_ode_robertson", "stages.trajectory.steps=300", "save_every=0"],
    "box": ["+experiment=box_model", "network.path=mcm_methane", "box.days=4", "save_every=0"],
}


def start(kind, folder):
    """The command of a kind; where there is a record of it already, what goes on with it."""
    if kind == "ensemble":
        command = [sys.executable, "-c", ENSEMBLE, str(folder)]
    elif (folder / ".hydra" / "overrides.yaml").is_file():
        command = [*RUN, f"resume={folder}"]
    else:
        command = [*RUN, *RUNS[kind], f"hydra.run.dir={folder}"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, cwd=folder.parent, text=True, **pipes)


def ended(process):
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output[-3000:]


def begun(process, folder):
    """Waits for its first file."""
    while not folder.exists():
        assert process.poll() is None, process.communicate()[0][-3000:]
        time.sleep(0.005)


def result(folder):
    """All numbers that a run leaves, save how long it took."""
    found = {}
    for path in sorted(folder.rglob("*.nc")):
        with xr.open_dataset(path, engine="h5netcdf") as dataset:
            for name in dataset.variables:
                found[f"{path.relative_to(folder)}/{name}"] = dataset[name].values
    path = folder / "metrics.json"
    for name, value in (json.loads(path.read_text()) if path.exists() else {}).items():
        if "time/" not in name and name != "wall_s":
            found[name] = np.asarray(value, dtype=float)
    return found


def disturbed(kind, folder, after):
    """The result of a run that is killed so many seconds after its first file, and gone on with."""
    process = start(kind, folder)
    begun(process, folder)
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    ended(start(kind, folder))
    assert not list(folder.rglob("*.part"))
    return result(folder)


_UNDISTURBED: dict[str, tuple] = {}


def undisturbed(kind, folder):
    """The result of a run that nobody kills, and the seconds from its first file to its end."""
    if kind not in _UNDISTURBED:
        process = start(kind, folder)
        begun(process, folder)
        begin = time.monotonic()
        ended(process)
        _UNDISTURBED[kind] = result(folder), time.monotonic() - begin
        assert len(_UNDISTURBED[kind][0]) > 3
    return _UNDISTURBED[kind]


def same(found, expected):
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_an_ensemble_that_is_killed(tmp_path, share):
    expected, seconds = undisturbed("ensemble", tmp_path / "whole")
    same(disturbed("ensemble", tmp_path / "cut", share * seconds), expected)


POINTS = [(kind, n) for kind in ("ensemble", "box", "train", "generate") for n in range(8)][:30]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "number"), POINTS)
def test_whatever_is_killed_comes_to_the_same(tmp_path, kind, number):
    expected, seconds = undisturbed(kind, tmp_path / "whole")
    after = random.Random(f"{kind} {number}").uniform(0.0, seconds)
    same(disturbed(kind, tmp_path / "cut", after), expected)
