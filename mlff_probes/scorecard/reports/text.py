"""Numbers and words as every report writes them."""

from __future__ import annotations

import math

from mlff_probes.core.records import EAGER_FAMILIES, CalculatorIdentity, Checkpoint, ProbeResult, State, Value
from mlff_probes.core.text import duration, visible
from mlff_probes.core.units import number
from mlff_probes.measure.parity.protocols import SPREAD
from mlff_probes.measure.representation.likeness import likenesses
from mlff_probes.measure.representation.maps import Map
from mlff_probes.scorecard.chance import Scatter
from mlff_probes.scorecard.changes import Change, Comparison, Trend
from mlff_probes.scorecard.model import Scorecard, Spread

MARK = {
    State.PASSED: "✓",
    State.FAILED: "✗",
    State.ERROR: "!",
    State.NOT_APPLICABLE: "–",
    State.NOT_COMPARABLE: "≠",
    State.REPORTED: "·",
    State.KNOWN_FAILURE: "~",
}


CHECKPOINT: dict[Checkpoint, str] = {
    "plain weights": "checkpoint read as plain weights",
    "checked": "checkpoint checked before it was loaded, which is no sandbox",
    "unchecked": "checkpoint REFUSED by the check, loaded all the same (--probe-trust-checkpoint)",
}
"""What is said of how a file was loaded."""


def measured_text(measured: Value | None, *, tolerance: float = math.inf) -> str:
    """A measured number with its uncertainty and its spread over a committee, or as the upper bound that it is."""
    if measured is None:
        return number(None, "")
    text = number(measured.value, measured.unit, tolerance=tolerance)
    if measured.value is None:
        return text
    if measured.upper_bound:
        return f"<{text}"
    if measured.uncertainty is not None:
        text += f"±{number(measured.uncertainty, measured.unit, tolerance=tolerance)}"
    if measured.spread is not None:
        text += f" (members ±{number(measured.spread, measured.unit, tolerance=tolerance)})"
    return text


def left_out(measured: Value | None) -> str:
    """What a number stands on, and why not on more; empty where nothing was left out."""
    samples = measured.samples if measured else None
    return "" if samples is None or samples.complete else str(samples)


def coverage(measured: Value | None) -> str:
    """The part of its samples that a number stands on, behind a space; empty where nothing was left out."""
    samples = measured.samples if measured else None
    return "" if samples is None or samples.complete else f" ({samples.used} of {samples.of})"


def remarks(row: ProbeResult) -> list[str]:
    """The reason of a verdict, and what its number stands on where the reason does not say it."""
    reason, samples = row.verdict.reason, left_out(row.measured)
    said = bool(row.measured and row.measured.samples and row.measured.samples.why in reason)
    return [text for text in (reason, "" if said else samples, row.measured.caveat if row.measured else "") if text]


def verdict_text(row: ProbeResult, *, reason: bool = True) -> str:
    """Mark and verdict, with what the number stands on, and the `reason`."""
    said = f"{MARK[row.verdict.state]} {row.verdict.state.value}"
    more = [text for text in remarks(row) if reason or text != row.verdict.reason]
    return ": ".join(filter(None, (said, "; ".join(more))))


def cells(row: ProbeResult) -> dict[str, str]:
    """The texts of one row: measured, reference, deviation, tolerance, unit, verdict, samples (see `left_out`)."""
    expected = row.expectation
    unit = row.measured.unit if row.measured else expected.unit if expected else ""
    origin = {"override": "†", "case": "*"}.get(expected.tolerance.origin, "") if expected else ""
    tolerance = expected.tolerance.value if expected else math.inf
    return {
        "measured": measured_text(row.measured, tolerance=tolerance),
        "reference": number(expected.value if expected else None, unit, tolerance=tolerance),
        "deviation": number(row.verdict.deviation, unit, sign=True, tolerance=tolerance),
        "tolerance": f"{expected.tolerance.value:g}{origin}" if expected else "—",
        "unit": unit,
        "verdict": row.verdict.state.value,
        "samples": left_out(row.measured),
        "label": f" ({expected.label})" if expected and expected.label else "",
    }


TOLERANCE_MARKS = "tolerances: * set by the case, † overridden by you"

SPREAD_COLUMNS = ("mean", "spread", "lowest", "highest", "reference", "unit", "measured", "passed")


def spread_cells(spread: Spread) -> list[str]:
    """The texts of `SPREAD_COLUMNS`."""
    numbers = (spread.mean, spread.standard_deviation, spread.lowest, spread.highest, spread.reference)
    counts = [f"{count} of {spread.replicates}" for count in (spread.measured, spread.passed)]
    return [*(number(value, spread.unit) for value in numbers), spread.unit, *counts]


def spread_title(group: str, rows: list[Spread]) -> str:
    """The heading over the replicates of one label."""
    return f"{group}: mean and spread (standard deviation) over {rows[0].replicates} replicates"


def failure_text(row: ProbeResult, change: Change | None = None) -> str:
    """What a failing item prints: a first line that stands alone in a summary, then the whole account."""
    cell = cells(row)
    state = row.verdict.state
    name = row.quantity + cell["label"]
    if state is not State.FAILED or row.verdict.deviation is None:
        lines = [f"{name}: {state.value}: {row.verdict.reason}"]
    else:
        lines = [
            f"{name}: measured {cell['measured']}, reference {cell['reference']} {cell['unit']}: "
            f"off by {cell['deviation']}, tolerance {cell['tolerance']}"
        ]
    facts = {"calculator": row.calculator, "case": f"{row.family} / {row.case}"}
    expected = row.expectation
    if expected is not None:
        unit, tolerance = cell["unit"], expected.tolerance
        also = "".join(f"  = {v:.4f} {u}" for u, v in (row.measured.also if row.measured else {}).items())
        facts |= {
            "measured": f"{cell['measured']} {unit}{also}",
            "reference": f"{cell['reference']} ± {expected.uncertainty:g} {unit}  ({expected.level_of_theory})",
            "deviation": f"{cell['deviation']} {unit}",
            "tolerance": f"{tolerance.value:g} {unit}  ({tolerance.origin}: {tolerance.reason})",
            "source": expected.source,
        }
    if cell["samples"]:
        facts["samples"] = cell["samples"]
    if row.measured and row.measured.caveat:
        facts["but"] = row.measured.caveat
    if row.measured and row.measured.note:
        facts["seen"] = row.measured.note
    if change is not None and change.regression:
        facts["baseline"] = f"{change.trend.value}: {change_text(change)}"
        if state not in (State.FAILED, State.ERROR):
            lines[0] = f"{name}: {change.trend.value}: {change_text(change)}"
    lines += ["", *(f"  {name:<11}{text}" for name, text in facts.items())]
    if row.look_first:
        lines += ["", *(f"  {line}" for line in row.look_first.splitlines())]
    return visible("\n".join(lines))


def change_text(change: Change) -> str:
    """A change in words: the two values, and by how much the error changed."""
    tolerance = change.tolerance or math.inf
    before, after = _before_and_after(change)
    said = f"{before} → {after} {change.unit}"
    if change.change is not None and change.trend is not Trend.REPORTED:
        what = "change" if change.reference is None else "error"
        said += f", {what} {number(change.change, change.unit, sign=True, tolerance=tolerance)}"
        if change.uncertainty is not None:
            said += f"±{number(change.uncertainty, change.unit, tolerance=tolerance)}"
    return said + (f" ({change.note})" if change.note else "")


def _before_and_after(change: Change) -> list[str]:
    """The two values of a change, each with the scatter of its seeds where it has some."""
    tolerance = change.tolerance or math.inf
    return [
        measured_text(value, tolerance=tolerance) + _seeds_text(seeds, change.unit, tolerance)
        for value, seeds in ((change.before, change.seeds_before), (change.after, change.seeds_after))
    ]


def seeds_of(change: Change) -> str:
    """The values of a change with the scatter of their seeds, behind a colon; empty where there are no seeds."""
    if change.seeds_before is None and change.seeds_after is None:
        return ""
    before, after = _before_and_after(change)
    return f": {before} → {after} {change.unit}"


def _seeds_text(seeds: Scatter | None, unit: str, tolerance: float) -> str:
    """The standard deviation over seeds in brackets, and how many of them it stands on where some have no number."""
    if seeds is None:
        return ""
    known = seeds.standard_deviation
    said = "seeds ?" if known is None else f"seeds {number(known, unit, tolerance=tolerance)}"
    part = f", {seeds.measured} of {seeds.replicates}" if seeds.measured < seeds.replicates else ""
    return f" ({said}{part})"


def change_line(change: Change) -> str:
    """A change as one line of text."""
    return f"{TREND_MARK[change.trend]} {change.trend.value}: {change.case}, {change.quantity}: {change_text(change)}"


CHANGE_COLUMNS = ("family", "case", "quantity", "before", "after", "reference", "change of error", "unit", "trend")
SHOWN = (Trend.NEWLY_FAILING, Trend.WORSE, Trend.GONE, Trend.NEWLY_PASSING, Trend.BETTER, Trend.NEW)
"""Trends in the order in which they are shown; what is the same is only counted, unless there is something to say."""

TREND_MARK = {
    Trend.BETTER: "▲",
    Trend.SAME: "=",
    Trend.WORSE: "▼",
    Trend.NEWLY_FAILING: "✗",
    Trend.NEWLY_PASSING: "✓",
    Trend.GONE: "–",
    Trend.NEW: "+",
    Trend.REPORTED: "·",
}


def change_rows(comparison: Comparison) -> list[tuple[Change, list[str]]]:
    """What changed, the worst first: each with its texts for `CHANGE_COLUMNS`."""
    shown = [c for c in comparison.changes if c.trend in SHOWN or (c.trend is Trend.SAME and c.note)]
    found = sorted(shown, key=lambda c: SHOWN.index(c.trend) if c.trend in SHOWN else len(SHOWN))
    return [(change, _change_cells(change)) for change in found]


def _change_cells(change: Change) -> list[str]:
    tolerance = change.tolerance or math.inf
    error = number(change.change, change.unit, sign=True, tolerance=tolerance)
    if change.uncertainty is not None:
        error += f"±{number(change.uncertainty, change.unit, tolerance=tolerance)}"
    values = _before_and_after(change)
    reference = number(change.reference, change.unit, tolerance=tolerance)
    trend = f"{TREND_MARK[change.trend]} {change.trend.value}"
    return [change.family, change.case, change.quantity, *values, reference, error, change.unit, trend]


def comparison_line(comparison: Comparison) -> str:
    """The outcome of a comparison in one line."""
    counts = ", ".join(f"{count} {trend.value}" for trend, count in comparison.counts().items())
    several = "s" * (len(comparison.regressions) != 1)
    word = f"{len(comparison.regressions)} regression{several}" if comparison.regressions else "no regression"
    source = "" if comparison.source == comparison.baseline else f" ({comparison.source})"
    return f"{comparison.calculator} against {comparison.baseline}{source}: {word} ({counts})"


def identity_lines(identity: CalculatorIdentity) -> list[str]:
    """The header of a run: who is measured."""
    elements = identity.elements
    if elements is None:
        known = "elements not stated"
    else:
        named = " ".join(elements) if len(elements) <= 12 else f"{elements[0]} to {elements[-1]}"
        known = f"{len(elements)} elements ({named})"
    parameters = "parameters not stated" if identity.parameters is None else f"{identity.parameters:,} parameters"
    family = identity.family + (f" {identity.version}" if identity.version else "")
    level = identity.level_of_theory or "level of theory not stated, taken as the references'"
    options = "".join(f", {key} {value}" for key, value in identity.options.items())
    lines = [
        f"calculator {identity.label}: {identity.spec}",
        f"  {family}, {parameters}, {known}, {level}{options}",
        f"  {path_line(identity)}, {'batched' if identity.batched else 'one frame a call'}"
        + (f" ({identity.no_batches})" if identity.no_batches else ""),
    ]
    if identity.sha256:
        of = f" of {identity.sha256_of}" if identity.sha256_of else ""
        lines.append(f"  sha256 {identity.sha256}{of}{' (pinned)' if identity.pinned else ''}")
    lines += [
        f"  {option} {identity.options.get(option, '')}: sha256 {found}" for option, found in identity.files.items()
    ]
    if identity.checkpoint:
        lines.append(f"  {CHECKPOINT[identity.checkpoint]}")
    lines.append("  " + ", ".join(f"{name} {version}" for name, version in identity.versions.items()))
    return [visible(line) for line in lines]


def path_line(identity: CalculatorIdentity, device: str | None = None) -> str:
    """The path that the numbers of a calculator take, on `device` if that is another than the identity's."""
    device = device or identity.device
    parts = [f"dtype {identity.dtype}", f"device {device} ({identity.device_name})", f"{identity.threads} threads"]
    if identity.compile_mode or identity.family in EAGER_FAMILIES:
        parts.append(f"compiled ({identity.compile_mode})" if identity.compile_mode else "eager")
    if identity.kernels:
        parts.append(f"{identity.kernels} kernels")
    if identity.cuda:
        parts.append(f"CUDA {identity.cuda}, driver {identity.driver or 'not stated'}")
    if identity.tf32 is not None:
        parts.append(f"TF32 {'on' if identity.tf32 else 'off'}")
    return ", ".join(parts)


def time_lines(card: Scorecard) -> list[str]:
    """Model time against everything else."""
    time = card.time
    share = f" ({100 * time.outside_s / time.measured_s:.1f} %)" if time.measured_s else ""
    cut_short = f", {time.interrupted_s:.2f} s in what was cut short" if time.interrupted_s else ""
    return [
        f"time: {time.model_s:.2f} s inside the model, {time.outside_s:.2f} s outside{share}{cut_short} of "
        f"{time.measured_s:.2f} s measuring; {time.load_s:.1f} s importing and loading before",
        f"model calls: {time.model_calls} structures in {time.batches} forward passes",
        *_store_lines(card),
        *_left_out_lines(card),
    ]


def _left_out_lines(card: Scorecard) -> list[str]:
    """What a budget left out."""
    if not card.left_out:
        return []
    first = f"left out by the budget of {duration(card.options.budget_s or 0.0)}:"
    return [first, *(visible(f"  {left.case} of {left.calculator}: {left.reason}") for left in card.left_out)]


def _store_lines(card: Scorecard) -> list[str]:
    """What of a run was measured before, and what cannot be taken up again in the next one."""
    recalled = [measurement for measurement in card.measurements if measurement.recalled]
    lines = []
    if recalled:
        when = sorted({measurement.recalled for measurement in recalled})
        first, last = when[0], when[-1]
        span = first if first == last else f"{first} to {last}"
        count = f"{len(recalled)} of {len(card.measurements)} measurements"
        lines = [f"store: {count} were made before ({span}); to make all again add --probe-no-store"]
    notes: dict[tuple[str, str], int] = {}
    for measurement in card.measurements:
        if measurement.store_note:
            key = (measurement.calculator, measurement.store_note)
            notes[key] = notes.get(key, 0) + 1
    return lines + [
        f"store: {'1 measurement' if count == 1 else f'{count} measurements'} of {label}: {visible(note)}"
        for (label, note), count in notes.items()
    ]


def agreement_lines(card: Scorecard, calculator: str) -> list[str]:
    """Which path was compared with which."""
    return [
        f"{measurement.case}: {d['path']}, against the plainest that can be had: {d['plainest_path']}"
        for measurement in card.measurements
        if measurement.calculator == calculator and (d := measurement.diagnostics).get("plainest_path")
    ]


def left_behind(card: Scorecard, identity: CalculatorIdentity) -> list[str]:
    """What of the process a calculator changed as it was loaded and in its calls, each thing once."""
    in_calls = [
        what
        for measurement in card.measurements
        if measurement.calculator == identity.label
        for what in measurement.diagnostics.get("left_behind", ())
    ]
    return list(dict.fromkeys([*identity.left_behind, *in_calls]))


def doubt_lines(card: Scorecard, calculator: str) -> list[str]:
    """Whether the members of a committee differ most where their mean is wrong most, by case."""
    found = []
    for measurement in card.measurements:
        known = {name: value for name in SPREAD if (value := measurement.values.get(name)) and value.value is not None}
        if measurement.calculator == calculator and known:
            said = [f"{measured_text(value)} of the {name.partition('_')[0]} ({value.samples})"
                    for name, value in known.items()]  # fmt: skip
            found.append(f"{measurement.case}: spread over members against error, rank correlation {', '.join(said)}")
    return found


def likeness_lines(card: Scorecard, case: str) -> list[str]:
    """How alike the features of several calculators are, on the atoms of a case, and who shows none."""
    arrays = {
        identity.label: measurement.arrays
        for identity in card.calculators
        if (measurement := card.measurement(identity.label, case)) is not None and measurement.arrays
    }
    maps = {label: kept for label, each in arrays.items() if (kept := Map.of_arrays(each)) is not None}
    without = [label for label in arrays if label not in maps] if maps else []
    said = [f"features of {', '.join(without)}: not compared, none are shown"] if without else []
    return [*map(str, likenesses(maps)), *said]


def simulation_lines(card: Scorecard, calculator: str) -> list[str]:
    """How each simulation was made, and what of it is from an earlier run."""
    found = []
    for measurement in card.measurements:
        d = measurement.diagnostics
        if measurement.calculator != calculator or "engine" not in d:
            continue
        line = (
            f"{measurement.case}: {d['engine']}; {d['n_atoms']} atoms, {d['steps']:,} of {d['planned_steps']:,} steps"
        )
        step = d["resumed_at_step"]
        if step is not None:
            line += ", all kept from an earlier run" if step == d["steps"] else f", kept up to step {step:,}"
        found.append("; ".join([line, *d["notes"]]))
    return found


def summary_rows(card: Scorecard, calculator: str) -> list[tuple[str, dict[State, int]]]:
    """Counts of each verdict by family."""
    found = []
    for family in card.families(calculator):
        states = [row.verdict.state for row in card.rows(calculator, family)]
        found.append((family, {state: states.count(state) for state in State}))
    return found


def verdict_line(card: Scorecard) -> str:
    """The last line of every report."""
    states = [row.verdict.state for row in card.results if row.calculator != card.baseline]
    counts = ", ".join(f"{states.count(state)} {state.value}" for state in State if state in states)
    alone = "; only regressions count" if card.options.fail_on == "regression" else ""
    regressions = sum(len(comparison.regressions) for comparison in card.comparisons)
    compared = f"; {regressions} regression{'s' * (regressions != 1)}" if card.comparisons else ""
    line = f"verdict: {card.verdict.upper()} ({counts or 'no result'}{compared}{alone})"
    if card.left_out:
        many, count = len(card.left_out), sum(left.quantities for left in card.left_out)
        line += f", without {count} quantities of {many} measurement{'s' * (many != 1)} left out by the budget"
    if card.complete:
        return line
    why = f", {visible(card.interrupted)}" if card.interrupted else ""
    mark = ":" if card.verdict == "incomplete" else "; INCOMPLETE:"
    return f"{line}{mark} {len(card.results)} of {card.selected} quantities have a verdict{why}"
