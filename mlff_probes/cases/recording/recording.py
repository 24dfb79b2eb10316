"""A case, the points that it lacks, and the calculator that computes them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from mlff_probes.calculators.base import Calculator
from mlff_probes.cases.load import TO_BE_STATED
from mlff_probes.cases.recording.journal import Journal, Point
from mlff_probes.cases.recording.lacking import Recordable, unlabelled
from mlff_probes.cases.recording.points import UnconvergedError, computed
from mlff_probes.cases.recording.provenance import Recorder, with_level, with_source
from mlff_probes.cases.writing import rewrite_case
from mlff_probes.core.case import Case
from mlff_probes.core.errors import EvaluationError, InputError

SAME_EV = 1e-3
"""How far the energy of a frame, computed once more, may be from the one that it carries, eV.

Beyond, it is another zero of energies, or other settings, and differences between such frames mean nothing.
"""

HOPELESS = 2
"""So many points that all raise, one after the other and nothing before them, show a calculator that cannot compute."""


@dataclass
class Recording:
    """Points that a case lacks, and what was computed of them so far.

    Parameters
    ----------
    case
        The case.
    journal
        Its journal, open.
    recorder
        Who computes.
    wanted
        Numbers of the frames that may be computed.
    replace
        Whether those that have an energy are computed, too.
    """

    case: Recordable
    journal: Journal
    recorder: Recorder
    wanted: Sequence[int]
    replace: bool = False
    failed: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        earlier = self.journal.recorder
        differ = earlier.differences(self.recorder) if earlier else []
        if differ and self.journal.points and not self.replace:
            raise InputError(
                self.case.file,
                f"{len(self.journal.points)} points were recorded with other settings ({', '.join(differ)})",
                "go on with those, or begin again with --replace",
            )
        if earlier is None or differ:
            self.journal.begin(self.recorder)

    @property
    def to_do(self) -> list[int]:
        """Numbers of the frames that are still to be computed, each structure once."""
        wanted = [i for i in self.wanted if self.replace or self.case.energies[i] is None]
        lacking = {self.case.hash(i): i for i in reversed(wanted)}
        return sorted(i for key, i in lacking.items() if key not in self.journal.points)

    @property
    def incomplete(self) -> list[int]:
        """Numbers of the frames that have no energy yet, neither of their own nor recorded."""
        return [i for i, there in enumerate(self.case.energies) if there is None and self._point(i) is None]

    def _point(self, index: int) -> Point | None:
        return self.journal.points.get(self.case.hash(index))

    def _kept(self) -> list[int]:
        """Numbers of the frames that keep the energy that they carry."""
        wanted = set(self.wanted) if self.replace else set()
        return [i for i, there in enumerate(self.case.energies) if there is not None and i not in wanted]

    def run(self, load: Callable[[], Calculator], *, keep: bool = False) -> Iterator[tuple[int, Point | str]]:
        """Compute what is to do, and tell of each frame what was recorded, or why it has no value.

        Parameters
        ----------
        load
            Gives the calculator, once for each point.
        keep
            Whether what the code wrote is kept of the points that are recorded, too.

        Raises
        ------
        InputError
            If a point cannot be kept, the energies that the case carries are others than the calculator's, or it can
            compute nothing.
        """
        self._check_kept(load)
        hopeless = 0
        for index in self.to_do:
            folder = self.journal.folder / f"frame_{index:04d}"
            try:
                point = computed(load, self.case.frames[index], folder, name=self.case.name(index))
                self._check_level(point, self.case.name(index))
            except EvaluationError as error:
                self.failed[index] = str(error)
                yield index, str(error)
                hopeless += not isinstance(error, UnconvergedError)
                if hopeless == HOPELESS == len(self.failed) and not self.journal.points:
                    where = f"--calculator={self.recorder.calculator}"
                    raise InputError(where, f"none of {HOPELESS} points could be computed", f"see {folder}") from error
                continue
            self.journal.add(point)
            if not keep:
                shutil.rmtree(folder, ignore_errors=True)
            yield index, point

    def take(self, found: Iterable[tuple[int, Point | str]]) -> Iterator[tuple[int, Point | str]]:
        """Keep what was computed elsewhere, and tell of each frame what was kept, or why it has no value."""
        for index, point in found:
            if not isinstance(point, str):
                try:
                    self._check_level(point, self.case.name(index))
                except EvaluationError as error:
                    yield index, str(error)
                    continue
                self.journal.add(point)
            yield index, point

    def _check_level(self, point: Point, name: str) -> None:
        if self.case.is_of_another_level(point.level_of_theory):
            stated = f"{self.case.file.name} says {self.case.table.reference.level_of_theory}"
            raise EvaluationError(f"{name} was computed with {point.level_of_theory}, and {stated}")

    def _check_kept(self, load: Callable[[], Calculator]) -> None:
        """Refuse to put computed energies beside those that a case carries, if they are not of one kind."""
        first = next((i for i in self._kept() if not self._vouched(i)), None)
        if first is None or not self.to_do:
            return
        name, there, folder = self.case.name(first), self.case.energies[first], self.journal.folder / "check"
        assert there is not None
        try:
            again = computed(load, self.case.frames[first], folder, name=name)
        except EvaluationError as error:
            raise InputError(self.case.file, f"the energy of {name} cannot be checked: {error}") from error
        if abs(again.energy - there) > SAME_EV:
            raise InputError(
                self.case.file,
                f"{name} carries {there:.4f} eV, but {self.recorder.calculator} gives {again.energy:.4f} eV: energies "
                "of two kinds cannot stand in one case",
                "use the settings of those that are there, or compute all with --replace",
            )
        shutil.rmtree(folder, ignore_errors=True)

    def _vouched(self, index: int) -> bool:
        """Whether the record beside the case says that this recorder made the energy that a frame carries."""
        there, known = self.case.energies[index], self._recorded.get(self.case.hash(index))
        return there is not None and known is not None and abs(known - there) < SAME_EV

    @cached_property
    def _recorded(self) -> dict[str, float]:
        """The energies that the record beside the case holds by structure, eV; none of another recorder."""
        try:
            said = json.loads(self.case.file.with_suffix(".provenance.json").read_text(encoding="utf-8"))
            if Recorder.model_validate(said["recorder"]).differences(self.recorder):
                return {}
            return {row["structure"]: float(row["energy"]) for row in said["points"]}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def finish(self) -> Case:
        """Write what was recorded into the case, and forget the journal.

        Raises
        ------
        InputError
            If the case cannot be used or written then; the points stay in the journal, and nothing of the case changes.
        """
        points = {i: point for i in range(len(self.case.frames)) if (point := self._point(i)) and self._takes(i)}
        details = self.case.file.with_suffix(".provenance.json").name
        last = max(point.date for point in points.values())
        codes = [point.code for point in points.values()]
        text = with_source(self.case.file.read_text(encoding="utf-8-sig"), codes, last[:10], details)
        if self.case.table.reference.level_of_theory == TO_BE_STATED:
            text = with_level(text, next(point.level_of_theory or TO_BE_STATED for point in points.values()))
        frames = [self._frame(i, points.get(i)) for i in range(len(self.case.frames))]
        try:
            case = rewrite_case(self.case.file, text, frames, self.case.source.name, {details: self._details(points)})
        except InputError as error:
            kept = f"the {len(points)} points are kept; mend it and run the same again, which computes none of them"
            raise InputError(error.where, error.problem, f"{error.remedy}; {kept}" if error.remedy else kept) from error
        self.journal.clear()
        return case

    def _takes(self, index: int) -> bool:
        return index not in self._kept()

    def _frame(self, index: int, point: Point | None) -> Atoms:
        if point is None:
            return self.case.frames[index]
        frame = unlabelled(self.case.frames[index])
        values = {name: getattr(point, name) for name in ("energy", "forces", "stress", "magmoms", "magmom")}
        frame.calc = SinglePointCalculator(
            frame, **{name: value for name, value in values.items() if value is not None}
        )
        return frame

    def _details(self, points: dict[int, Point]) -> str:
        """The record beside the case of how each of its energies was made."""
        rows: list[Any] = [
            {
                "frame": self.case.name(i),
                **point.model_dump(mode="json", exclude_none=True, exclude={"forces", "stress", "magmoms"}),
            }
            for i, point in points.items()
        ]
        kept = [self.case.name(i) for i in range(len(self.case.frames)) if i not in points]
        said = {"schema_version": 1, "recorder": self.recorder.model_dump(mode="json"), "points": rows}
        return json.dumps(said | ({"not_recorded": kept} if kept else {}), indent=1) + "\n"
