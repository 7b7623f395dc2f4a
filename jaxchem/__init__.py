"""Stiff chemical kinetics in JAX: networks, batched solves, rate estimation and emulators."""

from importlib import import_module as _import_module
from importlib import metadata as _metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .box import constrain as constrain
    from .box import exchange as exchange
    from .box import hold as hold
    from .box import mixing_ratio as mixing_ratio
    from .box import number_density as number_density
    from .budget import compare as compare
    from .budget import contributions as contributions
    from .budget import lifetimes as lifetimes
    from .budget import over_time as over_time
    from .dataset import Observations as Observations
    from .dataset import Store as Store
    from .dataset import generate as generate
    from .dataset import observe as observe
    from .dataset import read as read
    from .dataset import sample as sample
    from .dataset import to_dataset as to_dataset
    from .dataset import write as write
    from .ensemble import emulate_ensemble as emulate_ensemble
    from .ensemble import solve_ensemble as solve_ensemble
    from .hosts import export as export
    from .hosts import load_exported as load_exported
    from .hosts import write_c as write_c
    from .kinetics import flux as flux
    from .kinetics import jacobian as jacobian
    from .kinetics import tendency as tendency
    from .models import CRNN as CRNN
    from .models import NeuralODE as NeuralODE
    from .models import load_model as load_model
    from .models import save as save
    from .network import MechanismError as MechanismError
    from .network import Network as Network
    from .network import Units as Units
    from .parse import dump as dump
    from .parse import load as load
    from .parse import shipped as shipped
    from .rates import Conditions as Conditions
    from .solar import Sun as Sun
    from .solar import solar_zenith_angle as solar_zenith_angle
    from .solvers import Integrator as Integrator
    from .solvers import explain as explain
    from .solvers import ladder as ladder
    from .solvers import solve as solve
    from .solvers import solve_to_steady_state as solve_to_steady_state
    from .solvers import thermal_equilibrium as thermal_equilibrium
    from .stages import evaluate as evaluate
    from .system import System as System

__version__ = _metadata.version("jaxchem")

# names are imported when they are first used: the command line answers --help at once, and can
# set up equinox and JAX before either is imported
_HOMES = {
    "box": ("constrain", "exchange", "hold", "mixing_ratio", "number_density"),
    "budget": ("compare", "contributions", "lifetimes", "over_time"),
    "dataset": (
        "Observations",
        "Store",
        "generate",
        "observe",
        "read",
        "sample",
        "to_dataset",
        "write",
    ),
    "inference": (),
    "ensemble": ("emulate_ensemble", "solve_ensemble"),
    "hosts": ("export", "load_exported", "write_c"),
    "kinetics": ("flux", "jacobian", "tendency"),
    "models": ("CRNN", "NeuralODE", "load_model", "save"),
    "network": ("MechanismError", "Network", "Units"),
    "parse": ("dump", "load", "shipped"),
    "rates": ("Conditions",),
    "solar": ("Sun", "solar_zenith_angle"),
    "solvers": (
        *("Integrator", "explain", "ladder", "solve", "solve_to_steady_state"),
        "thermal_equilibrium",
    ),
    "stages": ("evaluate",),
    "system": ("System",),
    "thermal": (),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return _import_module(f".{name}", __name__)
    if name not in _HOME:
        raise AttributeError(f"module 'jaxchem' has no attribute {name!r}")
    value = getattr(_import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_HOMES})
