"""Stiff chemical kinetics in JAX: networks, batched solves, rate estimation and emulators."""

from importlib import metadata as _metadata

from .dataset import Observations as Observations
from .dataset import generate as generate
from .dataset import observe as observe
from .dataset import read as read
from .dataset import sample as sample
from .dataset import to_dataset as to_dataset
from .dataset import write as write
from .kinetics import flux as flux
from .kinetics import jacobian as jacobian
from .kinetics import tendency as tendency
from .models import CRNN as CRNN
from .models import NeuralODE as NeuralODE
from .models import load_model as load_model
from .models import save as save
from .network import Network as Network
from .network import Units as Units
from .parse import load as load
from .parse import shipped as shipped
from .rates import Conditions as Conditions
from .solvers import Integrator as Integrator
from .solvers import solve as solve

__version__ = _metadata.version("jaxchem")
