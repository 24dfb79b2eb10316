"""What a builder makes: a case whose frames wait for their energies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ase import Atoms

from mlff_probes.cases.load import TO_BE_STATED, CaseFile, ReferenceTable

UNMEASURED = (
    "Uncertainty: not measured yet, and taken as zero. Record one frame again with denser k-points and a larger basis, "
    "and state by how much its energy moves."
)


@dataclass(frozen=True)
class Made:
    """A case that was made: its name, what its TOML says, its frames, and what of them is drawn."""

    id: str
    table: CaseFile
    frames: tuple[Atoms, ...]
    drawn: tuple[Atoms, ...] = ()


def shared_keys(material: str, level: str | None, source: str) -> dict[str, Any]:
    """What all cases say that are made of one crystal; `level` is None where it is still to be stated."""
    reference = ReferenceTable(level_of_theory=level or TO_BE_STATED, source=source)
    return {"schema_version": 1, "material": material, "tier": "quick", "reference": reference}
