"""Ways into host models: networks and emulators as C and Fortran, and as artefacts of JAX."""

from pathlib import Path
from typing import Any

from ..network import Network
from .artefact import Exported as Exported
from .artefact import export as export
from .artefact import load_exported as load_exported
from .model import Emulator as Emulator
from .model import write_model as write_model
from .network import write_network as write_network


def write_c(what: Network | Emulator, folder: str | Path, **settings: Any) -> Path:
    """Writes a network or an emulator as C with a header and a module of Fortran.

    Args:
        what: a network, or any emulator of `jaxchem.models`.
        folder: is made where there is none.
        **settings: of `write_network` or of `write_model`.

    Returns:
        The path of the C file.

    Raises:
        ValueError: as `write_network` and `write_model`.
    """
    write: Any = write_network if isinstance(what, Network) else write_model
    return write(what, folder, **settings)
