"""What a run does: each stage is `(problem, model, data, key, ...) -> Result`."""

from .base import Problem as Problem
from .base import Result as Result
from .base import Resume as Resume
from .base import new_crnn as new_crnn
from .base import new_neural_ode as new_neural_ode
from .committee import committee as committee
from .derivative import derivative as derivative
from .emulate import emulate as emulate
from .evaluate import emulation_report as emulation_report
from .evaluate import evaluate as evaluate
from .evaluate import evaluate_emulator as evaluate_emulator
from .evaluate import gradient_scores as gradient_scores
from .infer import infer as infer
from .prepare import Data as Data
from .prepare import prepare as prepare
from .regress import regress as regress
from .simulate import Simulation as Simulation
from .simulate import simulate as simulate
from .trajectory import trajectory as trajectory
