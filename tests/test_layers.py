"""Imports run one way, and a run that does not use the suite pays nothing for it."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import mlff_probes

PACKAGE = Path(mlff_probes.__file__).parent

ROOMS = (
    ("core",),
    ("calculators",),
    ("methods",),
    ("measure",),
    ("cases", "scorecard"),
    ("session",),
    ("plugin", "cli"),
)
"""From below to above: a room imports from itself and from those below it; two that stand beside each other do not
import each other. This is the only place that states the order."""

LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}


def files() -> list[Path]:
    """The modules of the package; the probes and the references, which are links, are not among them."""
    links = {PACKAGE / "probes", PACKAGE / "reference"}
    return sorted(f for f in PACKAGE.rglob("*.py") if not links & set(f.parents))


def name_of(file: Path) -> str:
    """The dotted name of a module."""
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(file): file for file in files()}


def imported(file: Path) -> set[str]:
    """The modules of the package that a file imports anywhere: lazily, and for type checking alone, too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: a relative import hides the room it is from"
            assert node.module is not None
            found |= {name if (name := f"{node.module}.{a.name}") in MODULES else node.module for a in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name in MODULES} - {name_of(file)}


def room_of(module: str) -> str:
    """The room that a module stands in; empty for the package itself."""
    return module.split(".")[1] if "." in module else ""


def test_there_are_seven_rooms_and_nothing_loose_beside_them():
    found = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if not path.name.startswith("__")}
    assert found == {*LEVEL, "probes", "reference", "py.typed"}


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {"mlff_probes"}))
def test_imports_run_one_way(module):
    room = room_of(module)
    assert room in ("plugin", "cli") or "mlff_probes" not in imported(MODULES[module]), "the package itself is above"
    for other in filter(None, map(room_of, imported(MODULES[module]))):
        assert other == room or LEVEL[other] < LEVEL[room], f"{module} in {room} must not import {other}"


def test_no_module_imports_itself_by_way_of_others():
    sorter = graphlib.TopologicalSorter({name: imported(file) for name, file in MODULES.items()})
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_the_probes_import_no_room():
    found = sorted((PACKAGE / "probes").glob("*.py"))
    assert found
    for file in found:
        assert not imported(file), file.name


def test_the_plugin_imports_only_the_standard_library_and_pytest():
    code = (
        "import sys; import pytest; before = set(sys.modules)\n"
        "import mlff_probes.plugin\n"
        "print(*sorted({m.partition('.')[0] for m in set(sys.modules) - before}))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set(found) - set(sys.stdlib_module_names) == {"mlff_probes"}


def test_judge_measures_nothing_and_measure_knows_no_pytest():
    assert imported(PACKAGE / "core" / "judge.py") == {"mlff_probes.core.records"}
    for room in ("core", "calculators", "methods", "measure", "cases", "scorecard"):
        for file in (PACKAGE / room).rglob("*.py"):
            roots = {name.partition(".")[0] for name in foreign(file)}
            assert "pytest" not in roots, file


def foreign(file: Path) -> set[str]:
    """All that a file imports, of any package."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    names = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return names | {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}


OF_BANDS = {"methods.bands.optimizer", "methods.bands.saddle"}
COPY_ARRAYS = OF_BANDS | {"methods.simulation.recorder", "methods.simulation.torch_engine"}
"""Where `.copy()` is that of an array: these modules make no structure."""


@pytest.mark.parametrize(
    "module", sorted(name.removeprefix("mlff_probes.") for name in MODULES if room_of(name) in ("methods", "measure"))
)
def test_one_module_makes_and_copies_structures(module):
    """Whatever a model may read of a structure is then carried everywhere, or said to be dropped."""
    for node in ast.walk(ast.parse(MODULES[f"mlff_probes.{module}"].read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        said = f"{module}:{node.lineno}: use mlff_probes.core.structures"
        assert getattr(node.func, "id", "") != "Atoms", said
        name, owner = getattr(node.func, "attr", ""), getattr(getattr(node.func, "value", None), "id", "")
        assert name not in ("repeat", "deepcopy", "Atoms") or owner == "np", said
        assert name != "copy" or module in COPY_ARRAYS, said


def test_core_knows_no_torch():
    for file in (PACKAGE / "core").rglob("*.py"):
        assert "torch" not in {name.partition(".")[0] for name in foreign(file)}, file


def test_public_names_are_what_they_say():
    for name in mlff_probes.__all__:
        assert getattr(mlff_probes, name) is not None
    assert mlff_probes.evaluate.__module__ == "mlff_probes.calculators.evaluation"
    assert set(mlff_probes.__all__) == set(dir(mlff_probes))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = mlff_probes.no_such_name
