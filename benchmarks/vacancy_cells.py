"""How far cell size, images and largest forces move what `fcc_vacancy` measures: a Markdown table on standard output.

python benchmarks/vacancy_cells.py ase:EMT chgnet
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from mlff_probes.calculators.registry import load_calculator
from mlff_probes.core.case import Case
from mlff_probes.core.records import Measurement
from mlff_probes.measure.measurement import measure_case
from mlff_probes.measure.migration.protocols import FccVacancy

GUESS_A = {"Al": 4.039, "Cu": 3.631}
BASE: dict[str, Any] = {"repeats": 3, "images": 3, "fmax": 0.05, "saddle_fmax": 0.01, "vacancy_fmax": 0.02}
VARIED: dict[str, tuple[Any, ...]] = {
    "repeats": (2, 3, 4),
    "images": (3, 5, 7),
    "saddle_fmax": (0.02, 0.01, 0.005),
    "vacancy_fmax": (0.05, 0.02, 0.01),
}
COLUMNS = ("calculator", "metal", "atoms", "images", "saddle_fmax (eV/A)", "vacancy_fmax (eV/A)",
           "lattice constant (A)", "formation energy (eV)", "barrier (eV)", "model calls", "outcome")  # fmt: skip


def settings() -> Iterator[dict[str, Any]]:
    """The settings of the suite, then each of them varied by itself."""
    yield BASE
    for name, values in VARIED.items():
        yield from (BASE | {name: value} for value in values if value != BASE[name])


def vacancy(spec: str, element: str, chosen: dict[str, Any]) -> tuple[FccVacancy, Measurement]:
    """Measure one metal with the `chosen` settings of the protocol."""
    protocol = FccVacancy(kind="fcc_vacancy", element=element, guess_lattice_constant=GUESS_A[element], **chosen)
    case = Case(id="vacancy", family="migration", title="vacancy", tier="standard", protocol=protocol,
                frames=protocol.built_frames(), stored=None, level_of_theory="none", source="none",
                expectations=())  # fmt: skip
    return protocol, measure_case(load_calculator(spec), case)


def main(specs: list[str]) -> None:
    """Print the table."""
    print("|", " | ".join(COLUMNS), "|")
    print("|---" * len(COLUMNS) + "|")
    for spec in specs:
        for element in GUESS_A:
            for chosen in settings():
                protocol, found = vacancy(spec, element, chosen)
                numbers = [found.values[name].value for name in ("lattice_constant", "formation_energy", "barrier")]
                cells = [spec, element, len(protocol.built_frames()[0]), chosen["images"],
                         f"{chosen['saddle_fmax']:g}", f"{chosen['vacancy_fmax']:g}"]  # fmt: skip
                cells += ["—" if number is None else f"{number:.4f}" for number in numbers]
                print("| " + " | ".join(map(str, [*cells, found.model_calls, found.diagnostics["outcome"]])) + " |",
                      flush=True)  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
