"""Models that stand where a solve stood, and their files."""

import dataclasses
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .. import checkpoint
from ..parse import table
from ..solvers import Integrator
from .committee import Committee as Committee
from .conserve import Conserved as Conserved
from .conserve import conserve as conserve
from .conserve import conserved as conserved
from .crnn import CRNN as CRNN
from .flow_map import FlowMap as FlowMap
from .latent import Latent as Latent
from .neural_ode import NeuralODE as NeuralODE
from .similar import Similar as Similar
from .similar import similar as similar
from .step_map import StepMap as StepMap
from .step_map import rollout as rollout

__all__ = [
    "CRNN",
    "Committee",
    "Conserved",
    "FlowMap",
    "Latent",
    "NeuralODE",
    "Similar",
    "StepMap",
    "conserve",
    "conserved",
    "load_model",
    "rollout",
    "save",
    "similar",
]

EMULATORS: dict[str, type[FlowMap] | type[Latent] | type[StepMap]] = {
    "flow_map": FlowMap,
    "latent": Latent,
    "step_map": StepMap,
}
"""Models that are rebuilt from their `settings`."""


def _integrator_settings(integrator: Integrator) -> dict[str, Any]:
    values = {f.name: getattr(integrator, f.name) for f in dataclasses.fields(integrator)}
    values["retries"] = [_integrator_settings(rung) for rung in integrator.retries]
    return {n: np.asarray(v).tolist() if eqx.is_array_like(v) else v for n, v in values.items()}


def _describe(model: Any) -> dict[str, Any]:
    """What is needed, besides the arrays, to build a model of the same shape."""
    if isinstance(model, Conserved):
        shape = list(np.shape(model.composition))
        return {"family": "conserved", "shape": shape, "inner": _describe(model.model)}
    if isinstance(model, Committee):
        return {"family": "committee", "members": [_describe(m) for m in model.members]}
    if isinstance(model, Similar):
        return {
            "family": "similar",
            "exponents": list(model.exponents),
            "inner": _describe(model.model),
        }
    for family, kind in EMULATORS.items():
        if isinstance(model, kind):
            return {"family": family, "settings": dict(model.settings)}
    if not isinstance(model, CRNN | NeuralODE):
        raise ValueError(f"cannot save a {type(model).__name__}; known: {', '.join(__all__[:8])}.")
    settings = {"integrator": _integrator_settings(model.integrator)}
    if isinstance(model, CRNN):
        return {"family": "crnn", "network": table.dumps(model.network), **settings}
    mlp = model.mlp
    return {
        "family": "neural_ode",
        "size": mlp.in_size,
        "width": mlp.width_size,
        "depth": mlp.depth,
        "activation": _activation_name(mlp.activation),
        **settings,
    }


def _activation_name(activation: Any) -> str:
    for name in dir(jax.nn):
        if getattr(jax.nn, name) == activation:
            return name
    return getattr(activation, "__name__", "gelu")


def _integrator(settings: dict[str, Any]) -> Integrator:
    rungs = [_integrator(rung) for rung in settings.get("retries", [])]
    return Integrator(**{**settings, "retries": rungs})


def _rebuild(header: dict[str, Any]) -> Any:
    if header["family"] == "conserved":
        return Conserved(_rebuild(header["inner"]), np.zeros(header["shape"]))
    if header["family"] == "committee":
        return Committee(tuple(map(_rebuild, header["members"])), np.asarray(0.0))
    if header["family"] == "similar":
        zero = np.asarray(0.0)
        inner = _rebuild(header["inner"])
        return Similar(inner, zero, zero, tuple(header["exponents"]))
    if header["family"] in EMULATORS:
        return EMULATORS[header["family"]](**header["settings"], key=jax.random.key(0))
    integrator = _integrator(header["integrator"])
    if header["family"] == "crnn":
        network = table.loads(header["network"])
        return CRNN(network, jnp.zeros(len(network.equations)), integrator=integrator)
    if header["family"] == "neural_ode":
        shape = {name: header[name] for name in ("size", "width", "depth", "activation")}
        return NeuralODE(**shape, integrator=integrator, key=jax.random.key(0))
    raise ValueError(f"unknown model family {header['family']!r}; saved by a newer jaxchem?")


def save(path: str | Path, model: Any, **header: Any) -> None:
    """Saves a model as one file that `load_model` reads back without any other information.

    Args:
        path: the file, by custom with the suffix ``.eqx``.
        model: a model of `jaxchem.models`.
        **header: JSON-able fields to keep with it.

    Raises:
        ValueError: a model that is none of jaxchem's, or a folder that cannot be written to.
    """
    checkpoint.save(path, model, **header, **_describe(model), kind="model")


def load_model(path: str | Path) -> Any:
    """Loads a model that `save` wrote.

    Raises:
        ValueError: the file is missing, truncated, damaged, or no model of jaxchem's.
    """
    header = checkpoint.read_header(path)
    if header.get("kind") != "model":
        raise ValueError(f"{path} is a {header.get('kind')!r} checkpoint, not a saved model.")
    return checkpoint.load(path, _rebuild(header), kind="model")
