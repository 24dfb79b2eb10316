"""Who computed the energies of a case, with which settings, and how the case says so."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tomlkit
from pydantic import Field

from mlff_probes.calculators.calc_file import HERE
from mlff_probes.core.levels import LevelName
from mlff_probes.core.records import CalculatorIdentity, Record, Text
from mlff_probes.core.version import installed_version

MACHINE = {"command", "directory", "label", "txt", "profile", "debug", "parallel"}
"""Arguments of ASE's calculators that say where and how a code runs, not what it computes."""

BY = "recorded by mlff-probes"
"""What we write begins so, by which it is found and replaced when the case is recorded once more."""


class Recorder(Record):
    """The calculator that computes the points of a case, as far as its numbers depend on it.

    Attributes
    ----------
    calculator
        The SPEC, or the name of the calculator file.
    arguments
        What its factory was given; paths beside the calculator file begin with ``{here}``.
    level_of_theory
        What it is said to compute; None if nobody says.
    files
        Hashes of the model, of the factory's file, and of files that the arguments name.
    versions
        Of the packages involved.
    """

    calculator: Text
    arguments: dict[str, Any] = Field(default_factory=dict)
    level_of_theory: LevelName | None = None
    files: dict[str, str] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)

    @classmethod
    def of(cls, identity: CalculatorIdentity, folder: Path) -> Recorder:
        """What an identity says, without the paths of this machine: `folder` is that of the calculator file."""
        own = {identity.sha256_of or "the model": identity.sha256} if identity.sha256 else {}
        files = {Path(name).name: value for name, value in {**own, **identity.files}.items()}
        return cls(
            calculator=_portable(identity.spec, folder).removeprefix(f"{HERE}/"),
            arguments=_portable(identity.options, folder),
            level_of_theory=identity.level_of_theory,
            files=files,
            versions={"mlff-probes": installed_version(), **identity.versions},
        )

    def differences(self, other: Recorder) -> list[str]:
        """What of the settings differs from those of another, by name."""
        mine, theirs = self._settings(), other._settings()
        return sorted(name for name in {*mine, *theirs} if mine.get(name) != theirs.get(name))

    def _settings(self) -> dict[str, Any]:
        arguments = {key: value for key, value in self.arguments.items() if key not in MACHINE}
        return {"level_of_theory": self.level_of_theory, **self.files, **arguments}


def _portable(value: Any, folder: Path) -> Any:
    if isinstance(value, str):
        return value.replace(str(folder), HERE)
    if isinstance(value, dict):
        return {key: _portable(each, folder) for key, each in value.items()}
    return [_portable(each, folder) for each in value] if isinstance(value, list | tuple) else value


def with_source(text: str, codes: Iterable[str], date: str, details: str) -> str:
    """The text of a case file whose `source` says who computed its energies; comments and all else stay as they are.

    Parameters
    ----------
    text
        The TOML.
    codes
        The codes that computed them, with versions.
    date
        When the last of them was computed.
    details
        The file that says more.
    """
    document = tomlkit.parse(text)
    reference: Any = document["reference"]
    before = re.sub(rf"(^|; ){BY}.*$", "", str(reference["source"]), flags=re.DOTALL)
    said = f"{BY} on {date} with {' and '.join(sorted(set(codes)))} (see {details})"
    reference["source"] = f"{before}; {said}" if before else said
    return tomlkit.dumps(document)


def with_level(text: str, level: str) -> str:
    """The text of a case file with another level of theory for all of its reference."""
    document = tomlkit.parse(text)
    reference: Any = document["reference"]
    reference["level_of_theory"] = level
    return tomlkit.dumps(document)
