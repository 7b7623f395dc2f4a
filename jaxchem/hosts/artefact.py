"""Emulators and box solves as artefacts of `jax.export`, for hosts that run JAX."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import export as jax_export

from ..files import atomic
from ..network import Network
from ..rates.conditions import CONDITIONS
from ..solvers import Integrator, native, solve
from ..solvers.build import SYMBOL
from .model import Emulator
from .network import by_name, check_integrator, missing

__all__ = ["Exported", "export", "load_exported"]

_LACK = "artefacts of JAX want the package flatbuffers: pip install flatbuffers."

_TOLD = ("kind", "states", "conditions", "concentration", "time")


class Exported:
    """What `export` wrote, without the code that it was made of.

    Attributes:
        about: kind, names of states and conditions, their units and, of an emulator, the range of
            its training.
        program: of `jax.export`.
    """

    def __init__(self, about: dict[str, Any], program: jax_export.Exported):
        self.about = about
        self.program = program

    def __repr__(self) -> str:
        about = self.about
        return f"Exported {about['kind']}: {', '.join(about['states'])}; {about['conditions']}"

    def __call__(self, y0: Any, conditions: Any, ts: Any) -> Any:
        """States at times `ts` [T] after `y0` [N, S] under conditions [N, C].

        Returns:
            States [N, T, S]; of a box, also which cells failed [N], whose states are infinite from
            there on.
        """
        return self.program.call(*(jnp.asarray(part, float) for part in (y0, conditions, ts)))


def export(
    what: Network | Emulator,
    path: str | Path,
    *,
    conditions: Sequence[str] | None = None,
    given: Mapping[str, Any] | None = None,
    integrator: Integrator | None = None,
    platforms: Sequence[str] = ("cpu",),
) -> Path:
    """Writes an emulator, or the box integration of a network, for hosts that run JAX.

    The file is what `jax.export.deserialize` reads: `(y0 [N, S], conditions [N, C], ts [T])` to
    `ys [N, T, S]`, N and T being any numbers; of a network a pair, with the cells that failed [N].
    Beside it PATH.json tells names and units. `load_exported` reads both. An emulator needs no
    jaxchem then; a box wants the compiled kernel, which `load_exported` brings.

    Args:
        what: a network, or any emulator of `jaxchem.models`.
        path: of the file; its folder is made where there is none.
        conditions: of a network, as of `write_network`.
        given: of a network, conditions that never change.
        integrator: of a network, method and tolerances.
        platforms: where it can run, such as cpu and cuda; a box runs on the CPU alone.

    Returns:
        The path.

    Raises:
        ValueError: settings of a network for an emulator, conditions that the rates lack, a box for
            other platforms, or a file that cannot be written.
    """
    path = Path(path)
    checks = [jax_export.DisabledSafetyCheck.custom_call(SYMBOL)]
    if isinstance(what, Network):
        if tuple(platforms) != ("cpu",):
            raise ValueError(f"platforms={list(platforms)}: a box runs on the CPU alone.")
        function, about = _box(what, conditions, dict(given or {}), integrator or Integrator())
    elif conditions is not None or given is not None or integrator is not None:
        raise ValueError("conditions, given and integrator are settings of a network's box.")
    else:
        function, about = _emulator(what)
    cells, times = jax_export.symbolic_shape("cells, times")
    sizes = len(about["states"]), len(about["conditions"])
    shapes = [(cells, sizes[0]), (cells, sizes[1]), (times,)]
    arrays = [jax.ShapeDtypeStruct(shape, jnp.result_type(float)) for shape in shapes]
    compiled = jax.jit(jax.vmap(function, in_axes=(0, 0, None)))
    try:
        made = jax_export.export(compiled, platforms=tuple(platforms), disabled_checks=checks)(
            *arrays
        )
    except ValueError:
        raise
    except Exception as error:  # JAX has many for sizes that a model wants to know
        told = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(f"a {about['kind']} cannot be exported: {told}") from None
    try:
        content = made.serialize()
    except ImportError:
        raise ValueError(_LACK) from None
    with atomic(path) as temporary:
        temporary.write_bytes(content)
    with atomic(_beside(path)) as temporary:
        temporary.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return path


def load_exported(path: str | Path) -> Exported:
    """Reads what `export` wrote.

    Raises:
        ValueError: a file that is missing or damaged, or none of `export`; a box where the compiled
            kernel is not available.
    """
    path = Path(path)
    try:
        about = json.loads(_beside(path).read_text(encoding="utf-8"))
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: no artefact with its {_beside(path).name} ({error}).") from None
    if not isinstance(about, dict) or not set(_TOLD) <= set(about):
        raise ValueError(f"{_beside(path)} is not what jaxchem.export writes.")
    try:
        program = jax_export.deserialize(bytearray(content))
    except ImportError:
        raise ValueError(_LACK) from None
    except Exception as error:  # whatever flatbuffers and MLIR make of a damaged file
        raise ValueError(f"{path} is no artefact of jax.export ({type(error).__name__}).") from None
    if about.get("kernel") and not native.available():
        raise ValueError(f"{path} wants the compiled kernel; see the logged reason for its lack.")
    return Exported(about, program)


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _emulator(model: Emulator) -> tuple[Any, dict[str, Any]]:
    about = model.about
    return lambda *given: model(*given), {
        "kind": model.name,
        "states": list(about.states),
        "conditions": list(about.conditions),
        "concentration": about.units.concentration,
        "time": about.units.time,
        "start": about.start,
        "source": about.source,
        "lowest": list(about.low),
        "highest": list(about.high),
        "fixed": {n: dict(v) if isinstance(v, tuple) else v for n, v in about.fixed},
    }


def _box(
    network: Network, conditions: Any, given: dict[str, Any], integrator: Integrator
) -> tuple[Any, dict[str, Any]]:
    check_integrator(integrator)
    names = missing(network, given) if conditions is None else tuple(conditions)

    def box(y0: Any, values: Any, ts: Any) -> Any:
        found = solve(
            network,
            by_name(network, given, names, values),
            y0,
            ts,
            integrator=integrator,
            throw=False,
        )
        return found.ys, found.stats["end_time"] < ts[-1]

    return box, {
        "kind": f"box of {network.name}",
        "states": list(network.species),
        "conditions": list(names),
        "condition_units": [CONDITIONS.get(name, "") for name in names],
        "concentration": network.units.concentration,
        "time": network.units.time,
        "kernel": native.available(),
    }
