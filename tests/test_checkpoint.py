"""Checkpoints tell a sound file from any other."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxchem
from jaxchem import checkpoint, files

TREE = {"a": jnp.arange(3.0), "b": (jnp.array(2), np.ones(2))}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "folder" / "state.eqx"
    checkpoint.save(path, TREE, kind="test", note=[1, 2])
    return path


def test_round_trip(path):
    again = checkpoint.load(path, TREE, kind="test")
    np.testing.assert_array_equal(again["a"], TREE["a"])
    np.testing.assert_array_equal(again["b"][1], TREE["b"][1])
    assert checkpoint.read_header(path)["note"] == [1, 2]


def test_missing(tmp_path):
    with pytest.raises(ValueError, match="no checkpoint at"):
        checkpoint.load(tmp_path / "none.eqx", TREE)


@pytest.mark.parametrize("content", [b"", b"hello\n", b'{"format": "other"}\n', b"[1]\nabc"])
def test_foreign(tmp_path, content):
    path = tmp_path / "foreign.eqx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="not a jaxchem checkpoint"):
        checkpoint.load(path, TREE)


def test_truncated_and_damaged(path):
    content = path.read_bytes()
    path.write_bytes(content[:-5])
    with pytest.raises(ValueError, match=r"truncated: \d+ of \d+ bytes"):
        checkpoint.load(path, TREE)
    path.write_bytes(content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])
    with pytest.raises(ValueError, match="damaged"):
        checkpoint.load(path, TREE)


def test_other_configuration_or_structure(path):
    with pytest.raises(ValueError, match="another kind"):
        checkpoint.load(path, TREE, kind="fit")
    with pytest.raises(ValueError, match="something else than expected"):
        checkpoint.load(path, {"a": jnp.arange(4.0)})


def test_a_part_of_what_was_saved_is_refused(tmp_path):
    """Leaves lie one after the other: a shorter tree must not read the first few."""
    path = tmp_path / "state.eqx"
    checkpoint.save(path, (jnp.ones(3), jnp.zeros(3)))
    for like in ((jnp.zeros(3),), (jnp.zeros(3),) * 3):
        with pytest.raises(ValueError, match="something else than expected"):
            checkpoint.load(path, like)


def test_a_failed_write_leaves_the_old_file(path):
    before = path.read_bytes()
    with pytest.raises(RuntimeError), files.atomic(path) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_unwritable_folder(path):
    with pytest.raises(ValueError, match="cannot write"):
        checkpoint.save(path / "below" / "state.eqx", TREE)


def test_models_round_trip_with_all_that_they_hold(tmp_path):
    network = jaxchem.load("aoxid")
    known = np.zeros(49, dtype=bool)
    known[3] = True
    integrator = jaxchem.Integrator(method="kvaerno3", atol=[1e-3] * 44)
    model = jaxchem.CRNN(network, jnp.linspace(-1, 1, 49), known=known, integrator=integrator)
    jaxchem.save(tmp_path / "model.eqx", model)
    again = jaxchem.load_model(tmp_path / "model.eqx")
    np.testing.assert_array_equal(again.k, model.k)
    np.testing.assert_array_equal(again.known, known)
    assert again.network.structure == network.structure
    assert again.integrator.method == "kvaerno3"
    np.testing.assert_array_equal(again.integrator.atol, np.full(44, 1e-3))
    checkpoint.save(tmp_path / "other.eqx", TREE, kind="fit")
    with pytest.raises(ValueError, match="not a saved model"):
        jaxchem.load_model(tmp_path / "other.eqx")
    with pytest.raises(ValueError, match="cannot save"):
        jaxchem.save(tmp_path / "model.eqx", TREE)
