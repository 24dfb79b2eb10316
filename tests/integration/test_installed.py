"""From the wheel, among its declared dependencies alone, the probes say what they say in the checkout."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
import zipfile
from email.parser import BytesParser
from importlib import metadata

import pytest
from outer_runs import CHECKOUT, INSTALLED, ROOT, ROUNDING, UNRELAXED, differences, scorecard_of
from packaging.requirements import Requirement
from support import STORED, STORED_QUANTITIES

from mlff_probes.measure import BY_KIND

OWN = """
import warnings

import pytest


def test_warning_is_an_error_here():
    with pytest.raises(UserWarning):
        warnings.warn("mine")
"""
HOSTILE = """
[pytest]
filterwarnings = error
python_files = check_*.py
addopts = --strict-markers --strict-config --junitxml=junit.xml
"""
WHERE = """
import importlib.util, json, mlff_probes
print(json.dumps([mlff_probes.__file__, mlff_probes.__version__, importlib.util.find_spec("xdist") is not None]))
"""


def needed(wheel, extra):
    """The installed distributions that the wheel with an extra asks for, and what these ask for in turn."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        asked = BytesParser().parsebytes(archive.read(name)).get_all("Requires-Dist")
    found, todo, seen = {}, [(asked, {extra})], set()
    while todo:
        lines, extras = todo.pop()
        for wanted in map(Requirement, lines):
            if wanted.marker and not any(wanted.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
                continue
            found[wanted.name] = metadata.distribution(wanted.name)
            if (wanted.name, *sorted(wanted.extras)) not in seen:
                seen.add((wanted.name, *sorted(wanted.extras)))
                todo.append((found[wanted.name].requires or [], wanted.extras))
    return found.values()


def link(distributions, folder):
    """A folder that holds these distributions and nothing else."""
    folder.mkdir()
    for one in distributions:
        for top in {file.parts[0] for file in one.files} - {"..", "__pycache__"}:
            if not (folder / top).exists():  # pymatgen and pymatgen-core share one
                (folder / top).symlink_to(one.locate_file(top))
    return folder


@pytest.fixture(scope="module")
def python(built, tmp_path_factory):
    """Python of an environment that holds the wheel, and what its extra `chgnet` asks for, by links."""
    root = tmp_path_factory.mktemp("installed")
    venv.create(root / "environment")
    path = root / "environment" / "bin" / "python"
    (site,) = root.glob("environment/lib/python*/site-packages")
    wheel = built[1]
    (site / "dependencies.pth").write_text(f"{link(needed(wheel, 'chgnet'), root / 'dependencies')}\n")
    pip = [sys.executable, "-m", "pip", "--python", path, "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(pip, check=True)
    return path


@pytest.fixture(scope="module")
def calculators(sound, tmp_path_factory):
    """An analytic calculator and CHGNet."""
    file = tmp_path_factory.mktemp("calculators") / "calc.py"
    file.write_text(sound)
    return f"--calculator=py:{file}:make", "--calculator=chgnet"


@pytest.fixture(scope="module")
def expected(calculators):
    """What the checkout says of both."""
    card = scorecard_of(CHECKOUT, ROOT, *calculators, *UNRELAXED, "-p", "no:randomly")
    assert [identity.label for identity in card.calculators] == ["make", "chgnet-0.3.0"]
    assert len(card.results) == 2 * STORED_QUANTITIES
    return card


def test_the_package_is_the_wheels_and_xdist_is_not_there(python, built, tmp_path):
    done = subprocess.run([python, "-I", "-c", WHERE], cwd=tmp_path, capture_output=True, text=True, check=True)
    file, version, xdist = json.loads(done.stdout)
    assert file.startswith(str(python.parents[1] / "lib"))
    assert built[1].name.startswith(f"mlff_probes-{version}-")
    assert not xdist


def test_same_scorecard_from_an_empty_folder(python, calculators, expected, tmp_path):
    assert (
        differences(
            scorecard_of([python, "-P", "-m", "pytest"], tmp_path, *INSTALLED, *UNRELAXED, *calculators), expected
        )
        == []
    )


def test_same_scorecard_beside_own_tests_under_a_hostile_configuration(python, calculators, expected, tmp_path):
    (tmp_path / "pytest.ini").write_text(HOSTILE)
    (tmp_path / "check_own.py").write_text(OWN)
    command = [python, "-P", "-m", "pytest", "--probe-scorecard=card.md"]  # figures too
    card = scorecard_of(command, tmp_path, *INSTALLED, ".", *UNRELAXED, *calculators)
    assert differences(card, expected) == []
    junit = (tmp_path / "junit.xml").read_text()
    failed = sum(row.verdict.state in ("failed", "error") for row in card.results)  # so that all of their own passed
    skipped = sum(row.verdict.state in ("not comparable", "not applicable") for row in card.results)
    assert f'errors="0" failures="{failed}" skipped="{skipped}" tests="{len(card.results) + 1}"' in junit
    assert 'name="test_warning_is_an_error_here"' in junit
    drawn = {path.stem for path in tmp_path.glob("card_figures/*.png")}
    assert drawn == {case.id for case in STORED if BY_KIND[case.protocol.kind].drawing is not None} | {"barrier-errors"}


def test_differences_are_found(expected):
    def shifted(quantity, by):
        rows = [
            row.model_copy(update={"measured": row.measured.model_copy(update={"value": row.measured.value + by})})
            if row.quantity == quantity and row.measured.value is not None
            else row
            for row in expected.results
        ]
        return differences(expected, expected.model_copy(update={"results": tuple(rows)}))

    assert shifted("equilibrium_gap", 0.5 * ROUNDING) == []
    gaps = sum(row.quantity == "equilibrium_gap" and row.measured.value is not None for row in expected.results)
    assert len(shifted("equilibrium_gap", 2 * ROUNDING)) == gaps
    (gone,) = differences(expected, expected.model_copy(update={"results": expected.results[1:]}))
    assert gone.startswith("only in one: make cr_sb2te3_")
