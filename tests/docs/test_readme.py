"""What the README, and the pages that it was too short for, show is what a user gets.

Commands run, the scorecard is a real one, and so are the failure and the regressions. Everything is compared with a
run; nothing is counted here that grows with the number of cases.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import subprocess
from pathlib import Path

import forks
import pytest
from doc_pages import ROOT, blocks, commands, page
from outer_runs import UNRELAXED
from support import CASES as SHIPPED

from mlff_probes.measure import FAMILIES
from mlff_probes.scorecard.baseline import baseline_of
from mlff_probes.scorecard.comparison import compare
from mlff_probes.scorecard.files import read
from mlff_probes.scorecard.model import Scorecard
from mlff_probes.scorecard.regression import load_regression
from mlff_probes.scorecard.reports import terminal
from mlff_probes.scorecard.reports import text as fmt
from mlff_probes.scorecard.reports.figures import BARRIER_ERRORS

COMMANDS = commands("README.md", "docs/running.md", "docs/gate.md")
PYTEST = [command for command in COMMANDS if command.startswith("pytest ")]
OURS = [command for command in COMMANDS if command.startswith("mlff-probes ")]
SOME_ROWS, FAILURE = blocks("README.md", "text")
(ALL_ROWS,) = blocks("docs/example/terminal.md", "text")
(CHANGES,) = blocks("docs/gate.md", "text")
FAMILY_OF = {case.id: case.family for case in SHIPPED}
CASES = list(FAMILY_OF)
PRODUCTION = ROOT / "docs" / "example" / "chgnet-0.2.0.json"
WHOLE_RUN = "MLFF_PROBES_SCORECARD"
"""An environment variable: the JSON scorecard of a run of the quick tier with CHGNet, as `.ci/run` makes it."""

IN_SECONDS = ("migration", "sliding", "parity")
"""The families that are measured here where no run was made before; the others take minutes."""

LAST_DIGIT = 1.5
"""How many units of its last digit a shown number may be off: float32 rounds differently on other machines."""

SIMULATED = 2.0
"""How many times both their uncertainties two simulated numbers may differ: rounding makes it another trajectory."""

RELAXED = 0.005
"""eV, of what relaxes to a force that leaves some meV open."""


def test_the_readme_is_one_page():
    assert len(page("README.md").splitlines()) <= 160
    assert len(page("README.md").encode()) <= 9_000


def test_the_two_commands_are_there_and_make_knows_them():
    assert commands("README.md")[:2] == ["make probe", "make test"]
    for command in COMMANDS:
        if command.startswith("make "):
            done = subprocess.run(
                [*shlex.split(command), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=True
            )
            assert ".venv/bin/pytest" in done.stdout


def test_every_command_is_one_that_is_tried_here():
    assert [c for c in COMMANDS if not c.startswith(("make ", "pytest ", "mlff-probes "))] == []


@pytest.fixture(scope="module")
def run(trained_mace_file, tmp_path_factory):
    """Run a command of the README, each once: what it printed, and the folder with its scorecards."""

    @functools.cache
    def once(command):
        folder = tmp_path_factory.mktemp("readme")
        command = command.replace("path/to.model", str(trained_mace_file)).replace("scorecard/both", f"{folder}/both")
        # what takes long is run once, by `.ci/run`
        command += "" if " -k " in command else f" {shlex.join(UNRELAXED)}"
        done = forks.run([*shlex.split(command), f"--probe-scorecard={folder}/card.json", "-p", "no:randomly"], ROOT)
        assert done.returncode in (0, 1), done.stdout + done.stderr
        return done.stdout, folder

    return once


@pytest.mark.parametrize("command", PYTEST)
def test_pytest_commands_run(command, run):
    printed, folder = run(command)
    assert "verdict: FAILED" in printed
    if "both.md" in command:
        measured = {row.case for row in read(folder / "card.json").results}
        assert {figure.stem for figure in folder.glob("both_figures/*.png")} == measured | {BARRIER_ERRORS}


MARKED = re.compile(r"( \(\d+ of \d+\))?( \[\d+\])*$")
"""What stands behind a verdict: on how many of its samples the number stands, and footnotes."""


def rows(text: str, verdicts: tuple[str, ...] = ("passed", "failed")) -> dict[tuple[str, str], list[str]]:
    """Rows of a rendered table by (case, quantity): measured, reference, deviation, tolerance, …, verdict."""
    found, case = {}, ""
    for line in text.splitlines():
        words = MARKED.sub("", line).split()
        while words and words[0] in FAMILIES:
            words.pop(0)
        named = words and re.match("|".join(map(re.escape, CASES)), words[0])
        if named and not re.match(r"[<+-]?\d|—", " ".join(words[1:])):  # that is a quantity of the same name
            case = words.pop(0)
        if len(words) > 6 and words[-1] in verdicts:
            found[case, words[0]] = words[1:]
    return found


def of_chgnet(card: Scorecard) -> Scorecard:
    """What a scorecard says of CHGNet."""
    (chgnet,) = (identity for identity in card.calculators if identity.label == "chgnet-0.3.0")
    return card.model_copy(update={
        "calculators": (chgnet,),
        "results": tuple(card.rows(chgnet.label)),
        "measurements": tuple(m for m in card.measurements if m.calculator == chgnet.label),
    })  # fmt: skip


@pytest.fixture
def measured(request):
    """Nearly all of a run where one was made before, as `.ci/run` makes it, else what takes seconds."""
    if WHOLE_RUN in os.environ:
        return of_chgnet(read(Path(os.environ[WHOLE_RUN])))
    (both,) = (command for command in PYTEST if "--calculator=chgnet --calculator=" in command)
    return of_chgnet(read(request.getfixturevalue("run")(both)[1] / "card.json"))


def agree(shown: list[str], found: list[str], key: tuple[str, str]) -> None:
    """Assert that a row that is shown is the one that was measured, but for rounding and chance.

    Where a law holds, what is shown is rounding; of a broken one it is the worst of many examples, and rounding decides
    which of the steepest are resolved.
    """
    if FAMILY_OF[key[0]] == "physicality":
        assert (shown[1], shown[3:]) == (found[1], found[3:]), key
        return
    if "±" in found[0]:
        (a, _, of_a), (b, _, of_b) = shown[0].partition("±"), found[0].partition("±")
        assert float(a) == pytest.approx(float(b), abs=SIMULATED * (float(of_a) + float(of_b))), key
        assert (shown[1], shown[3:5]) == (found[1], found[3:5]), key
        clear = abs(abs(float(found[2])) - float(found[3].strip("*†"))) > SIMULATED * float(of_b)
        assert not clear or shown[-1] == found[-1], key
        return
    for a, b in zip(shown, found, strict=True):
        if re.fullmatch(r"[+-]?\d+\.\d+", a):
            near = RELAXED if key[0].startswith("vacancy_") else LAST_DIGIT * 10.0 ** -len(a.partition(".")[2])
            assert float(a) == pytest.approx(float(b), abs=near), key
        else:
            assert a == b, key


def test_the_scorecard_shown_is_what_chgnet_gets(measured):
    """A case that is newer than the page is not shown yet; of one that is shown, all quantities are, and no others."""
    shown, found = rows(ALL_ROWS), rows(terminal.render(measured))
    judged = {(row.case, row.quantity) for row in measured.results if row.verdict.state in ("passed", "failed")}
    assert found.keys() == judged  # the table was read to its end
    families = {row.family for row in measured.results}
    assert families >= set(FAMILIES if WHOLE_RUN in os.environ else IN_SECONDS)
    both = {case for case, _ in shown} & {case for case, _ in found}
    assert {FAMILY_OF[case] for case in both} == {FAMILY_OF[case] for case, _ in shown} & families
    assert {key for key in shown if key[0] in both} == {key for key in found if key[0] in both}
    for key, words in found.items():
        if key[0] in both:
            agree(shown[key], words, key)


def test_the_rows_shown_in_the_readme_are_those_of_the_scorecard():
    every = ("passed", "failed", "reported", "applicable")
    some, whole = rows(SOME_ROWS, every), rows(ALL_ROWS, every)
    assert len(some) >= 12
    assert {FAMILY_OF[case] for case, _ in some} == {FAMILY_OF[case] for case, _ in whole}
    assert some == {key: whole[key] for key in some}
    (verdict,) = (line for line in ALL_ROWS.splitlines() if line.startswith("verdict: "))
    assert SOME_ROWS.splitlines()[-1] == verdict


def test_the_failure_shown_is_that_of_chgnet(measured):
    """The quantity and the case are read off the failure itself."""
    quantity, case = FAILURE.partition(":")[0], re.findall(r"^  case +\w+ / (\S+)$", FAILURE, re.MULTILINE)
    (row,) = (row for row in measured.results if [row.case] == case and row.quantity == quantity)
    found = fmt.failure_text(row)
    assert [line.split()[:1] for line in FAILURE.splitlines()] == [line.split()[:1] for line in found.splitlines()]
    assert row.look_first.split() == FAILURE[FAILURE.index("Look first") :].split()
    for a, b in zip(FAILURE.split(), found.split(), strict=True):
        number = re.fullmatch(r"([+-]?\d+\.\d{3})(\D*)", a)
        if number:
            other = re.fullmatch(r"([+-]?\d+\.\d{3})(\D*)", b)
            assert float(number[1]) == pytest.approx(float(other[1]), abs=LAST_DIGIT * 1e-3)
            assert number[2] == other[2]
        else:
            assert a == b


def test_the_regressions_shown_are_those_of_chgnet(measured):
    """Where a change is no larger than its threshold or another machine's rounding, either is right."""
    old = baseline_of(read(PRODUCTION), str(PRODUCTION.relative_to(ROOT)))
    found = compare(old, measured, "chgnet-0.3.0", load_regression())
    shown = {tuple(words[1:3]): line for line in CHANGES.splitlines() if (words := line.split())[:1] != ["chgnet-0.3.0"]
             and words and words[0] in FAMILIES}  # fmt: skip
    regressed = {(change.case, change.quantity) for change in found.regressions}
    cases = {change.case for change in found.changes}
    # what is shown of the cases that were measured was found, but for the few that a rounding may decide
    assert len(regressed & shown.keys()) >= 0.9 * len([key for key in shown if key[0] in cases]) > 0
    for change in found.changes:
        if change.family in ("dynamics", "inference") or change.threshold is None:
            continue
        near = 0.2 * change.threshold + (2 * RELAXED if change.case.startswith("vacancy_") else 0.0)
        if abs(abs(change.change) - change.threshold) > near:
            line = shown.get((change.case, change.quantity), "")
            said = f"{fmt.TREND_MARK[change.trend]} {change.trend.value}"
            assert line.endswith(said) if change.regression else not line, (change.case, change.quantity, said, line)


@pytest.mark.parametrize("command", OURS)
def test_our_own_commands_run(command, measured, tmp_path):
    card = tmp_path / "scorecard.json"
    card.write_text(measured.model_dump_json(), encoding="utf-8")
    command = command.replace("scorecard/scorecard.json", str(card)).replace("docs/", f"{ROOT}/docs/")
    program, *arguments = shlex.split(command)
    assert program == "mlff-probes"
    done = forks.run(["mlff_probes.cli", *arguments], tmp_path)
    if arguments[0] == "compare":
        assert done.returncode == 1, done.stderr
        assert "newly failing" in done.stdout or "worse" in done.stdout
    else:
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!")


def test_the_notebook_lines_run(tmp_path):
    (lines,) = blocks("README.md", "python")
    assert [lines] == blocks("docs/running.md", "python")
    done = forks.run(["-c", lines], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cr_sb2te3_in_gap,barrier" in (tmp_path / "results" / "barrier_comparison.csv").read_text()
