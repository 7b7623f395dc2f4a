"""The command line: `python -m jaxchem.run +experiment=NAME`. The only module that knows Hydra."""

import contextlib
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .files import hold
from .resume import recorded, resumed, take_trust
from .trust import check_targets

log = logging.getLogger("jaxchem")

_HERE = Path(__file__).resolve().parent
# settings that change nothing of what a stage starts from
_AFTERWARDS = ("stages", "name", "metric", "gradients", "save_every")
# what runs read, and those of stages
_ALWAYS = ("network", "solver", "name", "metric", "save_every")
_TRACED = "HYDRA_FULL_ERROR" in os.environ  # whether the user wants tracebacks
_WHOLE = ("box", "inference")  # parts that are a run without stages
_STAGED = ("seed", "data_seed", "gradients", "conditions")
# the wheel carries conf/ inside the package; a checkout has it beside the package
_CONF = next((p for p in (_HERE / "conf", _HERE.parent / "conf") if p.is_dir()), _HERE / "conf")


def _fresh(path: str) -> str:
    """Makes a folder that nobody else has: this one, or one of its name and a number."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    made, number = path, 1
    while True:
        try:
            Path(made).mkdir()
            return made
        except FileExistsError:
            number += 1
            made = f"{path}.{number}"


OmegaConf.register_new_resolver("fresh", _fresh, use_cache=True, replace=True)


@hydra.main(version_base="1.3", config_path=str(_CONF), config_name="config")
def _job(cfg: DictConfig) -> float | None:
    try:
        return run(cfg, Path(HydraConfig.get().runtime.output_dir).resolve())
    except ValueError as error:
        log.error("%s", error)
        log.debug("", exc_info=True)
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise  # which fails this job; an exit would take the jobs after it along
        raise SystemExit(1) from None


def main() -> None:
    """Runs the experiment that the command line composes.

    `resume=FOLDER` goes on with one, and `trust=MODULE` lets its configuration and models name what
    a module of the user's defines.
    """
    logging.raiseExceptions = False  # a log that cannot be written is no reason to say so for pages
    before: dict[Path, bytes] = {}
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra tells of a full disk by a traceback
    try:
        arguments = take_trust(sys.argv[1:])
        record = recorded(arguments)
        sys.argv[1:] = arguments if record is None else resumed(arguments, record)
        if record is not None:
            with hold(record.folder):  # nothing is changed where another process is at work
                before = {path: path.read_bytes() for path in record.folder.glob(".hydra/*.yaml")}
            if (
                record.cwd and Path(record.cwd).is_dir()
            ):  # its paths are relative to where it was started
                os.chdir(record.cwd)
        _job()
        return
    except (OSError, ValueError, HydraException, OmegaConfBaseException) as error:
        if _TRACED:
            raise
        end = f"jaxchem: {_said(error)}"
    except SystemExit as error:
        end = error.code
    with contextlib.suppress(OSError):
        for path, content in before.items():  # what was refused is no part of the run
            path.write_bytes(content)
    sys.exit(end)


def _said(error: Exception) -> str:
    """What Hydra, or the system beneath it, has to say."""
    chain: list[BaseException] = [error]
    while below := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(below)
    if isinstance(error, OSError | OmegaConfBaseException):
        for part in chain:
            if isinstance(part, OSError) and part.errno is not None:
                what = f"cannot write {part.filename}" if part.filename else "cannot write"
                return (
                    f"{what}: {part.strerror}. Make room, or choose a folder that you may write to "
                    "by hydra.run.dir=FOLDER."
                )
    further = f"\n{error.__cause__}" if isinstance(error.__cause__, OmegaConfBaseException) else ""
    return f"{error}{further}"


def run(cfg: DictConfig, folder: Path) -> float | None:
    """Runs the stages of a composed configuration and writes the run folder, which it holds.

    Args:
        cfg: as `conf/config.yaml` composes it.
        folder: where everything is written; what is already there from the same configuration
            is taken up again.

    Returns:
        The metric that `cfg.metric` names, for sweepers; `None` if the run does not have it.

    Raises:
        ValueError: bad input or configuration, with what to change; a folder that another process
            writes to.
    """
    with hold(folder):
        return _run(cfg, folder)


def _run(cfg: DictConfig, folder: Path) -> float | None:
    # a solve that breaks down inside a gradient shall give NaN, a step that training refuses,
    # instead of ending the run; equinox reads this when it is imported
    os.environ.setdefault("EQX_ON_ERROR", "nan")
    import jax

    from . import checkpoint, record, stages
    from .parse import table
    from .train import Job

    jax.config.update("jax_enable_x64", True)
    record.versions(folder)
    started = time.monotonic()
    typed = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    progress = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.RUN
    raw: Any = OmegaConf.to_container(cfg)  # building resolves what it refers to
    if lost := stages.missing(raw):
        raise ValueError(f"{min(lost)} is to be given: {min(lost)}=VALUE.")
    network, solver = _build(cfg.network), _build(cfg.solver)
    job = Job(progress=progress, save_every=cfg.save_every)
    if whole := [name for name in _WHOLE if name in cfg]:
        part = cfg[whole[0]]
        stages.check_used(typed, raw, [*_ALWAYS, whole[0]])
        parts = (OmegaConf.to_container(p, resolve=True) for p in (part, cfg.solver))
        mark = checkpoint.digest(*parts, table.dumps(network))
        job = job._replace(label=whole[0], path=folder / "last.eqx", fingerprint=mark)
        metrics = record.simulated(folder, _build(part)(network, solver, job=job))
    else:
        metrics = _staged(cfg, raw, folder, typed, network, solver, job)
    log.info("done in %.0f s: %s", time.monotonic() - started, folder)
    if cfg.metric is not None and cfg.metric not in metrics:
        log.warning("this run has no metric %r; it has %s", cfg.metric, ", ".join(metrics))
    return metrics.get(str(cfg.metric))


def _staged(
    cfg: DictConfig, raw: Any, folder: Path, typed: Any, network: Any, solver: Any, job: Any
) -> dict[str, float]:
    """Checks all settings, and then makes the data and runs the stages."""
    import jax

    from . import checkpoint, record, stages
    from .parse import table

    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    order = plain["stages"].get("order", [])
    stages.check_order(order, plain["stages"])
    chosen = {name: _build(cfg.stages[name]) for name in order}
    stages.check(chosen, plain, raw, typed, [*_ALWAYS, *_STAGED])
    conditions = _build(cfg.conditions) or {}
    plan = stages.Plan(plain["data"], network, conditions, seed=cfg.data_seed, folder=folder)
    cases = max([16, *(plain["stages"][name].get("cases") or 0 for name in order)])
    stages.rehearse(chosen, lambda: plan.sketch(cases).seen, cfg.metric)
    data = plan.make(notes=OmegaConf.to_yaml(cfg, resolve=True), progress=job.progress)
    # a file may change under its name
    data_settings = {n: v for n, v in plain["data"].items() if n not in ("floor", "counted")}
    own = {n: v for n, v in plain.items() if n not in _AFTERWARDS} | {"data": data_settings}
    how = {"floor": cfg.data.floor, "counted": cfg.data.counted, "gradients": cfg.gradients}
    how |= {"mark": checkpoint.digest(own, table.dumps(network)), "job": job}
    key = jax.random.key(cfg.seed)
    found = stages.pursue(chosen, plain["stages"], data, key, folder, integrator=solver, **how)
    return record.conclude(folder, data, found)


def finished(folder: Path) -> tuple[Any, Any]:
    """What `record.finished` reads of a run, whose network is built as the run built it."""
    from . import record

    path = folder / ".hydra" / "config.yaml"
    if not path.is_file():
        raise ValueError(f"{folder}: no run there (it has no .hydra/config.yaml); give its folder.")
    return record.finished(folder, _build(OmegaConf.load(path).network))


def _build(cfg: Any) -> Any:
    """Instantiates a part of the configuration; a bad setting is a `ValueError`, as elsewhere."""
    try:
        if OmegaConf.is_config(cfg):
            check_targets(OmegaConf.to_container(cfg, resolve=True))
        return hydra.utils.instantiate(cfg)
    except OmegaConfBaseException as error:
        raise ValueError(str(error)) from error
    except InstantiationException as error:
        raise ValueError(str(error.__cause__ or error)) from error


if __name__ == "__main__":
    main()
