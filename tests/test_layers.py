"""Imports run one way, and a run that does not use the suite pays nothing for it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mlff_probes

PACKAGE = Path(mlff_probes.__file__).parent

LAYERS = [
    {"errors"},
    {"frame_problems", "limits"},
    {"records", "protocols", "tables", "tolerances", "known_failures"},
    {"calculators", "evaluation", "frame_files", "memory", "stages", "analysis", "judge"},
    {"bands", "dynamics", "strategies"},
    {"frames", "measure"},
    {"reference", "suite", "exchange"},
    {"scorecard"},
    {
        "band",
        "selection",
        "sending",
        "progress",
        "scheduling",
        "gate",
        "probe",
        "parallel",
        "run",
        "plugin",
        "benchmark",
        "worst_frames",
        "listing",
        "cli",
    },
]
"""A room imports from its own layer and those before it."""

LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}


def imported_rooms(file: Path) -> set[str]:
    """Rooms that a file imports when it is imported itself (type checking apart)."""
    tree = ast.parse(file.read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    names = []
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{a.name}" if node.module == "mlff_probes" else node.module for a in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("mlff_probes.")} - {"__version__"}


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_run_one_way(file):
    room = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if room in ("__init__", "probes"):
        assert not imported_rooms(file), "the package and the probes themselves import no room"
        return
    for other in imported_rooms(file):
        assert LEVEL[other] <= LEVEL[room], f"{room} must not import {other}"


def test_the_plugin_imports_only_the_standard_library_and_pytest():
    code = (
        "import sys; import pytest; before = set(sys.modules)\n"
        "import mlff_probes.plugin\n"
        "print(*sorted({m.partition('.')[0] for m in set(sys.modules) - before}))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set(found) - set(sys.stdlib_module_names) == {"mlff_probes"}


def test_judge_measures_nothing_and_measure_knows_no_pytest():
    assert imported_rooms(PACKAGE / "judge.py") == {"records"}
    for file in [*(PACKAGE / "measure").glob("*.py"), *(PACKAGE / "analysis").glob("*.py")]:
        assert "pytest" not in file.read_text().replace("No pytest", "")


def test_public_names_are_what_they_say():
    for name in mlff_probes.__all__:
        assert getattr(mlff_probes, name) is not None
    assert mlff_probes.evaluate.__module__ == "mlff_probes.evaluation"
    assert set(mlff_probes.__all__) == set(dir(mlff_probes))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = mlff_probes.no_such_name
