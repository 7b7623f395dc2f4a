"""The command line, from an installed wheel in a foreign folder.

Continuous integration runs those that are marked slow too.
"""

import csv
import json
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hydra import compose, initialize_config_dir

import jaxchem
from jaxchem.solvers import native

ROOT = Path(__file__).parents[1]
STEPLESS = {
    "box_model",
    "design_rates",
    "infer_rates",
    "ism_box",
    "ism_general",
    "ism_single",
    "pinn_benchmark",
}
EXPERIMENTS = sorted(
    {path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml")} - STEPLESS
)
# spin_ode, spin_ode_paper_aoxid and emulate_osu29_similar have the same stages
LIKE_ANOTHER = {
    "emulate_osu29_wide",
    "spin_ode_aoxid",
    "spin_ode_paper",
    "spin_ode_paper_robertson",
    "spin_ode_robertson",
}
ROBERTSON = ["+experiment=spin_ode_robertson", "stages.trajectory.steps=2"]


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """A folder that holds the installed wheel and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", folder, ROOT], check=True, cwd=folder)
    (wheel,) = folder.glob("jaxchem-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "site", wheel], check=True)
    return folder / "site"


def start(site, cwd, *arguments, **options):
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-m", "jaxchem.run", *arguments]
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


def command(site, cwd, *arguments, status=0):
    process = start(site, cwd, *arguments)
    output, _ = process.communicate(timeout=900)
    assert process.returncode == status, output[-3000:]
    return output


def composed(name):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", [f"+experiment={name}"])


def two_steps(name):
    """Overrides that make any experiment as short as it can be."""
    cfg = composed(name)
    short = [
        f"stages.{stage}.{key}=2"
        for stage in cfg.stages.order
        for key in ("steps", "iterations", "rounds")
        if key in cfg.stages[stage]
    ]
    points = max([cfg.stages[s].get("window") or 0 for s in cfg.stages.order]) + 1
    cases = max([cfg.stages[s].get("cases") or 1 for s in cfg.stages.order])
    short.append("data.draw.cases=20" if "draw" in cfg.data else f"data.cases={cases}")
    if name != "emulate_osu29":
        short.append("gradients=0")
    if "draw" in cfg.data.test:
        short.append("data.test.draw.cases=4")
    if "course" in cfg.data:
        short.append("data.course.segments=3")
    if name == "emulate_atmos_chemnne":  # wants them even from the start on
        return short
    return [*short, f"data.times.points={max(points, 8)}"]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in LIKE_ANOTHER)) for n in EXPERIMENTS]
)
def test_two_steps_of_every_experiment(site, tmp_path, name):
    output = command(site, tmp_path, f"+experiment={name}", *two_steps(name), "hydra.run.dir=out")
    if native.available():
        assert "no compiled CPU kernel" not in output  # the wheel carries its source
    out, emulates = tmp_path / "out", name.startswith("emulate")
    for stage in composed(name).stages.order:
        assert (out / stage / "history.nc").stat().st_size
        model = jaxchem.load_model(out / stage / "model.eqx")
        inner = getattr(model, "model", model)  # of one that is wrapped
        assert callable(model) and hasattr(inner, "terms" if emulates else "field")
    metrics = json.loads((out / "metrics.json").read_text())
    measures = {"rmse", "p99_dex"} if emulates else {"err_k", "err_y", "failed"}
    if emulates and not name.endswith("similar"):  # tested on other times than it learns from
        measures.add("train_mean/rmse")
    assert {"drift", "solver/mean_dex", "time/model", *measures} <= set(metrics)
    with xr.open_dataset(out / "predictions.nc", engine="h5netcdf") as predictions:
        assert predictions["concentration"].shape == predictions["truth"].shape
        assert emulates or np.all(predictions["k"].values > 0)
    with xr.open_dataset(out / "data.nc", engine="h5netcdf") as data:
        source = "jaxchem.solve_ensemble" if emulates else "Radau"
        assert source in data.attrs["provenance"]
        assert data["concentration"].attrs["units"]
    figures = {path.stem for path in (out / "figures").glob("*.png")}
    assert {"trajectories", "errors", "conservation"} <= figures
    assert ("species" if emulates else "rates") in figures
    table = (out / "report.md").read_text()
    assert "| model |" in table and "| solver |" in table
    assert (
        str(site)
        in subprocess.run(
            [sys.executable, "-c", "import jaxchem; print(jaxchem.__file__)"],
            env={**os.environ, "PYTHONPATH": str(site)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )


def test_infer_rates(site, tmp_path):
    """Readings at two temperatures with gaps, a replicate and units of their own."""
    (tmp_path / "mine.txt").write_text(
        "name = mine\nunits = ppb, s\nbalanced = none\n[species]\nA = none\nB = none\n"
        "[initial]\nA = 20\n[sources]\nguess = not measured\n[reactions]\n"
        "A -> B ; arrhenius(1e6, 5000.0) ; guess\nB -> A ; 1e-9 ; guess\n"
    )
    rng, warm, hours = np.random.default_rng(0), np.array([290.0, 310.0]), np.arange(1, 9) / 10
    rows = ["run,T [K],time [h],A [ppt]"]
    for run, temperature in zip("ab", warm, strict=True):
        k = 1e-3 * np.exp(-6000.0 * (1 / temperature - 1 / 300.0))
        for hour in (*hours, hours[3]):
            reading = 2e4 * np.exp(-k * 3600 * hour) + rng.normal(0, 50.0)
            rows.append(f"{run},{temperature},{hour},{reading:.1f}")
    rows[5] = rows[5].rpartition(",")[0] + ",n.d."
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "mine.yaml").write_text("rates: {k: A -> B}\nreference: {temperature: 300}\n")
    arguments = ["+experiment=infer_rates", "network.path=mine.txt", "data.path=table.csv"]
    output = command(
        site,
        tmp_path,
        *arguments,
        "data.problem=mine.yaml",
        "inference.starts=4",
        "hydra.run.dir=out",
    )
    assert "17 readings, 2 parameters" in output and "1 gap" in output
    with (tmp_path / "out" / "rates.csv").open() as file:
        rates = list(csv.DictReader(file))
    assert [*rates[0]] == ["name", "equation", "unit", "value", "low", "high", "verdict"]
    assert [row["equation"] for row in rates] == ["A -> B", "B -> A"]
    assert [row["verdict"] for row in rates] == ["determined", "given"]
    assert float(rates[0]["low"]) < 1e-3 < float(rates[0]["high"])
    assert float(rates[0]["value"]) == pytest.approx(1e-3, rel=0.02)
    with (tmp_path / "out" / "parameters.csv").open() as file:
        barrier = list(csv.DictReader(file))[1]
    assert float(barrier["value"]) == pytest.approx(6000.0, rel=0.03)
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["converged"] == 1.0 and metrics["determined"] == 2.0 and "err_k" not in metrics
    assert metrics["objective"] == pytest.approx(17 * 0.05**2, rel=1.0)
    figures = {path.stem for path in (tmp_path / "out" / "figures").glob("*.png")}
    assert figures == {"readings", "residuals", "estimates"}
    assert "## Whether it fits" in (tmp_path / "out" / "report.md").read_text()
    said = command(site, tmp_path, "+experiment=infer_rates", "network.path=mine.txt", status=1)
    assert "data.path is to be given" in said
    text = (tmp_path / "mine.txt").read_text().replace("name = mine", "name = once")
    (tmp_path / "once.txt").write_text(text.replace("B -> A ; 1e-9 ; guess\n", ""))
    few = ["inference.starts=2", "data.against=[once.txt]", "hydra.run.dir=both"]
    assert "mine rather than once" in command(site, tmp_path, *arguments, *few)
    with (tmp_path / "both" / "comparison.csv").open() as file:
        assert {row["mechanism"] for row in csv.DictReader(file)} == {"mine", "once"}
    (tmp_path / "table.csv").write_text("time [h],O3 [ppb]\n1,2\n")
    assert "O3" in command(site, tmp_path, *arguments, status=1)


def test_design_rates(site, tmp_path):
    """A first-order loss, known within a factor of 1.1, is read at its lifetime."""
    (tmp_path / "mine.txt").write_text(
        "name = mine\nunits = ppb, s\nbalanced = none\n[species]\nA = none\nB = none\n"
        "[initial]\nA = 20\n[sources]\nguess = not measured\n[reactions]\nA -> B ; 0.2 ; guess\n"
    )
    (tmp_path / "mine.yaml").write_text("rates: {k: {of: A -> B, factor: 1.1}}\n")
    arguments = ["+experiment=design_rates", "network.path=mine.txt", "data.problem=mine.yaml"]
    arguments += ["inference.times={start: 1, stop: 10, points: 10}", "inference.readings=2"]
    how = [*arguments, "inference.sd=0.1", "inference.observables=[A]", "hydra.run.dir=out"]
    assert "5 s 2 times, as given: A" in command(site, tmp_path, *how)
    with (tmp_path / "out" / "design.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["time"], row["readings"]) for row in rows[:2]] == [("5.0", "2"), ("6.0", "0")]
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    slope = 20 * np.exp(-1) / 0.1
    deviation = (np.log(1.1) ** -2 + 2 * slope**2) ** -0.5
    assert metrics["largest_deviation"] == pytest.approx(deviation, rel=0.05)
    assert (tmp_path / "out" / "figures" / "gains.png").stat().st_size
    assert "5 s" in (tmp_path / "out" / "report.md").read_text()
    assert "inference.times is to be given" in command(site, tmp_path, *arguments[:3], status=1)
    said = command(site, tmp_path, *arguments[:3], "inference.times={stop: 3}", status=1)
    assert "times: a list, or start, stop" in said


def test_box_model(site, tmp_path):
    """From the mechanism that ships, and from a file beside the command."""
    (tmp_path / "mine.eqn").write_text(
        "#DEFVAR\nA = IGNORE;\nB = IGNORE;\n#EQUATIONS\n<R1> A + hv = B : 1.0D-3*SUN;\n"
    )
    two_steps = ["+experiment=box_model", "box.every=600", "box.start=12"]
    command(site, tmp_path, *two_steps, "box.days=0.014", "hydra.run.dir=out")
    output = command(
        site,
        tmp_path,
        *two_steps,
        "network.path=mine.eqn",
        "box.days=0.014",
        "box.initial={A: 1.0e10}",
        "box.budgets=[B]",
        "metric=final/B",
        "hydra.run.dir=mine",
    )
    assert "steps in" in output
    made = json.loads((tmp_path / "mine" / "metrics.json").read_text())["final/B"]
    assert made == pytest.approx(1e10 * -np.expm1(-1.2), rel=1e-3)  # the sun hardly sinks
    for out, species, budgets in (("out", 29, ("O3", "OH", "NO2")), ("mine", 2, ("B",))):
        figures = {path.stem for path in (tmp_path / out / "figures").glob("*.png")}
        assert figures == {"trajectories", *(f"budget_{name}" for name in budgets)}
        assert "| species |" in (tmp_path / out / "report.md").read_text()
        with xr.open_dataset(tmp_path / out / "data.nc", engine="h5netcdf") as data:
            assert data["concentration"].shape == (1, 3, species)
        for name in budgets:
            path = tmp_path / out / f"budget_{name}.nc"
            with xr.open_dataset(path, engine="h5netcdf") as budget:
                assert budget.attrs["species"] == name and budget.sizes["time"] == 3


def test_ism_box(site, tmp_path):
    few = ["box.points=3", "box.phases.density=[1,2,2]", "box.phases.uv_field=[1]"]
    output = command(site, tmp_path, "+experiment=ism_box", *few, "hydra.run.dir=out")
    assert "steps in" in output
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["final/temperature"] == pytest.approx(552.2, rel=0.03)  # KROME, full table
    figures = {path.stem for path in (tmp_path / "out" / "figures").glob("*.png")}
    assert figures == {"abundances", "thermal", "phases"}
    with xr.open_dataset(tmp_path / "out" / "thermal.nc", engine="h5netcdf") as data:
        assert data["heating"].sizes == {"time": 3, "heating_process": 4}


@pytest.mark.parametrize(
    "arguments",
    [
        ["+experiment=pinn_benchmark", "box.window=1.0"],
        ["+experiment=ism_single", "network=ism_atomic", "box.years=2", "box.points=3"],
        [
            *("+experiment=ism_single", "network=ism_atomic", "box.years=2", "box.points=3"),
            *("box.recipe=published", "+box.settings.steps=2", "+box.settings.polish=1"),
            *("+box.settings.layers=1", "+box.settings.width=4", "+box.settings.points=8"),
        ],
    ],
)
def test_equations_alone(site, tmp_path, arguments):
    command(site, tmp_path, *arguments, "hydra.run.dir=out")
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    report = (tmp_path / "out" / "report.md").read_text()
    assert "| metric | value |" in report
    if "+experiment=pinn_benchmark" in arguments:
        assert metrics["varying/conserving/mean"] < 2e-5
        return
    assert {"q50", "q75", "q90", "max", "train_cpu_s", "max/temperature"} <= set(metrics)
    assert (tmp_path / "out" / "model.eqx").exists()
    if "box.recipe=published" not in arguments:
        assert metrics["q90"] < -5 and metrics["drift"] < 1e-12
    figures = {path.stem for path in (tmp_path / "out" / "figures").glob("*.png")}
    assert figures == {"abundances", "errors", "loss"}


SMALL_MAP = ["+experiment=ism_general", "network=ism_atomic", "box.steps=2", "box.batch_size=16"]
SMALL_MAP += ["box.width=8", "box.depth=1", "box.cases=50", "box.tested=4", "box.points=3"]


@pytest.mark.parametrize("data", ["none", "solver"])
def test_a_map_of_all_gas(site, tmp_path, data):
    output = command(site, tmp_path, *SMALL_MAP, f"box.data={data}", "hydra.run.dir=out")
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert {"q50", "q75", "q90", "max", "train_cpu_s", "q90/temperature", "max/H-"} <= set(metrics)
    assert metrics["drift"] < 1e-12 and metrics["unsolved"] == 0
    figures = {path.stem for path in (tmp_path / "out" / "figures").glob("*.png")}
    assert figures == {"abundances", "distribution", "plane", "loss"}
    assert (tmp_path / "out" / "model.eqx").exists() and "q50" in output


def test_a_map_without_a_range(site, tmp_path):
    output = command(site, tmp_path, *SMALL_MAP, "box.density=null", status=1)
    assert "density=None: give a range as [low, high]" in output


def killed(site, cwd, out, when, *arguments):
    """Starts a run, and kills it as soon as `when` exists."""
    process = start(site, cwd, *arguments, f"hydra.run.dir={out}")
    deadline = time.monotonic() + 300
    while not (cwd / out / when).exists():
        assert process.poll() is None, process.communicate()[0][-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (cwd / out / "metrics.json").exists()


KILLED = [*ROBERTSON, "save_every=0"]


def untimed(folder):
    """All of metrics.json that two runs of the same have in common."""
    metrics = json.loads((folder / "metrics.json").read_text())
    return {name: value for name, value in metrics.items() if "time/" not in name}


@pytest.fixture(scope="module")
def unbroken(site, tmp_path_factory):
    """The metrics of a run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("unbroken")
    command(site, folder, *KILLED, "hydra.run.dir=out")
    return untimed(folder / "out")


@pytest.mark.slow
@pytest.mark.parametrize("when", ["infer/last.eqx", "trajectory/last.eqx", "trajectory/model.eqx"])
def test_a_killed_run_resumes_to_the_same_metrics(site, tmp_path, unbroken, when):
    killed(site, tmp_path, "out", when, *KILLED)
    command(site, tmp_path, "resume=out")
    assert untimed(tmp_path / "out") == unbroken


@pytest.mark.slow
def test_resume_of_a_finished_run_repeats_nothing_and_damage_is_told(site, tmp_path):
    command(site, tmp_path, *ROBERTSON, "stages.infer.iterations=2", "hydra.run.dir=out")
    output = command(site, tmp_path, "resume=out")
    assert output.count("taken up from") == 4  # the data and three stages
    model = tmp_path / "out" / "regress" / "model.eqx"
    model.write_bytes(model.read_bytes()[:-10])
    output = command(site, tmp_path, "resume=out", status=1)
    assert "regress/model.eqx is truncated" in output


def test_own_configuration_and_sweep(site, tmp_path):
    own = tmp_path / "own" / "experiment"
    own.mkdir(parents=True)
    text = "# @package _global_\ndefaults:\n  - /experiment/spin_ode_robertson\nname: mine\n"
    (own / "mine.yaml").write_text(text + "stages:\n  order: [regress]\n")
    command(
        site,
        tmp_path,
        "--config-dir",
        "own",
        "-m",
        "+experiment=mine",
        "seed=0,1",
        "hydra.sweep.dir=sweep",
    )
    for job in ("0", "1"):
        metrics = json.loads((tmp_path / "sweep" / job / "metrics.json").read_text())
        assert metrics["err_k"] < 1e-3


@pytest.mark.slow
def test_sweep_by_a_cluster_launcher(site, tmp_path):
    """Jobs that submitit starts, here on this machine instead of a cluster's."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    short = ["stages.order=[regress]", "stages.regress.rounds=2", "data.observe.noise=0.01"]
    sweep = ["data_seed=0,1", "hydra/launcher=submitit_local", "hydra.sweep.dir=sweep"]
    command(site, tmp_path, "-m", *ROBERTSON, *short, *sweep, "hydra.launcher.timeout_min=5")
    files = [tmp_path / "sweep" / job / "metrics.json" for job in ("0", "1")]
    first, second = (json.loads(file.read_text()) for file in files)
    assert first["err_k"] != second["err_k"]  # each has the noise of its own seed
    assert len(list((tmp_path / "sweep" / ".submitit").glob("*/*_result.pkl"))) == 2


def test_bad_command_lines(site, tmp_path):
    """Each says what is wrong and fails."""
    output = command(site, tmp_path, *ROBERTSON, "stages.trajectory.stps=2", status=1)
    assert "stps" in output
    output = command(site, tmp_path, *ROBERTSON, "stages.order=[nonsense]", status=1)
    assert "'nonsense'" in output
    assert "trajectory, regress, infer" in output
    output = command(site, tmp_path, "resume=nowhere", status=1)
    assert "no run there" in output
    (tmp_path / "file").touch()
    output = command(site, tmp_path, *ROBERTSON, "hydra.run.dir=file/out", status=1)
    assert "file/out" in output
    output = command(site, tmp_path, *ROBERTSON, "+data.initial.D=1", status=1)
    assert "unknown species 'D'" in output
    (tmp_path / "bad.csv").write_text("time,A,B,D\n0,1,0,0\n1,0.9,0,0.1\n")
    output = command(site, tmp_path, *ROBERTSON, "data.path=bad.csv", status=1)
    assert "bad.csv: unknown species 'D'" in output


def test_readme_example_runs():
    """The library example of the README, in a process of its own."""
    text = (ROOT / "README.md").read_text()
    code = re.search(r"<!-- example -->\n```python\n(.*?)```", text, re.DOTALL)[1]
    assert len(code.strip().splitlines()) <= 14
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    spread, equation = done.stdout.split(maxsplit=1)
    assert 0 < float(spread) < 1
    assert equation.strip() in jaxchem.load("pollu").equations


def test_operator_split_loop(tmp_path, capsys):
    """The loop of chemistry and diffusion keeps the elements, with the solver in it."""
    main = runpy.run_path(str(ROOT / "experiments" / "operator_split" / "loop.py"))["main"]
    main(["--cells=3", "--steps=2"], tmp_path)
    name, *figures = capsys.readouterr().out.splitlines()[-1].strip("| ").split("|")
    mean, largest, drift, _ = map(float, figures)
    assert name.strip() == "solver"
    assert mean == largest == 0 and drift < 1e-12
    assert (tmp_path / "loop.png").stat().st_size


def test_the_package_is_light_until_it_is_used():
    """Importing it, or asking the command line for help, imports neither JAX nor equinox."""
    code = (
        "import sys, jaxchem, jaxchem.run; print({'jax', 'equinox', 'xarray'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    assert set(jaxchem._HOME) <= set(dir(jaxchem))
    assert all(getattr(jaxchem, name) for name in jaxchem._HOME)
