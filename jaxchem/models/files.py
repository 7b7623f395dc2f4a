"""Models to files and back, whoever wrote them.

The header of a file says how the model is put together: of every module its class, of every field
what it holds, of every array its shape and type. The arrays themselves follow. A class is named by
its module: one of this package, of equinox, of a package that announces it (``jaxchem.models``
among its entry points), or of a module that the user trusts. A file alone imports nothing.
"""

import dataclasses
import importlib
import importlib.metadata
import inspect
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from .. import checkpoint
from ..dataset import Observations
from ..network import Network
from ..parse import table
from ..trust import trusted, within
from .base import AbstractEmulator

__all__ = ["load_model", "loaded", "save"]

_ACTIVATIONS = ("jax.nn", "jax.numpy")
"""Modules whose functions any model may hold, but for those that read and write files."""

_OWN = ("jaxchem", "equinox")
"""Packages whose modules any file may name."""

_FILES = {"load", "save", "savez", "fromfile"}

_PLAIN = (str, int, float, bool, type(None))


def save(path: str | Path, model: AbstractEmulator, **header: Any) -> None:
    """Saves a model as one file that `load_model` reads back without any other information.

    Args:
        path: the file, by custom with the suffix ``.eqx``.
        model: any emulator.
        **header: JSON-able fields to keep with it.

    Raises:
        ValueError: no emulator, one that holds something that cannot be told by name (such as a
            lambda), or a folder that cannot be written to.
    """
    if not isinstance(model, AbstractEmulator):
        raise ValueError(
            f"cannot save a {type(model).__name__}: it is no AbstractEmulator of jaxchem.models."
        )
    made = _describe(model, type(model).__name__)
    about = model.about._asdict() | {"units": model.about.units._asdict()}
    checkpoint.save(path, model, **header, about=about, model=made, kind="model")


def load_model(path: str | Path, *, trust: Sequence[str] = ()) -> Any:
    """Loads a model that `save` wrote.

    Args:
        path: the file.
        trust: modules, such as yours, of which the file may name classes and functions; they are
            imported. `JAXCHEM_TRUST` in the environment is a list of further ones, by commas.

    Raises:
        ValueError: the file is missing, truncated, damaged or no model; or a class that it is of
            is of a module that is not trusted.
    """
    header = checkpoint.read_header(path)
    if header.get("kind") != "model":
        raise ValueError(f"{path} is a {header.get('kind')!r} checkpoint, not a saved model.")
    try:
        like = _rebuild(header["model"], trusted(trust))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    except (LookupError, TypeError, AttributeError, RuntimeError, MemoryError) as error:
        raise ValueError(
            f"{path}: its header is not that of a model ({type(error).__name__}: {error}); it was "
            "saved by another jaxchem."
        ) from None
    return checkpoint.load(path, like, kind="model")


def loaded(data: Observations, *, path: str | Path, key: Any = None) -> Any:
    """A saved model for data of its states and conditions, as a stage's start.

    Args:
        data: what it is for.
        path: of the file.
        key: not used.

    Raises:
        ValueError: as `load_model`, or data of other states or conditions.
    """
    del key
    model = load_model(path)
    names = data.in_order(model.about.conditions).names
    model.in_order(data.network.species, names)
    return model


def _describe(value: Any, where: str, home: str = "", static: bool = False) -> Any:
    """What `_rebuild` makes the same structure of; `home` is the package of the class around."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Network):
        return {"network": table.dumps(value)}
    if isinstance(value, eqx.Module):
        kind, fields = type(value), {}
        home = _root(kind.__module__)
        for field in dataclasses.fields(value):  # pyright: ignore[reportArgumentType]
            part, name = getattr(value, field.name), field.name
            if callable(part) and part is _default(kind, name):
                fields[name] = {"default": name}  # which may be a lambda
            else:
                fixed = static or field.metadata.get("static", False)
                fields[name] = _describe(part, f"{where}.{name}", home, fixed)
        return {"class": _path(kind, where), "fields": fields}
    if isinstance(value, tuple) and (names := getattr(value, "_fields", None)):
        parts = zip(names, value, strict=True)
        told = {n: _describe(v, f"{where}.{n}", home, static) for n, v in parts}
        return {"named": _path(type(value), where), "fields": told}
    if isinstance(value, tuple | list):
        told = [_describe(v, f"{where}[{n}]", home, static) for n, v in enumerate(value)]
        return {type(value).__name__: told}
    if isinstance(value, Mapping) and all(isinstance(key, str | int) for key in value):
        told = [[k, _describe(v, f"{where}[{k!r}]", home, static)] for k, v in value.items()]
        return {"dict": told}
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        if static:
            raise ValueError(
                f"{where} is an array in a static field, which no file keeps; make the field an "
                "ordinary one, or a tuple of numbers."
            )
        kind = "jax" if isinstance(value, jax.Array) else "numpy"
        return {kind: [list(np.shape(value)), str(value.dtype)]}
    if callable(value):
        path = _path(value, where)
        _check_function(path, value, home)
        return {"function": path}
    raise ValueError(f"{where} is a {type(value).__name__}, which no file can tell.")


def _rebuild(told: Any, trust: Sequence[str], home: str = "jaxchem") -> Any:
    """The structure that was told, its arrays zero or their shapes.

    Args:
        told: by `_describe`.
        trust: modules besides our own.
        home: the package of the class around.
    """
    if not isinstance(told, dict):
        return told
    kind: Any = None
    if path := told.get("class") or told.get("named"):
        kind = _class(path, eqx.Module if "class" in told else tuple, trust)
        home = _root(kind.__module__) if "class" in told else home
    fields = {}
    for name, value in told.get("fields", {}).items():
        if isinstance(value, dict) and "default" in value:
            fields[name] = _default(kind, name)
        else:
            fields[name] = _rebuild(value, trust, home)
    if "class" in told:
        known = {field.name: field for field in dataclasses.fields(kind)}
        for name, field in known.items():
            if name not in fields and field.default is not dataclasses.MISSING:
                fields[name] = field.default
        if wrong := sorted(set(fields) ^ set(known)):
            raise ValueError(
                f"the field {wrong[0]!r} of {told['class']} is only in the file or only in the "
                "class: the model was saved by another version of it."
            )
        model = object.__new__(kind)
        for name, value in fields.items():
            object.__setattr__(model, name, value)
        return model
    if "named" in told:
        return kind(**fields)
    if "dict" in told:
        return {key: _rebuild(value, trust, home) for key, value in told["dict"]}
    if "network" in told:
        return table.loads(told["network"])
    if "function" in told:
        function = _find(told["function"], trust)
        _check_function(told["function"], function, home)
        return function
    for kind, make in (("jax", jax.ShapeDtypeStruct), ("numpy", np.zeros)):  # neither takes memory
        if kind in told:
            return make(tuple(told[kind][0]), told[kind][1])
    for kind in (tuple, list):
        if kind.__name__ in told:
            return kind(_rebuild(part, trust, home) for part in told[kind.__name__])
    raise ValueError(f"a part of the model is told by {', '.join(told) or 'nothing'}.")


def _class(path: str, base: type, trust: Sequence[str]) -> Any:
    found = _find(path, trust)
    good = inspect.isclass(found) and issubclass(found, base)
    # a partial function would be called with arguments of the file's choice
    if (
        not good
        or issubclass(found, eqx.Partial)
        or (base is tuple and not hasattr(found, "_fields"))
    ):
        raise ValueError(f"{path} is no class of a model.")
    return found


def _root(module: str) -> str:
    return module.partition(".")[0]


def _check_function(path: str, function: Any, home: str) -> None:
    """Refuses what could be a program: all but activations and functions of the class's package."""
    module, defined = path.partition(":")[0], getattr(function, "__module__", None) or ""
    if module in _ACTIVATIONS:
        return
    there = ("jaxchem.models",) if home == "jaxchem" else (home,)
    if not (within(module, there) and within(defined, there)):
        raise ValueError(
            f"{path} is a function of another package than the model that holds it; it may be of "
            "jax.nn, of jax.numpy, or of the package that defines the class (here of "
            f"{there[0]})."
        )


def _default(kind: Any, name: str) -> Any:
    """What a class takes where it is given no `name`."""
    known = inspect.signature(kind.__init__).parameters
    return known[name].default if name in known else inspect.Parameter.empty


def _path(thing: Any, where: str) -> str:
    """``module:name`` of a class or a function."""
    name, module = getattr(thing, "__qualname__", ""), getattr(thing, "__module__", "")
    for home in ("jax.nn", "jax.numpy", module):  # where it is public, first
        found: Any = sys.modules.get(home)
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is thing and name:
            return f"{home}:{name}"
    raise ValueError(
        f"{where} is {thing!r}, which cannot be found again by its name; define it at the top of "
        "a module."
    )


def _find(path: str, trust: Sequence[str]) -> Any:
    """What `_path` names, if its module is trusted or an installed package announces it."""
    module, _, name = path.partition(":")
    if module in _ACTIVATIONS:
        if name in _FILES:
            raise ValueError(f"{path} reads or writes files, and is no part of a model.")
    elif not within(module, (*_OWN, *trust)):
        for entry in importlib.metadata.entry_points(group="jaxchem.models"):
            if entry.value == path:
                return entry.load()
        raise ValueError(
            f"the model is of {path}, and {module} is not trusted; if you know whose it is, load "
            f"it with trust=({module!r},), or on the command line with trust={module}."
        )
    elif module not in sys.modules and within(module, trust):
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise ValueError(f"the model is of {path}: {error}.") from None
    if module not in sys.modules:
        raise ValueError(f"the model is of {path}, and there is no such module.")
    found: Any = sys.modules[module]
    for part in name.split("."):  # no attribute that would import, nor one of another module
        found = (
            vars(found).get(part)
            if found is sys.modules[module] or inspect.isclass(found)
            else None
        )
    if found is None:
        raise ValueError(f"{module} has no {name}, of which the model is.")
    return found
