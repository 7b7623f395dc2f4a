"""Every model, data set and recipe of conf/ together: accepted, or refused in one sentence."""

import functools

import numpy as np
import pytest
from test_run import CONF, composed, go, numbers

from jaxchem import run
from jaxchem.stages import Plan


def options(group):
    stems = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    return [stem for stem in stems if stem not in ("file", "none") and not stem.startswith("base")]


CLOUD = ["network=osu29", "data.draw.cases=8", "data.times.points=21"]
PLACES = {
    "pollu": ["network=pollu"],
    "pollu_two_points": ["network=pollu"],
    "robertson": ["network=robertson"],
    "aoxid": ["network=aoxid", "conditions=aoxid"],
    "toy_autoxidation": ["network=toy_autoxidation", "conditions=toy_autoxidation"],
    "osu29": [*CLOUD, "conditions=dark_cloud"],
    "osu29_wide": [*CLOUD, "conditions=none", "data.test.draw.cases=4"],
    "osu29_similar": [*CLOUD, "conditions=none", "data.test.draw.cases=4"],
}
PLACES["atmos_methane"] = [
    *("network=mcm_methane", "conditions=none"),
    *("data.draw.cases=8", "data.test.draw.cases=4"),
]
PLACES["atmos_day"] = [*PLACES["atmos_methane"], "data.course.segments=2"]
OF_FILES = {"aoxid_paper", "atmos_49", "atmos_104", "atmos_432", "atmos_432_all", "atmos_day_104"}
"""Whose mechanisms do not ship."""

WHOLE = {"change_map", "change_map_day", "chemnne", "flow_map", "step_map"}
"""What wants stages.emulate.points=null."""

EMULATORS = {n for n in options("model") if n not in ("crnn", "neural_ode")}
RECIPES = {"emulate", "emulate_paper", "committee"}
PAIRS = [(model, stages) for model in options("model") for stages in options("stages")]


class Accepted(Exception):
    """Raised where the data would be made."""


@functools.cache
def verdict(model, data, stages):
    """What is said before data are made; nothing of what is accepted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Plan, "make", lambda *a, **k: (_ for _ in ()).throw(Accepted))
        try:
            cfg = composed(f"model={model}", f"data={data}", f"stages={stages}", *PLACES[data])
            run.run(cfg, CONF / "never")
        except Accepted:
            return None
        except ValueError as error:
            return str(error)
    raise AssertionError("it went on without data")


def test_every_data_set_is_here():
    assert {*PLACES, *OF_FILES} == set(options("data"))


@pytest.mark.slow
@pytest.mark.parametrize(("model", "stages"), PAIRS)
def test_what_goes_together_is_known_before_data_are_made(model, stages):
    for data in PLACES:
        said = verdict(model, data, stages)
        assert said is None or ("\n" not in said and said[-1] in ".?)"), (data, said)
        # crnn_ode has a model of its own
        if stages not in ("evaluate", "crnn_ode") and (model in EMULATORS) != (stages in RECIPES):
            assert said is not None, data
    clouds = [verdict(model, data, stages) for data in ("osu29", "osu29_wide", "osu29_similar")]
    if model.startswith("latent") and stages in RECIPES:
        assert clouds == [None, None, None]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "stages"), [p for p in PAIRS if p[1] != "evaluate"])
def test_two_steps_of_what_is_accepted(model, stages, tmp_path):
    """On four trajectories of the first data set that it is accepted with."""
    data = next((d for d in PLACES if verdict(model, d, stages) is None), None)
    if data is None:
        apart = (model in EMULATORS) != (stages in RECIPES)
        assert apart or model in WHOLE
        return
    cfg = composed(f"model={model}", f"data={data}", f"stages={stages}", *PLACES[data])
    short = [
        f"stages.{stage}.{key}=2"
        for stage in cfg.stages.order
        for key in ("steps", "iterations", "rounds")
        if key in cfg.stages[stage]
    ]
    if stages == "committee":
        short += ["stages.emulate.steps=2", "stages.committee.members=2"]
    places = [p.replace("cases=8", "cases=4") for p in PLACES[data]]
    few = [] if "draw" in cfg.data else ["data.cases=4"]
    if data == "osu29":
        few.append("data.split=null")
    go(
        tmp_path,
        *(f"model={model}", f"data={data}", f"stages={stages}"),
        *(*places, *short, *few, "gradients=0"),
    )
    assert np.isfinite(numbers(tmp_path)["mean_dex"]) or numbers(tmp_path)["failed"] > 0
