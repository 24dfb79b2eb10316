"""A case: geometry + protocol + expectations of one measurement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic

from ase import Atoms
from typing_extensions import TypeVar

from mlff_probes.core.errors import InputError
from mlff_probes.core.evaluation import Evaluation
from mlff_probes.core.protocol import BaseProtocol
from mlff_probes.core.records import Context, Expectation, Measurement, Tier
from mlff_probes.core.trajectory import ReferenceDynamics

P_co = TypeVar("P_co", bound=BaseProtocol, covariant=True, default=BaseProtocol)


@dataclass(frozen=True)
class Case(Generic[P_co]):
    """Geometry + protocol + expectations of one measurement.

    `reference` is what the suite's own measurement yields on the `stored` energies and forces, or on a trajectory of
    `dynamics`. `unlabelled` are frames of its files that count among its samples, but lack what to compare with.
    `training` are structures of what a model may have learned, from which the distance of the frames is measured.
    `blind` says why quantities that should be judged are only reported: their tolerance would pass anything.
    """

    id: str
    family: str
    title: str
    tier: Tier
    protocol: P_co
    frames: tuple[Atoms, ...]
    stored: Evaluation | None
    level_of_theory: str
    source: str
    expectations: tuple[Expectation, ...]
    reports: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    context: tuple[Context, ...] = ()
    material: str | None = None
    reference: Measurement | None = None
    dynamics: ReferenceDynamics | None = None
    unlabelled: tuple[Atoms, ...] = ()
    training: tuple[Atoms, ...] = ()
    blind: Mapping[str, str] = field(default_factory=dict)

    @property
    def elements(self) -> frozenset[str]:
        """Symbols of all elements in the frames."""
        return frozenset(s for frame in self.frames for s in frame.get_chemical_symbols())

    @cached_property
    def compositions(self) -> frozenset[frozenset[str]]:
        """The elements of each frame, each set of them once."""
        return frozenset(frozenset(frame.symbols.species()) for frame in self.frames)

    @property
    def quantities(self) -> tuple[str, ...]:
        """What is judged, then what is only reported: the items of the case, in the order of the scorecard."""
        return (*(e.quantity for e in self.expectations), *self.reports)

    def expectation(self, quantity: str) -> Expectation | None:
        """The expectation for `quantity`, or None where it is only reported."""
        return next((e for e in self.expectations if e.quantity == quantity), None)


@dataclass(frozen=True)
class BrokenCase:
    """A case file that could not be read: it becomes one item that errs, and hides no other case."""

    id: str
    family: str
    error: InputError

    @property
    def message(self) -> str:
        """What the error says."""
        return str(self.error)
