"""A network as a graph: for Graphviz, and as a list of edges."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..kinetics import flux
from ..network import Network, sides
from .accounting import at_state

__all__ = ["edges", "graph"]


def edges(network: Network, k: Any = None, y: Any = None) -> list[tuple[str, str, int, dict]]:
    """Which species becomes which: an edge from every reactant to every product of a reaction.

    ``networkx.MultiDiGraph().add_edges_from(edges(network))`` makes a graph of them. A species on
    both sides has no edge to itself; reactions without reactants or products have none at all.

    Args:
        network: the reactions.
        k: rate coefficients [R], for fluxes.
        y: concentrations [S], for fluxes.

    Returns:
        (reactant, product, reaction index, attributes): the `equation`, and the `flux` where `k`
        and `y` are given.

    Raises:
        ValueError: one of `k` and `y` without the other, or of the wrong length.
    """
    rates = _rates(network, k, y)
    found = []
    for j, equation in enumerate(network.equations):
        about = {"equation": equation} | ({} if rates is None else {"flux": float(rates[j])})
        reactants, products = sides(equation)
        found += [(a, b, j, about) for a in reactants for b in products if a != b]
    return found


def graph(network: Network, k: Any = None, y: Any = None) -> str:
    """The network as Graphviz' DOT text: species and reactions are nodes.

    Edges lead from reactants to their reaction and from there to its products. With `k` and `y`
    each has its `flux`, molecules per volume and time, and a width by its logarithm, six decades
    wide. Fixed species are grey; a reaction's node has its equation as tooltip.

    Args:
        network: the reactions.
        k: rate coefficients [R], for fluxes.
        y: concentrations [S], for fluxes.

    Raises:
        ValueError: as `edges`.
    """
    rates = _rates(network, k, y)
    lines = [f"digraph {_quoted(network.name)} {{"]
    for name in network.species:
        style = ", style=filled" if name in network.fixed else ""
        lines.append(f"  {_quoted(name)} [shape=ellipse{style}];")
    links = []  # (from, to, flux)
    for j, equation in enumerate(network.equations):
        node = _quoted(f"reaction {j}")  # no species has a space in its name
        lines.append(f"  {node} [shape=box, label={_quoted(str(j))}, tooltip={_quoted(equation)}];")
        reactants, products = sides(equation)
        rate = 0.0 if rates is None else float(rates[j])
        links += [(_quoted(name), node, count * rate) for name, count in reactants.items()]
        links += [(node, _quoted(name), count * rate) for name, count in products.items()]
    top = max((abs(flow) for _, _, flow in links), default=0.0)
    for tail, head, flow in links:
        width = max(0.0, 1 + math.log10(abs(flow) / top) / 6) if flow and top else 0.0
        about = f' [flux="{flow:.6e}", penwidth={0.2 + 4 * width:.2f}]'
        lines.append(f"  {tail} -> {head}{'' if rates is None else about};")
    return "\n".join([*lines, "}"]) + "\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _rates(network: Network, k: Any, y: Any) -> np.ndarray | None:
    if (k is None) != (y is None):
        raise ValueError("fluxes need both k and y; give both or neither.")
    if k is None:
        return None
    _, k, y = at_state("graph", network, 0.0, k=k, y=y)
    return np.asarray(flux(network, jnp.asarray(k), y))
