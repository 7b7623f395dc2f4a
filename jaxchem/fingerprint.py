"""Telling programs apart by what they compute, numbers included."""

import hashlib
import re
import uuid
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

__all__ = ["add", "fingerprint"]

_PROGRAMS = (ClosedJaxpr, Jaxpr)


def fingerprint(program: ClosedJaxpr, *more: Any) -> str:
    """A digest of a traced function: of its text, of the constants in it, and of whatever else.

    A constant that is itself traced counts by its shape alone, and a function that JAX calls back
    by its identity, so that it is another one in another process.

    Args:
        program: from `jax.make_jaxpr`.
        *more: arrays, or texts.
    """
    digest = hashlib.sha256()
    # addresses in memory differ from run to run
    digest.update(re.sub(r"0x[0-9a-f]+", "", str(program.jaxpr)).encode())
    for number in (*_constants(program), *more):
        add(digest, "", number)
    return digest.hexdigest()


def add(digest: Any, path: Any, leaf: Any) -> None:
    """Puts an array, or a text, into a digest of `hashlib`."""
    if isinstance(leaf, str):
        digest.update(leaf.encode())
        return
    if isinstance(leaf, Tracer):
        digest.update(f"{path}traced{leaf.shape}{leaf.dtype}".encode())
        return
    array = np.ascontiguousarray(leaf)
    digest.update(f"{path}{array.shape}{array.dtype}".encode())
    digest.update(array.data)


@lru_cache(maxsize=1000)
def _known(function: Any) -> str:
    """A name of a function of Python's, which is kept so that no other one gets its identity."""
    return uuid.uuid4().hex


def _constants(program: Any) -> Iterator[Any]:
    """What the text of a program, and of those that it calls, may not show."""
    if isinstance(program, ClosedJaxpr):
        yield from program.consts
        program = program.jaxpr
    for equation in program.eqns:
        yield from (x.val for x in equation.invars if isinstance(x, Literal))
        if equation.primitive.name in ("pure_callback", "io_callback"):
            yield _known(equation.params["callback"])
        inner = jax.tree.leaves(equation.params, is_leaf=lambda x: isinstance(x, _PROGRAMS))
        for part in inner:
            if isinstance(part, _PROGRAMS):
                yield from _constants(part)
