"""Models that stand where a solve stood, and their files."""

from ..hosts import write_c as write_c
from .base import About as About
from .base import AbstractEmulator as AbstractEmulator
from .base import AbstractWrapper as AbstractWrapper
from .base import Function as Function
from .chain import along as along
from .chain import rollout as rollout
from .change_map import ChangeMap as ChangeMap
from .chemnne import ChemNNE as ChemNNE
from .committee import Committee as Committee
from .conserved import Conserved as Conserved
from .conserved import conserved as conserved
from .conserved import conserving as conserving
from .crnn import CRNN as CRNN
from .files import load_model as load_model
from .files import loaded as loaded
from .files import save as save
from .flow_map import FlowMap as FlowMap
from .integrated import AbstractIntegrated as AbstractIntegrated
from .latent import Latent as Latent
from .neural_ode import NeuralODE as NeuralODE
from .similar import Similar as Similar
from .similar import similar as similar
from .step_map import StepMap as StepMap
