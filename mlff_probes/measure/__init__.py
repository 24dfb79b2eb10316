"""The families of probes, one folder each, and the table of all kinds of measurement.

A folder holds the protocols of a family (`protocols`), its measurements, and its figures (`figure`); `results`,
`kind`, `styles` and `measurement` serve all. Measurements are pure: no pytest, no expected values, no files.
"""

from __future__ import annotations

from mlff_probes.measure.dynamics.figure import SIMULATION
from mlff_probes.measure.dynamics.protocols import MolecularDynamics
from mlff_probes.measure.inference.figure import AGREEMENT, SPEED
from mlff_probes.measure.inference.protocols import PathAgreement, Speed
from mlff_probes.measure.inference.speed import speed
from mlff_probes.measure.kind import Kind, Later, OnFrames
from mlff_probes.measure.laws.figure import DERIVATIVES, REPRODUCIBILITY, SMOOTHNESS, STATED_LEVEL, SYMMETRY, WALL
from mlff_probes.measure.laws.protocols import (
    Derivatives,
    Reproducibility,
    ShortRangeWall,
    Smoothness,
    StatedLevel,
    Symmetry,
)
from mlff_probes.measure.migration.figure import FIXED_PATH, RELAXED_PATH, VACANCY
from mlff_probes.measure.migration.fixed_path import fixed_path
from mlff_probes.measure.migration.protocols import FccVacancy, FixedPath, RelaxedPath
from mlff_probes.measure.parity.figure import PARITY
from mlff_probes.measure.parity.measurement import labels, parity
from mlff_probes.measure.parity.protocols import Parity
from mlff_probes.measure.representation.figure import EXTRAPOLATION, FORGETTING
from mlff_probes.measure.representation.protocols import Extrapolation, Forgetting
from mlff_probes.measure.sliding.figure import FIXED_GAP, RELAXED_GAP
from mlff_probes.measure.sliding.measurement import fixed_gap_slide, periodic_images, relaxed_gap_slide
from mlff_probes.measure.sliding.protocols import FixedGapSlide, RelaxedGapSlide

KINDS = (
    Kind(FixedPath, OnFrames(fixed_path), FIXED_PATH),
    Kind(RelaxedPath, Later("migration.relaxed_path:relaxed_path"), RELAXED_PATH),
    Kind(FccVacancy, Later("migration.vacancy:fcc_vacancy"), VACANCY),
    Kind(FixedGapSlide, OnFrames(fixed_gap_slide, periodic_images), FIXED_GAP),
    Kind(RelaxedGapSlide, OnFrames(relaxed_gap_slide), RELAXED_GAP),
    Kind(Parity, OnFrames(parity), PARITY, labels),
    Kind(Extrapolation, Later("representation.measurement:extrapolation"), EXTRAPOLATION),
    Kind(Forgetting, Later("representation.forgetting:forgetting"), FORGETTING),
    Kind(Symmetry, Later("laws.symmetry:symmetry"), SYMMETRY),
    Kind(Derivatives, Later("laws.derivatives:derivatives"), DERIVATIVES),
    Kind(Smoothness, Later("laws.smoothness:smoothness"), SMOOTHNESS),
    Kind(ShortRangeWall, Later("laws.wall:short_range_wall"), WALL),
    Kind(StatedLevel, Later("laws.level:stated_level"), STATED_LEVEL),
    Kind(Reproducibility, Later("laws.reproducibility:reproducibility"), REPRODUCIBILITY),
    Kind(
        MolecularDynamics,
        Later("dynamics.measurement:molecular_dynamics"),
        SIMULATION,
        Later("dynamics.reference_dynamics:reference_dynamics"),
        Later("dynamics.reference_picture:reference_picture"),
    ),
    Kind(Speed, speed, SPEED),
    Kind(PathAgreement, Later("inference.agreement:agreement"), AGREEMENT),
)
"""All kinds, in the order of the scorecard; those of one family stand together."""

BY_KIND = {kind.name: kind for kind in KINDS}
FAMILIES = tuple(dict.fromkeys(kind.protocol.family for kind in KINDS))
