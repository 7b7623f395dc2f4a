"""Labelled trajectories: files, sampling, observation."""

import json

import equinox as eqx
import jax
import numpy as np
import pytest
import xarray as xr

import jaxchem
from jaxchem.dataset import observe, times

CHAIN = """name = chain
units = molecule cm-3, s
[species]
A = C
B = C
[sources]
S = a source
[reactions]
A -> B ; 0.5 ; S
"""


@pytest.fixture
def chain(tmp_path):
    path = tmp_path / "chain.txt"
    path.write_text(CHAIN)
    return jaxchem.load(path)


@pytest.fixture
def truth(chain):
    y0 = np.array([[1.0, 0.0], [2.0, 1.0]])
    return jaxchem.generate(chain, chain.rates(), y0, np.linspace(0, 4, 9), progress=False)


def test_generated_truth_is_exact_and_labelled(truth):
    values = truth["concentration"].sel(species="A").values
    np.testing.assert_allclose(
        values, np.array([[1.0], [2.0]]) * np.exp(-0.5 * truth["time"].values), rtol=1e-9
    )
    assert truth["concentration"].attrs["units"] == "molecule cm-3"
    assert truth["time"].attrs["units"] == "s"
    assert "Radau" in truth.attrs["provenance"]


def test_netcdf_round_trip(tmp_path, chain, truth):
    jaxchem.write(truth, tmp_path / "data.nc")
    again = jaxchem.read(tmp_path / "data.nc", chain)
    np.testing.assert_array_equal(again["concentration"], truth["concentration"])
    np.testing.assert_array_equal(again["initial"], truth["initial"])
    assert again.attrs["provenance"] == truth.attrs["provenance"]
    (tmp_path / "data.nc").write_bytes((tmp_path / "data.nc").read_bytes()[:500])
    with pytest.raises(ValueError, match="not a readable NetCDF"):
        jaxchem.read(tmp_path / "data.nc", chain)


def test_data_know_whose_coefficients_they_are_of(tmp_path, chain, truth):
    """Of a network's own laws: as generated with these, and not of an edited network."""
    jaxchem.write(truth, tmp_path / "data.nc")
    again = jaxchem.read(tmp_path / "data.nc", chain)
    assert observe(truth, chain).own_laws and observe(again, chain).own_laws
    half = np.array([[1.0, 0.0]]), np.linspace(0, 4, 9)
    other = jaxchem.generate(chain, 0.5 * np.asarray(chain.rates()), *half, progress=False)
    assert not observe(other, chain).own_laws
    table = np.column_stack([truth["time"], truth["concentration"].values[0]])
    np.savetxt(tmp_path / "data.csv", table, delimiter=",", header="time,A,B")
    assert not observe(jaxchem.read(tmp_path / "data.csv", chain), chain).own_laws
    (tmp_path / "edited.txt").write_text((tmp_path / "chain.txt").read_text().replace("0.5", "0.6"))
    edited = jaxchem.load(tmp_path / "edited.txt")
    assert not np.array_equal(edited.rates(), chain.rates())
    assert not observe(jaxchem.read(tmp_path / "data.nc", edited), edited).own_laws


def test_dips_of_round_off_are_read(tmp_path, chain, truth):
    truth["concentration"][0, -1, 0] = -1e-112
    truth["initial"][1, 0] = -1e-16
    jaxchem.write(truth, tmp_path / "data.nc")
    again = jaxchem.read(tmp_path / "data.nc", chain)
    assert again["concentration"][0, -1, 0] == -1e-112
    truth["concentration"][0, -1, 0] = -1e-7
    jaxchem.write(truth, tmp_path / "data.nc")
    with pytest.raises(ValueError, match=r"of 'A' in case 0 at time 4 is -1e-07.*not negative"):
        jaxchem.read(tmp_path / "data.nc", chain)
    assert jaxchem.read(tmp_path / "data.nc", chain, atol=1e-8)["concentration"].min() == -1e-7


def test_conditions_are_written(chain):
    data = jaxchem.to_dataset(
        chain,
        (np.arange(2.0), np.zeros((2, 2))),
        conditions={"temperature": 300.0, "density": lambda t: t},
    )
    kept = json.loads(data.attrs["conditions"])
    assert kept == {"temperature": 300.0, "density": "function of time"}
    with pytest.raises(ValueError, match="want"):
        jaxchem.to_dataset(chain, (np.arange(3.0), np.zeros((2, 2))))


def test_other_units_are_told(tmp_path, chain, truth, caplog):
    """Nothing is converted, not even what xarray takes for dates."""
    path = tmp_path / "data.nc"
    truth["time"].attrs["units"] = "hours since 2020-01-01"
    truth["concentration"].attrs["units"] = "ppb"
    jaxchem.write(truth, path)
    read = jaxchem.read(path, chain)
    np.testing.assert_array_equal(read["time"], truth["time"])
    times, concentrations = (record.getMessage() for record in caplog.records)
    assert "time is in 'hours since 2020-01-01', and is taken as if it were in" in times
    assert "concentration is in 'ppb'" in concentrations


def test_species_that_a_file_lacks_are_told(tmp_path, chain, caplog):
    (tmp_path / "data.csv").write_text("time,B,A\n0,0.5,1\n1,0.75,0.75\n")
    jaxchem.read(tmp_path / "data.csv", chain)
    assert not caplog.records
    (tmp_path / "data.csv").write_text("time,B\n0,0.5\n1,0.75\n")
    jaxchem.read(tmp_path / "data.csv", chain)
    assert "data.csv lacks 1 species" in caplog.text
    assert "observed to be zero: A. Name those" in caplog.text


def test_csv_and_npz(tmp_path, chain):
    (tmp_path / "data.csv").write_text("# time, B, A\n0, 0.5, 1\n0.001, 0.75, 0.75\n")
    data = jaxchem.read(tmp_path / "data.csv", chain, time_scale=3600.0)
    np.testing.assert_allclose(data["time"], [0, 3.6])
    np.testing.assert_array_equal(data["concentration"][0], [[1, 0.5], [0.75, 0.75]])
    np.savez(
        tmp_path / "data.npz",
        time_s=[0.0, 1.0],
        species=["B"],
        concentration=np.array([[0.0], [0.5]]),
    )
    data = jaxchem.read(tmp_path / "data.npz", chain)
    np.testing.assert_array_equal(data["concentration"][0], [[0, 0], [0, 0.5]])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("t,A\n0,1\n1,1\n", "line 1: the header must read 'time'"),
        ("time,A\n0,1\n1\n", "line 3: 1 values under 2"),
        ("time,A\n0,1\n1,x\n", "line 3: 'x' in column 'A'"),
        ("time,D\n0,1\n1,1\n", "unknown species 'D'"),
        ("time,A\n0,1\n1,-2\n", "'A' in case 0 at time 1 is -2.0"),
        ("time,A\n0,1\n1,nan\n", "is nan"),
        ("time,A\n0,1\n1,inf\n", "is inf"),
        ("time,A\n0,1\n0,1\n", "increase, but entry 1 is 0 after 0"),
        ("time,A\n0,1\n1,1\ninf,1\n", "entry 2 is inf after 1"),
        ("time,A\nnan,1\n1,1\n", "entry 0 is nan;"),
        ("time,A\n", "no row under the header"),
        ("time,A\n\n0.5,1\n\n1.5,oops\n", "line 5: 'oops' in column 'A'"),
        ("time,A,B,A\n0,1,1,2\n1,1,1,2\n", "species 'A' stands there twice"),
        ("", "line 1: the header"),
    ],
)
def test_bad_csv(tmp_path, chain, text, words):
    path = tmp_path / "data.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=words) as caught:
        jaxchem.read(path, chain)
    assert "data.csv" in str(caught.value)


def test_csv_as_spreadsheets_write_it(tmp_path, chain):
    path = tmp_path / "data.csv"
    path.write_text("time,A\r\n0,1\r\n1,0.5\r\n", encoding="utf-8-sig", newline="")
    np.testing.assert_array_equal(jaxchem.read(path, chain)["concentration"][0, :, 0], [1, 0.5])
    path.write_bytes("time,A\n0,1 µ\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"data\.csv: not readable as CSV in UTF-8"):
        jaxchem.read(path, chain)


@pytest.mark.parametrize(
    "content",
    [
        {"ozone": ("time", np.zeros(3))},
        {"concentration": (("case", "time", "species"), np.zeros((1, 3, 1)))},
        {"concentration": (("case", "species"), np.zeros((1, 3)))},
    ],
)
def test_netcdf_of_other_shape(chain, tmp_path, content):
    jaxchem.write(xr.Dataset(content), tmp_path / "data.nc")
    with pytest.raises(ValueError, match=r"data\.nc: no variable 'concentration\(case, time"):
        jaxchem.read(tmp_path / "data.nc", chain)


def test_a_bad_initial_state_in_a_file(chain, truth, tmp_path):
    truth["initial"][1, 1] = -1.0
    jaxchem.write(truth, tmp_path / "data.nc")
    with pytest.raises(ValueError, match=r"data\.nc: .*'B' in case 1 in the initial state is -1"):
        jaxchem.read(tmp_path / "data.nc", chain)


def test_generate_wants_times_in_order(chain):
    for ts in ([0.5, 2.0], [2.0, 1.0]):
        with pytest.raises(ValueError, match="output time"):
            jaxchem.generate(chain, chain.rates(), np.ones((1, 2)), np.array(ts), t0=1.0)


def test_bad_files(tmp_path, chain):
    with pytest.raises(ValueError, match="no data file"):
        jaxchem.read(tmp_path / "none.nc", chain)
    (tmp_path / "data.xls").touch()
    with pytest.raises(ValueError, match=r"known: \.nc, \.csv, \.npz"):
        jaxchem.read(tmp_path / "data.xls", chain)
    np.savez(tmp_path / "data.npz", time=[0.0])
    with pytest.raises(ValueError, match="no array 'species'"):
        jaxchem.read(tmp_path / "data.npz", chain)


def test_sample(chain):
    states = jaxchem.sample(chain, {"A": 1.0}, cases=50, spread=0.1, seed=3)
    np.testing.assert_array_equal(states[0], [1, 0])
    assert np.all(np.abs(states[1:, 0] - 1) <= 0.1)
    assert np.ptp(states[:, 0]) > 0.1
    np.testing.assert_array_equal(
        states, jaxchem.sample(chain, {"A": 1.0}, cases=50, spread=0.1, seed=3)
    )
    np.testing.assert_array_equal(jaxchem.sample(chain, {"B": [1, 2]}, cases=2)[:, 1], [1, 2])
    with pytest.raises(ValueError, match="gives 1 values"):
        jaxchem.sample(chain, {"B": [1]}, cases=2)
    for settings in ({"spread": 1.5}, {"spread": -0.1}, {"cases": 0}):
        with pytest.raises(ValueError, match="cannot sample"):
            jaxchem.sample(chain, {"A": 1.0}, **settings)
    with pytest.raises(ValueError, match='write "NO"'):
        jaxchem.sample(chain, {False: 1.0})


def test_times():
    np.testing.assert_allclose(times(start=0, stop=2, points=3), [0, 1, 2])
    log = times(start=1, stop=100, points=3, spacing="log", zero=True)
    np.testing.assert_allclose(log, [0, 1, 10, 100])
    with pytest.raises(ValueError, match="cannot space"):
        times(start=0, stop=1, points=3, spacing="log")
    with pytest.raises(ValueError, match="cannot space"):
        times(start=0, stop=1, points=3, zero=True)  # 0 would stand there twice
    with pytest.raises(ValueError, match="unknown spacing"):
        times(start=0, stop=1, points=3, spacing="square")


def test_observe_thins_selects_and_adds_noise(chain, truth):
    data = jaxchem.observe(truth, chain, points=3, species=["B"], cases=1)
    np.testing.assert_array_equal(data.ts, [0, 2, 4])
    np.testing.assert_allclose(data.values[0, :, 0], truth["concentration"].values[0, ::4, 1])
    with pytest.raises(ValueError, match="need every species"):
        _ = data.states
    noisy = jaxchem.observe(truth, chain, noise=0.1, repeats=500, seed=1)
    ratio = np.log(np.asarray(noisy.values[:, :, 0]))
    exact = np.log(np.repeat(truth["concentration"].values[:, :, 0], 500, axis=0))
    assert abs(np.std(ratio - exact) / np.log(1.1) - 1) < 0.03
    again = jaxchem.observe(truth, chain, noise=0.1, repeats=500, seed=1)
    np.testing.assert_array_equal(noisy.values, again.values)
    with pytest.raises(ValueError, match="cannot keep"):
        jaxchem.observe(truth, chain, points=20)
    with pytest.raises(ValueError, match="there are 2 cases"):
        jaxchem.observe(truth, chain, cases=3)


def test_print_of_observations(chain, truth):
    truth["given"] = (("case", "condition"), [[250.0, 1.0], [300.0, 1.0]])
    truth = truth.assign_coords(condition=["temperature", "<zeta>"])
    data = jaxchem.observe(truth, chain)
    assert repr(data).splitlines() == [
        "Observations of chain",
        "cases: 2",
        "times (9, s): 0 to 4, y0 at 0",
        "observed (2, molecule cm-3): A, B",
        "conditions: temperature 250 to 300, <zeta> 1; of all cases: none",
        "relative noise: 0",
    ]
    page = data._repr_html_()
    assert "temperature 250 to 300, &lt;zeta&gt; 1" in page and page.count("<tr>") == 3
    assert ">A<" in page and ">0.135335 to 2<" in page and ">0 to 2.72933<" in page
    unknown = [
        "times (9, s): ?, y0 at ?",
        "conditions: temperature ?, <zeta> ?; of all cases: none",
    ]
    said = []
    jax.jit(lambda data: said.extend((repr(data), data._repr_html_())))(data)
    assert [said[0].splitlines()[i] for i in (1, 2, 4)] == ["cases: 2", *unknown]
    assert said[1].count(">?<") == 2
    for leaf in (None, object()):
        odd = jax.tree.map(lambda _, leaf=leaf: leaf, data)
        assert "cases: ?\ntimes (?, s): ?, y0 at ?\n" in repr(odd) and ">?<" in odd._repr_html_()
        assert "observed (2, ?): A, B" in repr(eqx.tree_at(lambda d: d.network, data, leaf))


def test_sums_of_equal_mass():
    """NO3 and nothing else of POLLU has 62.0 u; HCHO and NO share 30.0; CO2 and ALD 44.0."""
    network = jaxchem.load("pollu")
    values = np.arange(20.0)[None, None] * np.ones((1, 2, 1))
    truth = jaxchem.to_dataset(network, (np.arange(2.0), values), y0=values[:, 0])
    data = jaxchem.observe(truth, network, species="mass")
    sums = dict(zip(data.labels, np.asarray(data.values)[0, 0], strict=True))
    index = network.index
    assert sums["m30.0"] == index("NO") + index("HCHO")
    assert sums["m44.0"] == index("CO2") + index("ALD")
    assert sums["m62.0"] == index("NO3")
    assert sum(sums.values()) == sum(range(20))
