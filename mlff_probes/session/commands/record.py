"""`mlff-probes record`: energies and forces for cases that lack them."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlff_probes.core.errors import InputError
from mlff_probes.session.commands.common import path_of

if TYPE_CHECKING:
    from mlff_probes.cases.recording.journal import Point
    from mlff_probes.cases.recording.recording import Recording

STOPPED = 130
"""Exit code after Ctrl-C, as of a shell."""


def add(commands: Any) -> None:
    """Add the parser of `record`."""
    parser = commands.add_parser(
        "record", help="compute the energies and forces that a case lacks, with any ASE calculator"
    )
    parser.add_argument("case", nargs="+", metavar="CASE", help="the TOML of a case, or its id in --reference=DIR")
    parser.add_argument("--calculator", metavar="SPEC", help="as for pytest --calculator=SPEC, for instance dft.toml")
    parser.add_argument("--only", metavar="FRAMES", help="only these frames, by number in their file: 0,4,6-8")
    parser.add_argument("--replace", action="store_true", help="compute frames that have an energy, too")
    parser.add_argument(
        "--keep", action="store_true", help="keep what the code wrote, in .ID.recording beside the case"
    )
    parser.add_argument(
        "--reference", action="append", default=[], type=path_of, metavar="DIR", help="where cases are looked for by id"
    )
    parser.add_argument(
        "--write-inputs", nargs=2, metavar=("CODE", "DIR"), help="write inputs of vasp, espresso or cp2k for a cluster"
    )
    parser.add_argument("--settings", type=path_of, metavar="FILE", help="TOML with the [parameters] of these inputs")
    parser.add_argument("--collect", type=path_of, metavar="DIR", help="take in what was computed from these inputs")
    parser.set_defaults(command=_record)


class CompleteError(InputError):
    """A case that lacks nothing: an error where it is the only one."""


def _record(parsed: argparse.Namespace) -> Iterator[str]:
    ways = {"--calculator": _record_case, "--write-inputs": _write_inputs, "--collect": _collect}
    given = [name for name in ways if getattr(parsed, name[2:].replace("-", "_")) is not None]
    if len(given) != 1:
        both = f"{' and '.join(given)} are given" if given else "nobody is named who computes"
        raise InputError("", both, "write --calculator=dft.toml, --write-inputs CODE DIR, or --collect=DIR")
    for case in parsed.case:
        try:
            yield from ways[given[0]](_case_file(case, parsed.reference), parsed)
        except CompleteError as error:
            if len(parsed.case) == 1:
                raise
            yield str(error)
        if parsed.exit_code == STOPPED:
            return


def _record_case(file: Path, parsed: argparse.Namespace) -> Iterator[str]:
    from mlff_probes.cases.recording.journal import Journal
    from mlff_probes.cases.recording.lacking import chosen, read_recordable
    from mlff_probes.cases.recording.provenance import Recorder
    from mlff_probes.cases.recording.recording import Recording

    case = read_recordable(file)
    wanted = chosen(parsed.only, case.frames)
    spec, folder = absolute(parsed.calculator)
    calculator = loaded(spec, case)
    with Journal(file) as journal:
        recorder = Recorder.of(calculator.identity, folder)
        recording = Recording(case, journal, recorder, wanted, parsed.replace)
        if not recording.to_do and not journal.points:
            raise CompleteError(file, "lacks nothing", "" if parsed.only else "--replace computes it once more")
        try:
            with _on_termination():
                yield from _points(recording, calculator.fresh, parsed)
        except KeyboardInterrupt:
            parsed.exit_code = STOPPED
            yield f"stopped: {len(journal.points)} points are kept, the same command goes on from there"
            return
        yield from outcome(recording, parsed)


def _write_inputs(file: Path, parsed: argparse.Namespace) -> Iterator[str]:
    from mlff_probes.cases.recording.inputs import WRITERS, InputSettings, read_settings_file, write_inputs
    from mlff_probes.cases.recording.lacking import chosen, read_recordable

    code, directory = parsed.write_inputs
    if code not in WRITERS:
        raise InputError(f"--write-inputs={code}", "no such code", f"there are {', '.join(WRITERS)}")
    case = read_recordable(file)
    wanted = [i for i in chosen(parsed.only, case.frames) if parsed.replace or case.energies[i] is None]
    if not wanted:
        raise CompleteError(file, "lacks nothing", "--replace writes inputs of frames that have an energy, too")
    settings = read_settings_file(parsed.settings) if parsed.settings else InputSettings()
    folder = path_of(directory) / file.stem
    by_hand = write_inputs(case, wanted, code, settings, folder)
    yield f"wrote inputs of {len(wanted)} frames for {code} to {folder}"
    yield from by_hand
    yield f"when they are computed: mlff-probes record {file} --collect={directory}"


def _collect(file: Path, parsed: argparse.Namespace) -> Iterator[str]:
    from mlff_probes.cases.recording.inputs import read_manifest
    from mlff_probes.cases.recording.journal import Journal
    from mlff_probes.cases.recording.lacking import read_recordable
    from mlff_probes.cases.recording.provenance import Recorder
    from mlff_probes.cases.recording.recording import Recording
    from mlff_probes.cases.recording.results import collected

    case = read_recordable(file)
    folder = parsed.collect / file.stem
    manifest = read_manifest(folder)
    with Journal(file) as journal:
        recorder = Recorder(
            calculator=f"inputs of {manifest.code}",
            arguments=manifest.parameters,
            level_of_theory=manifest.level_of_theory,
        )
        recording = Recording(case, journal, recorder, range(len(case.frames)), parsed.replace)
        for index, found in recording.take(collected(case, manifest, folder)):
            yield _line(case.name(index), found)
        yield from outcome(recording, parsed)


def _points(recording: Recording, load: Any, parsed: argparse.Namespace) -> Iterator[str]:
    """Compute, and tell of each point in a line; on a terminal a bar shows how much is left."""
    total, kept, times = len(recording.to_do), len(recording.journal.points), list[float]()
    yield f"{recording.case.file.stem}: {total} points to compute" + (f", {kept} are there already" if kept else "")
    with _bar(recording.case.file.stem, total) as advance:
        for number, (index, found) in enumerate(recording.run(load, keep=parsed.keep), 1):
            advance()
            if not isinstance(found, str) and found.wall_s is not None:
                times.append(found.wall_s)
            left = (total - number) * sum(times) / len(times) if times else 0.0
            yield f"[{number}/{total}] {_line(recording.case.name(index), found)}{_time_left(left)}"


def _line(name: str, found: Point | str) -> str:
    if isinstance(found, str):
        return f"no value: {found}"
    force = max((abs(f) for row in found.forces for f in row), default=0.0) if found.forces else None
    forces = "no forces" if force is None else f"largest force component {force:.3f} eV/A"
    took = "" if found.wall_s is None else f", {found.wall_s:.1f} s"
    return f"{name}: {found.energy:.6f} eV, {forces}{took}"


def _time_left(seconds: float) -> str:
    if not seconds:
        return ""
    return f"; about {seconds:.0f} s left" if seconds < 100 else f"; about {seconds / 60:.0f} min left"


def outcome(recording: Recording, parsed: argparse.Namespace) -> Iterator[str]:
    """Write the case if it is whole, and say how it stands."""
    lacking = recording.incomplete or recording.to_do
    if lacking:
        parsed.exit_code = 1
        frames = len(recording.case.frames)
        names = ", ".join(recording.case.name(i) for i in lacking[:6]) + (", …" if len(lacking) > 6 else "")
        yield f"{recording.case.file}: {frames - len(lacking)} of {frames} points are there, lacking are {names}"
        yield f"what is there is kept in {recording.journal.folder.name}; the case is written when it is whole"
        return
    codes = sorted({point.code for point in recording.journal.points.values()})
    case = recording.finish()
    yield f"wrote {recording.case.source} and {recording.case.file.name}, computed with {', '.join(codes)}"
    for row in case.expectations:
        yield f"  {row.quantity:24s} {row.value:.4g} {row.unit}"


def loaded(spec: str, case: Any) -> Any:
    """The calculator that records a case, if it may.

    Raises
    ------
    InputError
        If it cannot be loaded, does not know an element of the case, or computes on another level of theory.
    """
    from mlff_probes.cases.load import TO_BE_STATED
    from mlff_probes.cases.recording.points import end
    from mlff_probes.session.models import Loading

    calculator = Loading().load(spec)
    end(calculator)  # each point has a calculator of its own
    elements = frozenset(symbol for frame in case.frames for symbol in frame.get_chemical_symbols())
    if unknown := calculator.unknown_elements(elements):
        raise InputError(f"--calculator={spec}", f"does not know {', '.join(unknown)}, which {case.file.name} holds")
    level, stated = calculator.identity.level_of_theory, case.table.reference.level_of_theory
    if stated == TO_BE_STATED:
        if level is None:
            where, problem = (
                f"--calculator={spec}",
                f"nobody says which level of theory it computes, {case.file.name} neither",
            )
            raise InputError(where, problem, 'add level_of_theory = "PBE", or whatever it is')
    elif case.is_of_another_level(level):
        raise InputError(
            f"--calculator={spec}",
            f'computes {level}, and {case.file.name} says level_of_theory = "{stated}"',
            "let both say the same",
        )
    return calculator


def absolute(spec: str) -> tuple[str, Path]:
    """A SPEC that means the same in any working directory, and the folder of the file that it names."""
    head, *keys = spec.split(",")
    prefix, rest = ("py:", head[3:]) if head.startswith("py:") else ("", head)
    name, colon, factory = rest.rpartition(":") if prefix else (rest, "", "")
    file = Path(name).expanduser()
    if not file.is_file():
        return spec, Path.cwd()
    return ",".join([f"{prefix}{file.resolve()}{colon}{factory}", *keys]), file.resolve().parent


def _case_file(given: str, directories: list[Path]) -> Path:
    """The TOML that is named by its path, or by the id of its case."""
    from mlff_probes.cases.files import files_of
    from mlff_probes.core.data import DIRECTORY

    path = path_of(given)
    if path.suffix == ".toml" and path.is_file():
        return path.resolve()
    found = files_of(given, (*directories, DIRECTORY)) if path.name == given else []
    if not found:
        where = ", ".join(map(str, directories)) or "the cases that come with mlff-probes"
        raise InputError("", f"there is no case '{given}'", f"name its TOML, or --reference=DIR; looked in {where}")
    return found[0].resolve()


@contextmanager
def _on_termination() -> Iterator[None]:
    """Stop on SIGTERM as on Ctrl-C."""
    try:
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _bar(title: str, total: int) -> AbstractContextManager[Any]:
    """What is called after each point: a bar with the time left on a terminal, nothing in a log."""
    if not (sys.stdout.isatty() and sys.stderr.isatty()):
        return nullcontext(lambda: None)
    return _shown_bar(title, total)


@contextmanager
def _shown_bar(title: str, total: int) -> Iterator[Any]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=total)
        yield lambda: progress.advance(task)
