"""What the README shows is what a user gets: its commands run, its scorecard is a real one."""

from __future__ import annotations

import functools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from judge_from_wheel import UNRELAXED

from mlff_probes.cases.load import load_cases
from mlff_probes.measure import FAMILIES
from mlff_probes.scorecard.comparison import baseline_of, compare
from mlff_probes.scorecard.files import read
from mlff_probes.scorecard.model import Scorecard
from mlff_probes.scorecard.regression import load_regression
from mlff_probes.scorecard.reports import terminal
from mlff_probes.scorecard.reports import text as fmt

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines() if line.strip()
]
PYTEST = [command for command in COMMANDS if command.startswith("pytest ")]
SHOWN, CHANGES = re.findall(r"```text\n(.*?)```", README, re.DOTALL)
CASES = [case.id for case in load_cases()]
PRODUCTION = ROOT / "docs" / "example" / "chgnet-0.2.0.json"
WHOLE_RUN = "MLFF_PROBES_SCORECARD"
"""An environment variable: the JSON scorecard of a run of the quick tier with CHGNet, as `.ci/run` makes it."""

LAST_DIGIT = 1.5
"""How many units of its last digit a shown number may be off: float32 rounds differently on other machines."""

SIMULATED = 2.0
"""How many times both their uncertainties two simulated numbers may differ: rounding makes it another trajectory."""

RELAXED = 0.005
"""eV, of what relaxes to a force that leaves some meV open."""


def test_the_two_commands_are_there_and_make_knows_them():
    assert COMMANDS[:2] == ["make probe", "make test"]
    for command in COMMANDS:
        if command.startswith("make "):
            done = subprocess.run(
                [*shlex.split(command), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=True
            )
            assert ".venv/bin/pytest" in done.stdout


@pytest.fixture(scope="module")
def run(trained_mace_file, tmp_path_factory):
    """Run a command of the README, each once: what it printed, and the folder with its scorecards."""

    @functools.cache
    def once(command):
        folder = tmp_path_factory.mktemp("readme")
        command = command.replace("path/to.model", str(trained_mace_file)).replace("scorecard/both", f"{folder}/both")
        # what takes long is run once, by `.ci/run`
        command += "" if " -k " in command else f" {shlex.join(UNRELAXED)}"
        done = subprocess.run(
            [sys.executable, "-m", *shlex.split(command), f"--probe-scorecard={folder}/card.json", "-p", "no:randomly"],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode in (0, 1), done.stdout + done.stderr
        return done.stdout, folder

    return once


@pytest.mark.parametrize("command", PYTEST)
def test_pytest_commands_run(command, run):
    printed, folder = run(command)
    assert "verdict: FAILED" in printed
    assert ("both.md" not in command) or len(list(folder.glob("both_figures/*.png"))) == 9


def rows(text: str) -> dict[tuple[str, str], list[str]]:
    """Rows of a rendered table by (case, quantity): measured, reference, deviation, tolerance, …, verdict."""
    found, case = {}, ""
    for line in text.splitlines():
        words = line.split()
        while words and words[0] in FAMILIES:
            words.pop(0)
        if words and re.match("|".join(map(re.escape, CASES)), words[0]):
            case = words.pop(0)
        if len(words) > 6 and words[-1] in ("passed", "failed"):
            found[case, words[0]] = words[1:]
    return found


def of_chgnet(card: Scorecard) -> Scorecard:
    """What a scorecard says of CHGNet."""
    (chgnet,) = (identity for identity in card.calculators if identity.label == "chgnet-0.3.0")
    return card.model_copy(update={
        "calculators": (chgnet,),
        "results": card.rows(chgnet.label),
        "measurements": tuple(m for m in card.measurements if m.calculator == chgnet.label),
    })  # fmt: skip


@pytest.fixture
def measured(request):
    """Nearly all of a run where one was made before, as `.ci/run` makes it, else what takes seconds."""
    if WHOLE_RUN in os.environ:
        return of_chgnet(read(Path(os.environ[WHOLE_RUN])))
    (both,) = (command for command in PYTEST if "--calculator=chgnet --calculator=" in command)
    return of_chgnet(read(request.getfixturevalue("run")(both)[1] / "card.json"))


def test_the_scorecard_in_the_readme_is_what_chgnet_gets(measured):
    shown, found = rows(SHOWN), rows(terminal.render(measured))
    assert len(shown) == 123
    assert len(found) == (106 if WHOLE_RUN in os.environ else 65)
    assert shown.keys() >= found.keys()
    for key, words in found.items():
        if "±" in words[0]:
            (a, _, of_a), (b, _, of_b) = shown[key][0].partition("±"), words[0].partition("±")
            assert float(a) == pytest.approx(float(b), abs=SIMULATED * (float(of_a) + float(of_b))), key
            assert (shown[key][1], shown[key][3:5]) == (words[1], words[3:5]), key
            clear = abs(abs(float(words[2])) - float(words[3].strip("*†"))) > SIMULATED * float(of_b)
            assert not clear or shown[key][-1] == words[-1], key
            continue
        for a, b in zip(shown[key], words, strict=True):
            if re.fullmatch(r"[+-]?\d+\.\d+", a):
                unit = 10.0 ** -len(a.partition(".")[2])
                near = RELAXED if key[0].startswith("vacancy_") else LAST_DIGIT * unit
                assert float(a) == pytest.approx(float(b), abs=near), key
            else:
                assert a == b, key


def test_the_regressions_in_the_readme_are_those_of_chgnet(measured):
    """Where a change is no larger than its threshold or another machine's rounding, either is right."""
    old = baseline_of(read(PRODUCTION), str(PRODUCTION.relative_to(ROOT)))
    found = compare(old, measured, "chgnet-0.3.0", load_regression())
    shown = {tuple(words[1:3]): line for line in CHANGES.splitlines() if (words := line.split())[:1] != ["chgnet-0.3.0"]
             and words and words[0] in FAMILIES}  # fmt: skip
    assert len(found.regressions) >= (20 if WHOLE_RUN in os.environ else 15)
    for change in found.changes:
        if change.family in ("dynamics", "inference") or change.threshold is None:
            continue
        near = 0.2 * change.threshold + (2 * RELAXED if change.case.startswith("vacancy_") else 0.0)
        if abs(abs(change.change) - change.threshold) > near:
            line = shown.get((change.case, change.quantity), "")
            said = f"{fmt.TREND_MARK[change.trend]} {change.trend.value}"
            assert line.endswith(said) if change.regression else not line, (change.case, change.quantity, said, line)


def test_the_notebook_lines_run(tmp_path):
    (lines,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    subprocess.run([sys.executable, "-W", "ignore", "-c", lines], cwd=tmp_path, check=True)
    assert "cr_sb2te3_in_gap,barrier" in (tmp_path / "results" / "barrier_comparison.csv").read_text()


def test_linked_files_exist():
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "docs/tutorial.md",
        "docs/calculators.md",
        "docs/example/scorecard.md",
    ):
        text = (ROOT / name).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text):
            if not target.startswith("http"):
                assert (ROOT / name).parent.joinpath(target).exists(), f"{name} links {target}"
