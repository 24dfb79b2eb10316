"""A probe that is added exactly as docs/new-probe.md says runs like those of the package."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT

PAGE = (ROOT / "docs" / "new-probe.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^\*\*(.+?)\*\*\n\n```(?:python|toml)\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE)
(COMMAND,) = re.findall(r"```text\npytest (.*)\n```", PAGE)
TABLE = "mlff_probes/measure/__init__.py"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the package with the probe that the page adds."""
    root = tmp_path_factory.mktemp("checkout")
    for folder in ("mlff_probes", "probes", "reference"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, root / folder, symlinks=True, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", root)
    for place, text in BLOCKS:
        add(root, place, text)
    return root


def add(root: Path, place: str, text: str) -> None:
    """Do what a block of the page says."""
    names = re.findall(r"`(.+?)`", place)
    if place == "run once":
        subprocess.run([sys.executable, "-c", text], cwd=root, check=True)
        return
    file = root / names[0]
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    if place.startswith("imports of"):
        first = before.index("from mlff_probes.")
        text = before[:first] + text + before[first:]
    elif place.startswith("row of"):
        end = before.index("\n)\n", before.index("KINDS = ("))
        text = f"{before[: end + 1]}    {text.rstrip()},\n{before[end + 1 :]}"
    elif place.startswith("end of"):
        text = f"{before}\n{text}"
    else:
        assert not before, f"{file} is there already"
        file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def done(checkout):
    """The page's command with models of three sizes of an atom: right, too large, and far too large."""
    spec = next(word for word in COMMAND.split() if word.startswith("--calculator="))
    wrong = [
        spec.replace("sigma=3.405", f"sigma={size}") + f",label={name}" for name, size in (("large", 3.6), ("huge", 6))
    ]
    arguments = [COMMAND.replace(spec, f"{spec},label=right"), *wrong, "-p no:randomly",
                 f"--probe-scorecard={checkout}/card.md --probe-scorecard={checkout}/card.json"]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", *" ".join(arguments).split()], cwd=checkout,
        env=environment | {"PYTHONPATH": str(checkout)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def rows(done, checkout):
    """The rows of the scorecard by calculator and quantity; the package that is tested here knows no such family."""
    assert done.returncode == 1, done.stdout + done.stderr
    found = json.loads((checkout / "card.json").read_text(encoding="utf-8"))["results"]
    return {(row["calculator"], row["quantity"]): row for row in found}


def test_a_new_probe_needs_four_places_and_no_more():
    touched = {re.findall(r"`(.+?)`", place)[0] for place, _ in BLOCKS if place != "run once"}
    folders = {TABLE if name == TABLE else str(Path(name).parent) for name in touched}
    places = {"reference" if name.startswith("reference") else name for name in folders}
    assert places == {"mlff_probes/measure/dimer", TABLE, "reference", "probes"}


def test_it_passes_where_the_model_is_right(rows):
    found = {key: row["verdict"]["state"] for key, row in rows.items()}
    assert found == {
        ("right", "bond_length"): "passed", ("right", "well_depth"): "passed",
        ("large", "bond_length"): "failed", ("large", "well_depth"): "passed",
        ("huge", "bond_length"): "error", ("huge", "well_depth"): "error",
    }  # fmt: skip
    assert rows["right", "bond_length"]["expectation"]["value"] == pytest.approx(3.405 * 2 ** (1 / 6), abs=1e-3)


def test_it_fails_where_the_model_is_wrong_and_says_where_to_look(done):
    assert re.search(
        r"bond_length: measured 4\.04\d, reference 3\.82\d+ A: off by \+0\.2\d+, tolerance 0\.02", done.stdout
    )
    assert "Look first at the figure" in done.stdout


def test_what_could_not_be_measured_is_an_error(done):
    assert "bond_length: error: not bracketed: of E(d)" in done.stdout


def test_it_is_drawn(done, checkout):
    assert (checkout / "card_figures" / "argon.png").is_file()
