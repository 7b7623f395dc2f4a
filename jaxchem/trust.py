"""Which code a file may name: that of this package, and of modules that the user trusts."""

import importlib
import os
import re
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

__all__ = ["VARIABLE", "check_targets", "trusted", "within"]

VARIABLE = "JAXCHEM_TRUST"
"""The environment's list of trusted modules, by commas: jobs of a sweep inherit it."""

_BUILT = re.compile(
    r"jaxchem\.(load|Integrator|simulate\.simulate|clouds\.evolve|inference\.(estimate|plan)"
    r"|learned\.(benchmark|general|single)|models\.(loaded|[A-Z]\w*(\.fitted)?)"
    r"|stages\.(committee|derivative|emulate|given|infer|regress|trajectory))"
)
"""What of this package a configuration builds: nothing that writes where it is told to, or runs
what it is told to."""


def trusted(more: Sequence[str] = ()) -> tuple[str, ...]:
    """The modules that the user trusts: those of the environment, and these."""
    if isinstance(more, str):
        more = (more,)
    return (*filter(None, os.environ.get(VARIABLE, "").split(",")), *more)


def within(module: str, packages: Sequence[str]) -> bool:
    """Whether a module is one of these packages or in one."""
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def check_targets(settings: Any) -> None:
    """Refuses a configuration that would call what it may not, at any depth.

    Args:
        settings: plain mappings and lists, nothing of them to be resolved.

    Raises:
        ValueError: a `_target_` that is neither one of this package's nor defined in a module that
            is trusted.
    """
    for target in _targets(settings):
        if not _allowed(target):
            module = target.rpartition(".")[0] if isinstance(target, str) else ""
            raise ValueError(
                f"_target_: {target} is not among what jaxchem's configurations build, nor of a "
                "module that is trusted; if you know whose it is and want it to run, add "
                f"trust={module or 'MODULE'} to the command line."
            )


def _targets(settings: Any) -> Iterator[Any]:
    if isinstance(settings, dict):
        if "_target_" in settings:
            yield settings["_target_"]
        settings = list(settings.values())
    if isinstance(settings, list):
        for part in settings:
            yield from _targets(part)


def _allowed(target: Any) -> bool:
    if not isinstance(target, str):
        return False
    if _BUILT.fullmatch(target):
        return _defined(target, ("jaxchem",))
    modules = trusted()
    return within(target, modules) and _defined(target, modules)


def _defined(target: str, packages: Sequence[str]) -> bool:
    """Whether what a dotted path leads to was defined in one of these packages.

    Modules are only passed through on the way to a module below: none that another one has
    imported, and nothing that it has from there.
    """
    first = next(p for p in sorted(packages, key=len) if within(target, [p]))
    try:
        found: Any = importlib.import_module(first)
    except ModuleNotFoundError as error:
        raise ValueError(f"trust={first}: {error}; name a module that can be imported.") from None
    path = first
    for name in target[len(first) + 1 :].split("."):
        inside = isinstance(found, ModuleType)
        path = f"{path}.{name}"
        if inside and not hasattr(found, name):
            try:
                importlib.import_module(path)
            except ModuleNotFoundError as error:
                if error.name != path:
                    raise
        found = getattr(found, name, None)
        if isinstance(found, ModuleType) and not (inside and found.__name__ == path):
            return False
    return callable(found) and within(getattr(found, "__module__", None) or "", packages)
