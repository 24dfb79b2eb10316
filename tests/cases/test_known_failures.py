"""Known failures do not count, and an entry that no longer holds is an error."""

from __future__ import annotations

import pytest
from support import LookupCalculator
from test_lookup import FRAMES

from mlff_probes.calculators.base import as_calculator
from mlff_probes.cases.known_failures import KnownFailures, load_known_failures
from mlff_probes.cases.load import load_cases
from mlff_probes.core.errors import InputError
from mlff_probes.core.records import State
from mlff_probes.scorecard.model import overall_verdict
from mlff_probes.session.suite import Suite

CASES = load_cases()
IN_GAP = "cr_sb2te3_in_gap"


def entry(case=IN_GAP, quantity="barrier", reason="known", **more):
    lines = {"case": case, "quantity": quantity, "reason": reason, **more}
    return "[[known_failure]]\n" + "".join(f'{key} = "{value}"\n' for key, value in lines.items())


def load(tmp_path, text, **options) -> KnownFailures:
    file = tmp_path / "known.toml"
    file.write_text(text)
    return load_known_failures(file, CASES, **options)


def results(calculator, known):
    suite = Suite([as_calculator(calculator)], CASES, known_failures=known)
    rows = [suite.result(request) for request in suite.requests("fixed_path")]
    return {(row.case, row.quantity): row.verdict for row in rows}, rows


def lifted(frame):
    return 0.2 * (frame.info.get("path") == "ingap" and frame.info.get("image") == 2)


def test_a_known_failure_is_shown_and_does_not_count(tmp_path):
    names = ("barrier", "reverse_barrier")
    known = load(tmp_path, "".join(entry(quantity=name, reason=f"{name} is being worked on") for name in names))
    found, rows = results(LookupCalculator(FRAMES, lifted), known)
    assert {key for key, verdict in found.items() if verdict.state is State.KNOWN_FAILURE} == {
        (IN_GAP, name) for name in names
    }
    verdict = found[IN_GAP, "barrier"]
    assert verdict.reason == "barrier is being worked on"
    assert verdict.deviation == pytest.approx(0.2)
    assert State.FAILED not in {v.state for v in found.values()}
    assert overall_verdict(rows, strict=False, incomplete=False) == "passed"


def test_a_run_of_known_failures_alone_judges_nothing(tmp_path):
    _, rows = results(LookupCalculator(FRAMES, lifted), load(tmp_path, entry()))
    only = [row for row in rows if row.verdict.state is State.KNOWN_FAILURE]
    assert overall_verdict(only, strict=False, incomplete=False) == "nothing judged"


def test_what_passes_again_is_a_stale_entry(tmp_path):
    found, rows = results(LookupCalculator(FRAMES), load(tmp_path, entry()))
    assert found[IN_GAP, "barrier"].state is State.ERROR
    assert "stale entry" in found[IN_GAP, "barrier"].reason
    assert "remove the entry" in found[IN_GAP, "barrier"].reason
    assert overall_verdict(rows, strict=False, incomplete=False) == "failed"


class Broken(LookupCalculator):
    def calculate(self, *args, **kwargs):
        raise RuntimeError("no energy today")


def test_an_error_is_not_the_failure_that_was_known(tmp_path):
    found, _ = results(Broken(FRAMES), load(tmp_path, entry()))
    assert found[IN_GAP, "barrier"].state is State.ERROR
    assert "no energy today" in found[IN_GAP, "barrier"].reason
    assert "but with the verdict 'failed'" in found[IN_GAP, "barrier"].reason
    found, _ = results(Broken(FRAMES), load(tmp_path, entry(verdict="error")))
    assert found[IN_GAP, "barrier"].state is State.KNOWN_FAILURE
    assert "known (" in found[IN_GAP, "barrier"].reason


def test_an_entry_may_name_its_calculator(tmp_path):
    wrong = LookupCalculator(FRAMES, lifted)
    other, _ = results(wrong, load(tmp_path, entry(calculator="another")))
    assert other[IN_GAP, "barrier"].state is State.FAILED
    mine, _ = results(wrong, load(tmp_path, entry(calculator="LookupCalculator")))
    assert mine[IN_GAP, "barrier"].state is State.KNOWN_FAILURE


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (entry(case="cr_sb2te3_ingap"), "stale entry, there is no such case (did you mean cr_sb2te3_in_gap?)"),
        (entry(quantity="barier"), "the case judges no such quantity (did you mean barrier?)"),
        (entry("sb2te3_speed", "latency_20"), "the case judges no such quantity"),
        (
            entry() + entry(reason="another", verdict="error"),
            "(cr_sb2te3_in_gap, barrier): stands there twice",
        ),
        (entry(verdict="passed"), "'known_failure.1.verdict'"),
        ('[[known_failure]]\ncase = "x"\nquantity = "y"\n', "the key 'known_failure.1.reason' is missing"),
        ("[known_failures]\n", "unknown key 'known_failures'"),
        ("case = ", "is not valid TOML"),
    ],
)
def test_bad_files(tmp_path, text, says):
    with pytest.raises(InputError) as caught:
        load(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "known.toml"))
    assert says in str(caught.value)


def test_a_case_that_is_left_out_of_this_run_is_not_stale(tmp_path):
    assert load(tmp_path, entry(case="elsewhere"), left_out=["elsewhere"]).entries


def test_an_empty_file_knows_nothing_and_strangers_are_named(tmp_path):
    assert load(tmp_path, "").entries == ()
    known = load(tmp_path, entry(calculator="ft60k"))
    (said,) = known.strangers(["ft600k", "other"])
    assert said.endswith("names a calculator 'ft60k' that is not in this run (did you mean ft600k?)")
    assert known.strangers(["ft60k"]) == []
