"""Case -> TOML + extxyz: a case is there whole, and reads as the loader wants it, or it is not there."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import ase.io
import tomlkit
from ase import Atoms

from mlff_probes.cases.files import files_of
from mlff_probes.cases.load import CaseFile, check_id, load_case
from mlff_probes.core.case import Case
from mlff_probes.core.data import DIRECTORY
from mlff_probes.core.errors import InputError


@dataclass(frozen=True)
class Draft:
    """A case that is to be written.

    Attributes
    ----------
    id
        Name of the case: letters, digits and ``_ . +``.
    table
        What the TOML says.
    frames
        What stands beside it, with energies (eV) and forces (eV/A) as results of their calculators; none for a
        protocol that reads its frames from elsewhere or builds them.
    beside
        Frames of other files that the TOML names, by the name of the file (``.extxyz``).
    recorded
        False for a case whose frames are still to get their energies: what it expects is checked as far as it can be.
    """

    id: str
    table: CaseFile
    frames: Sequence[Atoms] = ()
    beside: Mapping[str, Sequence[Atoms]] = field(default_factory=dict)
    recorded: bool = True

    @property
    def place(self) -> Path:
        """Of its TOML in the reference directory."""
        return Path(self.table.protocol.family, f"{self.id}.toml")

    @property
    def files(self) -> dict[str, Sequence[Atoms]]:
        """All its frames, by the names of their files."""
        return {**({f"{self.id}.extxyz": self.frames} if self.frames else {}), **self.beside}


def write_case(directory: Path, draft: Draft, *, replace: bool = False) -> tuple[Path, Case]:
    """`write_cases` of a single one."""
    return write_cases(directory, [draft], replace=replace)[0]


def write_cases(directory: Path, drafts: Sequence[Draft], *, replace: bool = False) -> list[tuple[Path, Case]]:
    """Write cases into `directory` as ``<family>/<id>.toml``, each with its frames beside it: all of them, or none.

    They are written elsewhere in `directory` first, read back as the suite reads them, and moved into place when all
    are whole: nothing is half-written, whether a case cannot be used or the disk is full.

    Parameters
    ----------
    directory
        The reference directory, made if need be.
    drafts
        The cases.
    replace
        Whether cases of these names may be overwritten.

    Returns
    -------
    list of (Path, Case)
        The TOML files, and what they were read back as.

    Raises
    ------
    InputError
        If a name is none of a case or is taken (`check_id_is_free`), a file is there already, or a case cannot be
        read back or written.
    """
    for draft in drafts:
        _check_place(directory, draft, replace=replace)
    final = directory
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=directory) as scratch:
            found = []
            for draft in drafts:
                final = directory / draft.place
                found.append((final, _written(Path(scratch) / draft.place, draft, final)))
            for draft in drafts:
                final = directory / draft.place
                final.parent.mkdir(exist_ok=True)
                final.with_suffix(".provenance.json").unlink(missing_ok=True)  # it spoke of the frames that were there
                for name in (*draft.files, final.name):  # frames first: a case without them is broken
                    shutil.move(Path(scratch) / draft.place.with_name(name), final.with_name(name))
    except OSError as error:
        raise InputError(final, f"cannot be written ({error.strerror or error})", "nothing was left behind") from error
    return found


def _check_place(directory: Path, draft: Draft, *, replace: bool) -> None:
    """Refuse a name that is taken, and files that are there."""
    check_id_is_free(directory, draft.id, draft.table.protocol.family, replace=replace)
    folder = (directory / draft.place).parent
    taken = [file for name in (f"{draft.id}.extxyz", *draft.files) if (file := folder / name).exists()]
    if taken and not replace:
        raise InputError(taken[0], "is there already", "give another --id, or --replace to overwrite it")


def _written(file: Path, draft: Draft, final: Path) -> Case:
    """Write a case to `file`, and read it back; what is wrong is said of the place where it is to be, `final`."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(as_toml(draft.table), encoding="utf-8")
    for name, structures in draft.files.items():
        ase.io.write(file.with_name(name), list(structures), format="extxyz")
    return _read_back(file, final, draft.recorded)


def check_id_is_free(directory: Path, id: str, family: str, *, replace: bool) -> None:
    """Refuse a name that is none of a case, or that a case in `directory` or in the package has.

    Raises
    ------
    InputError
        With who has it.
    """
    check_id(id, "--id")
    mine = directory / family / f"{id}.toml"
    if mine.exists() and not replace:
        raise InputError(mine, "is there already", "give another --id, or --replace to overwrite it")
    for folder, whose in ((directory, f"a case in {directory}"), (DIRECTORY, "a case that comes with mlff-probes")):
        for other in files_of(id, [folder]):
            if other.resolve() != mine.resolve():
                raise InputError(
                    "", f"'{id}' is the id of {whose}, {other.parent.name}/{other.name}", "give another --id"
                )


def rewrite_case(file: Path, text: str, frames: Sequence[Atoms], source: str, beside: Mapping[str, str]) -> Case:
    """Give a case that is there another text and other frames, all at once.

    Parameters
    ----------
    file
        The TOML.
    text
        What it is to say.
    frames
        Its frames, with energies (eV) and forces (eV/A) as results of their calculators.
    source
        Name of the file of frames beside it.
    beside
        The text of other files beside it, by name.

    Returns
    -------
    Case
        What was read back.

    Raises
    ------
    InputError
        If it cannot be read back or written; then it is as it was.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=file.parent.parent) as scratch:
            written = Path(scratch) / file.parent.name / file.name
            written.parent.mkdir()
            for name, content in {file.name: text, **beside}.items():
                written.with_name(name).write_text(content, encoding="utf-8")
            ase.io.write(written.with_name(source), list(frames), format="extxyz")
            case = _read_back(written, file, recorded=True)
            for name in (source, *beside, file.name):
                written.with_name(name).replace(file.with_name(name))
    except OSError as error:
        raise InputError(file, f"cannot be written ({error.strerror or error})") from error
    return case


def _read_back(written: Path, final: Path, recorded: bool) -> Case:
    """The case as the loader reads it, with what it complains of said of the place where the case is to be."""
    try:
        return load_case(written, recorded=recorded)
    except InputError as error:
        there = error.where.replace(str(written.with_suffix("")), str(final.with_suffix("")))
        raise type(error)(there, error.problem, error.remedy) from error


def as_toml(table: CaseFile) -> str:
    """The text of a case file, without what is as by default."""
    said = table.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    protocol = table.protocol.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    said["protocol"] = {"kind": getattr(table.protocol, "kind"), **protocol}  # noqa: B009 - of every kind, none of the base
    first = ("schema_version", "title", "material", "tier", "notes")
    document = tomlkit.document()
    for key in (*first, *(key for key in said if key not in first)):
        if key in said:
            document[key] = said[key] if key != "notes" else tomlkit.item(said[key]).multiline(True)
    return tomlkit.dumps(document)
