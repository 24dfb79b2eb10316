"""What made the references makes them: geometries are built anew, and each case names how it was computed."""

from __future__ import annotations

import runpy
import tomllib

import ase.io
import numpy as np
import pytest
from support import CASES as SHIPPED
from support import ROOT

from mlff_probes.calculators.calc_file import CalculatorFile
from mlff_probes.core.toml import read_toml, validated

GENERATE = ROOT / "reference" / "generate"
CASES = runpy.run_path(str(GENERATE / "frames.py"))["CASES"]
CHECK = runpy.run_path(str(GENERATE / "check.py"))
MAKE = runpy.run_path(str(GENERATE / "calculators" / "cp2k.py"))

OURS = {f"{case.family}/{case.id}" for case in SHIPPED if case.stored is not None and "CP2K" in case.source}


@pytest.mark.parametrize("name", sorted(CASES))
def test_frames_are_built_as_they_are_stored(name):
    stored, built = ase.io.read(ROOT / "reference" / f"{name}.extxyz", ":"), list(CASES[name]())
    for frames in (stored, built):  # whose order in a file means nothing
        frames.sort(key=lambda frame: (round(frame.info["slide"], 5), round(frame.info["gap"], 5)))
    assert len(built) == len(stored)
    for mine, theirs in zip(built, stored, strict=True):
        assert list(mine.symbols) == list(theirs.symbols)
        assert np.allclose(mine.cell.array, theirs.cell.array, atol=1e-9)
        assert np.allclose(mine.positions, theirs.positions, atol=2e-8)
        assert {key: mine.info[key] for key in ("slide", "gap")} == pytest.approx(
            {key: theirs.info[key] for key in ("slide", "gap")}
        )


def test_every_case_that_we_computed_is_checked_and_says_how():
    others = {name for name in OURS if name.startswith(("parity/", "representation/"))}  # the frames of the others
    assert set(CHECK["CALCULATORS"]) == OURS - others
    for name, (calculator, frame) in CHECK["CALCULATORS"].items():
        said = validated(CalculatorFile, read_toml(file := GENERATE / "calculators" / f"{calculator}.toml"), file)
        frames = ase.io.read(ROOT / "reference" / f"{name}.extxyz", ":")
        assert set(frames[frame].symbols) == set(said.arguments["elements"])


def test_the_input_of_cp2k_says_what_the_calculator_file_does(monkeypatch):
    made = {}
    monkeypatch.setitem(MAKE["make"].__globals__, "CP2K", lambda **arguments: made.update(arguments))
    table = tomllib.loads((GENERATE / "calculators" / "cr_sb2te3_paths.toml").read_text())
    MAKE["make"](**table["arguments"])
    for line in (
        "SCHEME MACDONALD 2 2 2 0.25 0.25 0.25",
        "MULTIPLICITY 5",
        "MAGNETIZATION 4.0",
        "[K] 1160",
        "GTH-PBE-q14",
    ):
        assert line in made["inp"]


def test_without_cp2k_it_is_said_and_skipped(monkeypatch, capsys):
    monkeypatch.setattr(CHECK["shutil"], "which", lambda _: None)
    assert CHECK["main"]([]) == 0
    assert capsys.readouterr().out == "skipped: cp2k.psmp is not installed (Debian: apt install cp2k)\n"
