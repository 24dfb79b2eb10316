"""Computes one point of each case anew with CP2K, and compares it with the energy that is stored: `make references`.

A point of the sliding cases takes a minute or two on one core, one of the Cr paths up to an hour.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

from mlff_probes.calculators.registry import load_calculator
from mlff_probes.cases.recording.lacking import read_recordable
from mlff_probes.cases.recording.points import computed
from mlff_probes.core.errors import EvaluationError

HERE = Path(__file__).parent
REFERENCE = HERE.parent

CALCULATORS = {
    "sliding/bi2te3_fixed_gap_0.0": ("bi2te3_sliding", 1),
    "sliding/sb2te3_fixed_gap_0.0": ("sb2te3_sliding", 1),
    "sliding/sb2te3_fixed_gap_0.2": ("sb2te3_sliding", 4),
    "sliding/sb2te3_fixed_gap_0.4": ("sb2te3_sliding", 6),
    "sliding/sb2te3_fixed_gap_0.6": ("sb2te3_sliding", 8),
    "sliding/sb2te3_relaxed_gap": ("sb2te3_sliding", 0),
    "sliding/tis2_fixed_gap_0.0": ("tis2_sliding", 3),
    "sliding/tis2_relaxed_gap": ("tis2_sliding", 3),
    "migration/cr_sb2te3_in_gap": ("cr_sb2te3_paths", 2),
    "migration/cr_sb2te3_deep": ("cr_sb2te3_paths", 4),
}
"""For each case whose energies we computed: the calculator file, and the frame that is computed anew."""

SAME_EV = 1e-3
"""How far an energy may be from the stored one, eV per cell: another version, another machine, another constant."""


def deviation(case: str) -> float:
    """How far the energy of a frame, computed anew, is from the stored one, eV.

    Raises
    ------
    EvaluationError
        If it cannot be computed.
    """
    name, index = CALCULATORS[case]
    read = read_recordable(REFERENCE / f"{case}.toml")
    stored = read.energies[index]
    assert stored is not None, f"{case} has no energies"
    load = partial(load_calculator, str(HERE / "calculators" / f"{name}.toml"))
    with tempfile.TemporaryDirectory() as folder:
        point = computed(load, read.frames[index], Path(folder), name=read.name(index))
    return point.energy - stored


def main(cases: list[str]) -> int:
    """Check some cases (`family/id`), or all; the exit code is 1 if an energy differs, or cannot be computed."""
    if shutil.which("cp2k.psmp") is None:
        print("skipped: cp2k.psmp is not installed (Debian: apt install cp2k)")
        return 0
    wrong = 0
    for case in cases or CALCULATORS:
        try:
            off = deviation(case)
        except EvaluationError as error:
            print(f"{case}: {error}", flush=True)
            wrong += 1
            continue
        wrong += abs(off) > SAME_EV
        print(f"{case}: frame {CALCULATORS[case][1]} differs by {off * 1000:+.3f} meV", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
