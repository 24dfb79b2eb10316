"""The files that a user asked for, checked before anything is measured and written in the end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlff_probes.calculators.registry import quiet
from mlff_probes.core.errors import InputError, describe
from mlff_probes.scorecard import files
from mlff_probes.scorecard.model import Scorecard
from mlff_probes.scorecard.reports import benchmark_json


@dataclass(frozen=True)
class WantedFiles:
    """The scorecards of `--probe-scorecard`, and the file of `--probe-benchmark-json`, if there is to be one."""

    scorecards: tuple[Path, ...] = ()
    timings: Path | None = None

    @property
    def all(self) -> list[Path]:
        """All files that the user asked for."""
        return [*self.scorecards, *([self.timings] if self.timings else [])]

    def check(self) -> None:
        """Check that the files can be written.

        Raises
        ------
        InputError
            If one cannot, or two have one name.
        """
        for path in self.scorecards:
            files.check_path(path)
        if self.timings:
            benchmark_json.check(self.timings)
        if self.timings in self.scorecards:
            raise InputError(f"{benchmark_json.OPTION}={self.timings}", "--probe-scorecard names the same file")

    def spare(self, source: Path, option: str) -> None:
        """Check that none of the files is `source`, which `option` names.

        Raises
        ------
        InputError
            If one of them is.
        """
        for path in self.all:
            if path.exists() and path.samefile(source):
                raise InputError(
                    option,
                    f"{path} would be overwritten with what is compared with it",
                    "write the new scorecard elsewhere",
                )

    def write(self, card: Scorecard) -> tuple[list[Path], list[str]]:
        """Write all files, JSON first; the files written, and a sentence for each that could not be."""
        written: list[Path] = []
        problems = []
        for path in sorted(self.all, key=lambda path: path.suffix.lower() != ".json"):
            timings = path == self.timings
            try:
                with quiet():
                    written += benchmark_json.write(card, path) if timings else files.write(card, path)
            except Exception as error:  # a picture that cannot be drawn must not cost the verdicts
                said = error if isinstance(error, OSError) else describe(error)
                option = benchmark_json.OPTION if timings else "--probe-scorecard"
                problems.append(f"{option}={path}: could not be written ({said})")
        return written, problems


def account(written: list[Path]) -> str:
    """What was written, in one line."""
    figures = {path for path in written if path.suffix == ".png"}
    examples = {path for path in written if path.suffix in (".py", ".extxyz")}
    parts = [str(path) for path in written if path not in figures | examples]
    if figures:
        parts.append(f"{len(figures)} figure{'s' * (len(figures) > 1)}")
    if examples:
        several = "s" * (len(examples) > 2)
        parts.append(f"{len(examples) // 2} worst example{several} with script{several} in {min(examples).parent}")
    return "wrote " + ", ".join(parts)
