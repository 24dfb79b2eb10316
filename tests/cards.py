"""Scorecards of known content, which several tests look at."""

from __future__ import annotations

import dataclasses

from support import LookupCalculator, reference_frames

from mlff_probes.calculators.base import as_calculator
from mlff_probes.cases.load import load_cases
from mlff_probes.core.judge import judge
from mlff_probes.core.records import (
    CalculatorIdentity,
    Context,
    Expectation,
    ProbeResult,
    Problem,
    State,
    Tolerance,
    Value,
    Verdict,
)
from mlff_probes.scorecard.model import RunOptions, Scorecard, TimeSummary
from mlff_probes.session.suite import Suite

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> $x_1$ {{ 7 * 7 }} &amp; \u202eevil"
RIGHT_TO_LEFT = "مرحبا بالعالم"
UNIT = "eV"
WHY = "it exploded: the path has no saddle between its ends"


def card_of(calculators, *, cases=None, kinds=("fixed_path", "fixed_gap_slide", "relaxed_gap_slide"), **changes):
    suite = Suite(calculators, cases or load_cases())
    requests = [request for kind in kinds for request in suite.requests(kind)]
    results = [suite.result(request, look_first="Look first at it.") for request in requests]
    options = RunOptions(tier="quick", strict=False, any_level_of_theory=False, **changes.pop("options", {}))
    return Scorecard.build(
        calculators=[c.identity for c in calculators],
        cases=suite.cases,
        results=changes.pop("results", results),
        measurements=suite.measurements.values(),
        options=options,
        selected=changes.pop("selected", len(results)),
        measured_s=2.0,
        **changes,
    )


def counted(card, family=None):
    """How many quantities passed, failed and were reported, of one family or of all."""
    states = [row.verdict.state for row in card.results if family in (None, row.family)]
    return [states.count(state) for state in ("passed", "failed", "reported")]


def lookup(lift=None, **identity):
    found = as_calculator(LookupCalculator(reference_frames(), lift))
    return dataclasses.replace(found, identity=found.identity.model_copy(update=identity))


def lift(f):
    return 0.2 * (f.info.get("path") == "ingap" and f.info["image"] == 2)


def named(label, change=None):
    return lookup(change, label=label)


def hostile_card():
    """A scorecard in which every free text is an attack."""
    found = card_of([named("x"), named("y")], kinds=("fixed_path",))
    rows = [
        row.model_copy(
            update={
                "calculator": HOSTILE if row.calculator == "x" else RIGHT_TO_LEFT,
                "look_first": HOSTILE,
                "verdict": Verdict(state=State.FAILED, reason=HOSTILE) if row.calculator == "x" else row.verdict,
            }
        )
        for row in found.results
    ]
    case = found.cases[0]
    attacked = case.model_copy(
        update={
            "id": HOSTILE, "title": HOSTILE * 3, "material": HOSTILE, "notes": (HOSTILE,), "source": HOSTILE,
            "context": (Context(what=HOSTILE, value=1.0, unit=HOSTILE, source=HOSTILE),), "level_of_theory": HOSTILE,
        }
    )  # fmt: skip
    label = {"x": HOSTILE, "y": RIGHT_TO_LEFT}
    return found.model_copy(
        update={
            "calculators": tuple(
                c.model_copy(update={"label": label[c.label], "spec": HOSTILE, "device_name": HOSTILE})
                for c in found.calculators
            ),
            "cases": (attacked, *found.cases[1:]),
            "results": tuple(r.model_copy(update={"case": HOSTILE}) if r.case == case.id else r for r in rows),
            "measurements": tuple(
                m.model_copy(
                    update={"calculator": label[m.calculator], **({"case": HOSTILE} if m.case == case.id else {})}
                )
                for m in found.measurements
            ),
            "interrupted": HOSTILE,
        }
    )  # fmt: skip


def identity(label):
    return CalculatorIdentity(
        spec=label, label=label, family="test", dtype="float64", device="cpu", device_name="-", threads=1
    )


def row(calculator, quantity, deviation=None, *, case="hop", family="migration", state=None, by_nature=False,
        uncertainty=None, upper_bound=False, level=None, reason=WHY):  # fmt: skip
    """A result that is `deviation` off, or has none: `state` is then error or not applicable."""
    expected = Expectation(
        quantity=quantity, value=1.0, unit=UNIT, uncertainty=0.0, level_of_theory="PBE", source="test",
        tolerance=Tolerance(value=0.1, unit=UNIT, reason="test"),
    )  # fmt: skip
    if deviation is None:
        problem = Problem(state=state, reason=reason, by_nature=by_nature)
        measured = Value(value=None, unit=UNIT, problem=problem)
    else:
        measured = Value(value=1.0 + deviation, unit=UNIT, uncertainty=uncertainty, upper_bound=upper_bound)
    return ProbeResult(
        calculator=calculator, family=family, case=case, quantity=quantity, measured=measured, expectation=expected,
        verdict=judge(measured, expected, not_comparable=level),
    )  # fmt: skip


def card_of_rows(*rows):
    labels = dict.fromkeys(each.calculator for each in rows)
    return Scorecard(
        created="now", verdict="failed", selected=len(rows), cases=(), results=rows, measurements=(),
        calculators=tuple(map(identity, labels)),
        options=RunOptions(tier="quick", strict=False, any_level_of_theory=False),
        time=TimeSummary(load_s=0.0, measured_s=0.0, model_s=0.0, model_calls=0, batches=0),
    )  # fmt: skip
