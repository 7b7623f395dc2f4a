import csv
import math
import re
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import CONDITIONS, INITIAL, SHIPPED, SIZES, Reference, shared, side

import jaxchem
from jaxchem.network import Network, Reaction, Structure, Units
from jaxchem.parse import shipped, table
from jaxchem.rates import CONDITIONS as KNOWN
from jaxchem.rates import Conditions

HEADER = "name = small\nunits = cm-3, s\n"
LAWS = """
[species]
A = C
B = C
D = C
[sources]
S1 = Nobody (1900)
[reactions]
A -> B ; kooij(2e-9, -0.5, 30) ; S1
B -> A ; cosmic_ray(700) ; S1
A -> D ; 0.25 * arrhenius(3e-12, 400) ; S1
B -> D ; 0.5 * 4 ; S1
D -> A ; arrhenius(2, -100) ; S1
"""


def small(reactions: str, species: str = "A = C\nB = C", extra: str = "") -> Network:
    text = f"{HEADER}{extra}[species]\n{species}\n[sources]\nS1 = Nobody (1900)\n[reactions]\n"
    return table.loads(text + "\n".join(f"{line} ; S1" for line in reactions.split("\n")))


def units(*names: str) -> dict[str, dict[str, int]]:
    return {name: {"X": 1} for name in names}


def reaction(reactants, products, rate=1.0) -> Reaction:
    return Reaction(reactants, products, rate, "nobody")


# What ships


def test_shipped_names():
    further = "ism_atomic", "ism_molecular", "mcm_methane", "three_species"
    assert shipped() == tuple(sorted((*SHIPPED, *further)))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_sizes_and_order(name):
    """Sizes as published; species and equations in the order of the file."""
    network, reference = jaxchem.load(name), Reference.read(name)
    assert network.name == name
    assert (len(network.species), len(network.equations)) == SIZES[name]
    assert network.stoichiometry.shape == SIZES[name]
    assert network.species == reference.species
    for equation, line in zip(network.equations, reference.lines, strict=True):
        left, right = equation.split("->")
        merged = [
            {n: sum(c for c, other in terms if other == n) for _, n in terms}
            for terms in (line.reactants, line.products)
        ]
        assert [{n: c for c, n in side(left)}, {n: c for c, n in side(right)}] == merged


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_load_without_warning(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jaxchem.load(name, strict=True)


@pytest.mark.parametrize(
    "name, balanced",
    [
        ("robertson", {"X"}),
        ("pollu", {"C", "N", "S"}),
        ("aoxid", {"N", "T"}),
        ("toy_autoxidation", {"N", "T"}),
        ("osu29", {"C", "H", "O", "charge"}),
    ],
)
def test_shipped_conserve_every_declared_element(name, balanced):
    network = jaxchem.load(name)
    assert set(network.balanced) == balanced and not network.undeclared
    assert network.composition.shape == (len(network.elements), len(network.species))
    rows = [network.elements.index(element) for element in network.balanced]
    np.testing.assert_array_equal(network.conserved, network.composition[rows])
    assert network.conserved.any(axis=1).all()
    np.testing.assert_array_equal(network.conserved @ network.stoichiometry, 0.0)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_problems_are_sources_and_sinks_alone(name):
    groups = jaxchem.load(name).check().groups
    assert {*groups} <= {"no source", "sink"}
    products = {"robertson": 0, "pollu": 4, "osu29": 0}
    sinks = groups.get("sink", ())
    assert len(sinks) == products.get(name, len(sinks))
    if name == "pollu":
        assert groups["no source"] == ("ALD", "SO2")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_rates_cite_a_reference(name):
    network = jaxchem.load(name)
    keys = {key for key, text in network.references if len(text) > 40}
    assert {source.split(",")[0] for source in network.sources} <= keys


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_stoichiometry_and_rates_against_own_reading(name):
    network, reference = jaxchem.load(name), Reference.read(name)
    expected = np.zeros(SIZES[name])
    for j, line in enumerate(reference.lines):
        for count, species in line.reactants:
            expected[reference.species.index(species), j] -= count
        for count, species in line.products:
            expected[reference.species.index(species), j] += count
    np.testing.assert_array_equal(network.stoichiometry, expected)
    k = reference.k(**CONDITIONS[name])
    np.testing.assert_allclose(network.rates(**CONDITIONS[name]), k, rtol=1e-14)


@pytest.mark.parametrize(
    "name, file",
    [
        ("robertson", "robertson"),
        ("pollu", "pollu"),
        ("aoxid", "aoxid_T270"),
        ("toy_autoxidation", "toy_autoxidation_T288"),
    ],
)
def test_shipped_against_published_table(name, file):
    """Each row of the published table: who reacts, what forms, the rate and its pool."""
    network = jaxchem.load(name)
    with shared("data", "networks", f"{file}.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(network.equations)
    k = network.rates(**CONDITIONS[name])
    for j, row in enumerate(rows):
        change, slots = np.zeros(len(network.species)), []
        for count, species in side(row["reactants"]):
            change[network.index(species)] -= count
            slots += [network.index(species)] * int(count)
        for count, species in side(row["products"]):
            change[network.index(species)] += count
        np.testing.assert_array_equal(network.stoichiometry[:, j], change)
        reactants = network.structure.reactants[j]
        assert sorted(reactants[reactants < len(network.species)]) == sorted(slots)
        pooled = network.structure.pool_of[j] < len(network.pool_names)
        assert pooled == (row["times_RO2"] == "1")
        assert float(k[j]) == pytest.approx(float(row["k"]), rel=1e-13)


def test_osu29_against_published_table():
    """The file's 50 K column has ten digits; it may list the reactions in any order."""
    network = jaxchem.load("osu29")
    k = network.rates(**CONDITIONS["osu29"])
    with shared("data", "osu29", "network.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    ours = {}
    for j, equation in enumerate(network.equations):
        left, right = (
            tuple(sorted(n for c, n in side(half) for _ in range(int(c))))
            for half in equation.split("->")
        )
        ours[left, right] = j
    assert len(ours) == len(rows) == 224
    for row in rows:
        left = tuple(sorted(filter(None, (row["r1"], row["r2"]))))
        right = tuple(sorted(filter(None, (row["p1"], row["p2"], row["p3"]))))
        assert float(k[ours.pop((left, right))]) == pytest.approx(float(row["k_50K"]), rel=2e-9)
    assert not ours


# Names and states


@pytest.mark.parametrize("name", SHIPPED)
def test_index(name):
    network = jaxchem.load(name)
    assert [network.index(species) for species in network.species] == list(range(SIZES[name][0]))


def test_unknown_species_names_the_nearest():
    network = jaxchem.load("pollu")
    with pytest.raises(ValueError, match=r"'HCH0' .*pollu.*did you mean 'HCHO'"):
        network.index("HCH0")
    with pytest.raises(ValueError, match=r"'N2O6'.*did you mean 'N2O5'"):
        network.y0({"N2O6": 1.0})
    with pytest.raises(ValueError, match=r"'###'.*known species: NO2, NO, O3P"):
        network.index("###")


@pytest.mark.parametrize("name", SHIPPED)
def test_y0(name):
    network = jaxchem.load(name)
    y0 = network.y0(INITIAL[name], default=1e-16)
    assert y0.shape == (SIZES[name][0],) and y0.dtype == jnp.float64
    for i, species in enumerate(network.species):
        assert y0[i] == INITIAL[name].get(species, 1e-16)


def test_y0_default_is_zero_and_integers_are_numbers():
    np.testing.assert_array_equal(jaxchem.load("robertson").y0({"B": 2}), [0.0, 2.0, 0.0])


def test_y0_is_differentiable():
    network = jaxchem.load("robertson")
    slope = jax.jacfwd(lambda a: network.y0({"A": a, "B": 2 * a}))(1.5)
    np.testing.assert_array_equal(slope, [1.0, 2.0, 0.0])


@pytest.mark.parametrize("make", [float, np.float64, jnp.asarray], ids=["float", "numpy", "jax"])
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_y0_refuses(value, make):
    network = jaxchem.load("pollu")
    with pytest.raises(ValueError, match=r"'O3'.*finite and not negative.*ppm"):
        network.y0({"O3": make(value)})


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_y0_refuses_default(value):
    with pytest.raises(ValueError, match="finite and not negative"):
        jaxchem.load("pollu").y0({"O3": 1.0}, default=value)


# Prints


def test_print():
    network = jaxchem.load("osu29")
    assert str(network).splitlines() == [
        "Network osu29: osu_09_2008 subset of Sulzer & Buck (29 species, 224 reactions)",
        "species (29, cm-3): C, C+, CH, CH+, CH2, CH2+, CH3, CH3+, ...",
        "elements: C, H, O, charge; balanced: C, H, O, charge",
        "rates need: temperature, cosmic_ray_rate",
        "reactions (224, time in s):",
        "[0] 2 H -> H2 ; kooij(4.95e-17, 0.5, 0.0)",
        "[1] C -> C+ + e ; cosmic_ray(1020.0)",
        "[2] H -> H+ + e ; cosmic_ray(0.46)",
        "... and 221 more",
    ]
    page = network._repr_html_()
    assert page.count("<tr>") == 51 and page.endswith("<p>... and 174 more</p>")
    row = (">1<", ">C -&gt; C+ + e<", ">cosmic_ray(1020.0)<")
    assert all(part in page.split("<tr>")[3] for part in row)


@pytest.mark.parametrize("name", shipped())
def test_print_is_short(name):
    lines = repr(jaxchem.load(name)).splitlines()
    assert len(lines) <= 12 and max(map(len, lines)) <= 100


def test_print_of_all_there_is_to_say():
    many = [f"{c * 30}<{i}>" for i, c in enumerate("ABCDEFGHIJ")]
    network = Network.build(
        name="wide",
        title="a & b\n" + 40 * "long ",
        species=units(*many),
        reactions=4 * [reaction({many[0]: 1}, dict.fromkeys(many, 1.0), "Q * RO2")],
        units=Units("<1>", "s"),
        fixed=many[1:],
        pools={"RO2": many},
        quantities={"Q": None},
        families={"NOx": dict.fromkeys(many, 1.0)},
    )
    lines = repr(network).splitlines()
    assert len(lines) == 12 and max(map(len, lines)) <= 100
    assert lines[0].startswith("Network wide: a & b long long") and lines[0].endswith("long ...")
    assert lines[3] == "rates need: Q" and lines[5:7] == ["pools: RO2", "families: NOx"]
    assert lines[-1] == "... and 1 more"
    page = network._repr_html_()
    assert "a &amp; b long" in page and "(10, &lt;1&gt;)" in page and ">Q * RO2<" in page
    assert "<1>" not in page and "<0>" not in page and page.count("<tr>") == 5


@pytest.mark.parametrize("leaf", [None, "x", object(), jax.ShapeDtypeStruct((3,), float)])
def test_print_of_odd_leaves(leaf):
    network = jax.tree.map(lambda _: leaf, jaxchem.load("osu29"))
    for odd in (network, eqx.tree_at(lambda n: n.laws, network, leaf)):
        assert "[0] 2 H -> H2 ; ?\n" in repr(odd) and ">?<" in odd._repr_html_()
    conditions = jax.tree.map(lambda _: leaf, Conditions(temperature=1.0, quantities={"Q": 2.0}))
    assert repr(conditions).splitlines()[1:] == [
        "quantities [{name: value}, of what a mechanism leaves to its user]: Q ?",
        "temperature [K]: ?",
    ]
    assert repr(eqx.tree_at(lambda c: c.values, conditions, leaf)) == "Conditions: none"


def test_print_of_what_is_traced():
    said = []

    @jax.jit
    def look(network, temperature):
        said.extend(map(repr, (network, Conditions(temperature=temperature))))
        said.append(network._repr_html_())
        return network.rates(temperature=temperature, cosmic_ray_rate=1e-16)

    look(jaxchem.load("osu29"), 10.0)
    assert "rates need: temperature, cosmic_ray_rate\n" in said[0]
    assert "[0] 2 H -> H2 ; ?\n" in said[0] and ">?<" in said[2]
    assert said[1] == "Conditions\ntemperature [K]: ?"


def test_print_of_conditions():
    given_ = Conditions(
        temperature=298.15,
        density=np.array([2.5e19, 1e4]),
        pressure=None,
        local_time=lambda t: t,
        photolysis={"J<1>": 1e-3, "J2": lambda t: t},
    )
    assert repr(given_).splitlines() == [
        "Conditions",
        "temperature [K]: 298.15",
        "density [total number density, in the network's concentration unit]: 10000 to 2.5e+19",
        "local_time [s since midnight]: function of time",
        "photolysis [{name: s-1}]: J<1> 0.001, J2 function of time",
    ]
    page = given_._repr_html_()
    assert page.count("<tr>") == 5 and ">J&lt;1&gt; 0.001, J2 function of time<" in page
    assert repr(Conditions()) == "Conditions: none"


# Rates


@given(st.floats(5.0, 3000.0), st.floats(1e-20, 1e-10))
def test_laws_against_their_formulas(temperature, zeta):
    """Every law, in a file that mixes their order."""
    k = table.loads(HEADER + LAWS).rates(temperature=temperature, cosmic_ray_rate=zeta)
    expected = [
        2e-9 * math.pow(temperature / 300, -0.5) * math.exp(-30 / temperature),
        700 * zeta,
        0.25 * 3e-12 * math.exp(-400 / temperature),
        2.0,
        2 * math.exp(100 / temperature),
    ]
    assert k.dtype == jnp.float64
    np.testing.assert_allclose(k, expected, rtol=1e-13)


def test_rates_need_no_condition_where_no_law_does():
    network = jaxchem.load("pollu")
    assert network.needs == ()
    np.testing.assert_array_equal(network.rates(), network.rates(temperature=250.0))


def test_rates_take_plain_and_numpy_numbers():
    network = table.loads(HEADER + LAWS)
    expected = network.rates(temperature=50.0, cosmic_ray_rate=1e-16)
    for make in (int, np.float64, jnp.float64):
        k = network.rates(temperature=make(50), cosmic_ray_rate=1e-16)
        np.testing.assert_array_equal(k, expected)


def test_missing_condition_is_named_with_its_unit():
    network = table.loads(HEADER + LAWS)
    assert set(network.needs) == {"temperature", "cosmic_ray_rate"}
    with pytest.raises(ValueError, match=r"small.*temperature \[K\].*temperature="):
        network.rates(cosmic_ray_rate=1e-16)
    with pytest.raises(ValueError, match=r"cosmic_ray_rate \[s-1\]") as caught:
        network.rates(temperature=10.0)
    assert "temperature" not in str(caught.value)
    with pytest.raises(ValueError, match="temperature"):
        network.rates(temperature=None, cosmic_ray_rate=1e-16)


def test_unknown_condition_names_the_nearest():
    with pytest.raises(ValueError, match=r"'temprature'; did you mean 'temperature'\?") as caught:
        jaxchem.load("osu29").rates(temprature=10.0, cosmic_ray_rate=1e-16)
    assert all(name in str(caught.value) for name in KNOWN)


def test_condition_as_function_of_time():
    """A varying condition gives k(t, y), whose values are the rates under the values then."""
    network = table.loads(HEADER + LAWS)
    k = network.rates(temperature=lambda t: 100.0 + 2.0 * t, cosmic_ray_rate=1e-16)
    assert callable(k)
    for t in (0.0, 7.5):
        for y in (jnp.zeros(3), jnp.ones(3)):
            expected = network.rates(temperature=100.0 + 2.0 * t, cosmic_ray_rate=1e-16)
            np.testing.assert_array_equal(k(t, y), expected)
    np.testing.assert_array_equal(jax.jit(lambda t: k(t, None))(7.5), k(7.5, None))


def test_conditions():
    given_ = Conditions(temperature=10.0, density=None, pressure=lambda t: 2.0 * t)
    assert "temperature" in given_ and "density" not in given_ and given_.varying
    assert not given_.at(3.0).varying and given_.at(3.0)["pressure"] == 6.0


def test_rates_under_vmap_and_grad():
    network = table.loads(HEADER + LAWS)

    def rates(temperature):
        return network.rates(temperature=temperature, cosmic_ray_rate=1e-16)

    temperatures = jnp.array([10.0, 50.0, 300.0])
    batch = jax.jit(jax.vmap(rates))(temperatures)
    for i, temperature in enumerate(temperatures):
        np.testing.assert_allclose(batch[i], rates(temperature), rtol=1e-14)
    slope = jax.jacfwd(rates)(50.0)
    k = rates(50.0)
    logarithmic = [-0.5 / 50 + 30 / 50**2, 0.0, 400 / 50**2, 0.0, -100 / 50**2]
    np.testing.assert_allclose(slope, k * jnp.array(logarithmic), rtol=1e-13)


def test_rates_keep_full_precision():
    """Parameters stay float64, bit for bit what the file says."""
    network = small("A -> B ; 0.1\nB -> A ; 1.2345678901234567e-10")
    assert [float(v) for v in network.rates()] == [0.1, 1.2345678901234567e-10]


# Checks


def test_check_unbalanced_names_the_elements():
    network = small("A -> B ; 1\nB -> A ; 1", "A = C2H4\nB = CH3+")
    first, second = network.check()
    assert first.startswith("unbalanced: reaction 0 'A -> B'")
    assert all(part in first for part in ("C -1", "H -1", "charge +1"))
    assert all(part in second for part in ("C +1", "H +1", "charge -1"))
    assert list(network.unbalanced()) == [0, 1]


def test_check_leaves_out_elements_that_the_mechanism_does_not_balance():
    network = small("A -> B ; 1\nB -> A ; 1", "A = CH4\nB = CO", "balanced = C\n")
    assert network.elements == ("C", "H", "O") and network.balanced == ("C",)
    assert network.check() == []
    assert len(small("A -> B ; 1\nB -> A ; 1", "A = CH4\nB = CO").check()) == 2


def test_composition_keeps_elements_that_are_not_balanced():
    network = jaxchem.load("pollu")
    pan = network.composition[:, network.index("PAN")]
    counts = dict(zip(network.elements, pan, strict=True))
    assert counts == {"C": 2, "H": 3, "N": 1, "O": 5, "S": 0}


def test_check_fractional_balance():
    assert small("A -> 0.5 B ; 1\nB -> 2 A ; 1", "A = C\nB = C2").check() == []
    assert small("A -> 0.4 B ; 1\nB -> 2 A ; 1", "A = C\nB = C2").unbalanced().keys() == {0}


def test_check_duplicate():
    network = small("2 A -> A + B ; 1e-12\nB -> A ; 1\nA + A -> B + A ; 3e-12")
    (problem,) = network.check()
    assert problem.startswith("duplicate: reactions 0 and 2 are both '2 A -> ")


def test_check_pooled_reaction_is_no_duplicate():
    network = small("A -> B ; 1\nB -> A ; 1\nA -> B ; 3e-12 * P", extra="[pools]\nP = A + B\n")
    assert network.check() == []


def test_check_sink_and_unused():
    network = small("A -> B ; 1", "A = C\nB = C\nD = C")
    assert network.check() == [
        "no source: no reaction makes species 'A', and it has no initial concentration.",
        "sink: no reaction consumes species 'B'.",
        "unused: no reaction touches species 'D'.",
    ]


def test_check_undeclared():
    """A species without composition is reported, and its reactions are not called unbalanced."""
    network = small("A -> dummy ; 1\ndummy -> 2 A ; 1", "A = C\ndummy")
    assert network.check() == ["undeclared: no known composition of dummy."]


def test_strict_load_raises_and_default_warns(tmp_path):
    path = tmp_path / "broken.txt"
    body = "[species]\nA = C\nB = C2\n[sources]\nS = x\n[reactions]\n"
    path.write_text(HEADER + body + "A -> B ; 1 ; S\n")
    with pytest.raises(ValueError, match=r"broken\.txt.*unbalanced: reaction 0 'A -> B'.*C \+1"):
        jaxchem.load(path, strict=True)
    with pytest.warns(UserWarning, match=r"broken\.txt.*unbalanced") as caught:
        network = jaxchem.load(str(path))
    assert len(caught) == 1 and caught[0].filename == __file__
    assert network.equations == ("A -> B",)


def test_warning_of_many_unbalanced_reactions_is_short(tmp_path):
    path = tmp_path / "broken.txt"
    body = "[species]\nA = C\nB = C2\n[sources]\nS = x\n[reactions]\n"
    path.write_text(HEADER + body + "A -> B ; 1 ; S\n" * 8)
    with pytest.warns(UserWarning, match=r"and 3 more; see network\.check"):
        jaxchem.load(path)


# Building


@pytest.mark.parametrize(
    "reactions, pools, words",
    [
        ([], None, "no reactions"),
        ([reaction({"A": 1}, {"Bb": 1.0})], None, "'Bb'.*'A -> Bb'.*did you mean 'B'"),
        ([reaction({"A": 1}, {"B": 1.0}, "arrenius(1)")], None, "unknown rate law 'arrenius'"),
        ([reaction({"A": 1}, {"B": 1.0}, "2 * P")], None, "'P', which is nothing"),
        ([reaction({"A": 1}, {"B": 1.0}, "2 * PQ")], {"PP": ["A"]}, "'PQ', which is nothing"),
        ([reaction({"A": 1}, {"B": 1.0})], {"P": ["A", "Z"]}, "'Z' in pool 'P'"),
        ([reaction({"A": 1}, {"B": 1.0})], {"P": {"A": 1, "Z": 2}}, "'Z' in pool 'P'"),
        (
            [reaction({"A": 1}, {"B": 1.0})],
            {"P": {"A": 1, "B": 0}},
            "pool 'P' .*of 'B' is 0;",
        ),
        ([reaction({"A": 1}, {"B": 1.0})], {"P": {"A": math.inf}}, "weight of 'A' is inf"),
        ([reaction({"A": 1}, {"B": 1.0})], {"P": {"A": math.nan}}, "weight of 'A' is nan"),
        ([reaction({"A": 1}, {"B": 1.0})], {"P": {}}, "pool 'P' .*has no species"),
    ],
)
def test_build_refuses(reactions, pools, words):
    with pytest.raises(ValueError, match=words):
        Network.build(
            name="small",
            species=units("A", "B"),
            reactions=reactions,
            units=Units("1", "s"),
            pools=pools,
        )


def test_build_refuses_to_balance_an_absent_element():
    with pytest.raises(ValueError, match=r"balanced elements \(.*line \d+\): no species has 'Zn'"):
        small("A -> B ; 1", extra="balanced = C Zn\n")


def test_structure_is_equal_by_content():
    """Networks that differ in rates alone have one structure; another reaction is another."""
    one, same = (small(f"A -> B ; {k}\nB -> A ; 1") for k in (2, 3))
    other = small("A -> B ; 2\nB -> 2 A ; 1")
    assert one.structure == same.structure and hash(one.structure) == hash(same.structure)
    assert one.structure != other.structure
    with pytest.raises(ValueError, match="read-only"):
        one.stoichiometry[0, 0] = 5.0


def test_network_is_a_pytree_of_its_rate_parameters():
    network = table.loads(HEADER + LAWS)
    leaves = jax.tree.leaves(network)
    assert sum(leaf.size for leaf in leaves) == 3 + 1 + 3 + 1 + 2
    doubled = eqx.tree_at(
        lambda n: n.laws[0].numbers, network, replace_fn=lambda a: a * [[2], [1], [1]]
    )
    before = network.rates(temperature=50.0, cosmic_ray_rate=1e-16)
    after = doubled.rates(temperature=50.0, cosmic_ray_rate=1e-16)
    np.testing.assert_allclose(after, before * jnp.array([2.0, 1, 1, 1, 1]), rtol=1e-15)


def test_weights_of_one_are_a_plain_pool():
    """Same structure, so that what is compiled and what is stored fits both."""
    one, same, other = (
        Network.build(
            name="small",
            species=units("A", "B"),
            reactions=[reaction({"A": 1}, {"B": 1.0}, "2 * P")],
            units=Units("1", "s"),
            pools={"P": pool},
        )
        for pool in (["B", "A"], {"A": 1, "B": 1.0}, {"A": 1, "B": 2.0})
    )
    assert one.structure == same.structure and one.structure != other.structure


def test_a_pool_names_each_species_once(tmp_path):
    path = tmp_path / "twice.txt"
    lines = ["name = twice", "units = 1, s", "[species]", "A = C", "B = C", "[pools]"]
    lines += ["P = A + B + B", "[sources]", "S = No (1900)", "[reactions]", "A -> B ; 2 * P ; S"]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=r"twice.txt, line 7: pool 'P' names a species twice"):
        jaxchem.load(path)


def test_plain_numbers_compile_nothing(caplog):
    """Arithmetic of numbers is NumPy's; of JAX's arrays, traced or not, it is the same."""
    rates = [f"{n}.5e-12 * exp(-{n}0 / temperature) / (1 + F * {n})" for n in range(1, 7)]
    network = Network.build(
        name="plain",
        species=dict.fromkeys("AB"),
        reactions=[Reaction({"A": 1}, {"B": 1}, rate, "") for rate in (*rates, "F", "max(F, 2)")],
        units=Units("molecule cm-3", "s"),
        quantities={"F": "(temperature / 300) ** -1.5 * min(density, 3e19) * 1e-19"},
    )
    given = {"temperature": 271.0, "density": 2.4e19}
    with jax.log_compiles(), caplog.at_level("WARNING"):
        found = network.rates(**given)
        start = network.y0({"A": 2.0, "B": 3})
    made = set(re.findall(r"Compiling jit\((\w+)\)", caplog.text))
    assert made <= {"stage"}  # JAX's own, for what becomes an array
    np.testing.assert_array_equal(start, [2.0, 3.0])
    factor = (271 / 300) ** -1.5 * 2.4
    expected = [(n + 0.5) * 1e-12 * np.exp(-10 * n / 271) / (1 + factor * n) for n in range(1, 7)]
    for k in (
        found,
        network.rates(**{n: jnp.asarray(v) for n, v in given.items()}),
        jax.jit(lambda given: network.rates(**given))(given),
    ):
        assert isinstance(k, jax.Array) and k.dtype == jnp.float64
        np.testing.assert_allclose(k, [*expected, factor, max(factor, 2)], rtol=1e-14)


def test_start_states_of_what_is_traced():
    network = table.loads(HEADER + LAWS)
    names = network.species
    made = jax.jit(lambda a, rest: network.y0({names[0]: a, names[1]: 2}, rest))
    expected = np.full(len(names), 1.0)
    expected[:2] = 3.0, 2.0
    for rest in (jnp.float32(1), jnp.int32(1), 1.0):
        found = made(3, rest)
        assert found.dtype == jnp.float64
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("value", [None, "0.1", b"1"])
def test_a_quantity_that_is_no_number(value):
    network = Network.build(
        name="one",
        species=dict.fromkeys("AB"),
        reactions=[Reaction({"A": 1}, {"B": 1}, "J1", "")],
        units=Units("molecule cm-3", "s"),
        quantities={"J1": None},
    )
    with pytest.raises(ValueError, match=r"J1 is .*; give a number"):
        network.rates(quantities={"J1": value})


def test_structures_are_equal_whatever_scipy_makes_of_their_places():
    old = table.loads(HEADER + LAWS).structure
    other = old.stoichiometry.copy()
    other.indices, other.indptr = other.indices.astype(np.int32), other.indptr.astype(np.int64)
    parts = (old.pools, old.pool_of, old.composition)
    assert Structure(old.reactants, other, *parts) == old
