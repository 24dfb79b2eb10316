"""Settings and levels of theory, as the outputs of real codes say them."""

from __future__ import annotations

from pathlib import Path

import ase.test
import pytest

from mlff_probes.cases.importers.codes import ase_results, cp2k, vasp
from mlff_probes.cases.importers.codes.stated import Settings
from mlff_probes.cases.importers.settings import common_settings, differences, read_settings
from mlff_probes.core.errors import InputError

DATA = Path(__file__).parents[1] / "data"
OF_ASE = Path(ase.test.__file__).parent / "testdata" / "vasp"


@pytest.mark.parametrize(
    ("file", "level", "said"),
    [
        (
            OF_ASE / "OUTCAR_example_1",
            "PBE",
            "VASP 5.3.3, PBE, ENCUT 300 eV, ISPIN 2, PREC Accurate, ISMEAR 1, SIGMA 0.1",
        ),
        (
            OF_ASE / "vasprun_dfpt.xml",
            "PBE",
            "VASP 6.3.2, PBE, ENCUT 400 eV, ISPIN 1, PREC Accurate, ISMEAR 0, SIGMA 0.1",
        ),
        (OF_ASE / "vasprun_pstress.xml", "LDA", "k-points 4 4 4, POTCAR PAW C 22Mar2012"),
        (
            DATA / "espresso" / "d3.out.gz",
            "PBE+D3(BJ)",
            "Quantum ESPRESSO 6.7MaX, PBE+D3(BJ), ecutwfc 15 Ry, ecutrho 60 Ry",
        ),
        (DATA / "espresso" / "u.out.gz", "PBE+U", "PBE+U, U of H s 2.5 eV"),
        (DATA / "espresso" / "hyb.out.gz", "HSE06", "HSE06"),
        (DATA / "cp2k" / "pbesol_d3.out.gz", "PBEsol+D3(BJ)", "CP2K 2023.1, PBEsol+D3(BJ)"),
        (DATA / "cp2k" / "pbesol_d3.inp", "PBEsol+D3(BJ)", "basis of H SZV-MOLOPT-GTH"),
        (DATA / "gpaw" / "image_0.txt.gz", "PBE", "GPAW 22.8.0, PBE, spin polarised, cutoff 150 eV, smearing 0.1 eV"),
        (DATA / "gpaw" / "neb.traj", "PBE", "GPAW, PBE, kpts 1 1 1, mode ecut=150 name=pw"),
        (DATA / "gpaw" / "h.gpw", "RPBE", "GPAW 22.8.0, RPBE, mode ecut=80 name=pw"),
        (DATA / "espresso" / "pw" / "h_9.out.gz", "PBE", "k-points 1 1 1 0 0 0"),
        (Path(__file__), "", ""),
    ],
    ids=lambda given: given.name if isinstance(given, Path) else "",
)
def test_what_an_output_says_of_how_it_was_computed(file, level, said):
    found = read_settings(file)
    assert found.level == level
    assert said in str(found)


def test_output_and_input_of_one_run_say_the_same():
    output, given = (read_settings(DATA / "cp2k" / f"pbesol_d3.{end}").compared for end in ("out.gz", "inp"))
    assert not differences({"a": Settings(details=output), "b": Settings(details=given)})
    assert len(set(output) & set(given)) >= 6


PBE = {"GGA": "PE", "LDAUTYPE": "2"}


@pytest.mark.parametrize(
    ("tags", "level"),
    [
        ({"GGA": "--", "LEXCH": "8"}, "PBE"),
        ({"GGA": "PS"}, "PBEsol"),
        ({"METAGGA": "R2scan"}, "r2SCAN"),
        ({"GGA": "PE", "METAGGA": "F"}, "PBE"),
        (PBE | {"IVDW": "12"}, "PBE+D3(BJ)"),
        (PBE | {"IVDW": "11"}, "PBE+D3(0)"),
        (PBE | {"LDAU": "T", "LDAUL": "2 -1", "LDAUU": "5.3 0.0", "LDAUJ": "0 0"}, "PBE+U"),
        (PBE | {"LDAU": "T", "LDAUL": "2 -1", "LDAUU": "0.0 0.0", "LDAUJ": "0 0"}, "PBE"),
        (PBE | {"LDAU": "T", "LDAUL": "2 -1", "LDAUU": "4 0", "LDAUJ": "0 0", "IVDW": "13"}, "PBE+U+D4"),
        ({"GGA": "ML", "LUSE_VDW": "T"}, "vdW-DF2"),
        ({"METAGGA": "R2SCAN", "LUSE_VDW": ".TRUE."}, "r2SCAN+rVV10"),
        (PBE | {"LHFCALC": "T", "AEXX": "0.25", "HFSCREEN": "0.2"}, "HSE06"),
        (PBE | {"LHFCALC": "T", "AEXX": "0.3", "HFSCREEN": "0.2"}, ""),
        (PBE | {"METAGGA": "MBJ"}, ""),
        (PBE | {"ML_LMLFF": ".TRUE."}, ""),
        (PBE | {"ML_LMLFF": "F"}, "PBE"),
        ({}, ""),
    ],
)
def test_levels_of_vasp(tags, level):
    assert vasp.from_tags(tags).level == level


def test_a_u_is_named_by_element_and_orbital():
    tags = PBE | {"LDAU": "T", "LDAUL": "3 -1", "LDAUU": "5.5 0.0", "LDAUJ": "1.0 0.0"}
    found = vasp.from_tags(tags, potentials=["PAW_PBE U 06Sep2000", "PAW_PBE O_s 07Sep2000"])
    assert found.hubbard_u == {"U f": "4.5"}
    echoed = [
        " vasp.6.3.0 20Jan22\n",
        "   TITEL  = PAW_PBE U 06Sep2000\n",
        " LDA+U is selected, type is set to LDAUTYPE =  2\n",
        "   angular momentum for each species LDAUL =     3   -1\n",
        "   U (eV)           for each species LDAUU =   5.5  0.0\n",
        "   J (eV)           for each species LDAUJ =   1.0  0.0\n",
        "   GGA     =    PE    GGA type\n",
        " IVDW         = 11\n",
        "  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n",
        " IVDW         = 12\n",
    ]
    assert (vasp.outcar(echoed).hubbard_u, vasp.outcar(echoed).level) == ({"U f": "4.5"}, "PBE+U+D3(0)")


@pytest.mark.parametrize(
    ("lines", "level"),
    [
        ("&XC\n &XC_FUNCTIONAL PBE\n &END\n&END", "PBE"),
        ("&XC\n &XC_FUNCTIONAL ! as usual\n  &pbe\n   parametrization revpbe\n  &END\n &END\n&END", "revPBE"),
        ("&XC\n&XC_FUNCTIONAL\n&MGGA_X_R2SCAN\n&END\n&MGGA_C_R2SCAN\n&END\n&END\n&END", "r2SCAN"),
        ("&XC\n&XC_FUNCTIONAL\n&BECKE97\n&END\n&END\n&END", ""),
        ("&XC\n&XC_FUNCTIONAL PBE\n&END\n&VDW_POTENTIAL\nDISPERSION_FUNCTIONAL NON_LOCAL\n&END\n&END", ""),
    ],
)
def test_levels_of_cp2k(lines, level):
    assert cp2k.input_file(lines.splitlines()).level == level


def test_what_no_level_names_gives_none():
    assert ase_results.from_parameters("vasp", {"xc": "pbe", "encut": 400}).level == "PBE"
    assert ase_results.from_parameters("vasp", {"xc": "pbe", "ivdw": 12}).level == ""
    assert ase_results.from_parameters("vasp", {"xc": "pbe", "metagga": "R2SCAN"}).level == ""
    assert ase_results.from_parameters("gpaw", {"xc": "PBE", "setups": {"Ni": ":d,6.0"}}).level == ""
    assert ase_results.from_parameters("cp2k", {"xc": "PBE", "inp": "&DFT\n&XC\n&VDW_POTENTIAL\n"}).level == ""
    assert ase_results.from_parameters("dftd3", {"xc": "pbe", "damping": "bj"}).level == ""
    assert ase_results.from_parameters("emt", {}).level == ""


SILICON = {
    name: vasp.from_tags({"GGA": "PS", "PREC": prec, "SIGMA": sigma, "ENCUT": "680"}, mesh="2 2 2")
    for name, prec, sigma in (("00", "accura", "0.069"), ("01", "normal", "0.05"), ("02", "normal", "0.05000"))
}
"""A published band of a vacancy in silicon, whose ends and inner images were computed differently."""


def test_mixed_settings_are_refused_with_a_table_of_the_differences():
    with pytest.raises(InputError, match="different settings") as caught:
        common_settings(SILICON, "neb")
    rows = [line.split() for line in str(caught.value).splitlines()[1:5]]
    assert rows == [
        ["PREC", "Accurate", "00"],
        ["PREC", "Normal", "01,", "02"],
        ["SIGMA", "0.069", "eV", "00"],
        ["SIGMA", "0.05", "eV", "01,", "02"],
    ]


def test_what_is_allowed_to_differ_is_left_out_of_what_all_have():
    found, table = common_settings(SILICON, "neb", allow_mixed=True)
    assert "SIGMA" in table
    assert found.details == {"ENCUT": "680 eV", "k-points": "2 2 2"}
    other = {**SILICON, "02": vasp.from_tags({"GGA": "PE"})}
    with pytest.raises(InputError, match=r"different levels of theory; [^\n]+\n  functional +PBEsol"):
        common_settings(other, "neb", allow_mixed=True)


def test_versions_may_differ_and_outputs_that_say_nothing_are_no_difference():
    one, two = (vasp.from_tags(PBE, version=version) for version in ("6.3.2", "6.4.2"))
    found, table = common_settings({"00": one, "01": two, "02": Settings()}, "neb")
    assert (found.level, table) == ("PBE", "")
    assert common_settings({"00": Settings()}, "neb") == (Settings(), "")


def test_a_number_of_k_points_is_in_words():
    said = [str(Settings(code="VASP", details={"k-points": text})) for text in ("1 points", "4 points", "2 2 1")]
    assert said == ["VASP, 1 k-point", "VASP, 4 k-points", "VASP, k-points 2 2 1"]
