"""What species are made of, told from outside; what reactions leave unwritten."""

import numpy as np
import pytest

import jaxchem

FAC = """* an acyl radical that loses carbon dioxide, with codes for names ;
VARIABLE
 CO OH HO2 ACO3 MEO2 PAN NO2 ;
RO2 = ACO3 + MEO2 ;
% 2.4D-13 : CO + OH = HO2 ;
% 1.0D-11*RO2 : ACO3 = MEO2 ;
% 1.0D-12 : ACO3 + NO2 = PAN ;
% 3.0D-4 : PAN = ACO3 + NO2 ;
% 1.0D-5 : MEO2 = ;
"""
SPC = """#DEFVAR
CO   = C + O;      { carbon monoxide }
OH   = O + H;
HO2  = H + 2O;
NO2  = N + 2O;
ACO3 = 2C + 3H + 3O;
PAN  = 2C + 3H + N + 5O;
MEO2 = C + 3H + 2O;
CO2  = C + 2O;
OTHER = IGNORE;
"""


@pytest.fixture
def files(tmp_path):
    mechanism, species = tmp_path / "small.fac", tmp_path / "small.spc"
    mechanism.write_text(FAC)
    species.write_text(SPC)
    return mechanism, species


def test_carbon_is_closed_by_what_is_unwritten(files):
    path, species = files
    plain = jaxchem.load(path)
    assert plain.elements == () and len(plain.undeclared) == 7
    told = jaxchem.load(path, composition=[species])
    assert told.undeclared == () and told.balanced == ("N",)
    network = jaxchem.load(path, composition=[species], closing={"C": "CO2"})
    assert network.species == (*plain.species, "CO2") and network.balanced == ("C", "N")
    assert network.equations[0] == "CO + OH -> HO2 + CO2"
    assert network.equations[1].startswith("ACO3 -> MEO2 + CO2")
    assert network.equations[2] == plain.equations[2]
    assert network.equations[4].split("->")[1].split() == ["CO2"]
    made = dict(zip(network.equations, network.stoichiometry[-1], strict=True))
    assert list(made.values()) == [1, 1, 0, 0, 1]
    # what reacts, and how fast, is as before
    y0 = {"CO": 1e12, "OH": 1e6, "ACO3": 1e9, "NO2": 1e10}
    ts = np.array([10.0, 1e4])
    ys = [
        np.asarray(jaxchem.solve(n, n.rates(temperature=290.0), n.y0(y0), ts).ys)
        for n in (plain, network)
    ]
    np.testing.assert_allclose(ys[1][:, :7], ys[0], rtol=1e-6, atol=1e-9)
    carbon = np.array([network.composition[network.elements.index("C")]])
    np.testing.assert_allclose(ys[1] @ carbon.T, 1e12 + 2e9, rtol=1e-9)
    # and is kept
    again = jaxchem.parse.table.loads(jaxchem.parse.table.dumps(network), "again")
    assert again.balanced == network.balanced and again.equations == network.equations
    np.testing.assert_array_equal(again.stoichiometry, network.stoichiometry)
    np.testing.assert_array_equal(again.composition, network.composition)


def test_formulas_of_ones_own_go_before(files):
    path, species = files
    network = jaxchem.load(path, composition=[species, {"MEO2": "C2H3O2"}], closing={"C": "CO2"})
    assert list(network.stoichiometry[-1]) == [1, 0, 0, 0, 2]
    assert network.equations[4].split("->")[1].split() == ["2", "CO2"]


@pytest.mark.parametrize(
    ("composition", "closing", "message"),
    [
        (["missing.spc"], None, r"composition: there is no file 'missing.spc'"),
        ([{"MEO": "CH3O"}], None, r"species 'MEO' in composition; did you mean 'MEO2'"),
        ([{"MEO2": "methyl"}], None, r"composition: 'methyl' of MEO2 is no formula"),
        ([{"MEO2": "CH3O2"}], {"C": "CO2"}, r"the composition of CO, OH, .* is not; declare it"),
        (["SPC"], {"C": "C2"}, r"'C2' has no one atom of C"),
        (["SPC"], {"S": "SO2"}, r"network 'small' has no S"),
        (["SPC", {"MEO2": "C3H3O2"}], {"C": "CO2"}, r"'ACO3 -> MEO2.*' makes 1 more C than it"),
    ],
)
def test_what_cannot_be_told(files, composition, closing, message):
    path, species = files
    told = [species if part == "SPC" else part for part in composition]
    with pytest.raises(ValueError, match=message):
        jaxchem.load(path, composition=told, closing=closing)
