"""The composition of configurations, and runs within this process.

What the command line does from a wheel, in processes of its own, is in test_experiments.py.
"""

import inspect
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import hydra
import numpy as np
import pytest
import xarray as xr
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import jaxchem
from jaxchem import checkpoint, run
from jaxchem.dataset import course, draw, under
from jaxchem.files import hold
from jaxchem.resume import recorded, resumed, take_trust
from jaxchem.stages import Plan
from jaxchem.trust import check_targets, trusted

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
GROUPS = [
    (path.parent.name, path.stem)
    for path in sorted(CONF.glob("*/*.yaml"))
    if path.parent.name != "experiment" and not path.stem.startswith("base")
]
NEEDED = {  # what an option leaves to its user
    ("network", "file"): ["network.path=robertson"],
    ("data", "file"): ["data.path=measured.csv"],
    ("model", "file"): ["model.path=model.eqx"],
    ("experiment", "infer_rates"): ["network.path=robertson", "data.path=measured.csv"],
    ("experiment", "design_rates"): ["network.path=robertson", "inference.times=[1.0]"],
}
SMALL = [
    "+experiment=spin_ode_robertson",
    "model.width=4",
    "stages.trajectory.steps=2",
    "stages.infer.iterations=3",
]


def composed(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides))


def nodes(config):
    """Every mapping with a `_target_`, at any depth."""
    if isinstance(config, dict):
        if "_target_" in config:
            yield config
        for value in config.values():
            yield from nodes(value)
    elif isinstance(config, list):
        for value in config:
            yield from nodes(value)


def parameters(path):
    """What a target takes, and what it hands on."""
    return set(inspect.signature(hydra.utils.get_object(path)).parameters)


def go(folder, *overrides):
    """Runs the composed configuration in a folder."""
    return run.run(composed(*overrides), folder)


def command(folder, *arguments):
    python = [sys.executable, "-m", "jaxchem.run", *arguments]
    done = subprocess.run(python, cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def numbers(folder):
    """metrics.json, which must be JSON that any reader takes."""

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads((folder / "metrics.json").read_text(), parse_constant=refuse)


def untimed(metrics):
    """All that two runs of the same have in common."""
    return {name: value for name, value in metrics.items() if "time/" not in name}


# Composition


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_target_of_an_experiment_resolves_and_takes_its_settings(name):
    cfg = composed(f"+experiment={name}", *NEEDED.get(("experiment", name), []))
    plain = OmegaConf.to_container(cfg, resolve=True)
    found, order = list(nodes(plain)), cfg.stages.get("order", [])
    assert len(found) >= 2 + len(order)
    for node in found:
        settings = {n: v for n, v in node.items() if not n.startswith("_")}
        assert not set(settings) - parameters(node["_target_"]), node["_target_"]
    for stage in order:
        partial = hydra.utils.instantiate(cfg.stages[stage])
        inspect.signature(partial).bind(None, None, None, job=None)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_is_consistent(name):
    """Its network loads, has the conditions it needs, the species of its data, and its name."""
    cfg = composed(f"+experiment={name}")
    assert cfg.name == name
    text = (CONF / "experiment" / f"{name}.yaml").read_text()
    if ("experiment", name) in NEEDED:
        assert f"python -m jaxchem.run +experiment={name} network.path=" in text
        return
    assert f"python -m jaxchem.run +experiment={name}\n" in text
    network = hydra.utils.instantiate(cfg.network)
    if "box" in cfg:  # its conditions are those of the box
        return
    conditions = hydra.utils.instantiate(cfg.conditions)
    assert isinstance(hydra.utils.instantiate(cfg.solver), jaxchem.Integrator)
    if "draw" in cfg.data:
        cases = cfg.data.draw.cases
        settings = OmegaConf.to_container(cfg.data.draw)
        y0, given = draw(network, **settings, fixed=conditions)
        lit = 0
        if "course" in cfg.data:  # by day, when all that light drives has a rate
            how = OmegaConf.to_container(cfg.data.course)
            given = under(given, course(cases, length=cfg.data.times.stop, **how), 0)
            lit = int(np.argmin(given["solar_zenith_angle"]))
        conditions = {name: values[lit] for name, values in given.items()}
    else:
        cases, initial = cfg.data.cases, OmegaConf.to_container(cfg.data.initial)
        y0 = jaxchem.sample(network, initial, cases=cases, spread=cfg.data.spread)
    assert y0.shape == (cases, len(network.species))
    assert np.all(np.asarray(network.rates(**conditions)) > 0)
    assert all(0 <= j < len(network.equations) for j in cfg.known)
    points = cfg.data.times.points
    for stage in cfg.stages.order:
        assert (cfg.stages[stage].get("window") or 2) <= points


@pytest.mark.parametrize(("group", "option"), GROUPS)
def test_every_option_of_every_group_composes(group, option):
    cfg = composed(f"{group}={option}", *NEEDED.get((group, option), []))
    plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    for node in nodes(plain):
        settings = {n: v for n, v in node.items() if not n.startswith("_")}
        assert not set(settings) - parameters(node["_target_"])
    if group == "network":
        assert hydra.utils.instantiate(cfg.network).species
    if group == "conditions":
        jaxchem.Conditions(**hydra.utils.instantiate(cfg.conditions))
    if group == "stages" and option != "none":
        assert set(cfg.stages.order) <= set(cfg.stages)


def test_experiments_are_found_and_have_no_space_for_typing_errors():
    assert {"spin_ode", "spin_ode_robertson", "spin_ode_aoxid"} <= set(EXPERIMENTS)
    for wrong in ("stages.trajectory.stps=2", "sed=1", "data.case=3", "solver.rtl=1"):
        with pytest.raises(Exception, match=wrong.partition("=")[0].rpartition(".")[2]):
            composed("+experiment=spin_ode", wrong)
    with pytest.raises(Exception, match="spin_ole"):
        composed("+experiment=spin_ole")


# A run and its folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of all three stages, and what it returned."""
    folder = tmp_path_factory.mktemp("run") / "out"
    return folder, go(folder, *SMALL)


@pytest.fixture
def copy(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished[0], folder)
    return folder


def test_the_folder_of_a_run(finished):
    folder, returned = finished
    metrics = numbers(folder)
    assert returned == metrics["err_k"] == metrics["infer/err_k"]
    assert metrics["err_k"] < 1e-4
    for stage in ("trajectory", "regress", "infer"):
        header = checkpoint.read_header(folder / stage / "model.eqx")
        for name, value in header["metrics"].items():
            assert metrics[f"{stage}/{name}"] == value
        with xr.open_dataset(folder / stage / "history.nc", engine="h5netcdf") as history:
            assert history["loss"].dims == ("step",)
    assert {p.stem for p in (folder / "figures").glob("*.png")} == {
        "trajectories",
        "errors",
        "conservation",
        "rates",
        *("loss_trajectory", "loss_regress", "loss_infer"),
    }
    for path in (folder / "figures").iterdir():
        assert path.read_bytes().startswith(b"\x89PNG")
    assert not list(folder.rglob("*.part"))


def test_predictions_are_those_of_the_last_model(finished):
    folder, _ = finished
    network = jaxchem.load("robertson")
    data = jaxchem.read(folder / "data.nc", network)
    assert OmegaConf.create(data.attrs["configuration"]) == composed(*SMALL)
    model = jaxchem.load_model(folder / "infer" / "model.eqx")
    with xr.open_dataset(folder / "predictions.nc", engine="h5netcdf") as predictions:
        np.testing.assert_array_equal(predictions["truth"].values, data["concentration"].values)
        np.testing.assert_array_equal(predictions["k"].values, model.k)
        np.testing.assert_array_equal(predictions["k_true"].values, network.rates())
        assert list(predictions["reaction"].values) == list(network.equations)
        assert np.all(predictions["deviation"].values > 0)
        again = model(np.asarray(data["initial"].values[0]), None, data["time"].values)
        np.testing.assert_allclose(
            predictions["concentration"].values[0], again, rtol=1e-6, atol=1e-15
        )


def test_a_finished_run_takes_everything_up(finished, copy, caplog):
    times = {p: p.stat().st_mtime_ns for p in copy.rglob("model.eqx")}
    before = numbers(copy)
    with caplog.at_level(logging.INFO, "jaxchem"):
        assert go(copy, *SMALL) == finished[1]
    assert sum("taken up from" in record.message for record in caplog.records) == 4
    assert {p: p.stat().st_mtime_ns for p in copy.rglob("model.eqx")} == times
    assert untimed(numbers(copy)) == untimed(before)


def stages_run(caplog):
    """The stages that ran, of the last run that was logged."""
    begun = [r.message for r in caplog.records if r.message.startswith("stage ")]
    return [m.split()[1] for m in begun if len(m.split()) == 2]


def test_a_change_runs_the_stages_that_depend_on_it(copy, caplog):
    order = "stages.order=[trajectory,regress]"  # which stages follow makes no difference
    with caplog.at_level(logging.INFO, "jaxchem"):
        go(copy, *SMALL, order, "stages.regress.rounds=3", "name=other", "metric=k_err")
    assert stages_run(caplog) == ["regress"]
    assert sum("data: taken up" in record.message for record in caplog.records) == 1


@pytest.mark.parametrize(("seed", "kept"), [("seed=1", ["data"]), ("data_seed=1", [])])
def test_another_seed_starts_anew(copy, caplog, seed, kept):
    """Of the model, which leaves the data as they are; or of the data."""
    shutil.rmtree(copy / "infer")
    with caplog.at_level(logging.INFO, "jaxchem"):
        go(copy, *SMALL, "stages.order=[regress]", seed)
    assert stages_run(caplog) == ["regress"]
    found = [r.message.partition(":")[0] for r in caplog.records if "taken up" in r.message]
    assert found == kept


def test_progress_of_another_configuration_is_refused(copy):
    (copy / "trajectory" / "model.eqx").unlink()
    with pytest.raises(ValueError, match=r"trajectory/last.eqx was made with another fingerprint"):
        go(copy, *SMALL, "stages.trajectory.learning_rate=0.5")


def test_a_finished_stage_of_other_settings_is_done_again(copy, caplog):
    with caplog.at_level(logging.INFO, "jaxchem"):
        go(copy, *SMALL, "stages.infer.prior=2.0")
    assert stages_run(caplog) == ["infer"]


def test_a_finished_committee_of_other_settings_is_done_again(tmp_path, caplog):
    """It leaves a checkpoint a member; and without a split it is told what it is measured on."""
    small = ["+experiment=emulate_osu29", "stages=committee", "stages.committee.members=2"]
    small += ["data.draw.cases=16", "data.times.points=5", "gradients=0"]
    small += ["model.modes=2", "model.width=4", "stages.emulate.optimizer=adam"]
    for steps in (2, 3):
        go(tmp_path, *small, "data.split=null", f"stages.emulate.steps={steps}")
        assert "measured on the trajectories that it was trained on" in caplog.text
        with xr.open_dataset(tmp_path / "committee" / "history.nc", engine="h5netcdf") as history:
            assert history.sizes["step"] == steps


def test_an_edited_mechanism_starts_anew(tmp_path, caplog):
    text = (ROOT / "jaxchem" / "data" / "robertson.txt").read_text()
    path = tmp_path / "mechanism.txt"
    arguments = [*SMALL, "stages.order=[regress]", f"network.path={path}"]
    for k in ("3e7", "6e7"):
        path.write_text(text.replace("3e7", k))
        with caplog.at_level(logging.INFO, "jaxchem"):
            go(tmp_path / "out", *arguments)
        assert not any("taken up" in record.message for record in caplog.records)
        model = jaxchem.load_model(tmp_path / "out" / "regress" / "model.eqx")
        np.testing.assert_allclose(model.k[1], float(k), rtol=1e-3)


@pytest.mark.parametrize("file", ["trajectory/model.eqx", "regress/model.eqx", "infer/model.eqx"])
def test_a_truncated_model_is_reported(copy, file):
    path = copy / file
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match=rf"{file} is truncated.*Delete it to start this stage"):
        go(copy, *SMALL)


@pytest.mark.parametrize("stage", ["trajectory", "infer"])
def test_truncated_progress_is_reported(copy, stage):
    (copy / stage / "model.eqx").unlink()
    path = copy / stage / "last.eqx"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match=rf"{stage}/last.eqx is truncated"):
        go(copy, *SMALL)


def test_damaged_data_are_reported(copy):
    path = copy / "data.nc"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"data.nc: not a readable NetCDF file"):
        go(copy, *SMALL)


def test_data_from_a_file_give_the_estimate_of_the_data_that_were_made(finished, tmp_path):
    folder, _ = finished
    order = "stages.order=[regress]"
    go(tmp_path / "read", *SMALL, order, f"data.path={folder / 'data.nc'}")
    made, read = numbers(folder), numbers(tmp_path / "read")
    assert read["regress/err_k"] == made["regress/err_k"]
    with xr.open_dataset(tmp_path / "read" / "data.nc", engine="h5netcdf") as data:
        assert "Radau" in data.attrs["provenance"]


def test_a_guess_is_no_truth(finished, tmp_path, caplog):
    """Trajectories of robertson are read with a mechanism that is guessed, or said to be theirs."""
    text = (ROOT / "jaxchem" / "data" / "robertson.txt").read_text()
    (tmp_path / "guess.txt").write_text(text.replace("3e7", "2e7"))
    told = {"change_k", "max_z", "err_dy", "err_k"}
    start = ["stages=infer", "model=crnn_near", "model.noise=0.1", "metric=null"]
    for name, options, expected in (
        ("guess", [f"network.path={tmp_path / 'guess.txt'}"], {"change_k"}),
        ("same", [], {"max_z", "err_dy", "err_k"}),
        ("said", [f"network.path={tmp_path / 'guess.txt'}", "data.true_rates=true"], None),
    ):
        caplog.clear()
        read = [f"data.path={finished[0] / 'data.nc'}", "stages.infer.iterations=40"]
        with caplog.at_level(logging.INFO, "jaxchem"):
            go(tmp_path / name, "+experiment=spin_ode_robertson", *read, *start, *options)
        found = {n.rpartition("/")[2] for n in numbers(tmp_path / name)} & told
        assert found == (expected or {"max_z", "err_dy", "err_k"})
        assert ("nothing is held against them" in caplog.text) == (name == "guess")
        with xr.open_dataset(tmp_path / name / "predictions.nc", engine="h5netcdf") as dataset:
            assert ("k_true" in dataset) == (name != "guess")
            np.testing.assert_allclose(dataset["k"].values, [0.04, 3e7, 1e4], rtol=1e-4)
            assert np.all(dataset["deviation"].values > 0)
    np.testing.assert_allclose(numbers(tmp_path / "said")["max_err_k"], np.log(1.5), rtol=1e-4)
    with pytest.raises(ValueError, match=r"data\.true_rates=maybe: give true or false"):
        go(tmp_path / "bad", *SMALL, *read, "data.true_rates=maybe")


def test_the_metric_that_a_sweeper_gets(tmp_path):
    one = [*SMALL, "stages.order=[regress]"]
    assert go(tmp_path / "one", *one, "metric=regress/k_err") == pytest.approx(
        numbers(tmp_path / "one")["k_err"]
    )
    assert go(tmp_path / "one", *one, "metric=null") is None
    with pytest.raises(ValueError, match="rollout/growth: a CRNN has no chain of predictions"):
        go(tmp_path / "one", *one, "metric=rollout/growth")


def test_given_coefficients(tmp_path):
    go(tmp_path, *SMALL, "stages.order=[regress]", "known=[1]")
    model = jaxchem.load_model(tmp_path / "regress" / "model.eqx")
    np.testing.assert_array_equal(model.known, [False, True, False])
    np.testing.assert_allclose(model.k[1], 3e7, rtol=1e-14)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.order=[regress,polish]", r"names 'polish'; defined: trajectory, regress,"),
        ("stages.order=[order]", r"stages.order names 'order'"),
        ("stages.order=[]", r"stages.order is empty; name at least one stage"),
        ("known=3", r"known=3: give a list of reactions, as \[3\]"),
        ("stages.infer.prior=0", r"prior=0: give a positive number"),
        ("known=[3]", r"known=\[3\]: network 'robertson' has reactions 0 to 2"),
        ("known=[A]", r"known=\['A'\]: network 'robertson' has reactions 0 to 2"),
        ("known=[0,1,2]", r"known names every reaction"),
        ("network=aoxid", r"temperature.* On the command line: \+conditions.NAME=VALUE"),
        ("known=[-1]", r"known=\[-1\]: network 'robertson' has reactions 0 to 2"),
        ("model.precision=float16", r"precision='float16' is unknown; write float64 or float32"),
        ("metric=rsme", r"metric=rsme is none that a run has; did you mean 'rmse'"),
        ("metric=infer/err", r"metric=infer/err is none"),
        ("metric=rolout/growth", r"did you mean 'rollout/growth'"),
        ("+data.case=3", r"data.case is no setting; did you mean 'cases'"),
        ("+data.draw.cases=3", r"data.initial={'A': 1.0} has no part where initial states are dr"),
        ("+data.times.pionts=3", r"data.times.pionts is no setting; did you mean 'points'"),
        ("+data.truth.rtoll=1", r"data.truth.rtoll is no setting; did you mean 'rtol'"),
        ("+data.observe.nois=1", r"data.observe.nois is no setting; did you mean 'noise'"),
        ("+stages.trajectory.warm_up=5", r"warm_up=5 has no part with plateau=0.1"),
        ("+stages.trajectory.optimizer=lbfgs", r"learning_rate=0.001 has no part with optimizer=l"),
        ("network.path=absent", r"absent"),
        ("data.path=absent.nc", r"no data file .*absent.nc"),
        ("data.times.spacing=square", r"unknown spacing 'square'"),
        ("+data.initial.D=1", r"unknown species 'D'"),
        ("data.observe.species=[A]", r"windows and derivatives need every species"),
        ("data.observe.points=60", r"cannot keep 60 of 50 times"),
        ("stages.trajectory.window=51", r"windows of 51 points every 50 do not fit"),
        ("model.activation=reluu", r"unknown activation 'reluu'"),
        (
            "+stages.infer.priors=3",
            r"infer.priors is no setting; did you mean .prior.. Known: start, ",
        ),
        ("+model.widht=8", r"start.widht is no setting; did you mean .width.. Known: width,"),
    ],
)
def test_bad_configurations(tmp_path, override, message):
    with pytest.raises(ValueError, match=message):
        go(tmp_path, *SMALL, override)

    assert not list(tmp_path.rglob("*.nc"))  # all are told before the data are made


@pytest.mark.parametrize(
    ("overrides", "useless"),
    [
        (["+experiment=spin_ode_two_points", "known=[3]"], None),
        (["+experiment=spin_ode_aoxid", "stages=infer", "model=crnn", "known=[1]"], None),
        (["+experiment=emulate_osu29", "known=[3]"], "known=[3]"),
        (["+experiment=spin_ode", "stages=crnn_ode", "model.width=3"], "model.width=3"),
        (["+experiment=spin_ode", "data.path=a.csv", "data.spread=0.5"], "data.spread=0.5"),
        (["+experiment=spin_ode", "data.time_scale=60"], "data.time_scale=60"),
        (["+experiment=box_model", "seed=3"], "seed=3"),
        (["+experiment=spin_ode", "seed=3", "solver.rtol=1e-6", "stages.infer.prior=1"], None),
    ],
)
def test_what_nothing_reads_is_told(tmp_path, monkeypatch, overrides, useless):
    """As typed on a command line; what is read goes on to where data are made."""
    made = run.hydra.core.hydra_config.HydraConfig
    task = type("Task", (), {"overrides": type("O", (), {"task": overrides}), "mode": None})
    monkeypatch.setattr(made, "initialized", staticmethod(lambda: True))
    monkeypatch.setattr(made, "get", staticmethod(lambda: task))
    monkeypatch.setattr(Plan, "make", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
    message = "^$" if useless is None else f"{re.escape(useless)} changes nothing: no part of this"
    with pytest.raises(KeyboardInterrupt if useless is None else ValueError, match=message):
        go(tmp_path, *overrides)


@pytest.mark.parametrize("name", [n for n in EXPERIMENTS if n != "box_model"])
def test_a_saved_model_takes_the_place_of_an_experiments(name):
    cfg = composed(f"+experiment={name}", "model=file", "model.path=m.eqx", "stages=evaluate")
    assert set(cfg.model) == {"_target_", "_partial_", "path"}


@pytest.mark.parametrize(
    "overrides",
    [
        ["data.draw.cases=100", "data.split=0.02"],
        ["data.draw.cases=30", "data.observe.cases=20"],
        ["data.draw.cases=60", "stages.emulate.validation=0.02"],
    ],
)
def test_settings_that_fit_the_data_pass_the_rehearsal(tmp_path, monkeypatch, overrides):
    monkeypatch.setattr(Plan, "make", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, "+experiment=emulate_osu29", *overrides)


EMULATE = ["+experiment=emulate_osu29", "data.draw.cases=16", "gradients=0"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["metric=err_k"], r"metric=err_k: a FlowMap has no rate coefficients"),
        (["stages.emulate.points=6"], r"points=6: a FlowMap learns whole trajectories"),
        (["stages.emulate.optimizer=lbfgs"], r"learning_rate=0.005 has no part with optimizer=lbf"),
        (
            ["stages.order=[emulate,polish]", "stages.polish.batch_size=8"],
            r"batch_size=8: L-BFGS wants all examples at once",
        ),
        (["+data.cases=3"], r"data.cases=3 has no part where initial states are drawn"),
        (["+data.solver.rtoll=1"], r"data.solver.rtoll is no setting; did you mean 'rtol'"),
        (["+data.test.observe.points=3", "data.split=null"], r"data.test.observe is that of the"),
        (["data.spin_up=-1"], r"data.spin_up=-1: give a time that is positive"),
        (["stages.emulate.batch_size=0"], r"batch_size=0; a batch has one example or more"),
        (["seed=-1"], r"seed=-1: give a whole number that is not negative"),
        (["data.floor=abc"], r"data.floor=abc: give a number"),
        (["gradients=abc"], r"gradients=abc: give a whole number"),
        (["data.draw.cases=abc"], r"the data cannot be made with these settings \(TypeError"),
        (["metric=rollout/mean_dex"], r"metric=rollout/mean_dex: a FlowMap has no chain"),
        (["metric=gate/recall"], r"metric=gate/recall: a FlowMap has no spread"),
        (["model=file"], r"model.path is to be given: model.path=VALUE"),
        (["data.split=0.001"], r"data.split=0.001 of 16 cases leaves none"),
        (["model=latent_warp", "+model.modes=9"], r"start.modes is no setting"),
        (["data.times.points=3"], r"a flow map wants four times or more"),
        (
            [
                "model=latent_linear",
                "stages=emulate_paper",
                "data.times.points=2",
                "stages.burn_in.steps=2",
            ],
            r"a Latent has no loss term 'first' of 2 times",
        ),
        (["model=crnn"], r"a CRNN has no `examples`, so it cannot be trained"),
        (["model=neural_ode"], r"a NeuralODE has no `examples`"),
        (["stages=infer"], r"rate coefficients but got a FlowMap"),
        (["+stages.emulate.weights={mass: 1.0}"], r"a FlowMap has no loss term 'mass'"),
    ],
)
def test_what_emulators_cannot_do_is_told_before_the_data_are_made(tmp_path, overrides, message):
    with pytest.raises(ValueError, match=message):
        go(tmp_path, *EMULATE, *overrides)
    assert not list(tmp_path.rglob("*.nc"))


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"cannot write .*file/out.*hydra.run.dir"):
        go(tmp_path / "file" / "out", *SMALL)


# resume=FOLDER


def written(folder, overrides, sources=()):
    """A folder as hydra leaves it."""
    (folder / ".hydra").mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.create(overrides), folder / ".hydra" / "overrides.yaml")
    settings = {"hydra": {"runtime": {"cwd": "", "config_sources": list(sources)}}}
    OmegaConf.save(OmegaConf.create(settings), folder / ".hydra" / "hydra.yaml")


def expanded(arguments):
    return resumed(arguments, recorded(arguments))


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    """What a command line leaves there."""
    for name in ("JAXCHEM_FOLDER", "JAXCHEM_TRUST"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(logging, "raiseExceptions", logging.raiseExceptions)


LAST = "hydra.run.dir=${oc.env:JAXCHEM_FOLDER}"


def test_resume_repeats_the_overrides(tmp_path):
    written(tmp_path / "out", ["+experiment=spin_ode", "seed=3"])
    assert expanded([f"resume={tmp_path / 'out'}"]) == ["+experiment=spin_ode", "seed=3", LAST]
    assert os.environ["JAXCHEM_FOLDER"] == str(tmp_path / "out")
    found = expanded([f"resume={tmp_path}/x/../out/", "seed=4", "known=[1]"])
    assert found == ["+experiment=spin_ode", "seed=3", "seed=4", "known=[1]", LAST]


NAMES = (
    *("a b", "a = b", "it's", 'say "x"', "a,b", "[a]", "{a: b}", "-m", "--multirun", "~x", "ä→漢"),
    *("${name}", "a\\b", "a\nb", "a:b", "#a", "%Y", "$HOME", "\udcff", "a" * 255, "resume=a"),
)


@pytest.mark.parametrize("name", NAMES)
def test_resume_of_a_folder_of_any_name(tmp_path, monkeypatch, name):
    """What Hydra makes of the last override is that folder and no other."""
    monkeypatch.chdir(tmp_path)
    written(tmp_path / name, ["+experiment=spin_ode"])
    *_, last = expanded([f"resume={name}"])
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", ["+experiment=spin_ode", last], return_hydra_config=True)
    folder = OmegaConf.select(cfg, "hydra.run.dir")
    cfg.hydra.runtime.output_dir = folder  # as Hydra keeps it, and reads it once more
    assert os.path.samefile(cfg.hydra.runtime.output_dir, tmp_path / name)
    assert Path(folder).resolve() == tmp_path / name


def test_resume_wants_the_own_configuration_named_again(tmp_path, monkeypatch):
    """The folder says which it was, and it is the user who knows whose that is."""
    monkeypatch.chdir(tmp_path)
    sources = [
        {"provider": "main", "path": "/somewhere/conf"},
        {"provider": "command-line", "path": str(tmp_path / "own")},
    ]
    written(tmp_path / "out", ["+experiment=mine"], sources)
    with pytest.raises(ValueError, match=f"if you know .* add --config-dir {tmp_path / 'own'}"):
        expanded(["resume=out"])
    for given in (["--config-dir", "own"], ["--config-dir=own"], ["-cd", "own"]):
        found = expanded(["resume=out", *given])
        assert re.split("[= ]", " ".join(found))[1] == str(tmp_path / "own")


@pytest.mark.parametrize(
    "override",
    [
        *("hydra.callbacks.x._target_=os.system", "+hydra.job.env_set.PATH=x", "hydra/launcher=x"),
        *("--config-dir=/tmp/evil", "--config-path", "-m", "~hydra.run", "hydra.searchpath=[x]"),
        *("+experiment=../../evil", "+experiment=[a,'../evil']", "network=${data.path}", "a b=1"),
        *(3, {"a": 1}, "=1", ""),
    ],
)
def test_a_record_sets_what_a_run_has_and_nothing_else(tmp_path, override):
    written(tmp_path, ["+experiment=spin_ode", override])
    with pytest.raises(ValueError, match="which no run writes there") as caught:
        recorded([f"resume={tmp_path}"])
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "a: 1", "[", "!!python/object/apply:os.system [ls]", "\0"])
def test_a_record_that_is_none(tmp_path, text):
    for name in ("overrides", "hydra"):
        written(tmp_path, ["seed=3"])
        (tmp_path / ".hydra" / f"{name}.yaml").write_text(text)
        with pytest.raises(ValueError, match=r"resume=.*\.hydra/.*yaml"):
            recorded([f"resume={tmp_path}"])


@pytest.mark.parametrize(
    "target",
    [
        *("os.system", "builtins.eval", "subprocess.run", "hydra.utils.get_method"),
        *("jaxchem.run.os.system", "jaxchem.run.hydra.utils.instantiate", "jaxchem.run.main"),
        *("jaxchem.checkpoint.save", "jaxchem.models.save", "jaxchem.models.files.sys.exit"),
        *("jaxchem.models.CRNN.__init__.__globals__.get", "jaxchem.load.__globals__", "jaxchem"),
        *("jaxchem.models.Nothing", "jaxchem.models.Any", "${oc.env:HOME}.x", "", 3),
        *("jaxchem.solvers.build._run", "colorsys.sys.exit", "colorsys.rgb_to_hsv.__get__"),
    ],
)
@pytest.mark.parametrize("place", ["network", "solver.retries", "model.activation", "stages.infer"])
def test_a_configuration_calls_nothing_of_elsewhere(tmp_path, monkeypatch, target, place):
    """At any depth; `trust` of one module does not reach into those that it imports."""
    monkeypatch.setenv("JAXCHEM_TRUST", "colorsys")
    cfg = composed(*SMALL)
    OmegaConf.update(cfg, place, {"_target_": target}, force_add=True)
    with pytest.raises(ValueError, match=r"_target_: .* is not among what"):
        run.run(cfg, tmp_path)
    assert not list(tmp_path.rglob("*.nc"))


def test_what_is_trusted_is_called(monkeypatch):
    assert take_trust(["seed=1", "trust=[colorsys]", "trust=a,b.c"]) == ["seed=1"]
    assert trusted(("d",)) == ("colorsys", "a", "b.c", "d")
    assert run._build(OmegaConf.create({"_target_": "colorsys.rgb_to_hsv", "r": 1, "g": 1, "b": 1}))
    monkeypatch.setenv("JAXCHEM_TRUST", "no_such_module")
    with pytest.raises(ValueError, match="trust=no_such_module: No module named"):
        run._build(OmegaConf.create({"_target_": "no_such_module.f"}))


def test_every_target_that_ships_may_be_built():
    for path in CONF.rglob("*.yaml"):
        check_targets(OmegaConf.to_container(OmegaConf.load(path)))


def test_folders_of_one_second(tmp_path, monkeypatch):
    """Each run has its own, and asks for its name as often as it likes."""
    monkeypatch.chdir(tmp_path)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        one, two = (
            compose("config", [f"++hydra.{kind}.dir=${{fresh:out/x}}"], return_hydra_config=True)
            for kind in ("run", "run")
        )
        found = [OmegaConf.select(c, "hydra.run.dir") for c in (one, two, one, two)]
    assert found == ["out/x", "out/x.2"] * 2
    assert sorted(p.name for p in Path("out").iterdir()) == ["x", "x.2"]


def test_figures_of_species_of_any_name_stay_in_the_folder(tmp_path):
    """A mechanism of somebody else may call a species as a way out of it."""
    path = tmp_path / "mine.txt"
    path.write_text(
        "name = x\nunits = molecule cm-3, s\nbalanced = none\n[species]\nA\na/../../b\n"
        "[sources]\nS = x\n[reactions]\nA -> a/../../b ; 1e-5 ; S\n"
    )
    box = [f"network.path={path}", "box.days=0.1", "+box.initial.A=1e9", "box.ambient=null"]
    go(tmp_path / "runs" / "out", "+experiment=box_model", *box, "box.budgets=['a/../../b']")
    found = {p.name for p in (tmp_path / "runs" / "out" / "figures").iterdir()}
    assert "budget_a_.._.._b.png" in found
    assert {p.name for p in tmp_path.iterdir()} == {"mine.txt", "runs"}
    assert {p.name for p in (tmp_path / "runs").iterdir()} == {"out"}


def test_one_folder_is_for_one_process(tmp_path):
    written(tmp_path / "out", ["+experiment=spin_ode_robertson"])
    with hold(tmp_path / "out"):
        with pytest.raises(ValueError, match=r"out is in use by another process; wait until"):
            go(tmp_path / "out", *SMALL)
        status, output = command(tmp_path, "resume=out", "seed=7")
        assert status == 1 and "out is in use by another process" in output
        assert output.count("\n") == 1
    assert "seed" not in (tmp_path / "out" / ".hydra" / "overrides.yaml").read_text()


def test_bad_resumes(tmp_path, monkeypatch):
    assert recorded(["+experiment=spin_ode", "-m", "seed=0,1"]) is None
    written(tmp_path / "out", ["seed=0"])
    with pytest.raises(ValueError, match="resume goes on with one run"):
        expanded([f"resume={tmp_path / 'out'}", "-m"])
    for name in ("missing", "~nobody/here", "out/.hydra/hydra.yaml"):
        monkeypatch.setattr(sys, "argv", ["jaxchem", f"resume={tmp_path / name}"])
        with pytest.raises(SystemExit) as caught:
            run.main()
        message = str(caught.value.code)
        assert message.startswith(f"jaxchem: resume={tmp_path / name}: no run there")


def test_resume_from_another_folder_with_own_configuration_and_data(tmp_path):
    """The paths of the first command were relative to where it was given."""
    own = tmp_path / "own" / "experiment"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text(
        "# @package _global_\n"
        "defaults:\n  - /experiment/spin_ode_robertson\n"
        "data: {path: measured.csv}\n"
        "network: {path: mine.txt}\n"
        "stages: {order: [regress]}\n"
    )
    network = jaxchem.load("robertson")
    (tmp_path / "mine.txt").write_text((ROOT / "jaxchem" / "data" / "robertson.txt").read_text())
    ts = np.geomspace(1e-5, 1e5, 50)
    y0 = network.y0({"A": 1.0})[None]
    truth = jaxchem.generate(network, network.rates(), y0, ts, progress=False)
    table = np.column_stack([ts, truth["concentration"].values[0]])
    np.savetxt(tmp_path / "measured.csv", table, delimiter=",", header="time,A,B,C")

    status, output = command(
        tmp_path, "--config-dir", "own", "+experiment=mine", "hydra.run.dir=out"
    )
    assert status == 0, output[-3000:]
    model = jaxchem.load_model(tmp_path / "out" / "regress" / "model.eqx")
    np.testing.assert_allclose(model.k, [0.04, 3e7, 1e4], rtol=1e-3)
    assert "err_k" not in numbers(tmp_path / "out")  # nobody said whose trajectories they are
    assert "data.true_rates=true says that they are" in output
    assert "done in" in (tmp_path / "out" / "run.log").read_text()
    (tmp_path / "elsewhere").mkdir()
    own = ["--config-dir", "../own"]
    (tmp_path / "measured.csv").unlink()  # the run has its own copy
    status, output = command(tmp_path / "elsewhere", "resume=../out", "known=[7]", *own)
    assert status == 1 and "reactions 0 to 2" in output
    status, output = command(tmp_path / "elsewhere", *own, "resume=../out")  # as if never refused
    assert status == 0, output[-3000:]
    assert output.count("taken up from") == 2
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_job_that_fails_leaves_the_others_of_a_sweep(tmp_path):
    sweep = ["stages.order=[regress]", "known=[7],[0]", f"hydra.sweep.dir={tmp_path}"]
    status, output = command(tmp_path, "-m", *SMALL, *sweep)
    assert status != 0 and "reactions 0 to 2" in output
    assert not (tmp_path / "0" / "metrics.json").exists()
    assert numbers(tmp_path / "1")["err_k"] < 1e-3
