"""What fine-tuning moves in a small MACE: one composition alone against more of what it learned before.

`python benchmarks/forgetting.py` prints the tables of `benchmarks/results/forgetting.md`; a minute.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ase import Atoms

from mlff_probes import load_calculator
from mlff_probes.cases.load import load_case
from mlff_probes.core.case import Case
from mlff_probes.core.data import DIRECTORY
from mlff_probes.measure.measurement import measure_case

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from mace_models import fine_tuned_mace, labelled_frames, trained_mace

EPOCHS = (5, 20)
SHOWN = ("cka_of_paths", "drift_of_paths", "drift_Cr", "drift_Sb", "drift_Te", "force_change_of_paths")


def rows(folder: Path) -> Iterator[tuple[str, int, list[str]]]:
    """Of each way of training on: for how long, and what it moved."""
    foundation, frames = trained_mace(folder / "foundation.model"), labelled_frames()
    ways: dict[str, list[Atoms]] = {
        "Sb2Te3 alone, sliding": [frame for frame in frames if "Cr" not in frame.symbols],
        "all that it learned before": frames,
    }
    case = load_case(DIRECTORY / "representation" / "forgetting.toml")
    assert isinstance(case, Case)
    for way, some in ways.items():
        for epochs in EPOCHS:
            tuned = fine_tuned_mace(folder / "tuned.model", foundation, some, epochs=epochs)
            found = measure_case(load_calculator(f"{tuned},foundation={foundation}"), case).values
            yield way, epochs, [f"{found[name].value:.3f}" for name in SHOWN]


def main() -> None:
    """Print the table."""
    print("| trained further on | epochs |", " | ".join(SHOWN), "|")
    print("|---" * (2 + len(SHOWN)) + "|")
    with tempfile.TemporaryDirectory() as folder:
        for way, epochs, numbers in rows(Path(folder)):
            print(f"| {way} | {epochs} |", " | ".join(numbers), "|", flush=True)


if __name__ == "__main__":
    main()
