"""How long the HTML page of four models over all quick probes takes, and how large it is.

``pytest benchmarks/test_report_speed.py`` (or ``make bench``) measures CHGNet with all quick probes first, unless
MLFF_PROBES_SCORECARD names a scorecard that holds them; figures in ``results/report_speed.md``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlff_probes.cases.load import load_cases
from mlff_probes.core.records import Measurement, ProbeResult, State, Verdict
from mlff_probes.scorecard import files
from mlff_probes.scorecard.model import Scorecard

MODELS = 4
MOST_BYTES, MOST_S = 5_000_000, 5.0
AXES = ("path_fraction", "slide", "distance", "place", "time_ps", "_reference", "_r", "_lag_ps", "frequency")
"""Ends of the names of arrays that no model changes."""


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Scorecard:
    """A scorecard of one model with all quick probes."""
    given = os.environ.get("MLFF_PROBES_SCORECARD")
    if given:
        return files.read(Path(given))
    folder = tmp_path_factory.mktemp("run")
    command = [sys.executable, "-m", "pytest", "--pyargs", "mlff_probes.probes", "--calculator=chgnet", "-q", "--tb=no"]
    subprocess.run([*command, "--probe-scorecard=card.json", "-p", "no:randomly"], cwd=folder, check=False)
    return files.read(folder / "card.json")


def other_model(card: Scorecard, number: int) -> Scorecard:
    """The same scorecard under another label, with other numbers and curves."""
    label, scale = f"another-checkpoint-{number}", 1 + 0.1 * number

    def row(old: ProbeResult) -> ProbeResult:
        expected, measured = old.expectation, old.measured
        if not (expected and measured and measured.value is not None):
            return old.model_copy(update={"calculator": label})
        value = scale * measured.value
        off = value - expected.value
        state = State.PASSED if abs(off) <= expected.tolerance.value else State.FAILED
        verdict = Verdict(state=state, deviation=off)
        measured = measured.model_copy(update={"value": value})
        return old.model_copy(update={"calculator": label, "measured": measured, "verdict": verdict})

    def curves(old: Measurement) -> Measurement:
        arrays = {name: a if name.endswith(AXES) else scaled(a, scale) for name, a in old.arrays.items()}
        return old.model_copy(update={"calculator": label, "arrays": arrays})

    identity = card.calculators[0].model_copy(update={"label": label})
    return card.model_copy(
        update={
            "calculators": (identity,),
            "results": tuple(map(row, card.results)),
            "measurements": tuple(map(curves, card.measurements)),
        }
    )


def scaled(values: list, scale: float) -> list:
    return [
        scaled(v, scale) if isinstance(v, list) else v * scale if isinstance(v, float) else v for v in values
    ]  # fmt: skip


def test_four_models_are_one_small_page_at_once(one: Scorecard, tmp_path: Path) -> None:
    quick = {case.id for case in load_cases() if getattr(case, "tier", "") == "quick"}
    assert quick <= {case.id for case in one.cases}, "the scorecard lacks quick probes"
    for number in range(MODELS):
        card = other_model(one, number) if number else one
        (tmp_path / f"{number}.json").write_text(card.model_dump_json())
    sources = [f"{number}.json" for number in range(MODELS)]
    command = [sys.executable, "-m", "mlff_probes.cli", "report", *sources, "-o", "report.html"]
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(command, cwd=tmp_path, check=True)
        times.append(time.perf_counter() - start)
    size = (tmp_path / "report.html").stat().st_size
    print(f"\n{MODELS} models, {len(one.cases)} cases: {min(times):.2f} to {max(times):.2f} s, {size / 1e6:.2f} MB")
    assert size < MOST_BYTES
    assert min(times) < MOST_S
