"""The command line: `python -m jaxchem.run +experiment=NAME`. The only module that knows Hydra."""

import functools
import inspect
import json
import logging
import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from .suggest import no_setting

log = logging.getLogger("jaxchem")

_HERE = Path(__file__).resolve().parent
_CONFIG_DIR = {"--config-dir", "-cd"}
# settings that change nothing of what a stage starts from
_AFTERWARDS = ("stages", "name", "metric", "gradients")
# the wheel carries conf/ inside the package; a checkout has it beside the package
_CONF = next((p for p in (_HERE / "conf", _HERE.parent / "conf") if p.is_dir()), _HERE / "conf")


@hydra.main(version_base="1.3", config_path=str(_CONF), config_name="config")
def _job(cfg: DictConfig) -> float | None:
    try:
        return run(cfg, Path(HydraConfig.get().runtime.output_dir))
    except ValueError as error:
        log.error("%s", error)
        log.debug("", exc_info=True)
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise  # which fails this job; an exit would take the jobs after it along
        raise SystemExit(1) from None


def main() -> None:
    """Runs the experiment that the command line composes; `resume=FOLDER` goes on with one."""
    record, before = None, b""
    try:
        record = _record(sys.argv[1:])
        sys.argv[1:] = _expand_resume(sys.argv[1:])
        if record:
            before = record.read_bytes()
            started = OmegaConf.load(record.with_name("hydra.yaml")).hydra.runtime.cwd
            if Path(started).is_dir():  # its paths are relative to where it was started
                os.chdir(started)
        _job()
    except (OSError, ValueError) as error:
        sys.exit(f"jaxchem: {error}")
    except SystemExit:
        if record:  # what was refused is no part of the run
            record.write_bytes(before)
        raise


def _record(arguments: list[str]) -> Path | None:
    """The overrides of the run that `resume=FOLDER` names, if there is one."""
    folders = [a.partition("=")[2] for a in arguments if a.partition("=")[0] == "resume"]
    if not folders:
        return None
    folder = Path(folders[-1]).expanduser().resolve()
    record = folder / ".hydra" / "overrides.yaml"
    if not record.is_file():
        raise ValueError(
            f"resume={folder}: no run there (it has no .hydra/overrides.yaml); give the folder "
            "that a run wrote, such as outputs/spin_ode/2026-01-31_12-00-00."
        )
    return record


def _expand_resume(arguments: list[str]) -> list[str]:
    """Replaces `resume=FOLDER` by the overrides of the run in that folder, and the folder itself.

    Overrides that stand beside it come last and so win.
    """
    record = _record(arguments)
    if record is None:
        return arguments
    folder = record.parent.parent
    if {"-m", "--multirun"} & set(arguments):
        raise ValueError("resume goes on with one run: give the folder of one job, without -m.")
    kept = [str(item) for item in OmegaConf.load(record)]
    given = [a for a in arguments if a.partition("=")[0] != "resume" and a not in kept]
    if not _CONFIG_DIR & {a.partition("=")[0] for a in given}:
        settings = OmegaConf.load(record.with_name("hydra.yaml"))
        for source in settings.hydra.runtime.config_sources:
            if source.provider == "command-line":
                given = ["--config-dir", source.path, *given]
    # argparse wants all overrides in one row, so what was recorded joins those that are given
    first = next((i for i, a in enumerate(given) if _is_override(a, given[:i])), len(given))
    return [
        *given[:first],
        *kept,
        *given[first:],
        f"hydra.run.dir={json.dumps(str(folder))}",
    ]


def _is_override(argument: str, before: list[str]) -> bool:
    """Whether an argument is `key=value` and neither a flag nor the value of one."""
    return not argument.startswith("-") and not (before and before[-1] in _CONFIG_DIR)


def run(cfg: DictConfig, folder: Path) -> float | None:
    """Runs the stages of a composed configuration and writes the run folder.

    Args:
        cfg: as `conf/config.yaml` composes it.
        folder: where everything is written; what is already there from the same configuration
            is taken up again.

    Returns:
        The metric that `cfg.metric` names, for sweepers; `None` if the run does not have it.

    Raises:
        ValueError: bad input or configuration, with what to change.
    """
    # a solve that breaks down inside a gradient shall give NaN, a step that training refuses,
    # instead of ending the run; equinox reads this when it is imported
    os.environ.setdefault("EQX_ON_ERROR", "nan")
    import jax

    from . import record
    from .stages import prepare

    if cfg.precision not in ("float64", "float32"):
        raise ValueError(f"precision={cfg.precision!r} is unknown; write float64 or float32.")
    jax.config.update("jax_enable_x64", cfg.precision == "float64")
    _log_versions(folder)
    started = time.monotonic()
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    progress = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.RUN
    if "box" in cfg:
        return _simulate(cfg, folder, progress)
    for name in cfg.stages.order:
        if name == "order" or name not in cfg.stages:
            defined = ", ".join(str(n) for n in cfg.stages if n != "order")
            raise ValueError(f"stages.order names {name!r}; defined stages: {defined}.")
    if not cfg.stages.order:
        raise ValueError("stages.order is empty; name at least one stage.")
    for name in cfg.stages.order:
        _check_settings(_build(cfg.stages[name]), f"stages.{name}")
    problem, conditions = _problem(cfg)
    data = prepare(
        plain["data"],
        problem.network,
        conditions,
        seed=cfg.data_seed,
        folder=folder,
        notes=OmegaConf.to_yaml(cfg, resolve=True),
        progress=progress,
    )
    metrics, model, deviation, prediction = _run_stages(
        cfg, plain, folder, problem, conditions, data, progress
    )
    record.conclude(folder, problem, data.held, model, metrics, deviation, prediction)
    log.info("done in %.0f s: %s", time.monotonic() - started, folder)
    for name in ("err_k", "k_err", "err_y", "drift", "rmse", "mean_dex", "p99_dex"):
        if name in metrics:
            log.info("%s = %.3e", name, metrics[name])
    return metrics.get(cfg.metric)


def _simulate(cfg: DictConfig, folder: Path, progress: bool) -> float | None:
    """A box instead of stages."""
    from . import record
    from .checkpoint import digest
    from .parse import table
    from .stages import Resume

    network = _build(cfg.network)
    parts = (OmegaConf.to_container(c, resolve=True) for c in (cfg.box, cfg.solver))
    kept = Resume(folder / "last.eqx", digest(*parts, table.dumps(network)))
    found = _build(cfg.box)(network, _build(cfg.solver), resume=kept, progress=progress)
    record.simulated(folder, found)
    steps, seconds = found.metrics["steps"], found.metrics["wall_s"]
    log.info("%.0f steps in %.1f s; report, data and figures in %s", steps, seconds, folder)
    return found.metrics.get(cfg.metric)


def _log_versions(folder: Path) -> None:
    import jax

    packages = ("jaxchem", "jax", "equinox", "diffrax", "optimistix", "optax", "numpy")
    log.info("%s", ", ".join(f"{p} {metadata.version(p)}" for p in packages))
    try:
        revision = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=_HERE,
            capture_output=True,
            text=True,
            timeout=10,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        revision = ""
    log.info(
        "python %s, %s, x64 %s%s",
        platform.python_version(),
        jax.devices()[0],
        jax.config.jax_enable_x64,  # pyright: ignore[reportAttributeAccessIssue]
        f", revision {revision}" if revision else "",
    )
    log.info("output: %s", folder)


def _build(cfg: Any) -> Any:
    """Instantiates a part of the configuration; a bad setting is a `ValueError`, as elsewhere."""
    try:
        return hydra.utils.instantiate(cfg)
    except InstantiationException as error:
        raise ValueError(str(error.__cause__ or error)) from error


def _check_settings(built: Any, where: str) -> None:
    """Refuses settings that a stage, or the start that it is given, does not have."""
    if not isinstance(built, functools.partial):
        return
    known = inspect.signature(built.func).parameters
    passes_on = any(p.kind is p.VAR_KEYWORD for p in known.values())
    for name, value in built.keywords.items():
        if name not in known and not passes_on:
            free = [n for n, p in known.items() if p.kind is p.KEYWORD_ONLY]
            raise ValueError(f"{no_setting(where, name, free)}.")
        _check_settings(value, f"{where}.{name}")


def _problem(cfg: DictConfig) -> tuple[Any, dict[str, Any]]:
    """The problem, and the conditions that are the same in all cases."""
    import numpy as np

    from .stages import Problem

    network = _build(cfg.network)
    conditions = _build(cfg.conditions) or {}
    try:
        rates = network.rates(**conditions)
    except ValueError as error:
        if "draw" not in cfg.data:  # which varies what is missing
            raise ValueError(f"{error} On the command line: +conditions.NAME=VALUE.") from None
        rates = None
    k_true = None if rates is None or callable(rates) else np.asarray(rates)
    known = np.zeros(len(network.equations), dtype=bool)
    for j in cfg.known:
        if not isinstance(j, int) or not 0 <= j < len(known):
            raise ValueError(
                f"known={list(cfg.known)}: network {network.name!r} has reactions 0 to "
                f"{len(known) - 1}."
            )
        known[j] = True
    if known.all():
        raise ValueError("known names every reaction, so no coefficient is left to estimate.")
    if known.any() and k_true is None:
        raise ValueError(
            "known: the rate coefficients vary in time under these conditions, so none can be "
            "given as a number; set known=[], or conditions that are constant."
        )
    return Problem(network, _build(cfg.solver), k_true, known), conditions


def _run_stages(
    cfg: DictConfig,
    plain: dict,
    folder: Path,
    problem: Any,
    conditions: dict[str, Any],
    data: Any,
    progress: bool,
) -> tuple[dict[str, float], Any, Any, Any]:
    """Runs the stages in order, each from the model of the one before.

    Returns:
        The metrics of all stages; model, posterior deviation and prediction of the last.
    """
    import jax

    from . import checkpoint, models
    from .dataset import label_history, write
    from .parse import table
    from .stages import Resume, evaluate, evaluate_emulator, gradient_scores

    test = data.test
    settings = {n: v for n, v in plain.items() if n not in _AFTERWARDS}
    # a file may change under its name
    base = checkpoint.digest(settings, table.dumps(problem.network))
    fixed = {**conditions, **json.loads(data.held.attrs.get("conditions", "{}"))}

    def rates(values: Any) -> Any:
        return problem.network.rates(**{**fixed, **dict(zip(test.names, values, strict=True))})

    key = jax.random.key(cfg.seed)

    def judge(model: Any) -> tuple[dict[str, float], Any]:
        if model.integrated:
            return evaluate(problem, model, test)
        if not data.apart:
            log.warning(
                "the emulator is measured on the trajectories that it was trained on, which says "
                "little: hold some back by data.split=0.1, or give others by data.test.path=FILE"
            )
        scores, prediction = evaluate_emulator(model, test, data.seen, floor=cfg.data.floor)
        if cfg.gradients and len(test.y0) > 1:
            few = test.chosen(slice(cfg.gradients + 1))
            scores |= gradient_scores(problem, model, rates, few, floor=cfg.data.floor)
        return scores, prediction

    model, deviation, prediction, metrics = None, None, None, {}
    for position, name in enumerate(cfg.stages.order):
        # what a stage does depends on its settings and on the stages before it
        base = checkpoint.digest(base, name, plain["stages"][name])
        done = folder / name / "model.eqx"
        if done.exists() and checkpoint.read_header(done).get("fingerprint") == base:
            header = checkpoint.read_header(done)
            model, deviation, found = (
                models.load_model(done),
                header["deviation"],
                header["metrics"],
            )
            prediction = None
            log.info("stage %s: taken up from %s", name, done)
        else:
            begin = time.monotonic()
            last = folder / name / "last.eqx"
            # of a finished stage with other settings; its model stays until there is a new one
            for kept in last.parent.glob("last*.eqx") if done.exists() else ():
                if checkpoint.read_header(kept).get("fingerprint") != base:
                    kept.unlink()
            log.info("stage %s", name)
            result = _build(cfg.stages[name])(
                problem,
                model,
                data.seen,
                jax.random.fold_in(key, position) if position else key,
                resume=Resume(last, base),
                label=name,
                progress=progress,
            )
            model = result.model
            deviation = None if result.deviation is None else result.deviation.tolist()
            scores, prediction = judge(model)
            found = {**scores, **result.metrics}
            write(label_history(result.history), folder / name / "history.nc")
            models.save(done, model, fingerprint=base, metrics=found, deviation=deviation)
            log.info("stage %s: %.0f s; %s", name, time.monotonic() - begin, _summary(found))
        metrics.update({f"{name}/{key}": value for key, value in found.items()})
        if position == len(cfg.stages.order) - 1:
            metrics = {**found, **metrics}
    if prediction is None:
        _, prediction = judge(model)
    return metrics, model, deviation, prediction


def _summary(metrics: dict[str, float]) -> str:
    names = ("err_k", "k_err", "max_err_k", "err_y", "err_dy", "identified", "failed")
    names += ("rmse", "mean_dex", "p99_dex", "max_dex")
    return ", ".join(f"{n} {metrics[n]:.3g}" for n in names if n in metrics)


if __name__ == "__main__":
    main()
