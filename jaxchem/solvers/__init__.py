"""Integration of stiff kinetics."""

from .cell import solve as solve
from .equilibrium import Equilibrium as Equilibrium
from .equilibrium import thermal_equilibrium as thermal_equilibrium
from .explain import explain as explain
from .integrator import ADJOINTS as ADJOINTS
from .integrator import METHODS as METHODS
from .integrator import Integrator as Integrator
from .integrator import ladder as ladder
from .rosenbrock import Rodas3 as Rodas3
from .rosenbrock import Rodas4 as Rodas4
from .rosenbrock import Rodas5P as Rodas5P
from .steady import SteadyState as SteadyState
from .steady import solve_to_steady_state as solve_to_steady_state
