"""What a run ends with: 0 only where something was judged and all of it passed, 4 before anything is measured."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from support import STORED_QUANTITIES

import mlff_probes
from mlff_probes.core.data import DIRECTORY

PROBES = DIRECTORY.parent / "probes"
CALCULATOR = "--calculator=py:./calc.py:make"
COUNTED = "--calculator=py:./calc.py:counted"
IN_GAP = ("-k", "cr_sb2te3_in_gap")
TWO = ("-n", "2")
WORKERS = [pytest.param((), id="one process"), pytest.param(TWO, id="-n 2")]


@pytest.fixture
def folder(tmp_path, counted):
    """The test's own directory, with a calculator in it."""
    (tmp_path / "calc.py").write_text(counted)
    return tmp_path


@pytest.mark.parametrize("workers", WORKERS)
def test_all_passed(workers, folder, run_probes, recorded_only):
    run = run_probes(CALCULATOR, *recorded_only, *workers)
    assert run.code == pytest.ExitCode.OK, run.output
    assert run.card.verdict == "passed"
    assert run.card.complete
    assert {r.verdict.state.value for r in run.card.results} == {"passed", "reported"}
    run.matches("verdict: PASSED (65 passed, 13 reported)", "wrote *card.json in *")


def test_failing_verdicts(folder, run_probes):
    """Against DFT the calculator is no good: each failure says by how much."""
    run = run_probes(CALCULATOR, *IN_GAP)
    assert run.code == pytest.ExitCode.TESTS_FAILED
    assert run.card.verdict == "failed"
    assert run.card.complete
    run.matches(
        "*barrier: measured 5.796, reference * eV: off by *, tolerance 0.1",
        "*case *migration / cr_sb2te3_in_gap",
        "*source *CP2K*",
        "*Look first at the figure of the path*",
        "verdict: FAILED (*failed*)",
    )


def test_only_reported_is_nothing_judged(folder, run_probes):
    run = run_probes(CALCULATOR, "-k", "energy_image_1")
    assert run.code == pytest.ExitCode.TESTS_FAILED
    assert run.card.verdict == "nothing judged"
    run.matches("verdict: NOTHING JUDGED (1 reported)")


@pytest.mark.parametrize("workers", WORKERS)
def test_nothing_selected_is_nothing_judged(workers, folder, run_probes):
    run = run_probes(COUNTED, "-k", "nothing_matches", *workers)
    assert run.code == pytest.ExitCode.TESTS_FAILED
    assert run.card.verdict == "nothing judged"
    assert run.card.selected == 0
    assert run.calls == 0
    run.matches("verdict: NOTHING JUDGED (no result)")


SELECTIONS = {
    "package": ["--pyargs", "mlff_probes.probes"],
    "folder": [str(PROBES)],
    "test": [f"{PROBES / 'test_sliding.py'}::test_fixed_gap_slide"],
}


@pytest.mark.parametrize(("name", "workers"), [(name, ()) for name in SELECTIONS] + [("package", TWO), ("folder", TWO)])
def test_probes_without_a_calculator(name, workers, tmp_path, inner_pytest):
    run = inner_pytest(tmp_path, *SELECTIONS[name], *workers)
    run.assert_usage_error("the probes need a calculator: add --calculator=path/to.model, or --calculator=chgnet")


def test_collecting_only(folder, run_probes):
    run = run_probes(COUNTED, "--collect-only", "-q")
    assert run.code == pytest.ExitCode.OK
    assert run.calls == 0
    assert not run.card_file.exists()
    assert "verdict:" not in run.output
    run.matches(
        "*test_migration.py::test_fixed_path[[]counted-cr_sb2te3_in_gap-barrier[]]",
        f"{STORED_QUANTITIES}/* tests collected*",
    )


OWN = """
def test_sound():
    assert 1 + 1 == 2


def test_wrong():
    assert 1 + 1 == {sum}
"""


@pytest.mark.parametrize(("total", "code"), [(2, 0), (3, 1)], ids=["passing", "failing"])
def test_own_tests_are_left_alone(total, code, tmp_path, inner_pytest):
    """Without a calculator this plugin says not a word."""
    (tmp_path / "test_own.py").write_text(OWN.format(sum=total))
    run = inner_pytest(tmp_path, "-v", "--strict-markers")
    assert run.code == code
    assert run.stdout.count("test_own.py::") == 2 + code  # a failure is named once more in the summary
    for word in ("scorecard", "verdict", "calculator", "probe "):
        assert word not in run.output


def test_probes_passed_over_without_a_calculator(tmp_path, inner_pytest):
    """A run over a whole environment finds no probe in it."""
    (tmp_path / "test_own.py").write_text(OWN.format(sum=2))
    run = inner_pytest(tmp_path, "--co", "-q", DIRECTORY.parent, "test_own.py")
    assert run.code == pytest.ExitCode.OK, run.output
    assert "test_fixed_path" not in run.output
    run.matches("2 tests collected*")


@pytest.mark.parametrize(
    ("total", "code", "workers"), [(2, 0, ()), (3, 1, ()), (3, 1, TWO)], ids=["passing", "failing", "failing, -n 2"]
)
def test_own_tests_beside_the_probes(total, code, workers, folder, run_probes, recorded_only):
    (folder / "test_own.py").write_text(OWN.format(sum=total))
    run = run_probes(CALCULATOR, *recorded_only, *IN_GAP[:1], "cr_sb2te3_in_gap or own", "test_own.py", *workers)
    assert run.code == code
    assert run.card.verdict == "passed"
    assert run.card.complete
    assert len(run.card.results) == run.card.selected == 7
    run.matches("verdict: PASSED (7 passed)")


UNWRITABLE = {
    "directory": ("results", "--probe-scorecard=results: is a directory; name a file in it, for instance results/"),
    "file as a folder": ("notes/card.json", "--probe-scorecard=notes/card.json: cannot be written"),
    "unknown suffix": ("card.pdf", "--probe-scorecard=card.pdf: unknown format '.pdf'; known are .json, .md"),
    "no suffix": ("card", "--probe-scorecard=card: unknown format ''; known are .json, .md"),
}


@pytest.mark.parametrize(("name", "workers"), [(name, ()) for name in UNWRITABLE] + [("directory", TWO)])
def test_unwritable_scorecard(name, workers, folder, run_probes):
    (folder / "results").mkdir()
    (folder / "notes").write_text("not a folder\n")
    path, message = UNWRITABLE[name]
    run = run_probes(COUNTED, f"--probe-scorecard={path}", *workers)
    run.assert_usage_error(message)
    assert run.calls == 0
    assert (folder / "notes").read_text() == "not a folder\n"


def test_scorecard_that_cannot_be_written_in_the_end(folder, run_probes, recorded_only):
    """The folder goes while the probes run: the verdicts are printed all the same, and the run is not green."""
    (folder / "calc.py").write_text(
        (folder / "calc.py").read_text()
        + """

class Sweeping(Sound):
    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        import shutil

        shutil.rmtree("results", ignore_errors=True)


def sweeping():
    return Sweeping()
"""
    )
    sweeping = "--calculator=py:./calc.py:sweeping"
    run = run_probes(sweeping, *recorded_only, *IN_GAP, "--probe-scorecard=results/card.json")
    assert run.code == pytest.ExitCode.TESTS_FAILED
    run.matches(
        "verdict: PASSED (7 passed)", "*--probe-scorecard=results/card.json: could not be written (*No such file*"
    )


def test_missing_folders_are_made(folder, run_probes, recorded_only):
    run = run_probes(CALCULATOR, *recorded_only, *IN_GAP, "--probe-scorecard=new/and/deep/card.json")
    assert run.code == pytest.ExitCode.OK
    assert (folder / "new" / "and" / "deep" / "card.json").read_bytes() == run.card_file.read_bytes()
    run.matches(f"wrote {run.card_file}, new/and/deep/card.json in *")


def test_stopping_at_the_first_failure(folder, run_probes):
    run = run_probes(CALCULATOR, "-x", "-k", "cr_sb2te3 and not octahedral_hop and not dynamics")
    assert run.code == pytest.ExitCode.TESTS_FAILED
    card = run.card
    assert not card.complete
    assert card.verdict == "failed"
    assert 0 < len(card.results) < card.selected == 18
    assert card.results[-1].verdict.state == "failed"
    run.matches(f"verdict: FAILED (*; INCOMPLETE: {len(card.results)} of 18 quantities have a verdict*")


AFTER_THREE = """
import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    own = next(item for item in items if item.name == "test_wrong")
    items.remove(own)
    items.insert(3, own)
"""


def test_stopping_early_is_never_passed(folder, run_probes, recorded_only):
    """An own test fails first and `-x` ends the run: what was judged passed, but the run is incomplete."""
    (folder / "test_own.py").write_text(OWN.format(sum=3))
    (folder / "conftest.py").write_text(AFTER_THREE)
    run = run_probes(CALCULATOR, *recorded_only, "-x", "-k", "cr_sb2te3_in_gap or wrong", "test_own.py")
    assert run.code == pytest.ExitCode.TESTS_FAILED
    assert run.card.verdict == "incomplete"
    assert len(run.card.results) == 3
    assert {r.verdict.state.value for r in run.card.results} == {"passed"}
    run.matches("verdict: INCOMPLETE (3 passed): 3 of 7 quantities have a verdict*")


@pytest.mark.parametrize("workers", WORKERS)
def test_junit_xml_carries_the_numbers(workers, folder, run_probes):
    run = run_probes(CALCULATOR, *IN_GAP, "--junitxml=junit.xml", *workers)
    rows = {row.quantity: row for row in run.card.results}
    found = {}
    for case in ET.parse(folder / "junit.xml").getroot().iter("testcase"):
        properties = {p.get("name"): p.get("value") for p in case.iter("property")}
        found[properties["quantity"]] = properties
        assert properties["calculator"] == "make"
        assert properties["case"] == "cr_sb2te3_in_gap"
    assert found.keys() == rows.keys()
    for quantity, row in rows.items():
        told = found[quantity]
        assert told["verdict"] == row.verdict.state.value
        assert float(told["measured"]) == pytest.approx(row.measured.value, rel=1e-12)
        assert float(told["deviation"]) == pytest.approx(row.verdict.deviation, rel=1e-12)
        assert float(told["reference"]) == pytest.approx(row.expectation.value, rel=1e-12)
        assert float(told["uncertainty"]) == row.expectation.uncertainty
        assert float(told["tolerance"]) == row.expectation.tolerance.value
        assert told["unit"] == row.expectation.unit
        assert told["level_of_theory"] == "PBE"
        assert told["source"] == row.expectation.source


def test_the_header_says_who_is_measured(folder, run_probes, recorded_only):
    run = run_probes(CALCULATOR, *recorded_only, *IN_GAP)
    run.matches(
        "calculator make: py:./calc.py:make",
        "*parameters not stated, elements not stated, level of theory not stated*",
        "*dtype not stated, device not stated*",
        "*sha256 *",
        f"*mlff-probes {mlff_probes.__version__}*",
    )
