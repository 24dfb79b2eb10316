"""Files of structures, found and read strictly."""

from __future__ import annotations

import codecs
import glob
import gzip
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.db import connect
from ase.utils import string2index

from mlff_probes.cases.convergence import REMEDY, logs_beside, mark_unconverged, output_problem
from mlff_probes.core.errors import InputError, describe
from mlff_probes.core.structures import copied

REMEMBERED_BYTES = 1_000_000
"""Structures of larger files are read again rather than kept in memory."""


def read_frames(file: Path, *, format: str | None = None) -> list[Atoms]:
    """All structures of a file; `format` as ASE names it, or None to go by name and content.

    Raises
    ------
    InputError
        If the file is missing, empty or unreadable, or holds a position or cell that is not finite.
    """
    if not file.is_file():
        raise InputError(file, "there is no such file of frames")
    about = file.stat()
    if about.st_size > REMEMBERED_BYTES:
        return _parsed(file, format)
    folder = None if file.is_absolute() else Path.cwd()
    return [_copy(frame) for frame in _remembered(file, folder, about.st_mtime_ns, about.st_size, format)]


@lru_cache(maxsize=128)
def _remembered(file: Path, folder: Path | None, mtime_ns: int, size: int, format: str | None) -> tuple[Atoms, ...]:
    """The structures of a small file, named from a `folder` or by its whole path, as it was at that time.

    Laws, parity and agreement of paths read the files of other cases, and reading is slow.
    """
    return tuple(_parsed(file, format))


def beside(file: Path) -> Path:
    """The file of frames beside a case, compressed (``.gz``) or not; there may be none."""
    plain = file.with_suffix(".extxyz")
    packed = plain.with_name(f"{plain.name}.gz")
    return packed if packed.exists() and not plain.exists() else plain


def _copy(frame: Atoms) -> Atoms:
    """A structure of its own, with the results that were read with it."""
    found = copied(frame)
    found.calc = frame.calc
    return found


def _parsed(file: Path, format: str | None) -> list[Atoms]:
    try:
        read = _read_by_ase(file, format)
    except Exception as error:  # ASE's readers raise whatever a malformed line provokes
        if problem := output_problem(file):
            raise InputError(file, problem, REMEDY) from error
        marked = " (it begins with a byte-order mark: save it as plain UTF-8)" if _has_mark(file) else ""
        what = format or "structures"
        raise InputError(file, f"cannot be read as {what} ({describe(error)}){marked}") from error
    frames = read if isinstance(read, list) else [read]
    if not frames:
        problem = output_problem(file)
        raise InputError(file, problem or "holds no frame", REMEDY if problem else "")
    for output in (file, *logs_beside(file)):
        mark_unconverged(frames, output)
    for index, frame in enumerate(frames):
        if not np.isfinite(frame.positions).all() or not np.isfinite(frame.cell.array).all():
            raise InputError(file, f"frame {index} has a position or cell that is not finite")
    return frames


def _read_by_ase(file: Path, format: str | None) -> Any:
    """What ASE reads; it reads what is compressed as well, but no database."""
    if file.name.endswith(".db.gz"):
        with TemporaryDirectory() as folder:
            plain = Path(folder) / file.stem
            plain.write_bytes(gzip.decompress(file.read_bytes()))
            return _rows(plain)
    if file.suffix == ".db" and not format:
        return _rows(file)
    # without a format ASE tries all that it knows
    known = format or ("extxyz" if file.name.removesuffix(".gz").endswith((".extxyz", ".exyz")) else None)
    return ase.io.read(file, ":", format=known, do_not_split_by_at_sign=True)


def _rows(file: Path) -> list[Atoms]:
    """The structures of an ASE database; what it says of each in its columns stands in `info`, as elsewhere."""
    found = []
    with connect(file, serial=True) as rows:
        for row in rows.select():
            frame = row.toatoms()
            frame.info |= row.key_value_pairs
            found.append(frame)
    return found


def files_of(id: str, directories: Iterable[Path]) -> list[Path]:
    """The files of cases that have an id, in the order of the reference directories."""
    return [file for directory in directories for file in sorted(directory.glob(f"*/{glob.escape(id)}.toml"))]


def sliced(frames: list[Atoms], index: str, where: Path) -> list[Atoms]:
    """The frames that `index` chooses as ASE does behind an ``@``: ``-1``, ``2:5``, ``::10``.

    Raises
    ------
    InputError
        If it is no index, or there are no such frames; `where` is named in it.
    """
    chosen = string2index(index) if re.fullmatch(r"[-+\d:]+", index) else None
    if chosen is None or isinstance(chosen, str):
        raise InputError(where, f"'{index}' is no slice", "write for instance FILE@-7: for the last seven")
    try:
        found = frames[chosen] if isinstance(chosen, slice) else [frames[chosen]]
    except IndexError:
        found = []
    if not found:
        known = f"they are 0 to {len(frames) - 1}, and -1 is the last"
        raise InputError(where, f"@{index} chooses no frame of {len(frames)}", known)
    return found


def named_frames(file: Path, name: str) -> tuple[Path, list[Atoms]]:
    """The one file that a case names, and its frames: all, or those that an ``@index`` behind the name chooses."""
    plain, at, index = name.rpartition("@")
    if not at or _names(file, name):
        source = only(file, name)
        return source, read_frames(source)
    source = only(file, plain)
    return source, sliced(read_frames(source), index, file)


def matching(file: Path, pattern: str) -> list[Path]:
    """The files that a case names by a path or pattern, relative to itself."""
    names = _names(file, pattern)
    if not names:
        plain = pattern.rpartition("@")[0]
        indexed = f"'{plain}' is there, but frames of it cannot be chosen here with @" if _names(file, plain) else ""
        raise InputError(file, f"no file matches '{pattern}' (looked from {file.parent})", indexed)
    return [Path(name) for name in names]


def _names(file: Path, pattern: str) -> list[str]:
    return sorted(glob.glob(str(file.parent / Path(pattern).expanduser()))) if pattern else []  # noqa: PTH207 - knows '..'


def found_files(sources: Sequence[str]) -> list[Path]:
    """The files that paths and patterns of the user's name, each once, in their order.

    Raises
    ------
    InputError
        If one of them names no file, or a folder.
    """
    found: dict[Path, None] = {}
    for source in sources:
        plain = Path(source).expanduser()
        names = [plain] if plain.exists() else sorted(glob.glob(str(plain), recursive=True))  # noqa: PTH207 - knows '..'
        files = list(map(Path, names))
        if not files:
            raise InputError(source, f"there is no such file (looked from {Path.cwd()})")
        for file in files:
            if file.is_dir():
                raise InputError(file, "is a folder", "name the files in it, for instance with a pattern")
        found |= dict.fromkeys(files)
    return list(found)


def only(file: Path, name: str) -> Path:
    """The one file that a case names."""
    found = matching(file, name)
    if len(found) > 1:
        raise InputError(file, f"'{name}' matches {len(found)} files", "name one")
    return found[0]


def _has_mark(file: Path) -> bool:
    with file.open("rb") as handle:
        return handle.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8
