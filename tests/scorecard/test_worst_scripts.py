"""The script beside the worst example of a broken law prints the deviation that the scorecard says."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path

import ase.io
import faults
import numpy as np
import pytest
from faults import load
from sound import Sound
from support import NUMBER, printed

from mlff_probes.calculators.base import Calculator
from mlff_probes.calculators.registry import load_calculator
from mlff_probes.cases.load import load_cases
from mlff_probes.core.data import DIRECTORY
from mlff_probes.core.records import ProbeResult, State, Verdict
from mlff_probes.measure import BY_KIND
from mlff_probes.measure.laws.derivatives import FORCE, STRESS
from mlff_probes.measure.laws.wall import WALL_EV, wall_height
from mlff_probes.scorecard.model import RunOptions, Scorecard
from mlff_probes.scorecard.reports.worst import TEMPLATES, script_of, write_worst
from mlff_probes.session.suite import Suite

PACKAGE = {case.protocol.kind: case for case in load_cases([DIRECTORY]) if case.family == "physicality"}
FACTORY = """from faults import ELEMENTS, Chiral


def make():
    model = Chiral()
    model.elements = ELEMENTS
    return model
"""


def broken(calculator: Calculator, kind: str, folder: Path) -> dict[str, tuple[Path, float]]:
    """The script of each quantity that fails, and the deviation."""
    protocol = BY_KIND[kind].protocol(kind=kind, examples=6)
    suite = Suite([calculator], [replace(PACKAGE[kind], protocol=protocol, frames=())])
    results = [suite.result(request) for request in suite.requests(kind)]
    card = Scorecard.build(
        calculators=[calculator.identity], cases=suite.cases, results=results,
        measurements=suite.measurements.values(), selected=len(results), measured_s=0.0,
        options=RunOptions(tier="quick", strict=False, any_level_of_theory=False),
    )  # fmt: skip
    scripts = [path for path in write_worst(card, folder) if path.suffix == ".py"]
    values = {row.quantity: row.measured.value for row in results}
    return {(quantity := script.stem.rpartition("-")[2]): (script, values[quantity]) for script in scripts}


def said(kind: type[Sound], law: str, quantity: str, folder: Path) -> tuple[str, float]:
    """What the script of a fault prints, its calculator filled in as the script asks, and the deviation."""
    script, value = broken(load(kind), law, folder)[quantity]
    text, filled = re.subn(
        r"raise SystemExit\(.*\)", f"from faults import {kind.__name__}, load\n\ncalculator = load({kind.__name__})",
        script.read_text(),
    )  # fmt: skip
    assert filled == 1
    script.write_text(text)
    return printed(script, folder), value


def last(pattern: str, text: str) -> float:
    return float(re.findall(pattern, text)[-1])


NAMED_WHOLE = ("force_consistency", "stress_consistency", "energy_jump", "force_jump", "wall_deficit", "stated_level")


@pytest.mark.parametrize(
    "quantity", [name if name in NAMED_WHOLE else f"{name}_force" for name in ("rotation", *TEMPLATES)]
)
def test_every_script_imports_what_it_uses_and_no_more(quantity):
    row = ProbeResult(
        calculator="<a> & {b}", family="physicality", case="law", quantity=quantity,
        measured=None, expectation=None, verdict=Verdict(state=State.FAILED),
    )  # fmt: skip
    example = {"value": 1.23456e-5, "unit": "meV/atom", "says": "worst of 3 < 4 & {{ 5 }}", "changes": {"mode": None}}
    script = script_of(row, example, load_calculator("ase:EMT").identity)
    assert script.startswith(
        f'"""The worst example of {quantity} for <a> & {{b}}: 1.235e-05 meV/atom.\n\nWorst of 3 < 4 & '
    )
    nodes = list(ast.walk(ast.parse(script)))
    imports = [a for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for a in node.names]
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    assert {(a.asname or a.name).partition(".")[0] for a in imports} <= used
    assert used & {"np", "GPa", "replace", "voigt_6_to_full_3x3_stress"} <= {a.asname or a.name for a in imports}


def test_a_symmetry(tmp_path):
    out, value = said(faults.Chiral, "symmetry", "reflection_energy", tmp_path)
    assert abs(last(rf"eV/atom: {NUMBER} meV/atom", out)) == pytest.approx(value, rel=1e-3)


def test_a_symmetry_of_the_forces_with_the_calculator_loaded_by_its_spec(tmp_path, monkeypatch):
    (tmp_path / "calc.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    script, value = broken(load_calculator("py:./calc.py:make"), "symmetry", tmp_path / "worst")["reflection_force"]
    assert last(rf"off by {NUMBER} meV/A", printed(script, tmp_path)) == pytest.approx(value, rel=1e-3)


@pytest.mark.parametrize(
    ("kind", "quantity", "scale"),
    [(faults.ForceHead, "force_consistency", 1e3), (faults.StressSign, "stress_consistency", 1.0)],
)
def test_a_derivative(kind, quantity, scale, tmp_path):
    out, value = said(kind, "derivatives", quantity, tmp_path)
    by_energy = float(out.splitlines()[-2].split()[1])
    by_model = last(rf"by the \w+ {NUMBER}", out)
    # what is judged is what exceeds the uncertainty of the derivative
    assert (
        value - 1e-3
        <= abs(by_energy - by_model) * scale
        <= value + (FORCE if "force" in quantity else STRESS).coarse["float64"]
    )


@pytest.mark.parametrize(("kind", "what"), [(faults.EnergyJump, "energy"), (faults.ForceJump, "force")])
def test_a_jump(kind, what, tmp_path):
    out, value = said(kind, "smoothness", f"{what}_jump", tmp_path)
    assert last(rf"the {what} jumps by {NUMBER}", out) == pytest.approx(value, rel=1e-2)


def test_a_wall(tmp_path):
    out, value = said(faults.AttractiveCore, "short_range_wall", "wall_deficit", tmp_path)
    energies = np.array([float(line.split()[1]) for line in out.splitlines()[1:]])
    assert WALL_EV - wall_height(energies) == pytest.approx(value, abs=1e-3)


@pytest.mark.parametrize(
    ("kind", "what", "one", "other"),
    [
        (faults.SecondThoughts, "repeat", 0, 1),
        (faults.Memory, "history", 2, 3),
        (faults.FirstCall, "first_call", 0, 4),
        (faults.Batched, "batch", 0, 1),
        (faults.SinglePrecision, "float32", 0, 1),
    ],
)
def test_the_same_structure_again(kind, what, one, other, tmp_path):
    out, value = said(kind, "reproducibility", f"{what}_energy", tmp_path)
    script = tmp_path / f"{faults.slug(kind)}-{PACKAGE['reproducibility'].id}-{what}_energy.extxyz"
    at = 1 if what in ("repeat", "history") else 0  # of the frames: what comes before is the first
    atoms = ase.io.read(script, at)
    energies = [float(found) for found in re.findall(rf": {NUMBER} eV", out)]
    off = abs(energies[other] - energies[one]) / len(atoms) * 1e3
    assert off == pytest.approx(value, rel=0.01, abs=2e-6)


def test_scripts_of_an_earlier_run_are_removed(tmp_path):
    found = broken(load(faults.Chiral), "symmetry", tmp_path)
    (tmp_path / "mine.py").write_text("print('stays')\n")
    assert set(found) == {"reflection_energy", "reflection_force"}
    assert broken(load(), "symmetry", tmp_path) == {}
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]
