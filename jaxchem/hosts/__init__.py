"""Ways into host models: networks and emulators as C and Fortran, and as artefacts of JAX."""

from .network import write_network as write_network
