"""Integration of stiff kinetics."""

from .integrator import ADJOINTS as ADJOINTS
from .integrator import METHODS as METHODS
from .integrator import Integrator as Integrator
from .integrator import solve as solve
