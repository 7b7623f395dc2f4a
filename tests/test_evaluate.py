"""One report for every model: from a run, from a file, and by name."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import DATA, clouds
from test_change_map import network as network
from test_change_map import observed
from test_run import go, numbers, untimed

import jaxchem
from jaxchem.dataset import laws, observe
from jaxchem.ensemble import generate_ensemble
from jaxchem.models import CRNN, About, Committee, FlowMap, Function, Latent, conserved
from jaxchem.run import finished
from jaxchem.stages import emulate
from jaxchem.stages.check import check_metric
from jaxchem.stages.truth import BLOCK

SMALL = ["+experiment=emulate_latent", "data.draw.cases=24", "data.times.points=8", "gradients=2"]
SMALL += ["stages.emulate.steps=3", "model.coder=[8]", "stages.emulate.points=null"]
EVALUATE = ["+experiment=emulate_latent", "stages=evaluate", "model=file", "gradients=2"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    go(folder, *SMALL)
    return folder


@pytest.fixture(scope="module")
def data():
    network = jaxchem.load("osu29")
    y0, conditions = clouds(network, cases=24, temperature=(20.0, 100.0))
    ts = np.geomspace(1e3, 1e13, 8)
    dataset, _ = generate_ensemble(network, y0, conditions, ts, t0=1.0, progress=False)
    return dataset, observe(dataset, network)


def test_a_saved_model_has_the_report_of_its_training(run, tmp_path):
    """But for times, to the last bit; and on other data without training."""
    path = f"model.path={run / 'emulate' / 'model.eqx'}"
    go(tmp_path / "same", *EVALUATE, path, "data.draw.cases=24", "data.times.points=8")
    before, after = (
        {
            n: v
            for n, v in untimed(numbers(f)).items()
            if not n.startswith(("emulate/", "evaluate/"))
        }
        for f in (run, tmp_path / "same")
    )
    assert "train_mean/rmse" in after and "gradient/mean" in after and "solver/rtol" in after
    assert after == before
    assert (tmp_path / "same" / "figures" / "latents.png").is_file()
    go(tmp_path / "other", *EVALUATE, path, f"data.path={run / 'data.nc'}", "data.split=null")
    other = numbers(tmp_path / "other")
    assert other["mean_dex"] != before["mean_dex"] and "train_mean/rmse" not in other
    again = go(tmp_path / "same", *EVALUATE, path, "data.draw.cases=24", "data.times.points=8")
    assert again == after["rmse"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=pollu", "network=pollu", "conditions=none"], "'C' is missing"),
        (["data=osu29_wide", "conditions=none"], r"density, but \(none\) are wanted"),
    ],
)
def test_data_of_other_names_are_refused_before_they_are_made(run, tmp_path, overrides, message):
    path = f"model.path={run / 'emulate' / 'model.eqx'}"
    with pytest.raises(ValueError, match=message):
        go(tmp_path, *EVALUATE, path, *overrides)
    assert not list(tmp_path.rglob("*.nc"))


def test_in_python_as_in_a_run(run):
    """From the dataset alone: it names its network and its conditions."""
    model = jaxchem.load_model(run / "emulate" / "model.eqx")
    network = jaxchem.load("osu29")
    held = jaxchem.read(run / "data.nc", network)
    order = np.random.default_rng(0).permutation(24)
    test, train = held.isel(case=order[:2]), observe(held.isel(case=order[2:]), network)
    tight = jaxchem.Integrator(rtol=1e-8, max_steps=20000)
    report = jaxchem.evaluate(model, test, train=train, integrator=tight, gradients=2)
    wanted = untimed(numbers(run))
    found = {name: value for name, value in untimed(report.metrics).items() if name in wanted}
    assert found == {name: wanted[name] for name in found} and len(found) > 40
    assert report.latents.shape == (2, 8, 5)
    text = str(report)
    for row in ("model", "solver", "train mean", "chebyshev"):
        assert f"\n| {row} |" in text


def test_a_dataset_of_a_network_of_ones_own_wants_it(data, getkey):
    dataset, test = data
    model = FlowMap.fitted(test, key=getkey(), modes=8, width=8)
    mine = dataset.assign_attrs(network="mine")
    with pytest.raises(ValueError, match="of network 'mine', which does not ship: give network"):
        jaxchem.evaluate(model, mine)
    report = jaxchem.evaluate(model, mine, network=test.network, gradients=0)
    assert report.metrics["failed"] == 0


def test_every_metric_of_a_report_is_one_that_can_be_asked_for(run, data, getkey):
    """Of an emulator, of one that is wrapped and outside of its range, and of coefficients."""
    _, test = data
    hot = test.conditions[:, 0] > 60.0
    flow = FlowMap.fitted(test.chosen(~hot), key=getkey(), modes=8, width=8)
    wrapped = jaxchem.evaluate(conserved(flow, test.network), test, train=test, gradients=2)
    members = jaxchem.evaluate(Committee((flow, flow)), test, gradients=0)
    mass_action = CRNN.fitted(test, key=getkey())
    asked = {*numbers(run), *wrapped.metrics, *members.metrics}
    asked |= set(jaxchem.evaluate(mass_action, test, brief=True).metrics)
    assert {"free/rmse", "gate/recall", "outside/cases", "err_k", "err_dy"} <= asked
    for name in asked:
        check_metric(name, {"emulate": emulate})


def test_the_solver_in_its_own_row(data):
    """At the loosest tolerance that is as good; a model that is exact asks for the tightest."""
    _, test = data
    tight = jaxchem.Integrator(rtol=1e-9, max_steps=100_000)

    def exact(y0, conditions, ts):
        how = {"integrator": tight, "t0": 1.0, "throw": False}
        return jaxchem.solve(test.network, test.rates(conditions), y0, ts + 1.0, **how).ys

    def rough(y0, conditions, ts):
        return 1.3 * exact(y0, conditions, ts)

    few = test.chosen(slice(4))
    reports = [
        jaxchem.evaluate(Function(call, About.of(test)), few, integrator=tight, gradients=0).metrics
        for call in (exact, rough)
    ]
    assert reports[0]["mean_dex"] < 1e-5 and reports[0]["solver/rtol"] <= 1e-5
    np.testing.assert_allclose(reports[1]["mean_dex"], np.log10(1.3), rtol=1e-3)
    assert reports[1]["solver/rtol"] >= 1e-3
    for found in reports:
        assert found["solver/mean_dex"] <= max(found["mean_dex"], 1e-6)
        assert found["time/model"] > 0 and found["time/solver"] > 0


def test_a_case_that_fails_is_counted_and_the_others_are_scored(data):
    _, test = data
    few = test.chosen(slice(4))

    def call(y0, conditions, ts):
        bad = conditions[0] == few.conditions[2, 0]
        return jnp.where(bad, jnp.nan, jnp.tile(2.0 * y0, (len(ts), 1)))

    model, good = Function(call, About.of(test)), np.array([0, 1, 3])
    found = jaxchem.evaluate(model, few, gradients=0).metrics
    error = np.abs(np.log10(2.0 * few.y0[:, None]) - np.log10(few.states))[good]
    assert found["failed"] == 1
    np.testing.assert_allclose(found["mean_dex"], error.mean(), rtol=1e-9)


def test_as_many_cases_as_are_worked_on_in_parts(network):
    """Beside the formulas of all at once; one case fails."""
    test, train = observed(network, 2 * BLOCK + 9, 1), observed(network, 40, 2)
    bad = BLOCK + 3

    def call(y0, conditions, ts):
        k = 1e-3 * conditions[0] / 300
        a = y0[0] * jnp.exp(-1.1 * k * ts)
        ys = jnp.stack([a, jnp.full_like(a, y0[1]), jnp.sum(y0) - a], axis=1)
        return jnp.where(y0[0] == test.y0[bad, 0], jnp.nan, ys)

    model = Function(call, About.of(train))
    found, prediction, _ = jaxchem.evaluate(model, test, train=train, counted=1e6, gradients=0)
    y0, truth, seen = (np.asarray(part) for part in (test.y0, test.states, train.states))
    good = np.arange(len(y0)) != bad
    assert found["failed"] == 1 and np.all(np.isnan(prediction[bad]))
    counts = truth >= 1e6
    stays = np.repeat(y0[:, None], 60, axis=1)
    mean = np.tile(10.0 ** np.mean(np.log10(seen), axis=0), (len(y0), 1, 1))
    for name, guess, cases in (
        ("", prediction, good),
        ("persistence/", stays, good | True),
        ("train_mean/", mean, good | True),
    ):
        off = np.abs(np.log10(guess[cases]) - np.log10(truth[cases]))[counts[cases]]
        for score, value in (
            ("mean_dex", off.mean()),
            ("median_dex", np.median(off)),
            ("p99_dex", np.quantile(off, 0.99)),
            ("max_dex", off.max()),
            ("rmse", 2 * np.sqrt(np.mean(off**2)) / (np.log10(seen.max()) - 6)),
        ):
            np.testing.assert_allclose(found[name + score], value, rtol=1e-9, err_msg=score)
        off = (guess[cases] - truth[cases]) / np.ptp(seen, axis=(0, 1))
        np.testing.assert_allclose(found[name + "rmse_linear"], np.sqrt(np.mean(off**2)), rtol=1e-9)
    drift = np.abs(prediction.sum(axis=2) / y0.sum(axis=1)[:, None] - 1)
    np.testing.assert_allclose(found["drift"], drift[good].max(), rtol=1e-6)


def test_what_is_too_little_does_not_count(data):
    """In dex, in `rmse`, whose scale begins there, and in derivatives."""
    _, test = data
    few = test.chosen(slice(4))
    model = Function(lambda y0, c, ts: jnp.tile(2.0 * y0, (len(ts), 1)), About.of(test))
    found = jaxchem.evaluate(model, few, train=few, counted=1e-3, gradients=2).metrics
    counts = np.asarray(few.states) >= 1e-3
    logs = np.log10(np.maximum(np.asarray(few.states), 1e-99))
    error = np.abs(np.log10(np.maximum(2.0 * np.asarray(few.y0), 1e-99))[:, None] - logs)[counts]
    assert 0 < counts.sum() < counts.size / 2
    np.testing.assert_allclose(found["mean_dex"], error.mean(), rtol=1e-9)
    width = np.log10(np.asarray(few.states).max()) + 3
    np.testing.assert_allclose(found["rmse"], 2 * np.sqrt(np.mean(error**2)) / width, rtol=1e-9)
    everything = jaxchem.evaluate(model, few, train=few, gradients=2).metrics
    assert found["gradient/size"] < everything["gradient/size"]
    span = np.ptp(np.asarray(few.states), axis=(0, 1))
    moved = span > 0
    off = (2.0 * np.asarray(few.y0)[:, None] - np.asarray(few.states))[..., moved] / span[moved]
    np.testing.assert_allclose(found["rmse_linear"], np.sqrt(np.mean(off**2)), rtol=1e-9)


def test_cases_outside_of_the_training_range_are_told_apart(data, getkey):
    _, test = data
    hot = test.conditions[:, 0] > 60.0
    model = FlowMap.fitted(test.chosen(~hot), key=getkey(), modes=8, width=8)
    found = jaxchem.evaluate(model, test, gradients=0).metrics
    far = np.array(
        [bool(model.outside(test.y0[n][None], test.conditions[n][None])) for n in range(24)]
    )
    assert found["outside/cases"] == far.sum() > 0
    beyond = model.beyond(np.asarray(test.y0), np.asarray(test.conditions))
    np.testing.assert_array_equal(np.any(beyond > 0, axis=1), far)
    most = np.log10(test.conditions[:, 0] / test.conditions[~hot, 0].max())
    warm = beyond[:, -1] > 0
    assert np.all(warm <= hot)
    np.testing.assert_allclose(beyond[warm, -1], most[warm], rtol=1e-12)
    error = np.abs(
        np.log10(jax.vmap(model, (0, 0, None))(test.y0, test.conditions, test.ts - 1.0))
        - np.log10(test.states)
    ).mean(axis=(1, 2))
    np.testing.assert_allclose(found["outside/mean_dex"], error[far].mean(), rtol=1e-6)
    np.testing.assert_allclose(found["inside/mean_dex"], error[~far].mean(), rtol=1e-6)


def test_latents_go_through_wrappers(data, getkey):
    _, test = data
    model = Latent.fitted(test, latent=3, coder=(8,), key=getkey())
    inputs = test.y0[1], test.conditions[1], test.ts - 1.0
    wrapped = conserved(model, test.network)
    np.testing.assert_array_equal(wrapped.latents(*inputs), model.latents(*inputs))
    np.testing.assert_array_equal(
        model.state_scale.backward(jax.vmap(model.decoder)(model.latents(*inputs))),
        model(*inputs),
    )
    order = np.random.default_rng(0).permutation(29)
    other = wrapped.in_order([test.network.species[n] for n in order], test.names)
    np.testing.assert_array_equal(
        other.latents(inputs[0][order], *inputs[1:]), model.latents(*inputs)
    )


def test_two_alike_cases_have_no_derivative(data, getkey):
    _, test = data
    model = FlowMap.fitted(test, key=getkey(), modes=8, width=8)
    same = eqx.tree_at(
        lambda d: (d.y0, d.conditions),
        test.chosen(slice(2)),
        (jnp.tile(test.y0[:1], (2, 1)), jnp.tile(test.conditions[:1], (2, 1))),
    )
    assert not [n for n in jaxchem.evaluate(model, same).metrics if n.startswith("gradient/")]


def test_the_order_of_the_data_changes_nothing(getkey):
    """Conditions and species in another order: every score is the same."""
    network = jaxchem.load("osu29")
    y0, conditions = clouds(
        network, cases=30, temperature=(20.0, 100.0), cosmic_ray_rate=(1e-17, 1e-15)
    )
    ts = np.geomspace(1e3, 1e13, 8)
    dataset, _ = generate_ensemble(network, y0, conditions, ts, t0=1.0, progress=False)
    data = observe(dataset, network)
    test, train = data.chosen(slice(6)), data.chosen(slice(6, None))
    model = FlowMap.fitted(train, key=getkey(), modes=8, width=8)
    expected = untimed(jaxchem.evaluate(model, test, train=train).metrics)
    other = model.in_order(network.species[::-1], train.names[::-1])
    reverse = test.in_order(test.names[::-1]), train.in_order(train.names[::-1])
    for one, (tested, seen) in ((model, reverse), (other, (test, train)), (other, reverse)):
        found = untimed(jaxchem.evaluate(one, tested, train=seen).metrics)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=name)


def test_what_a_run_has_left(tmp_path, getkey):
    """Its model and its test data, whose conditions are in the order of the model's."""
    network = jaxchem.load("osu29")
    ranges = {"temperature": (20.0, 100.0), "cosmic_ray_rate": (1e-17, 1e-15)}
    y0, conditions = clouds(network, cases=24, **ranges)
    ts = np.geomspace(1e3, 1e13, 8)
    dataset, _ = generate_ensemble(network, y0, conditions, ts, t0=1.0, progress=False)
    data = observe(dataset, network)
    model = FlowMap.fitted(data.in_order(data.names[::-1]), key=getkey(), modes=8, width=8)
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").write_text(
        "network: {_target_: jaxchem.load, path: '${name}'}\nname: osu29\n"
    )
    with pytest.raises(ValueError, match="emulate"):
        finished(tmp_path)
    (tmp_path / "emulate").mkdir()
    jaxchem.save(tmp_path / "emulate" / "model.eqx", model)
    with pytest.raises(ValueError, match=r"no data file .*test\.nc"):
        finished(tmp_path)
    jaxchem.write(dataset, tmp_path / "test.nc")
    again, test = finished(tmp_path)
    assert test.names == model.about.conditions == data.names[::-1]
    assert test.network.species == network.species and len(test.y0) == 24
    np.testing.assert_array_equal(test.states, data.states)
    inputs = data.y0[3], dict(zip(data.names, data.conditions[3], strict=True)), data.ts - 1.0
    found = again(test.y0[3], test.conditions[3], test.ts - test.t0)
    np.testing.assert_array_equal(found, model(*inputs))
    with pytest.raises(ValueError, match=r"elsewhere: no run there"):
        finished(tmp_path / "elsewhere")


def test_conditions_that_all_cases_share_are_met_and_compared(data, getkey, caplog):
    _, test = data
    model = FlowMap.fitted(test, key=getkey(), modes=8, width=8)
    one = test.chosen(slice(1))
    shared = dataclasses.replace(
        one, conditions=jnp.zeros((1, 0)), names=(), fixed={**one.fixed, "temperature": 30.0}
    )
    report = jaxchem.evaluate(model, shared, gradients=0)
    ys = model(one.y0[0], {"temperature": 30.0}, one.ts - one.t0)
    np.testing.assert_allclose(report.prediction[0], ys, rtol=1e-6)
    assert not caplog.records
    hotter = dataclasses.replace(test, fixed={**test.fixed, "cosmic_ray_rate": 1e-15})
    jaxchem.evaluate(model, hotter, gradients=0)
    assert "of data at cosmic_ray_rate 1e-16, but is measured at 1e-15" in caplog.text


def test_coefficients_of_other_reactions_are_not_compared(tmp_path):
    network = jaxchem.load("robertson")
    text = (DATA / "robertson.txt").read_text().splitlines()
    (tmp_path / "other.txt").write_text("\n".join([*text[:-2], text[-1], text[-2]]) + "\n")
    other = jaxchem.load(tmp_path / "other.txt")
    assert other.species == network.species and other.equations != network.equations
    y0 = jaxchem.sample(network, {"A": 1.0})
    truth = jaxchem.generate(network, network.rates(), y0, [1.0, 2.0, 3.0, 4.0], progress=False)
    model = CRNN(network, jnp.log(network.rates()))
    assert jaxchem.evaluate(model, observe(truth, network)).metrics["err_k"] == 0
    truth.attrs["laws"] = laws(other)  # as they are
    found = jaxchem.evaluate(model, observe(truth, other)).metrics
    assert "err_k" not in found and found["mean_dex"] < 1e-4


def test_what_cannot_be_measured(data, getkey):
    dataset, test = data
    model = FlowMap.fitted(test, key=getkey(), modes=8, width=8)
    with pytest.raises(ValueError, match="measures an AbstractEmulator, not a NoneType"):
        jaxchem.evaluate(None, test)
    with pytest.raises(ValueError, match=r"wants a dataset, as jaxchem.read gives, not a str"):
        jaxchem.evaluate(model, "cells.nc")
    with pytest.raises(ValueError, match="the dataset has no initial states; give y0"):
        jaxchem.evaluate(model, dataset.drop_vars("initial"))
    scaled = test.network.units._replace(concentration="mol m-3")
    other = dataclasses.replace(test, network=dataclasses.replace(test.network, units=scaled))
    with pytest.raises(ValueError, match="the model is of cm-3 and s, but network 'osu29' counts"):
        jaxchem.evaluate(model, other)
