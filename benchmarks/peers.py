"""The solvers that are compared, each behind the same two calls."""

import functools
import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from problems import Problem
from scipy.integrate import odeint, solve_ivp

import jaxchem
from jaxchem.network import Structure

MAX_STEPS = 100_000

Run = Callable[[float, float], tuple[np.ndarray, np.ndarray]]
"""(rtol, atol) -> concentrations [N, T, S] and [N] whether a cell failed."""


class Peer(NamedTuple):
    """A solver.

    Attributes:
        prepare: builds the function that is timed.
        needs: packages beside jaxchem's own.
        cells: how many cells it gets, where a whole batch would take too long.
    """

    prepare: Callable[[Problem], Run]
    needs: tuple[str, ...] = ()
    cells: int | None = None

    def missing(self) -> list[str]:
        """The packages that are not installed."""
        return [name for name in self.needs if importlib.util.find_spec(name) is None]


# Solvers in JAX


def _batched(problem: Problem, solve: Callable[..., diffrax.Solution]) -> Run:
    """`solve(y0, rtol, atol)` under jit(vmap)."""

    @jax.jit
    def compiled(y0: Any, rtol: Any, atol: Any) -> Any:
        def one(y0: Any) -> Any:
            solution = solve(y0, rtol, atol)
            return solution.ys, solution.result != diffrax.RESULTS.successful

        return jax.vmap(one)(y0)

    y0 = jnp.asarray(problem.y0)

    def run(rtol: float, atol: float) -> tuple[np.ndarray, np.ndarray]:
        ys, failed = jax.block_until_ready(compiled(y0, rtol, atol))
        return np.asarray(ys), np.asarray(failed)

    return run


def jaxchem_peer(method: str) -> Callable[[Problem], Run]:
    """`jaxchem.solve` with one of its methods."""

    def prepare(problem: Problem) -> Run:
        k = jnp.asarray(problem.k)

        def solve(y0: Any, rtol: Any, atol: Any) -> diffrax.Solution:
            settings = {"rtol": rtol, "atol": atol, "method": method, "max_steps": MAX_STEPS}
            return jaxchem.solve(
                problem.network, k, y0, problem.ts, t0=problem.t0, throw=False, **settings
            )

        return _batched(problem, solve)

    return prepare


def diffrax_kvaerno5(problem: Problem) -> Run:
    """diffrax's Kvaerno5 as its documentation has it, interpolating to the output times."""
    k = jnp.asarray(problem.k)
    term = diffrax.ODETerm(lambda t, y, args: jaxchem.tendency(problem.network, k, y))

    def solve(y0: Any, rtol: Any, atol: Any) -> diffrax.Solution:
        return diffrax.diffeqsolve(
            term,
            diffrax.Kvaerno5(),
            problem.t0,
            problem.ts[-1],
            None,
            y0,
            saveat=diffrax.SaveAt(ts=jnp.asarray(problem.ts)),
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol),
            max_steps=MAX_STEPS,
            throw=False,
        )

    return _batched(problem, solve)


# Solvers that call back: straight-line code, compiled by numba where it is installed


def _structure(problem: Problem) -> Structure:
    structure = problem.network.structure
    if len(structure.pools):
        raise ValueError("networks with pools are not written out here.")
    return structure


def straight_line(problem: Problem) -> tuple[Callable, Callable]:
    """``rhs(y, dy)`` and ``jacobian(y, matrix)``, every reaction written out."""
    structure = _structure(problem)
    size, count = structure.stoichiometry.shape
    slots = structure.reactants.shape[1]

    def product(reaction: int, without: int | None = None) -> str:
        species = [
            i for s, i in enumerate(structure.reactants[reaction]) if i < size and s != without
        ]
        return " * ".join([repr(float(problem.k[reaction])), *(f"y[{i}]" for i in species)])

    rhs = [f"r{j} = {product(j)}" for j in range(count)]
    for i, row in enumerate(problem.network.stoichiometry):
        terms = " + ".join(f"{float(row[j])!r} * r{j}" for j in np.flatnonzero(row))
        rhs.append(f"dy[{i}] = {terms or '0.0'}")
    entries: dict[tuple[int, int], list[str]] = {}
    partials = []
    for row, column, factor, partial in zip(*structure.jacobian_terms, strict=True):
        entries.setdefault((row, column), []).append(f"{float(factor)!r} * p{partial}")
    for slot in range(slots):
        for j in np.flatnonzero(structure.reactants[:, slot] < size):
            partials.append(f"p{slot * count + j} = {product(j, without=slot)}")
    jacobian = ["matrix[:, :] = 0.0", *partials]
    jacobian += [f"matrix[{i}, {j}] = {' + '.join(terms)}" for (i, j), terms in entries.items()]
    return _function("rhs(y, dy)", rhs), _function("jacobian(y, matrix)", jacobian)


def _function(head: str, lines: list[str]) -> Callable:
    space: dict[str, Any] = {}
    exec("\n    ".join([f"def {head}:", *lines]), space)
    function = space[head.split("(")[0]]
    if importlib.util.find_spec("numba") is None:
        return function
    import numba

    return numba.njit(fastmath={"contract", "reassoc"}, error_model="numpy")(function)


def _one_by_one(problem: Problem, solve: Callable[..., tuple[np.ndarray, bool]]) -> Run:
    """`solve(y0, times, rtol, atol)` for each cell in turn; `times` begin with t0."""
    times = np.concatenate([[problem.t0], problem.ts])

    def run(rtol: float, atol: float) -> tuple[np.ndarray, np.ndarray]:
        ys = np.full((len(problem.y0), len(problem.ts), problem.y0.shape[1]), np.nan)
        failed = np.ones(len(problem.y0), dtype=bool)
        for cell, y0 in enumerate(problem.y0):
            found, good = solve(y0, times, rtol, atol)
            if good and len(found) == len(times):
                ys[cell], failed[cell] = found[1:], False
        return ys, failed

    return run


def _allocating(problem: Problem) -> tuple[Callable, Callable]:
    """``f(t, y)`` and ``jacobian(t, y)`` as SciPy wants them."""
    rhs, jacobian = straight_line(problem)
    size = problem.y0.shape[1]

    def field(t: float, y: np.ndarray) -> np.ndarray:
        dy = np.empty(size)
        rhs(y, dy)
        return dy

    def slope(t: float, y: np.ndarray) -> np.ndarray:
        matrix = np.empty((size, size))
        jacobian(y, matrix)
        return matrix

    return field, slope


def scipy_ivp(method: str) -> Callable[[Problem], Run]:
    """`scipy.integrate.solve_ivp` with the analytic Jacobian."""

    def prepare(problem: Problem) -> Run:
        field, slope = _allocating(problem)

        def solve(y0: Any, times: Any, rtol: float, atol: float) -> tuple[np.ndarray, bool]:
            span = (times[0], times[-1])
            found = solve_ivp(
                field, span, y0, method, t_eval=times, jac=slope, rtol=rtol, atol=atol
            )
            return found.y.T, found.success

        return _one_by_one(problem, solve)

    return prepare


def scipy_odeint(problem: Problem) -> Run:
    """`scipy.integrate.odeint`, LSODA with the analytic Jacobian."""
    field, slope = _allocating(problem)

    def solve(y0: Any, times: Any, rtol: float, atol: float) -> tuple[np.ndarray, bool]:
        found, info = odeint(
            field,
            y0,
            times,
            Dfun=slope,
            tfirst=True,
            rtol=rtol,
            atol=atol,
            mxstep=MAX_STEPS,
            full_output=True,
        )
        return found, info["message"] == "Integration successful."

    return _one_by_one(problem, solve)


def numbalsoda(problem: Problem) -> Run:
    """numbalsoda's LSODA; it has no Jacobian argument."""
    import numba
    from numbalsoda import lsoda, lsoda_sig

    rhs, _ = straight_line(problem)
    size = problem.y0.shape[1]

    @numba.cfunc(lsoda_sig)
    def field(t, y, dy, data):
        rhs(numba.carray(y, (size,)), numba.carray(dy, (size,)))

    def solve(y0: Any, times: Any, rtol: float, atol: float) -> tuple[np.ndarray, bool]:
        return lsoda(field.address, y0, times, rtol=rtol, atol=atol, mxstep=MAX_STEPS)

    return _one_by_one(problem, solve)


def sundae_cvode(problem: Problem) -> Run:
    """SUNDIALS' CVODE through scikit-sundae, dense with the analytic Jacobian."""
    import numba
    from sksundae.cvode import CVODE

    rhs, jacobian = straight_line(problem)

    @numba.njit
    def field(t, y, dy):
        rhs(y, dy)

    @numba.njit
    def slope(t, y, dy, matrix):
        jacobian(y, matrix)

    def solve(y0: Any, times: Any, rtol: float, atol: float) -> tuple[np.ndarray, bool]:
        solver = CVODE(
            field, jacfn=slope, linsolver="dense", rtol=rtol, atol=atol, max_num_steps=MAX_STEPS
        )
        found = solver.solve(times, y0)
        return found.y, found.success

    return _one_by_one(problem, solve)


# Solvers that take a mechanism


def micm(problem: Problem) -> Run:
    """MUSICA's MICM at fixed rates: all cells in one state, which share their steps."""
    import musica.mechanism_configuration as mc
    from musica.micm import MICM, RosenbrockSolverParameters, SolverType
    from musica.micm.micm import vector_size
    from musica.micm.solver_result import SolverState

    structure, names = _structure(problem), problem.network.species
    cells, size = problem.y0.shape
    species = [mc.Species(name=name) for name in names]
    gas = mc.Phase(name="gas", species=species)

    def side(counts: np.ndarray) -> list[tuple[Any, float]]:
        return [(species[i], float(counts[i])) for i in np.flatnonzero(counts)]

    reactions, change = [], problem.network.stoichiometry
    for j, slots in enumerate(structure.reactants):
        used = np.bincount(slots[slots < size], minlength=size)
        made = used + change[:, j]
        sides = {"reactants": side(used), "products": side(made)}
        reactions.append(mc.UserDefined(name=str(j), gas_phase=gas, **sides))
    mechanism = mc.Mechanism(
        name=problem.network.name, species=species, phases=[gas], reactions=reactions
    )

    @functools.cache
    def prepared(rtol: float, atol: float) -> tuple[Any, Any]:
        solver = MICM(mechanism=mechanism, solver_type=SolverType.rosenbrock)
        settings = RosenbrockSolverParameters(rtol, [atol] * size, max_number_of_steps=MAX_STEPS)
        solver.set_solver_parameters(settings)
        state = solver.create_state(cells)  # keeps the tolerances that the solver has now
        rates = {f"USER.{j}": [float(k)] * cells for j, k in enumerate(problem.k)}
        state.set_user_defined_rate_parameters(rates)
        return solver, state

    def run(rtol: float, atol: float) -> tuple[np.ndarray, np.ndarray]:
        solver, state = prepared(rtol, atol)
        state.set_concentrations(dict(zip(names, problem.y0.T.tolist(), strict=True)))
        good, found = True, []
        for step in np.diff(problem.ts, prepend=problem.t0):
            good &= solver.solve(state, float(step)).state == SolverState.Converged
            found.append(np.array(state.get_internal_state().concentrations))
        # its own getter would take most of the time; groups of cells, species, cells of a group
        width, order = vector_size(SolverType.rosenbrock), state.get_species_ordering()
        ys = np.reshape(found, (len(found), -1, size, width)).transpose(1, 3, 0, 2)
        ys = ys.reshape(-1, len(found), size)[:cells, :, [order[name] for name in names]]
        return ys, np.full(cells, not good)

    return run


PEERS: dict[str, Peer] = {
    "jaxchem rodas3": Peer(jaxchem_peer("rodas3")),
    "jaxchem rodas4": Peer(jaxchem_peer("rodas4")),
    "jaxchem rodas5p": Peer(jaxchem_peer("rodas5p")),
    "jaxchem kvaerno5": Peer(jaxchem_peer("kvaerno5")),
    "diffrax kvaerno5": Peer(diffrax_kvaerno5),
    "scikit-sundae cvode": Peer(sundae_cvode, ("sksundae", "numba")),
    "numbalsoda lsoda": Peer(numbalsoda, ("numbalsoda", "numba")),
    "musica micm": Peer(micm, ("musica",)),
    "scipy odeint": Peer(scipy_odeint),
    "scipy lsoda": Peer(scipy_ivp("LSODA"), cells=8),
    "scipy bdf": Peer(scipy_ivp("BDF"), cells=8),
}
"""By the name in tables and on the command line."""
