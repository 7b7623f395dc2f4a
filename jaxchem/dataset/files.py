"""Datasets to and from files: NetCDF, CSV and NPZ."""

import csv
import io
import logging
import math
import zipfile
from pathlib import Path
from typing import Any

import h5netcdf
import numpy as np
import xarray as xr
from xarray.backends import H5NetCDFStore
from xarray.backends.locks import SerializableLock

from ..files import atomic, seal, sealed
from ..network import Network, impossible
from .labels import to_dataset

__all__ = ["read", "read_history", "write"]

log = logging.getLogger("jaxchem")


_MOST = 2**28
"""Bytes that any file may have when it is unpacked."""

_RATIO = 100
"""How many times their own bytes larger files may have."""


def write(dataset: xr.Dataset, path: str | Path) -> None:
    """Writes a dataset as NetCDF-4, atomically.

    The file ends in a checksum of all its bytes. Readers of NetCDF do not see it, and programs that
    write into the file drop it; `read` refuses a file that does not match the one that it has.

    Raises:
        ValueError: the folder is gone, full or read-only.
    """
    with atomic(path) as temporary:
        with _Patient(temporary, "w+") as file:
            try:
                # by itself xarray would have a lock for the file from Dask, where that runs
                with h5netcdf.File(file, "w") as inside:
                    dataset.dump_to_store(H5NetCDFStore(inside, lock=SerializableLock()))
            except Exception:  # HDF5 has missed what could not be written
                if file.refused is None:
                    raise
        if file.refused is not None:
            raise file.refused
        seal(temporary)


class _Patient(io.FileIO):
    """A file that says at its end that it could not be written.

    HDF5 takes the whole process along when it cannot write.
    """

    refused: OSError | None = None

    def write(self, content: Any) -> int:
        rest = memoryview(content).cast("B")
        while len(rest) and self.refused is None:
            try:
                rest = rest[super().write(rest) :]
            except OSError as error:
                self.refused = error
        return memoryview(content).nbytes

    def readinto(self, buffer: Any) -> int | None:
        if self.refused is None:
            return super().readinto(buffer)
        return memoryview(buffer).nbytes

    def truncate(self, size: int | None = None) -> int:
        if self.refused is None:
            try:
                return super().truncate(size)
            except OSError as error:
                self.refused = error
        return size or 0


def read_history(path: str | Path) -> xr.Dataset:
    """Reads what `write` made of a `label_history`; `ValueError` as for `read`."""
    return opened(Path(path))


def read(
    path: str | Path, network: Network, *, time_scale: float = 1.0, atol: Any = None
) -> xr.Dataset:
    """Reads trajectories from a NetCDF, CSV or NPZ file and checks them against a network.

    NetCDF is what `write` makes. A CSV file is one case: a header of ``time`` and species names,
    then one row a time (a leading ``#`` is ignored). An NPZ file has `time` (or `time_s`),
    `species` and `concentration` (or `log10n`), [T, S] or [case, T, S]. Species that the file lacks
    are zero, which a warning tells: `observe(species=...)` leaves them out of what is observed.

    Args:
        path: the file.
        network: whose species the file's are; the result has its order.
        time_scale: multiplies the file's times into the network's unit.
        atol: absolute tolerance that the file's states were integrated with: they may lie ten
            times this below zero, and by 1e-14 of the largest concentration in any case.

    Raises:
        ValueError: a file that cannot be read, or is not as `write` wrote it, or would have far
            more bytes in memory than on disk; an unknown species; a negative, NaN or infinite
            concentration (with case, time and species); times that do not increase.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"no data file {path}; give an existing .nc, .csv or .npz file.")
    readers = {".nc": _read_netcdf, ".csv": _read_csv, ".npz": _read_npz}
    if path.suffix not in readers:
        raise ValueError(f"{path}: cannot read {path.suffix!r} data; known: {', '.join(readers)}.")
    ts, species, values, initial, attrs = readers[path.suffix](path)
    own = attrs.pop("given", None)
    ts = ts * time_scale
    for name, unit in attrs.get("units", {}).items():
        wanted = getattr(network.units, name)
        if unit and unit != wanted and not (name == "time" and time_scale != 1.0):
            log.warning(
                "%s: %s is in %r, and is taken as if it were in %r, the unit of network %r. "
                "Convert it (time by time_scale) unless the two are the same.",
                path,
                name,
                unit,
                wanted,
                network.name,
            )
    bad = ~np.isfinite(ts)
    bad[1:] |= ~(np.diff(ts) > 0)
    if np.any(bad):
        row = int(np.argmax(bad))
        after = f" after {ts[row - 1]:g}" if row else ""
        raise ValueError(
            f"{path}: times must be finite and increase, but entry {row} is {ts[row]:g}{after}; "
            "sort the rows and drop repeats."
        )
    columns = []
    for name in species:
        try:
            columns.append(network.index(name))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        if columns[-1] in columns[:-1]:
            raise ValueError(f"{path}: species {name!r} stands there twice; keep one of them.")
    _check_concentrations(path, species, values, atol, [f"at time {t:g}" for t in ts])
    if initial is not None:
        _check_concentrations(path, species, initial[:, None], atol, ["in the initial state"])
    if absent := [name for name in network.species if name not in species]:
        log.warning(
            "%s lacks %d species of network %r, which count as observed to be zero: %s. Name those "
            "that are measured in data.observe.species.",
            path,
            len(absent),
            network.name,
            ", ".join(absent[:8]) + ", ..." * (len(absent) > 8),
        )
    full = np.zeros((*values.shape[:2], len(network.species)))
    full[..., columns] = values
    if initial is None:
        initial, t0 = full[:, 0], float(ts[0])
    else:
        start = np.zeros((len(full), len(network.species)))
        start[:, columns] = initial
        initial, t0 = start, float(attrs.get("t0", 0.0)) * time_scale
    dataset = to_dataset(
        network, (ts, full), y0=initial, t0=t0, provenance=f"read from {path.name}"
    )
    kept = ("conditions", "provenance", "fingerprint", "configuration", "segments", "laws")
    if own is not None:
        dataset["given"] = own
    dataset.attrs.update({name: attrs[name] for name in kept if attrs.get(name)})
    return dataset


def _check_concentrations(
    path: Path, species: list[str], values: np.ndarray, atol: Any, places: list[str]
) -> None:
    bad = np.argwhere(impossible(values, atol))
    if len(bad):
        case, place, column = bad[0]
        raise ValueError(
            f"{path}: concentration of {species[column]!r} in case {case} {places[place]} is "
            f"{values[case, place, column]}; it must be finite and not negative "
            f"({len(bad)} such values). Mend or drop them."
        )


_Content = tuple[np.ndarray, list[str], np.ndarray, np.ndarray | None, dict[str, Any]]


def opened(path: Path) -> xr.Dataset:
    """What a NetCDF file holds, times as numbers.

    Raises:
        ValueError: it cannot be read, is not as `write` wrote it, or unpacks to far more than it
            is.
    """
    sealed(path)
    try:
        with xr.open_dataset(path, engine="h5netcdf", decode_times=False) as dataset:
            _check_size(path, dataset.nbytes)
            return dataset.load()
    except _TooLargeError:
        raise
    except Exception as error:
        raise ValueError(f"{path}: not a readable NetCDF file ({error}).") from error


class _TooLargeError(ValueError):
    """A file that claims to hold far more than it has."""


def _check_size(path: Path, claimed: int) -> None:
    size = path.stat().st_size
    if claimed > max(_MOST, _RATIO * size):
        raise _TooLargeError(
            f"{path}: a file of {size} bytes says that it holds {claimed}, which is more than "
            f"{_RATIO} times as many; if that is right, save it without compression."
        )


def _read_netcdf(path: Path) -> _Content:
    dataset = opened(path)
    values = dataset.get("concentration")
    if values is not None and "case" not in values.dims:
        values = values.expand_dims("case")
    labelled = "time" in dataset.coords and "species" in dataset.coords
    if values is None or set(values.dims) != {"case", "time", "species"} or not labelled:
        raise ValueError(
            f"{path}: no variable 'concentration(case, time, species)' with coordinates 'time' "
            "and 'species'; jaxchem.write makes such files."
        )
    values = values.transpose("case", "time", "species")
    initial = dataset["initial"].values if "initial" in dataset else None
    names = [str(name) for name in dataset["species"].values]
    units = {name: dataset[name].attrs.get("units") for name in ("time", "concentration")}
    attrs = {**dataset.attrs, "units": units, "given": dataset.get("given")}
    return dataset["time"].values.astype(float), names, values.values, initial, attrs


def _read_csv(path: Path) -> _Content:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets write a mark
            reader = csv.reader(file)
            lines = [(reader.line_num, row) for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not readable as CSV in UTF-8 ({error}).") from error
    header = [name.strip().lstrip("#").strip() for name in lines[0][1]] if lines else []
    if header[:1] != ["time"]:
        raise ValueError(f"{path}, line 1: the header must read 'time' and then species names.")
    if len(lines) < 2:
        raise ValueError(f"{path}: there is no row under the header; give one a time.")
    values = np.empty((len(lines) - 1, len(header)))
    for entry, (line, row) in enumerate(lines[1:]):
        if len(row) != len(header):
            raise ValueError(
                f"{path}, line {line}: {len(row)} values under {len(header)} column names."
            )
        for column, text in enumerate(row):
            try:
                values[entry, column] = float(text)
            except ValueError:
                raise ValueError(
                    f"{path}, line {line}: {text.strip()!r} in column {header[column]!r} is no "
                    "number."
                ) from None
    return values[:, 0], header[1:], values[None, :, 1:], None, {}


def _read_npz(path: Path) -> _Content:
    known = ("time", "time_s", "t_s", "species", "concentration", "log10n")
    try:
        with zipfile.ZipFile(path) as packed:
            _check_size(path, sum(_claimed(packed, entry) for entry in packed.infolist()))
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if name in known}
    except _TooLargeError:
        raise
    except Exception as error:
        raise ValueError(f"{path}: not a readable NPZ file ({error}).") from error
    if "time_s" in arrays:
        arrays.setdefault("time", arrays["time_s"])
    if "t_s" in arrays:
        arrays.setdefault("time", arrays["t_s"])
    if "log10n" in arrays:
        arrays.setdefault("concentration", 10.0 ** arrays["log10n"].astype(float))
    for name in ("time", "species", "concentration"):
        if name not in arrays:
            raise ValueError(
                f"{path}: no array {name!r}; of {', '.join(known)} it has {', '.join(arrays)}."
            )
    values = arrays["concentration"]
    values = values[None] if values.ndim == 2 else values
    names = [str(name) for name in arrays["species"]]
    if values.ndim != 3 or values.shape[1:] != (len(arrays["time"]), len(names)):
        raise ValueError(
            f"{path}: concentration has shape {values.shape}, but there are "
            f"{len(arrays['time'])} times and {len(names)} species."
        )
    return arrays["time"].astype(float), names, values.astype(float), None, {}


def _claimed(packed: zipfile.ZipFile, entry: zipfile.ZipInfo) -> int:
    """The bytes that an array of an NPZ file has by its own header, and by that of the archive."""
    with packed.open(entry) as file:
        readers = {(1, 0): np.lib.format.read_array_header_1_0}
        readers[2, 0] = np.lib.format.read_array_header_2_0
        shape, _, kind = readers[np.lib.format.read_magic(file)](file)
    return max(math.prod(shape) * kind.itemsize, entry.file_size)
