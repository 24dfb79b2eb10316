"""The points so far, one line each, in a hidden folder beside the case: a kill loses the one in flight at most."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout
from pydantic import Field, ValidationError

from mlff_probes.cases.recording.provenance import Recorder
from mlff_probes.core.errors import InputError
from mlff_probes.core.levels import LevelName
from mlff_probes.core.records import Finite, NonNegative, Record, Text


class Point(Record):
    """What was computed for one structure.

    Attributes
    ----------
    structure
        Hash of the structure (`structure_hash`).
    energy, forces, stress, magmoms, magmom
        In eV, eV/A, eV/A^3 (ASE's sign, Voigt order) and Bohr magnetons; None for what was not computed.
    code
        Which code computed it, with its version.
    converged
        Who says that its electronic steps converged.
    level_of_theory
        What the output, or else the calculator, says was computed; None where neither does.
    settings
        What the output says of it besides, by name.
    inputs
        Hashes of the files that the code was given or wrote, by name.
    wall_s
        How long it took; None where nobody knows.
    date
        When, ISO 8601.
    """

    structure: Text
    energy: Finite
    forces: tuple[tuple[Finite, Finite, Finite], ...] | None = None
    stress: tuple[Finite, ...] | None = None
    magmoms: tuple[Finite, ...] | None = None
    magmom: Finite | None = None
    code: Text
    converged: Text
    level_of_theory: LevelName | None = None
    settings: dict[str, str] = Field(default_factory=dict)
    inputs: dict[str, str] = Field(default_factory=dict)
    wall_s: NonNegative | None = None
    date: Text


class Journal:
    """The points of one case so far, by the hash of their structure; while it is open, nobody else records the case.

    Raises
    ------
    InputError
        If somebody records the case already, or the folder of the case cannot be written.
    """

    def __init__(self, file: Path) -> None:
        self.case = file
        self.folder = file.with_name(f".{file.stem}.recording")
        self.lines = self.folder / "points.jsonl"
        self.recorder: Recorder | None = None
        self.points: dict[str, Point] = {}

    def __enter__(self) -> Self:
        try:
            self.folder.mkdir(exist_ok=True)
            self._lock = FileLock(self.folder / "lock")
            self._lock.acquire(timeout=0)
            self._read()
        except Timeout as error:
            raise InputError(self.case, "somebody records this case already", "wait for it, or stop it") from error
        except OSError as error:
            raise self._unwritable(error) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        if not self.points and self.folder.exists() and {each.name for each in self.folder.iterdir()} <= {"lock"}:
            shutil.rmtree(self.folder)

    def begin(self, recorder: Recorder) -> None:
        """Begin with nothing, for points that `recorder` will make."""
        self._rewrite("")
        self.points = {}
        self._append(recorder)
        self.recorder = recorder

    def add(self, point: Point) -> None:
        """Keep a point: it is on the disk when this returns.

        Raises
        ------
        InputError
            If it cannot be written; what was kept before stays.
        """
        self._append(point)
        self.points[point.structure] = point

    def clear(self) -> None:
        """Forget all points, and what lies in the folder: they have found their place."""
        self.points = {}
        shutil.rmtree(self.folder, ignore_errors=True)

    def _append(self, record: Record) -> None:
        before = self.lines.stat().st_size if self.lines.exists() else 0
        try:
            with self.lines.open("a", encoding="utf-8") as handle:
                handle.write(record.model_dump_json() + "\n")
                handle.flush()
                os.fsync(handle.fileno())
        except OSError as error:
            os.truncate(self.lines, before)
            raise self._unwritable(error) from error

    def _read(self) -> None:
        """Take up what an earlier recording left; a line that a kill cut short is dropped."""
        text = self.lines.read_text(encoding="utf-8") if self.lines.exists() else ""
        first, *rest = text.splitlines(keepends=True) or [""]
        good: list[str] = []
        for line, kind in ((first, Recorder), *((each, Point) for each in rest)):
            record = _parsed(kind, line)
            if record is None:
                break
            good.append(line)
            if isinstance(record, Recorder):
                self.recorder = record
            else:
                self.points[record.structure] = record
        if (kept := "".join(good)) != text:
            self._rewrite(kept)

    def _rewrite(self, text: str) -> None:
        fresh = self.lines.with_suffix(".new")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(self.lines)

    def _unwritable(self, error: OSError) -> InputError:
        kept = f"the {len(self.points)} points so far are kept" if self.points else "nothing was recorded"
        return InputError(
            self.folder, f"cannot be written ({error.strerror or error}); {kept}", "mend that, and run it again"
        )


def _parsed(kind: type[Any], line: str) -> Any:
    try:
        return kind.model_validate_json(line) if line.endswith("\n") else None
    except ValidationError:
        return None
