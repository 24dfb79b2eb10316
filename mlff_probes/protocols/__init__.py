"""How each measurement is made: the `[protocol]` table of a case, and the quantities it yields.

A protocol says which keys its frames need and which quantity has which unit, so that a case file
can be refused before anything is measured. One file a family.
"""

from __future__ import annotations

from typing import get_args

from mlff_probes.protocols.dynamics import MolecularDynamics
from mlff_probes.protocols.inference import PathAgreement, Speed
from mlff_probes.protocols.migration import FccVacancy, FixedPath, RelaxedPath
from mlff_probes.protocols.parity import Parity
from mlff_probes.protocols.physicality import (
    Derivatives,
    Law,
    Reproducibility,
    ShortRangeWall,
    Smoothness,
    Symmetry,
)
from mlff_probes.protocols.sliding import FixedGapSlide, RelaxedGapSlide, Slide

__all__ = [
    "BY_KIND",
    "FAMILIES",
    "PROTOCOLS",
    "Derivatives",
    "FccVacancy",
    "FixedGapSlide",
    "FixedPath",
    "Law",
    "MolecularDynamics",
    "Parity",
    "PathAgreement",
    "Protocol",
    "RelaxedGapSlide",
    "RelaxedPath",
    "Reproducibility",
    "ShortRangeWall",
    "Slide",
    "Smoothness",
    "Speed",
    "Symmetry",
]

Protocol = (
    FixedPath
    | RelaxedPath
    | FccVacancy
    | FixedGapSlide
    | RelaxedGapSlide
    | Parity
    | Symmetry
    | Derivatives
    | Smoothness
    | ShortRangeWall
    | Reproducibility
    | MolecularDynamics
    | Speed
    | PathAgreement
)
PROTOCOLS: tuple[type[Protocol], ...] = get_args(Protocol)
BY_KIND: dict[str, type[Protocol]] = {get_args(p.model_fields["kind"].annotation)[0]: p for p in PROTOCOLS}
FAMILIES = tuple(dict.fromkeys(protocol.family for protocol in PROTOCOLS))
