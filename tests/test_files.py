"""Files that were damaged, left half written, are in use, or cannot be written."""

import re

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import jaxchem
from jaxchem import checkpoint
from jaxchem.files import sealed

ROBERTSON = jaxchem.load("robertson")


def small():
    """A dataset of two times."""
    ys = np.array([[[1.0, 0.0, 0.0], [0.9, 0.0, 0.1]]])
    return jaxchem.to_dataset(ROBERTSON, (np.array([0.0, 1.0]), ys))


def history(folder):
    path = folder / "history.nc"
    jaxchem.write(xr.Dataset({"loss": ("step", np.ones(2))}), path)
    return path, lambda: jaxchem.dataset.read_history(path)


def data(folder):
    jaxchem.write(small(), folder / "data.nc")
    return folder / "data.nc", lambda: jaxchem.read(folder / "data.nc", ROBERTSON)


def chunk(folder):
    store = jaxchem.Store(folder)
    store.put(0, xr.Dataset({"cell": ("case", np.arange(2))}))
    return store.path(0), lambda: store.get(0)


def declared(folder):
    store = jaxchem.Store(folder)
    store.begin("a mark", 1)
    return folder / "store.json", lambda: len(store)


def kept(folder):
    path = folder / "last.eqx"
    checkpoint.save(path, jnp.arange(3.0), kind="fit", fingerprint="a")
    return path, lambda: checkpoint.load(path, jnp.zeros(3), kind="fit", fingerprint="a")


def model(folder):
    path = folder / "model.eqx"
    jaxchem.save(path, jaxchem.CRNN(ROBERTSON, jnp.zeros(3)))
    return path, lambda: jaxchem.load_model(path)


KINDS = (history, data, chunk, declared, kept, model)


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_byte_is_noticed_wherever_it_is(tmp_path, kind):
    """In content, headers, sums and what fills gaps; each ends in one sentence with the file."""
    path, read = kind(tmp_path)
    read()
    whole = path.read_bytes()
    # past the first thousand bytes every byte is under the one sum
    ends = [*range(min(1000, len(whole))), *range(max(len(whole) - 200, 0), len(whole))]
    for place in sorted({*ends, *range(0, len(whole), 1 if len(whole) < 3000 else 97)}):
        for flip in (1, 0x20, 0xFF):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
            with pytest.raises(ValueError, match=re.escape(path.name)) as caught:
                read()
            assert "\n" not in str(caught.value)
    path.write_bytes(whole)
    read()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_flipped_byte_of_a_file_is_noticed(tmp_path, kind):
    path, read = kind(tmp_path)
    whole = path.read_bytes()
    missed = []
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        try:
            read()
        except ValueError:
            continue
        missed.append(place)
    assert not missed


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_cut_is_noticed(tmp_path, kind):
    """A NetCDF file that lost its checksum and nothing else is whole, and like one of others."""
    path, read = kind(tmp_path)
    whole = path.read_bytes()
    for length in (0, 1, len(whole) // 2, len(whole) - 82, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=re.escape(path.name)):
            read()


def test_sealed_files_are_netcdf_to_everyone_else(tmp_path):
    """They open without this package, and what writes into them takes the checksum along."""
    path, read = data(tmp_path)
    with xr.open_dataset(path, engine="h5netcdf") as dataset:
        np.testing.assert_array_equal(dataset["concentration"], small()["concentration"])
    assert path.read_bytes()[:8] == b"\x89HDF\r\n\x1a\n"
    assert sealed(path)
    import h5py

    with h5py.File(path, "a") as file:
        file["concentration"][0, 1, 0] = 0.8
        file.attrs["remark"] = "x" * 5000
    assert not sealed(path)
    assert read()["concentration"][0, 1, 0] == 0.8


def test_files_of_others_are_read(tmp_path):
    path = tmp_path / "data.nc"
    small().to_netcdf(path, engine="h5netcdf")
    assert not sealed(path)
    np.testing.assert_array_equal(
        jaxchem.read(path, ROBERTSON)["concentration"], small()["concentration"]
    )
