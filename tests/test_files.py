"""Files that were damaged, left half written, are in use, or cannot be written."""

import errno
import os
import re
import resource
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import jaxchem
from jaxchem import checkpoint
from jaxchem.files import atomic, hold, sealed

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


# Folders


HOLDER = """
import sys
from jaxchem.files import atomic, hold
with hold(sys.argv[1]), atomic(sys.argv[1] + "/data.nc") as temporary:
    temporary.write_text("half")
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that has the folder, in the middle of a file."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    how = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **how) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_folder_is_held_by_one_process_until_it_ends(tmp_path, holder):
    """Killed, it lets go, and what it left half written is removed; files of others stay."""
    for name in (".other.part", ".data.nc.here.x.part", "data.part"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"is in use by another process; wait") as caught:
        hold(tmp_path).__enter__()
    assert "\n" not in str(caught.value)
    (half,) = tmp_path.glob(".data.nc.*.????????.part")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with hold(tmp_path):
        assert not half.exists()
        with atomic(tmp_path / "x") as mine, hold(tmp_path / "below"):
            mine.touch()
    assert {p.name for p in tmp_path.iterdir()} == {
        *(".lock", "below", "x", ".other.part", ".data.nc.here.x.part", "data.part")
    }


def test_what_is_still_being_written_stays(tmp_path, holder):
    """As by a program that writes into the folder of a run without having it."""
    del holder
    (tmp_path / ".lock").unlink()  # as where there are no locks
    (half,) = tmp_path.glob(".data.nc.*.part")
    with hold(tmp_path), atomic(tmp_path / "own") as own:
        with hold(tmp_path / "below"):
            pass
        assert half.exists() and own.exists()


def test_members_share_a_folder(tmp_path):
    """Each once; and nobody has it alone meanwhile."""
    with hold(tmp_path, member=0), hold(tmp_path, member=1):
        for member in (0, 1, None):
            with pytest.raises(ValueError, match="in use"), hold(tmp_path, member=member):
                pass
    with hold(tmp_path), pytest.raises(ValueError, match="in use"), hold(tmp_path, member=0):
        pass


@pytest.mark.parametrize("other", ["gone", "replaced"])
def test_a_folder_that_vanishes_is_not_made_again(tmp_path, other):
    folder = tmp_path / "run"
    with hold(folder):
        checkpoint.save(folder / "fit" / "last.eqx", jnp.ones(1))
        folder.rename(tmp_path / "moved")
        if other == "replaced":
            folder.mkdir()
        with pytest.raises(ValueError, match=r"run was moved or removed while it was in use"):
            checkpoint.save(folder / "fit" / "last.eqx", jnp.ones(2))
        checkpoint.save(tmp_path / "elsewhere.eqx", jnp.ones(2))
    assert checkpoint.load(tmp_path / "moved" / "fit" / "last.eqx", jnp.zeros(1)) == 1.0
    assert not list(folder.glob("*"))


# Disks that are full


def test_a_full_disk_ends_in_a_sentence_and_keeps_what_was_there(tmp_path, monkeypatch):
    """Whichever of the calls that write refuses first."""
    for path, read in (kind(tmp_path) for kind in KINDS):
        before = path.read_bytes()
        for name in ("touch", "fsync", "replace", "chmod"):

            def full(*given, **named):
                raise OSError(errno.ENOSPC, "No space left on device")

            with monkeypatch.context() as patch:
                patch.setattr(Path if name in ("touch", "chmod") else os, name, full)
                words = f"cannot write .*{path.name}: No space left"
                with pytest.raises(ValueError, match=words), atomic(path) as temporary:
                    temporary.write_bytes(b"x")
            assert path.read_bytes() == before
        read()
    assert not list(tmp_path.rglob("*.part"))


LIMITED = """
import resource, signal, sys
import numpy as np
import jax
jax.config.update("jax_enable_x64", True)
import jaxchem, xarray as xr
from jaxchem import checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder, ended = sys.argv[1], 0
big = xr.Dataset({"x": ("n", np.random.default_rng(0).random(20_000))})
for limit in np.linspace(0, 159_000, 10).astype(int).tolist():  # of some 160 000 bytes
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for name, act in {
        "data.nc": lambda p: jaxchem.write(big, p),
        "last.eqx": lambda p: checkpoint.save(p, big["x"].values, kind="fit"),
    }.items():
        try:
            act(f"{folder}/{name}")
        except ValueError as error:
            assert "cannot write" in str(error) and name in str(error), error
            assert chr(10) not in str(error), error
            ended += 1
print(ended)
"""


def test_a_file_that_does_not_fit_wherever_it_is_cut(tmp_path):
    """By a limit of the system, at ten points of a data set and of a checkpoint."""
    for name in ("data.nc", "last.eqx"):
        (tmp_path / name).write_bytes(b"before")
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "20\n", "")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {
        "data.nc": b"before",
        "last.eqx": b"before",
    }


@pytest.mark.parametrize("point", range(10))
def test_an_ensemble_on_a_full_disk_goes_on_where_it_was(tmp_path, monkeypatch, point):
    """The system refuses from the nth file on; the same call later fills what is missing."""
    k, y0 = ROBERTSON.rates(), np.tile(ROBERTSON.y0({"A": 1.0}), (9, 1))
    how = {"chunk": 1, "store": tmp_path / "store", "progress": False}

    def act():
        return jaxchem.solve_ensemble(ROBERTSON, k, y0, [1.0, 10.0], **how)

    sync, count = os.fsync, [0]

    def full(file):
        count[0] += 1
        if count[0] > point:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(file)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(ValueError, match=r"cannot write .*store.*: No space left on device"):
            act()
    store = jaxchem.Store(tmp_path / "store")
    assert sum(map(store.has, range(9))) == max(point - 1, 0)  # the first file is the header
    act()
    chunks = list(store)
    expected = jaxchem.solve(ROBERTSON, k, y0[0], [1.0, 10.0]).ys
    for one in chunks:
        np.testing.assert_array_equal(one["concentration"].values[0], expected)


# Files that claim more than they are


def packed(path, header, content=b"", entry="concentration.npy"):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        text = header.encode().ljust(117) + b"\n"
        archive.writestr(entry, b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + text + content)


@pytest.mark.parametrize(
    ("header", "content", "words"),
    [
        (f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({10**15},)}}", b"", "says that it"),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (8,)}", bytes(2**29), "says that it"),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", b"cos\nsystem\n.", "not a read"),
        ("{'descr': '<U99999999', 'fortran_order': False, 'shape': (9,)}", b"", "says that it"),
        ("{'descr': '<f8'}", b"", "not a readable NPZ"),
        ("__import__('os').abort()", b"", "not a readable NPZ"),
    ],
)
def test_archives_that_claim_more_than_they_are(tmp_path, header, content, words):
    path = tmp_path / "data.npz"
    packed(path, header, content)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=rf"data\.npz: .*{words}") as caught:
        jaxchem.read(path, ROBERTSON)
    assert "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 2**18  # KiB


def test_netcdf_and_models_that_claim_more_than_they_are(tmp_path):
    import h5py

    with h5py.File(tmp_path / "data.nc", "w") as file:
        file.create_dataset("concentration", (10**6, 10**6, 3), "f4", chunks=(1, 1000, 3))
    with pytest.raises(ValueError, match=r"data\.nc: a file of \d+ bytes says that it holds 12000"):
        jaxchem.read(tmp_path / "data.nc", ROBERTSON)
    told = {"class": "jaxchem.models.crnn:CRNN", "fields": {"k": {"jax": [[10**13], "float64"]}}}
    checkpoint.save(tmp_path / "model.eqx", jnp.ones(3), kind="model", model=told)
    with pytest.raises(ValueError, match=r"model\.eqx"):
        jaxchem.load_model(tmp_path / "model.eqx")


@pytest.mark.parametrize("name", ["data.npz", "data.nc", "model.eqx", "store.json", "last.eqx"])
def test_no_pickle_is_opened(tmp_path, name):
    """Wherever a file of ours is read, one that would make a file when unpickled makes none."""
    made = tmp_path / "made"
    trap = b"cos\nsystem\n(S'touch " + os.fsencode(made) + b"'\ntR."
    path = tmp_path / name
    readers = {
        "model.eqx": lambda: jaxchem.load_model(path),
        "store.json": lambda: len(jaxchem.Store(tmp_path)),
        "last.eqx": lambda: checkpoint.load(path, jnp.zeros(3)),
    }
    read = readers.get(name, lambda: jaxchem.read(path, ROBERTSON))
    header = "{'descr': '|O', 'fortran_order': False, 'shape': (3,)}"
    array = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + header.encode().ljust(117) + b"\n"
    contents = [trap, array + trap]
    if name.endswith("eqx"):
        jaxchem.save(path, jaxchem.CRNN(ROBERTSON, jnp.zeros(3)))
        line = path.read_bytes().splitlines()[1]
        whole = line + b"\n" + array + trap
        contents.append(checkpoint._sums(whole) + whole)
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=re.escape(name)):
            read()
    assert not made.exists()
