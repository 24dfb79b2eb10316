"""Relaxes the band of a case with a DFT code, keeping every point: killed and begun again, it goes on where it was.

``python reference/generate/band.py CASE.toml CALCULATOR.toml POINTS.answers`` prints each step, and in the end what the
case expects of a model: how the band ended, barrier, reaction energy, saddle. CP2K takes minutes a point, and a band
some fifty points.
"""

from __future__ import annotations

import sys
import time
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from mlff_probes.calculators.journal import Journal
from mlff_probes.calculators.registry import load_calculator
from mlff_probes.cases.load import load_case
from mlff_probes.measure.measurement import measure_case


def main(case: Path, calculator: Path, points: Path) -> int:
    """Relax the band of a case; the exit code is 1 if it did not converge."""
    journal, begun, spec = Journal(points.resolve()), load_case(case), str(calculator.resolve())
    with TemporaryDirectory() as folder, chdir(folder):  # where the code leaves its files
        model = replace(load_calculator(spec), journal=journal)
        found = measure_case(model, begun, report=lambda text: print(time.strftime("%H:%M"), text, flush=True))
    print(f"{found.model_calls} points, {journal.given_again} of them from {points}")
    print(found.problem or found.diagnostics)
    for name, value in found.values.items():
        print(name, value.value, value.unit, value.problem.reason if value.problem else "")
    return int(found.problem is not None or found.values["outcome"].value != 1.0)


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
