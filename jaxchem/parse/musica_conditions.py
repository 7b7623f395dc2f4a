"""Condition files of MUSICA: where a mechanism starts and what its host model would give."""

from pathlib import Path
from typing import Any

from .common import fail, numbered
from .document import Node
from .musica_laws import GIVEN, SURFACE

__all__ = ["initial_conditions"]

_ENVIRONMENT = {
    "temperature": "temperature",
    "pressure": "pressure",
    "air_density": "density",
    "time_step": None,
}
"""What the environment is called here; the time step is the host model's."""


def initial_conditions(path: str | Path) -> tuple[dict[str, float], dict[str, Any]]:
    """Reads a condition file of MUSICA, ``CONC.O3,2.49e-6`` and the like, one a line.

    Args:
        path: a CSV file. ``CONC.``, ``ENV.``, ``PHOTO.``, ``EMIS.``, ``LOSS.``, ``USER.`` and
            ``SURF.`` are known; the last with radius and number where it names neither.

    Returns:
        Concentrations [mol m-3] by species, for `Network.y0`, and conditions, for
        ``network.rates(**conditions)``, in which quantities have the names of the file. What a
        file leaves out MUSICA takes for zero; so does `rates` once ``"*": 0.0`` is among them.

    Raises:
        MechanismError: a line that cannot be read, with file and line.
    """
    filename = str(path)
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise fail(filename, 1, f"cannot be read as text ({error})") from None
    initial: dict[str, float] = {}
    environment: dict[str, float] = {}
    quantities: dict[str, float] = {}
    for line, raw in numbered(text):
        if not raw.strip():
            continue
        label, *cells = (cell.strip() for cell in raw.split(","))
        kind, _, name = label.partition(".")
        labels = [label]
        if kind == "SURF" and len(cells) == len(SURFACE):
            labels = [f"{label}.{part}" for part in SURFACE]
        if not name or len(cells) != len(labels):
            raise fail(filename, line, f"{raw[:60]!r}: write 'KIND.NAME,NUMBER'")
        numbers = [Node(cell, filename, line).number() for cell in cells]
        if kind == "CONC":
            into, labels = initial, [name]
        elif kind == "ENV" and name in _ENVIRONMENT:
            into, labels = environment, [name]
        elif kind in GIVEN:
            into = quantities
        else:
            known = [f"ENV.{n}" for n in _ENVIRONMENT] + [f"{k}.NAME" for k in ("CONC", *GIVEN)]
            raise fail(filename, line, f"unknown {label[:60]!r}; known: {', '.join(known)}")
        for key, number in zip(labels, numbers, strict=True):
            if key in into:
                raise fail(filename, line, f"{label!r} is given twice; drop one")
            into[key] = number
    known = {ours: environment[n] for n, ours in _ENVIRONMENT.items() if ours and n in environment}
    return initial, {**known, "quantities": quantities}
