"""Trajectories as labelled data: labels, files, generation, and what of them is observed."""

from .course import course as course
from .course import under as under
from .design import draw as draw
from .design import scattered as scattered
from .design import stream as stream
from .files import read as read
from .files import read_history as read_history
from .files import write as write
from .generation import generate as generate
from .generation import sample as sample
from .generation import times as times
from .labels import label_budget as label_budget
from .labels import label_cells as label_cells
from .labels import label_estimate as label_estimate
from .labels import label_history as label_history
from .labels import label_phases as label_phases
from .labels import label_readings as label_readings
from .labels import label_thermal as label_thermal
from .labels import laws as laws
from .labels import to_dataset as to_dataset
from .observation import Observations as Observations
from .observation import given as given
from .observation import observe as observe
from .store import Store as Store
