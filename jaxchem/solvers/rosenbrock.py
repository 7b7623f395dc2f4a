"""Rosenbrock-Wanner methods: one Jacobian, one factorisation and a fixed number of solves a step.

Coefficients are those of the transformed stages (Hairer & Wanner 1996, Solving Ordinary
Differential Equations II, section IV.7): with W = 1/(h gamma) - J,

    W u_i = f(t + c_i h, y + sum_j a_ij u_j) + sum_j (C_ij / h) u_j + d_i h df/dt,
    y_1 = y + sum_i m_i u_i,

and the error estimate is the last u_i.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float

__all__ = ["Rodas3", "Rodas4", "Rodas5P", "Rosenbrock", "Tableau"]


class Tableau:
    """Coefficients of a stiffly accurate Rosenbrock-Wanner method in transformed form.

    Attributes:
        order: of the method; its error estimate is of one order less.
        gamma: the one diagonal coefficient.
        a: rows of stage coefficients, below the diagonal.
        c_over_h: rows of the coefficients C, below the diagonal.
        nodes: c_i, where in the step the stages lie.
        time: d_i, factors of h df/dt.
        dense: rows b_1, b_2, ... of the continuous extension
            y(s) = (1 - s) y_0 + s (y_1 + (1 - s) (b_1 u + s (b_2 u + ...))).
    """

    def __init__(
        self,
        *,
        order: int,
        gamma: float,
        a: list[list[float]],
        c: list[list[float]],
        nodes: list[float],
        time: list[float],
        dense: list[list[float]],
    ):
        self.order = order
        self.gamma = gamma
        self.a = a
        self.c_over_h = c
        self.nodes = nodes
        self.time = time
        self.dense = dense

    @property
    def stages(self) -> int:
        """How many solves a step takes."""
        return len(self.nodes)


_A4 = [1.221224509226641, 6.019134481288629, 12.53708332932087, -0.6878860361058950]
_A5P = [
    *(-7.502846399306121, 2.561846144803919, -11.627539656261098),
    *(-0.18268767659942256, 0.030198172008377946),
]

RODAS3 = Tableau(
    order=3,
    gamma=0.5,
    a=[[], [0.0], [2.0, 0.0], [2.0, 0.0, 1.0]],
    c=[[], [4.0], [1.0, -1.0], [1.0, -1.0, -8.0 / 3.0]],
    nodes=[0.0, 0.0, 1.0, 1.0],
    time=[0.5, 1.5, 0.0, 0.0],
    dense=[[3.0, -1.0, -1.0, -1.0], [0.0, 0.0, 0.0, 2.0]],
)
"""Sandu et al. 1997, Atmos. Environ. 31, 3459 (RODAS3), as in KPP.

The continuous extension is ours. No weights of these stages have order 3 inside of a step, as both
conditions of order 3 are one to them. These have order 2, meet sum b a^2 = s^3 / 3 and follow a
stiff component's equilibrium exactly where it is quadratic in time (Prothero & Robinson 1974, Math.
Comput. 28, 145), which makes them unique. Inside of a step they are off
by (h^3 / 4) s (1 - s)^2 f'f'f, as much in h as all steps together.
"""

RODAS4 = Tableau(
    order=4,
    gamma=0.25,
    a=[
        [],
        [1.544],
        [0.9466785280815826, 0.2557011698983284],
        [3.314825187068521, 2.896124015972201, 0.9986419139977817],
        _A4,
        [*_A4, 1.0],
    ],
    c=[
        [],
        [-5.6688],
        [-2.430093356833875, -0.2063599157091915],
        [-0.1073529058151375, -9.594562251023355, -20.47028614809616],
        [7.496443313967647, -10.24680431464352, -33.99990352819905, 11.70890893206160],
        [
            *(8.083246795921522, -7.981132988064893, -31.52159432874371),
            *(16.31930543123136, -6.058818238834054),
        ],
    ],
    nodes=[0.0, 0.386, 0.21, 0.63, 1.0, 1.0],
    time=[0.25, -0.1043, 0.1035, -0.0362, 0.0, 0.0],
    dense=[
        [
            *(10.12623508344586, -7.487995877610167, -34.80091861555747),
            *(-7.992771707568823, 1.025137723295662, 0.0),
        ],
        [
            *(-0.6762803392806898, 6.087714651680015, 16.43084320892478),
            *(24.76722511418386, -6.594389125716872, 0.0),
        ],
    ],
)
"""Hairer & Wanner 1996, section IV.7 (RODAS), with its continuous extension of order 3."""

RODAS5P = Tableau(
    order=5,
    gamma=0.21193756319429014,
    a=[
        [],
        [3.0],
        [2.849394379747939, 0.45842242204463923],
        [-6.954028509809101, 2.489845061869568, -10.358996098473584],
        [2.8029986275628964, 0.5072464736228206, -0.3988312541770524, -0.04721187230404641],
        _A5P,
        [*_A5P, 1.0],
        [*_A5P, 1.0, 1.0],
    ],
    c=[
        [],
        [-14.155112264123755],
        [-17.97296035885952, -2.859693295451294],
        [147.12150275711716, -1.41221402718213, 71.68940251302358],
        [165.43517024871676, -0.4592823456491126, 42.90938336958603, -5.961986721573306],
        [
            *(24.854864614690072, -3.0009227002832186, 47.4931110020768),
            *(5.5814197821558125, -0.6610691825249471),
        ],
        [
            *(30.91273214028599, -3.1208243349937974, 77.79954646070892),
            *(34.28646028294783, -19.097331116725623, -28.087943162872662),
        ],
        [
            *(37.80277123390563, -3.2571969029072276, 112.26918849496327, 66.9347231244047),
            *(-40.06618937091002, -54.66780262877968, -9.48861652309627),
        ],
    ],
    nodes=[
        *(0.0, 0.6358126895828704, 0.4095798393397535, 0.9769306725060716),
        *(0.4288403609558664, 1.0, 1.0, 1.0),
    ],
    time=[
        *(0.21193756319429014, -0.42387512638858027, -0.3384627126235924),
        *(1.8046452872882734, 2.325825639765069, 0.0, 0.0, 0.0),
    ],
    dense=[
        [
            *(25.948786856663858, -2.5579724845846235, 10.433815404888879, -2.3679251022685204),
            *(0.524948541321073, 1.1241088310450404, 0.4272876194431874, -0.17202221070155493),
        ],
        [
            *(-9.91568850695171, -0.9689944594115154, 3.0438037242978453, -24.495224566215796),
            *(20.176138334709044, 15.98066361424651, -6.789040303419874, -6.710236069923372),
        ],
        [
            *(11.419903575922262, 2.8879645146136994, 72.92137995996029, 80.12511834622643),
            *(-52.072871366152654, -59.78993625266729, -0.15582684282751913, 4.883087185713722),
        ],
    ],
)
"""Steinebach 2023, BIT Numer. Math. 63, 27 (Rodas5P), with its continuous extension of order 4."""


def combine(weights: Any, terms: list[Array], start: Array | None = None) -> Array:
    """start + sum_i weights_i terms_i, leaving out what is multiplied by zero."""
    total = start
    for weight, term in zip(weights, terms, strict=False):
        if weight != 0.0:
            part = term if weight == 1.0 else weight * term
            total = part if total is None else total + part
    assert total is not None
    return total


def stages(
    tableau: Tableau,
    field: Callable[[Any, Array], Array],
    solve: Callable[[Array], Array],
    slope: Array | None,
    t: Any,
    h: Any,
    y: Array,
) -> list[Array]:
    """The transformed stages u_i of one step.

    Args:
        tableau: the method.
        field: `(t, y) -> dy/dt`.
        solve: multiplies by the inverse of W = 1/(h gamma) - J(t, y).
        slope: df/dt at (t, y); `None` where the field does not depend on time.
        t: start of the step.
        h: length of the step.
        y: state at the start; axes after the first are a batch, which `t` and `h` share.

    Returns:
        As many arrays of the shape of `y` as the method has stages.
    """
    found: list[Array] = []
    inverse = 1.0 / nonzero(h)
    for i in range(tableau.stages):
        right = field(t + tableau.nodes[i] * h, combine(tableau.a[i], found, y))
        if i:
            right = right + inverse * combine(tableau.c_over_h[i], found)
        if slope is not None and tableau.time[i] != 0.0:
            right = right + (tableau.time[i] * h) * slope
        found.append(solve(right))
    return found


def nonzero(h: Any) -> Any:
    """A step to divide by: a member of a batch that is done takes steps of 0, which none sees.

    Infinities there would meet cotangents of zero.
    """
    return jnp.where(h == 0, 1.0, h)


def finish(tableau: Tableau, y: Array, found: list[Array]) -> Array:
    """The state at the end of the step: the last stage's argument plus its solution."""
    return combine([*tableau.a[-1], 1.0], found, y)


class ContinuousExtension(diffrax.AbstractLocalInterpolation):
    """A method's own polynomial between the ends of a step."""

    t0: Any
    t1: Any
    y0: Any
    y1: Any
    curve: Float[Array, "q S"]

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True) -> Any:
        """The state at `t0`, or its change from `t0` to `t1`."""
        del left
        if t1 is not None:
            return self.evaluate(t1) - self.evaluate(t0)
        width = self.t1 - self.t0
        s = jnp.where(width == 0, 0.0, (t0 - self.t0) / jnp.where(width == 0, 1.0, width))
        return extend(s, self.y0, self.y1, list(self.curve))


def extend(s: Any, y0: Array, y1: Array, curve: list[Array]) -> Array:
    """The continuous extension at the fraction `s` of a step (see `Tableau`)."""
    value = jnp.zeros_like(y0)
    for part in reversed(curve):
        value = part + s * value
    return (1.0 - s) * y0 + s * (y1 + (1.0 - s) * value)


class Rosenbrock(diffrax.AbstractAdaptiveSolver):
    """A Rosenbrock-Wanner method for `diffrax.diffeqsolve`, for states that are one vector.

    Attributes:
        jacobian: `(t, y, args) -> [S, S]`; `None` differentiates the field.
        autonomous: the field does not depend on time, which saves one derivative a step.
        project: set what is negative at the end of a step to zero.
    """

    jacobian: Callable[[Any, Any, Any], Any] | None = None
    autonomous: bool = eqx.field(static=True, default=False)
    project: bool = eqx.field(static=True, default=False)

    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar[Callable[..., Any]] = ContinuousExtension
    tableau: ClassVar[Tableau]

    def order(self, terms: Any) -> int:
        """Order of convergence."""
        del terms
        return self.tableau.order

    def error_order(self, terms: Any) -> int:
        """Order of the error estimate, for the step controller."""
        del terms
        return self.tableau.order

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> None:
        """Rosenbrock methods carry nothing from step to step."""
        del terms, t0, t1, args
        if not eqx.is_array(y0) or y0.ndim != 1:
            raise ValueError("a Rosenbrock method integrates one vector; ravel the state.")

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        """The field, for the choice of the first step."""
        return terms.vf(t0, y0, args)

    def step(
        self,
        terms: Any,
        t0: Any,
        t1: Any,
        y0: Any,
        args: Any,
        solver_state: None,
        made_jump: Any,
    ) -> tuple[Any, Any, dict[str, Any], None, diffrax.RESULTS]:
        """One step: state, error estimate and continuous extension."""
        del solver_state, made_jump
        h = t1 - t0

        def field(t: Any, y: Any) -> Any:
            return terms.vf(t, y, args)

        if self.jacobian is None:
            slopes = jax.jacfwd(lambda y: field(t0, y))(y0)
        else:
            slopes = self.jacobian(t0, y0, args)
        slope = None
        if not self.autonomous:
            _, slope = jax.jvp(lambda t: field(t, y0), (t0,), (jnp.ones_like(t0),))
        scale = 1.0 / (nonzero(h) * self.tableau.gamma)
        matrix = scale * jnp.eye(y0.shape[0], dtype=y0.dtype) - slopes
        operator = lx.MatrixLinearOperator(matrix)
        # one factorisation serves all stages, and all tangents of a forward-mode derivative
        state = lx.LU().init(jax.lax.stop_gradient(operator), {})

        def solve(right: Any) -> Any:
            return lx.linear_solve(operator, right, lx.LU(), state=state, throw=False).value

        found = stages(self.tableau, field, solve, slope, t0, h, y0)
        y1 = finish(self.tableau, y0, found)
        if self.project:
            y1 = jnp.where(y1 < 0, 0.0, y1)
        rows = [combine(row, found) for row in self.tableau.dense]
        curve = jnp.stack(rows) if rows else jnp.zeros((0, *y0.shape), y0.dtype)
        dense = {"y0": y0, "y1": y1, "curve": curve}
        return y1, found[-1], dense, None, diffrax.RESULTS.successful


class Rodas3(Rosenbrock):
    """RODAS3: four stages, order 3, stiffly accurate (Sandu et al. 1997)."""

    tableau: ClassVar[Tableau] = RODAS3


class Rodas4(Rosenbrock):
    """RODAS: six stages, order 4, stiffly accurate (Hairer & Wanner 1996)."""

    tableau: ClassVar[Tableau] = RODAS4


class Rodas5P(Rosenbrock):
    """Rodas5P: eight stages, order 5, stiffly accurate (Steinebach 2023)."""

    tableau: ClassVar[Tableau] = RODAS5P
