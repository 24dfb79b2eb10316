"""`mlff-probes store`: what was measured before."""

from __future__ import annotations

import argparse
import json
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlff_probes.core.errors import InputError
from mlff_probes.session.commands.common import path_of

if TYPE_CHECKING:
    from mlff_probes.session.store.entries import MeasurementStore


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of `store`."""
    store = commands.add_parser("store", help="the measurements that --probe-store (or pytest's cache) keeps")
    what = store.add_subparsers(required=True, metavar="COMMAND")
    for name, command, text in (
        ("ls", _ls, "list them: when each was made, how large it is, and its name"),
        ("show", _show, "print what a measurement depends on, and itself, as JSON"),
        ("rm", _rm, "forget measurements"),
        ("verify", _verify, "read them all; exit code 1 if one does not hold what was written"),
        ("export", _export, "copy them into another store, which may be another machine's"),
    ):
        parser = what.add_parser(name, help=text)
        parser.add_argument("store", type=path_of, metavar="DIR", help="the directory of --probe-store")
        if name == "export":
            parser.add_argument("to", type=path_of, metavar="OTHER", help="the other; made if it is not there")
        if name == "rm":
            parser.add_argument("--all", action="store_true", help="all of them")
        parser.add_argument(
            "names", nargs="*" if name != "show" else "+", metavar="TEXT",
            help="only those whose name holds one of these: a family, a version, a case, the beginning of a hash",
        )  # fmt: skip
        parser.set_defaults(command=command)


def _opened(parsed: argparse.Namespace) -> MeasurementStore:
    from mlff_probes.session.store.entries import FOLDER, MeasurementStore

    store = MeasurementStore(parsed.store)
    if not store.folder.is_dir():
        raise InputError(parsed.store, f"holds no measurements (no folder {FOLDER})", "name what --probe-store named")
    return store


def _chosen(parsed: argparse.Namespace) -> list[Path]:
    """The files of the entries that are meant.

    Raises
    ------
    InputError
        If names are given of which none is there.
    """
    files = _opened(parsed).files()
    chosen = [file for file in files if not parsed.names or any(name in file.stem for name in parsed.names)]
    if parsed.names and not chosen:
        raise InputError(parsed.store, f"holds nothing of {' or '.join(parsed.names)}", f"it holds {_count(files)}")
    return chosen


def _count(files: list[Path]) -> str:
    return "1 measurement" if len(files) == 1 else f"{len(files)} measurements"


def _ls(parsed: argparse.Namespace) -> Iterator[str]:
    files = _chosen(parsed)
    files = [file for file in files if file.exists()]  # others may be at work
    states = [file.stat() for file in files]
    lines = [
        f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime(state.st_mtime))}  {state.st_size / 1024:8.1f} kB  {file.stem}"
        for file, state in zip(files, states, strict=True)
    ]
    size = sum(state.st_size for state in states)
    yield "\n".join([*lines, f"{_count(files)}, {size / 1024**2:.1f} MB (times are UTC)"])


def _show(parsed: argparse.Namespace) -> Iterator[str]:
    from mlff_probes.session.store.entries import SpoiltError, read

    for file in _chosen(parsed):
        try:
            entry = read(file)
        except (OSError, SpoiltError) as error:
            raise InputError(file, str(error), "remove it with mlff-probes store rm") from error
        shown = {"made": entry.made, "of": entry.about, "measurement": entry.measurement.model_dump(mode="json")}
        yield json.dumps(shown, indent=2, ensure_ascii=False)


def _rm(parsed: argparse.Namespace) -> Iterator[str]:
    if bool(parsed.names) == parsed.all:
        raise InputError("", "say which measurements to forget", "give a part of their names, or --all")
    from mlff_probes.session.store import models

    files = _chosen(parsed)
    if parsed.all:  # what was begun and what is known of models, too
        gone = [*_opened(parsed).folder.iterdir(), *(parsed.store / models.FOLDER).glob("*")]
    else:
        gone = [other for file in files for other in file.parent.glob(f"{file.stem}.*")]
    for file in gone:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(file, f"cannot be removed ({error.strerror})") from error
    yield f"forgot {_count(files)}"


def _spoilt(file: Path) -> str:
    """Why a file does not hold what was written there; empty where it does."""
    from mlff_probes.session.store.entries import SpoiltError, read

    try:
        read(file)
    except (OSError, SpoiltError) as error:
        return str(error)
    return ""


def _verify(parsed: argparse.Namespace) -> Iterator[str]:
    files, spoilt = _chosen(parsed), 0
    for file in files:
        if why := _spoilt(file):
            spoilt += 1
            yield f"{file.stem}: {why}"
    parsed.exit_code = int(spoilt > 0)
    yield f"{_count(files)}, {spoilt or 'none'} of them torn or edited"


def _export(parsed: argparse.Namespace) -> Iterator[str]:
    from mlff_probes.session.store.entries import FOLDER

    files, folder = _chosen(parsed), parsed.to / FOLDER
    copied = left = 0
    for file in files:
        if why := _spoilt(file):
            left += 1
            yield f"left out {file.stem}: {why}"
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
            part = folder / f"{uuid.uuid4().hex}.part"
            shutil.copy2(file, part)
            part.replace(folder / file.name)
        except OSError as error:
            raise InputError(parsed.to, f"cannot be written ({error.strerror}); {copied} were copied") from error
        copied += 1
    parsed.exit_code = int(left > 0)
    yield f"copied {copied} of {_count(files)} to {parsed.to}"
