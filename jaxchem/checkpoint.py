"""One-file checkpoints: a line of sums, a line of JSON, then the arrays of any pytree.

The first line carries the length and the SHA-256 of all that follows, so a truncated or damaged
file is told from a sound one; the second, a `kind` and free fields that say what the file is.
"""

import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any, TypeVar

import equinox as eqx

from .files import atomic

__all__ = ["digest", "load", "read_header", "save"]

_FORMAT = "jaxchem-checkpoint-2"
Tree = TypeVar("Tree")


def digest(*parts: Any) -> str:
    """Tells apart what JSON can tell apart, and what `str` can of the rest."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def save(path: str | Path, tree: Any, **header: Any) -> None:
    """Writes the arrays of a pytree and a JSON-able header, atomically.

    Args:
        path: the file.
        tree: any pytree; only its arrays are stored.
        **header: what `read_header` shall give back.

    Raises:
        ValueError: the folder is gone, full or read-only.
    """
    buffer = io.BytesIO()
    eqx.tree_serialise_leaves(buffer, tree)
    content = json.dumps(header).encode() + b"\n" + buffer.getvalue()
    with atomic(path) as temporary, open(temporary, "wb") as file:
        file.write(_sums(content))
        file.write(content)


def _sums(content: bytes) -> bytes:
    return f"{_FORMAT} {len(content)} {hashlib.sha256(content).hexdigest()}\n".encode()


def _read(path: str | Path) -> tuple[dict[str, Any], bytes]:
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"no checkpoint at {path}: {error.strerror or error}.") from error
    first, _, content = content.partition(b"\n")
    sums = first.split(b" ")
    if len(sums) != 3 or sums[0] != _FORMAT.encode() or not re.fullmatch(rb"\d{1,18}", sums[1]):
        raise ValueError(
            f"{path} is not a jaxchem checkpoint of this version; it does not begin with {_FORMAT}."
        )
    if len(content) != int(sums[1]):
        raise ValueError(
            f"checkpoint {path} is truncated: {len(content)} of {int(sums[1])} bytes. Delete "
            "it to start this stage again, or take an older copy."
        )
    if first + b"\n" != _sums(content):
        raise ValueError(
            f"checkpoint {path} is damaged: its content does not match its checksum. Delete it "
            "to start this stage again, or take an older copy."
        )
    line, _, payload = content.partition(b"\n")
    try:
        header = json.loads(line)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise ValueError(f"checkpoint {path} has a header that cannot be read; make it again.")
    return header, payload


def read_header(path: str | Path) -> dict[str, Any]:
    """The header of a checkpoint; `ValueError` if it is missing, foreign or damaged."""
    return _read(path)[0]


def load(path: str | Path, like: Tree, **expected: Any) -> Tree:
    """Reads a checkpoint into the shape of `like`.

    Args:
        path: the file.
        like: a pytree of the same structure, shapes and dtypes as the one that was saved.
        **expected: header fields that must have these values.

    Raises:
        ValueError: the file is missing, foreign, truncated or damaged, or was saved from another
            kind of thing or another configuration than `like`.
    """
    header, payload = _read(path)
    for name, value in expected.items():
        if header.get(name) != value:
            raise ValueError(
                f"checkpoint {path} was made with another {name}: it has {header.get(name)!r}, "
                f"this run {value!r}. Use the same configuration, or delete it to start again."
            )
    buffer = io.BytesIO(payload)
    try:
        tree = eqx.tree_deserialise_leaves(buffer, like)
        rest = len(buffer.read())
        if rest:
            raise ValueError(f"{rest} bytes are left over.")
    except Exception as error:
        raise ValueError(
            f"checkpoint {path} holds something else than expected: {error}"
        ) from error
    return tree
