"""Runs against a baseline, a stored one and one that is measured too: verdicts, exit codes, messages."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

MAKE, STRONGER = "--calculator=py:./calc.py:make", "--calculator=py:./calc.py:stronger"
IN_GAP = ("-k", "cr_sb2te3_in_gap or sb2te3_fixed_gap_0.0")
WORKERS = [pytest.param((), id="one process"), pytest.param(("-n", "1"), id="-n 1")]
CHANGED = '''
import os


class Stronger(Sound):
    """All energies and forces are 5 % too large."""

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.results = {name: 1.05 * found for name, found in self.results.items()}


def stronger():
    return Stronger()


class Dying(Sound):
    """Takes its process down on the structures with chromium."""

    def calculate(self, atoms=None, *args, **kwargs):
        if len(atoms) == 21:
            os._exit(1)
        super().calculate(atoms, *args, **kwargs)


def dying():
    return Dying()


def broken():
    found = Sound()
    found.get_property = lambda *_: float("nan")
    return found


def copper():
    found = Sound()
    found.elements = ["Cu"]
    return found
'''


@pytest.fixture(scope="module")
def production(tmp_path_factory, sound, run_probes_in, recorded):
    """A folder with the scorecard of the sound calculator, and with the calculators."""
    folder = tmp_path_factory.mktemp("production")
    (folder / "calc.py").write_text(sound + CHANGED)
    run = run_probes_in(folder, MAKE, f"--probe-reference={recorded}", "--probe-reference-only", *IN_GAP)
    assert run.code == pytest.ExitCode.OK, run.output
    shutil.copy(folder / "card.json", folder / "production.json")
    return folder


@pytest.fixture
def folder(production, tmp_path, monkeypatch):
    for name in ("calc.py", "production.json"):
        shutil.copy(production / name, tmp_path)
    return tmp_path


def trends(run):
    (comparison,) = run.card.comparisons
    return {(c.case, c.quantity): c.trend.value for c in comparison.changes}


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("baseline", ["production.json", "py:./calc.py:make,label=old"])
def test_a_candidate_that_is_worse(baseline, workers, folder, run_probes, recorded_only):
    run = run_probes(STRONGER, *recorded_only, *IN_GAP, f"--probe-baseline={baseline}",
                     "--probe-fail-on=regression", *workers)  # fmt: skip
    assert run.code == pytest.ExitCode.TESTS_FAILED
    assert run.card.verdict == "failed"
    found = trends(run)
    assert found["cr_sb2te3_in_gap", "barrier"] == "newly failing"
    assert found["cr_sb2te3_in_gap", "saddle_position"] == "same"
    assert found["sb2te3_fixed_gap_0.0", "periodicity"] == "same"
    (comparison,) = run.card.comparisons
    worse = {trend for trend in found.values() if trend in ("worse", "newly failing")}
    assert len(comparison.regressions) == sum(trend in worse for trend in found.values()) > 5
    of_baseline = [r for r in run.card.results if r.calculator == run.card.baseline]
    assert bool(of_baseline) == (baseline != "production.json")
    old = "old" if of_baseline else "make"
    run.matches(
        f"stronger against {old}*: {len(comparison.regressions)} regressions (*)", "verdict: FAILED (*only regr*"
    )


@pytest.mark.parametrize(("fail_on", "workers"), [(None, ()), ("regression", ("-n", "1"))])
def test_the_same_checkpoint_shows_no_change(fail_on, workers, folder, run_probes, recorded_only):
    option = [f"--probe-fail-on={fail_on}"] if fail_on else []
    run = run_probes(MAKE, *recorded_only, *IN_GAP, "--probe-baseline=production.json", *option, *workers)
    assert run.code == pytest.ExitCode.OK, run.output
    assert set(trends(run).values()) == {"same"}
    assert run.card.options.fail_on == (fail_on or "both")
    assert "make against make (production.json): no regression" in run.text


def test_what_fails_as_before_is_no_regression(folder, run_probes):
    """Against DFT the calculator is no good; it was no better before."""
    first = run_probes(MAKE, *IN_GAP)
    assert first.code == pytest.ExitCode.TESTS_FAILED
    shutil.copy(folder / "card.json", folder / "old.json")
    run = run_probes(MAKE, *IN_GAP, "--probe-baseline=old.json", "--probe-fail-on=regression", "-rx")
    assert run.code == pytest.ExitCode.OK, run.output
    assert run.card.verdict == "passed"
    run.matches("XFAIL *barrier* - *no regression (--probe-fail-on=regression)*")
    assert run_probes(MAKE, *IN_GAP, "--probe-baseline=old.json").code == pytest.ExitCode.TESTS_FAILED


def test_a_baseline_never_fails_the_run(folder, run_probes, recorded_only):
    run = run_probes(MAKE, *recorded_only, *IN_GAP, "--probe-baseline=py:./calc.py:stronger")
    assert run.code == pytest.ExitCode.OK, run.output
    assert run.card.baseline == "stronger"
    assert {r.verdict.state.value for r in run.card.results if r.calculator == "stronger"} >= {"failed"}
    assert "newly passing" in trends(run).values()


def newer(folder):
    card = json.loads((folder / "production.json").read_text()) | {"schema_version": 2}
    (folder / "newer.json").write_text(json.dumps(card))


def cut(folder):
    (folder / "cut.json").write_text((folder / "production.json").read_text()[:4000])


def elsewhere(folder):
    text = (
        (folder / "production.json").read_text().replace("cr_sb2te3_in_gap", "a").replace("sb2te3_fixed_gap_0.0", "b")
    )
    (folder / "elsewhere.json").write_text(text)


@pytest.mark.parametrize(
    ("given", "prepare", "says"),
    [
        ("nothing.json", None, "nothing.json: cannot be read (No such file or directory)"),
        ("cut.json", cut, "cut.json: no scorecard: no JSON, or cut short"),
        ("newer.json", newer, "newer.json: a scorecard of schema version 2, and this mlff-probes reads 1"),
        ("elsewhere.json", elsewhere, "elsewhere.json: holds nothing that can be compared with this run"),
        ("production.json,label=other", None, "holds no calculator 'other'; it holds make"),
        ("nothing.model", None, "--probe-baseline=nothing.model: there is no file nothing.model"),
        ("", None, "--probe-baseline is empty"),
        ("scorecard.md", None, "--probe-baseline=scorecard.md: name the scorecard as .json"),
    ],
)
def test_an_unusable_baseline(given, prepare, says, folder, run_probes, recorded_only):
    if prepare:
        prepare(folder)
    workers = ("-n", "2") if given == "cut.json" else ()
    run_probes(MAKE, *recorded_only, f"--probe-baseline={given}", *workers).assert_usage_error(says)


@pytest.mark.parametrize("workers", WORKERS)
def test_a_selection_of_which_the_baseline_holds_nothing(workers, folder, run_probes, recorded_only):
    run = run_probes(MAKE, *recorded_only, "-k", "fixed_gap_0.2", "--probe-baseline=production.json",
                     "--probe-fail-on=regression", *workers)  # fmt: skip
    run.assert_usage_error("holds nothing that can be compared with this run: sb2te3_fixed_gap_0.2: not in production")


def test_a_calculator_that_gives_nothing_to_compare_with(folder, run_probes, recorded_only):
    """Known only when all is measured: nothing is green, and nothing is lost."""
    baseline = "--probe-baseline=py:./calc.py:copper"
    run = run_probes(MAKE, *recorded_only, *IN_GAP, baseline, "--probe-fail-on=regression")
    assert run.code == pytest.ExitCode.TESTS_FAILED
    assert run.card.verdict == "nothing judged"
    assert len(run.card.results) == run.card.selected


def test_a_case_that_cannot_be_read_costs_no_other(folder, run_probes, recorded, recorded_only):
    (recorded / "migration" / "broken.toml").write_text("no = ")
    try:
        run = run_probes(MAKE, *recorded_only, "-k", "cr_sb2te3_in_gap or broken", "--probe-baseline=production.json")
    finally:
        (recorded / "migration" / "broken.toml").unlink()
    assert run.code == pytest.ExitCode.TESTS_FAILED
    assert any("could not be read" in reason for reason in run.card.comparisons[0].left_out)


def test_a_baseline_that_dies_harms_no_candidate(folder, run_probes, recorded_only):
    """It is measured in its own items, and what killed its process is no regression of the same model later."""
    run = run_probes("--calculator=py:./calc.py:make,label=new", *recorded_only, *IN_GAP, "-n", "1",
                     "--probe-baseline=py:./calc.py:dying,label=old")  # fmt: skip
    assert run.code == pytest.ExitCode.OK, run.output
    states = {(r.calculator, r.case): r.verdict.state.value for r in run.card.results}
    assert states["new", "cr_sb2te3_in_gap"] == states["old", "sb2te3_fixed_gap_0.0"] == "passed"
    assert states["old", "cr_sb2te3_in_gap"] == "error"
    shutil.copy(folder / "card.json", folder / "both.json")
    run = run_probes("--calculator=py:./calc.py:dying", *recorded_only, *IN_GAP, "-n", "1",
                     "--probe-baseline=both.json,label=old", "--probe-fail-on=regression")  # fmt: skip
    assert run.code == pytest.ExitCode.OK, run.output
    run.matches("*killed its process*", "*0 regressions*")


def test_a_baseline_that_was_not_selected_is_compared(folder, run_probes, recorded_only):
    """As after a red run with --lf, which leaves out what did not fail."""
    run = run_probes("--calculator=py:./calc.py:stronger,label=new", *recorded_only, "-k", "new and in_gap-barrier",
                     "--probe-baseline=py:./calc.py:make,label=old", "--probe-fail-on=regression")  # fmt: skip
    assert run.code == pytest.ExitCode.TESTS_FAILED
    assert trends(run) == {("cr_sb2te3_in_gap", "barrier"): "newly failing"}
    assert run.card.comparisons[0].left_out == ()
    run.matches("*1 regression*")


def test_a_known_failure_without_a_number_is_a_regression_all_the_same(folder, run_probes, recorded_only):
    known = ("cr_sb2te3_in_gap", "barrier", "error", "copper alone")
    text = '[[known_failure]]\ncase = "{}"\nquantity = "{}"\nverdict = "{}"\nreason = "{}"\n'.format(*known)
    (folder / "known.toml").write_text(text)
    run = run_probes("--calculator=py:./calc.py:broken", *recorded_only, "-k", "in_gap-barrier",
                     "--probe-known-failures=known.toml", "--probe-baseline=production.json")  # fmt: skip
    assert run.code == pytest.ExitCode.TESTS_FAILED
    assert trends(run) == {("cr_sb2te3_in_gap", "barrier"): "newly failing"}


def test_the_baseline_is_not_overwritten(folder, run_probes, recorded_only):
    """A red candidate would be the baseline of the next run."""
    (folder / "link.json").symlink_to("production.json")
    for name in ("production.json", "link.json"):
        run_probes(STRONGER, *recorded_only, "--probe-baseline=production.json",
                   f"--probe-scorecard={name}").assert_usage_error(f"{name} would be overwritten")  # fmt: skip


def test_a_seed_is_no_negative_number(folder, run_probes):
    run_probes(MAKE, "--probe-seed=-1").assert_usage_error("--probe-seed=-1: must be 0 or more")


def test_nothing_to_fail_on(folder, run_probes):
    run_probes(MAKE, "--probe-fail-on=regression").assert_usage_error("needs something to compare with")


def test_the_command(folder, inner_pytest, run_probes, recorded_only, capfd):
    from mlff_probes.cli import main

    run_probes(STRONGER, *recorded_only, *IN_GAP)
    shutil.copy(folder / "card.json", folder / "new.json")
    old, new = str(folder / "production.json"), str(folder / "new.json")
    assert main(["compare", old, new]) == 1
    assert "✗ newly failing" in capfd.readouterr().out
    assert main(["compare", new, old]) == 0
    assert "no regression" in capfd.readouterr().out
    assert main(["compare", old, old, "--fail-on=regression"]) == 0
    assert main(["compare", old, new, "--calculator=stronger"]) == 1
    assert "INCOMPLETE" not in capfd.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["compare", old])
    assert ended.value.code == 4
    capfd.readouterr()
    assert main(["compare", old, new, "--calculator=nobody"]) == 4
    assert capfd.readouterr().err.startswith("mlff-probes: error: ")
    (folder / "mine.toml").write_text('[migration.barrier]\nvalue = 0.2\nunit = "eV"\nreason = "mine"\n')
    assert main(["compare", old, old, f"--tolerances={folder}/mine.toml"]) == 4
    assert "has no [regression]" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("redirection", "code", "says"),
    [("| true; exit ${PIPESTATUS[0]}", 1, ""), (">&-", 1, ""), ("> /dev/full", 4, "No space left on device")],
)
def test_the_exit_code_hangs_on_no_reader(redirection, code, says, folder, run_probes, recorded_only):
    run_probes(STRONGER, *recorded_only, "-k", "in_gap-barrier")
    command = f"{sys.executable} -m mlff_probes.cli compare production.json card.json {redirection}"
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == bool(says)
