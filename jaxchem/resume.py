"""Command lines that go on with a run: what its folder says, which anybody may have written."""

import atexit
import contextlib
import os
import re
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from .trust import VARIABLE, trusted

__all__ = ["Record", "recorded", "resumed", "take_trust"]

_CONFIG_DIR = {"--config-dir", "-cd"}
_VALUED = {*_CONFIG_DIR, "--config-path", "-cp", "--config-name", "-cn", "--cfg", "-c", "-p"}
_VALUED |= {"--package"}
_FOLDER = "JAXCHEM_FOLDER"
"""The environment's name of the folder: Hydra's grammar knows not every name."""

_OVERRIDE = re.compile(r"(?:\+\+?|~)?([A-Za-z_][\w./@-]*)(?:=(.*))?", re.DOTALL)


def take_trust(arguments: list[str]) -> list[str]:
    """Takes `trust=MODULE`, which no file can give, from the arguments into the environment."""
    given = [a.partition("=")[2].strip("[]") for a in arguments if a.startswith("trust=")]
    if given:
        os.environ[VARIABLE] = ",".join((*trusted(), *given))
    return [a for a in arguments if not a.startswith("trust=")]


class Record(NamedTuple):
    """A run that is gone on with: its folder, and what its command line was."""

    folder: Path
    overrides: list[str]
    cwd: str
    config_dir: str | None


def recorded(arguments: list[str]) -> Record | None:
    """The run that `resume=FOLDER` names, if there is one.

    Raises:
        ValueError: there is no run, or its record would do more than to set what a run has.
    """
    folders = [a.partition("=")[2] for a in arguments if a.startswith("resume=")]
    if not folders:
        return None
    folder = Path(folders[-1])
    if not folder.exists() and folders[-1].startswith("~"):
        folder = Path(os.path.expanduser(folder))
    folder = folder.resolve()
    overrides, settings = (_yaml(folder / ".hydra" / n) for n in ("overrides.yaml", "hydra.yaml"))
    if not isinstance(overrides, list):
        raise ValueError(
            f"resume={folder}: no run there (it has no .hydra/overrides.yaml); give the folder "
            "that a run wrote, such as outputs/spin_ode/2026-01-31_12-00-00."
        )
    try:
        own = settings["hydra"]["runtime"]
        dirs = [s["path"] for s in own["config_sources"] if s["provider"] == "command-line"]
        record = Record(folder, overrides, str(own.get("cwd", "")), (*map(str, dirs), None)[0])
    except (TypeError, LookupError, AttributeError):
        raise ValueError(
            f"resume={folder}: its .hydra/hydra.yaml is no record of a run; start the run again."
        ) from None
    for override in overrides:
        _check_override(folder, override)
    return record


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_bytes())
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None


def _check_override(folder: Path, text: Any) -> None:
    """Refuses what is no setting of a run: flags, Hydra's own settings, files of elsewhere."""
    found = _OVERRIDE.fullmatch(text) if isinstance(text, str) else None
    key, value = found.groups() if found else ("hydra", "")
    # what a group names is a file; what a setting names is data, and nothing is run for it
    away = "." not in key and ("${" in value or ".." in re.split(r"[/\\,:\[\]{}()'\"\s]", value))
    if re.match(r"hydra\b", key) or away:
        raise ValueError(
            f"resume={folder}: its record says {text!r}, which no run writes there; it is taken "
            "for no run. Start it anew with a command line of your own."
        )


def resumed(arguments: list[str], record: Record) -> list[str]:
    """The command line that goes on with a run; overrides that stand beside it come last.

    Raises:
        ValueError: several runs, or a run of a configuration of its own that is not named again.
    """
    if {"-m", "--multirun"} & set(arguments):
        raise ValueError("resume goes on with one run: give the folder of one job, without -m.")
    kept = record.overrides
    given = [a for a in arguments if not a.startswith("resume=") and a not in kept]
    for number, argument in enumerate(given):  # relative to here, and not to where it was started
        flag, sign, value = argument.partition("=")
        if flag in _CONFIG_DIR and sign:
            given[number] = f"{flag}={Path(value).resolve()}"
        elif number and given[number - 1] in _CONFIG_DIR:
            given[number] = str(Path(argument).resolve())
    if record.config_dir and not _CONFIG_DIR & {a.partition("=")[0] for a in given}:
        raise ValueError(
            f"resume={record.folder}: the run was composed from files in {record.config_dir}; if "
            f"you know whose they are, add --config-dir {shlex.quote(record.config_dir)}."
        )
    # argparse wants all overrides in one row
    typed = [a for n, a in enumerate(given) if _is_override(a, given[:n])]
    flags = [a for n, a in enumerate(given) if not _is_override(a, given[:n])]
    os.environ[_FOLDER] = _alias(record.folder)
    return [*flags, *kept, *typed, f"hydra.run.dir=${{oc.env:{_FOLDER}}}"]


def _alias(folder: Path) -> str:
    """A name of the folder that Hydra can hold: none that is an interpolation, or no text."""
    name = str(folder)
    with contextlib.suppress(UnicodeEncodeError):
        name.encode()
        if not {"$", "\\"} & set(name):
            return name
    alias = Path(tempfile.mkdtemp(prefix="jaxchem-"), "run")
    atexit.register(shutil.rmtree, alias.parent, ignore_errors=True)
    alias.symlink_to(folder)
    return str(alias)


def _is_override(argument: str, before: list[str]) -> bool:
    """Whether an argument is `key=value` and neither a flag nor the value of one."""
    return not argument.startswith("-") and not (before and before[-1] in _VALUED)
