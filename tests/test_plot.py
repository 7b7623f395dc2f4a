import matplotlib
import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot

import jaxchem
from jaxchem import plot
from jaxchem.dataset import label_estimate, label_history

matplotlib.use("Agg")


@pytest.fixture
def ax():
    """Axes that must also survive being drawn."""
    figure, ax = pyplot.subplots(layout="constrained")
    yield ax
    figure.canvas.draw()
    pyplot.close(figure)


def estimate(name="robertson", ts=None, **rates):
    """Two cases of smooth trajectories, and a prediction 10 % above them."""
    network = jaxchem.load(name)
    ts = np.geomspace(1e-3, 1e3, 7) if ts is None else ts
    size = len(network.species)
    phase = np.linspace(0.0, 1.0, len(ts))[:, None] * np.arange(1, size + 1)
    truth = np.stack([10.0 ** -np.arange(size) * (1.0 + 0.5 * np.sin(phase + c)) for c in (0, 1)])
    dataset = jaxchem.to_dataset(network, (ts, truth), y0=truth[:, 0])
    return label_estimate(dataset, network, 1.1 * truth, **rates)


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_trajectories(ax):
    dataset = estimate()
    assert plot.trajectories(dataset, ax, case=1) is ax
    assert sorted(legend(ax)) == ["A", "B", "C"]
    assert len(ax.lines) == 6
    top = dataset["truth"].values[1].max(axis=0)
    for line, points in zip(ax.lines[::2], ax.lines[1::2], strict=True):
        i = ["A", "B", "C"].index(line.get_label())
        np.testing.assert_array_equal(line.get_xdata(), dataset["time"].values)
        np.testing.assert_allclose(points.get_ydata(), dataset["truth"].values[1, :, i] / top[i])
        np.testing.assert_allclose(line.get_ydata(), 1.1 * points.get_ydata())
        assert line.get_color() == points.get_color()
        assert points.get_linestyle() == "None" and points.get_marker() == "."
    assert ax.get_xscale() == "log"
    assert ax.get_xlabel() == "time [s]"


def test_trajectories_without_a_truth_are_lines_alone(ax):
    plot.trajectories(estimate().drop_vars("truth"), ax)
    assert len(ax.lines) == 3
    assert all(line.get_linestyle() == "-" for line in ax.lines)


def test_trajectories_of_many_species_shows_those_that_vary(ax):
    dataset = estimate("pollu", np.linspace(0.0, 1.0, 5))
    truth = dataset["truth"].values
    truth[:, :, 3] = 7.0  # constant, and largest
    truth[:, :, 5] = 0.0
    plot.trajectories(dataset, ax, species=4)
    assert len(ax.lines) == 8
    species = list(dataset["species"].values)
    assert len(legend(ax)) == 4
    assert not {species[3], species[5]} & set(legend(ax))
    assert ax.get_xscale() == "linear"
    assert ax.get_xlabel() == "time [min]"


def test_rates_with_truth_and_deviation(ax):
    k_true = np.array([0.04, 3e7, 1e4])
    k = k_true * np.array([1.0, 1.2, 0.5])
    deviation = np.array([0.0, 0.1, 0.3])
    dataset = estimate(k=k, k_true=k_true, deviation=deviation)
    assert plot.rates(dataset, ax) is ax
    (bars,) = ax.containers
    points, _, (segments,) = bars
    np.testing.assert_allclose(points.get_ydata(), [1.0, 1.2, 0.5])
    ends = np.array([path[:, 1] for path in segments.get_segments()])
    expected = (k / k_true)[:, None] * np.exp(2.0 * deviation[:, None] * np.array([-1.0, 1.0]))
    np.testing.assert_allclose(ends, expected)
    labels = [text.get_text() for text in ax.get_xticklabels()]
    assert labels == list(jaxchem.load("robertson").equations)
    assert ax.get_yscale() == "log"
    assert ax.get_ylabel() == "k estimated / k true"
    np.testing.assert_array_equal(ax.lines[-1].get_ydata(), [1.0, 1.0])


def test_rates_without_a_truth_shows_the_estimates(ax):
    k = np.array([0.04, 3e7, 1e4])
    plot.rates(estimate(k=k), ax)
    (bars,) = ax.containers
    np.testing.assert_array_equal(bars[0].get_ydata(), k)
    assert ax.get_ylabel() == "k estimated"
    assert len(ax.get_xticks()) == 3


@pytest.mark.parametrize(
    ("loss", "scale"),
    [
        ([10.0, 1.0, 0.1], "log"),
        ([10.0, np.nan, 0.1], "log"),  # a step that was refused
        ([1.0, -2.0, -3.0], "linear"),  # a logarithm
    ],
)
def test_history(ax, loss, scale):
    dataset = label_history({"loss": np.array(loss)})
    assert plot.history(dataset, ax) is ax
    (line,) = ax.lines
    np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
    np.testing.assert_array_equal(line.get_ydata(), loss)
    assert ax.get_yscale() == scale
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "loss")


def test_history_of_one_step_is_visible(ax):
    plot.history(label_history({"loss": np.array([3.0])}), ax)
    assert ax.lines[0].get_marker() == "."


def test_conservation(ax):
    dataset = estimate("pollu")
    values = np.zeros(dataset["drift"].shape)
    values[:, 3, 1] = [-0.25, 0.125]
    dataset["drift"] = (("case", "time", "element"), values)
    assert plot.conservation(dataset, ax) is ax
    assert legend(ax) == ["C", "N", "S"]
    drift = np.array([line.get_ydata() for line in ax.lines])
    assert drift.shape == (3, 7)
    assert drift[1, 3] == 0.25  # the largest magnitude of the cases
    assert np.all(drift > 0)  # none is lost on a logarithmic axis
    assert np.sum(drift > 1e-17) == 1
    assert ax.get_yscale() == "log"


def test_conservation_of_nothing(ax):
    dataset = estimate()
    dataset = dataset.drop_dims("element").assign(
        drift=(("case", "time", "element"), np.zeros((2, 7, 0)))
    )
    plot.conservation(dataset.assign_coords(element=np.array([], dtype=object)), ax)
    assert not ax.lines
    assert ax.get_legend() is None


def test_errors(ax):
    dataset = estimate()
    dataset["concentration"].values[0, 2, 1] += 7.0
    assert plot.errors(dataset, ax) is ax
    assert legend(ax) == ["largest", "median"]
    truth = dataset["truth"].values
    relative = np.abs(dataset["concentration"].values - truth) / truth.max(axis=(0, 1))
    largest, median = (line.get_ydata() for line in ax.lines)
    np.testing.assert_allclose(largest, relative.max(axis=(0, 2)))
    np.testing.assert_allclose(median, np.median(relative, axis=(0, 2)))
    assert np.argmax(largest) == 2
    assert ax.get_yscale() == "log"


def test_errors_of_a_perfect_prediction_and_an_absent_species(ax):
    dataset = estimate()
    dataset["truth"].values[..., 2] = 0.0
    dataset["concentration"].values[:] = dataset["truth"].values
    plot.errors(dataset, ax)
    for line in ax.lines:
        assert np.all(np.isfinite(line.get_ydata())) and np.all(line.get_ydata() > 0)


def test_plots_take_what_a_file_gives_back(ax, tmp_path):
    dataset = estimate(k=np.ones(3), k_true=np.ones(3), deviation=np.ones(3))
    jaxchem.write(dataset, tmp_path / "predictions.nc")
    with xr.open_dataset(tmp_path / "predictions.nc", engine="h5netcdf") as back:
        for draw in (plot.trajectories, plot.errors, plot.conservation, plot.rates):
            ax.clear()
            assert draw(back, ax) is ax
            assert ax.lines


def test_errors_by_species(ax):
    """10 % above, save for one species that is ten times too much."""
    dataset = estimate()
    dataset["concentration"][..., 1] = 10 * dataset["truth"][..., 1]
    assert plot.species_errors(dataset, ax) is ax
    assert ax.get_xticklabels()[0].get_text() == "B"
    for line in ax.lines:
        np.testing.assert_allclose(line.get_ydata(), [1.0, np.log10(1.1), np.log10(1.1)])


def course(rates, equations=None):
    """A dataset as `label_budget` makes it."""
    rates = np.asarray(rates)
    names = equations or [f"R{j} ->" for j in range(rates.shape[1])]
    return xr.Dataset(
        {"contribution": (("time", "reaction"), rates, {"units": "ppm min-1"})},
        coords={
            "time": ("time", np.arange(len(rates), dtype=float), {"units": "min"}),
            "reaction": np.array(names, dtype=object),
        },
        attrs={"species": "O3"},
    )


def layers(ax):
    """Label -> lowest and highest value of each stacked layer, at each time."""
    found = {}
    for layer in ax.collections:
        points = layer.get_paths()[0].vertices
        times = np.unique(points[:, 0])
        found[layer.get_label()] = [
            (min(points[points[:, 0] == t, 1]), max(points[points[:, 0] == t, 1])) for t in times
        ]
    return found


def test_budget(ax):
    """Production above zero and loss below it, the largest nearest to zero, the rest as others."""
    rates = [[1.0, 4.0, -2.0, 0.5, -1.0, 0.0, -0.5], [2.0, 5.0, -3.0, 0.25, -1.0, 0.0, -0.25]]
    assert plot.budget(course(rates), ax, reactions=1) is ax
    found = layers(ax)
    assert list(found) == ["R1 ->", "other production (2)", "R2 ->", "other loss (2)"]
    assert found["R1 ->"] == [(0, 4), (0, 5)]
    assert found["other production (2)"] == [(4, 5.5), (5, 7.25)]
    assert found["R2 ->"] == [(-2, 0), (-3, 0)]
    assert found["other loss (2)"] == [(-3.5, -2), (-4.25, -3)]
    (net,) = ax.lines
    np.testing.assert_allclose(net.get_ydata(), [2.0, 3.0])
    assert ax.get_ylabel() == "production and loss of O3 [ppm min-1]"
    assert ax.get_xlabel() == "time [min]"
    assert legend(ax) == [*found, "net"]


def test_budget_of_few_reactions_has_no_others(ax):
    plot.budget(course([[1.0], [2.0]]), ax)
    assert list(layers(ax)) == ["R0 ->"]
    ax.clear()
    plot.budget(course(np.zeros((2, 0))), ax)
    assert legend(ax) == ["net"]
