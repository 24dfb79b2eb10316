"""`mlff-probes …`: what is not a test run."""

from __future__ import annotations

import argparse
import io
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from mlff_probes.core.data import lost_links
from mlff_probes.core.errors import InputError
from mlff_probes.session.commands.common import path_of

if TYPE_CHECKING:
    from ase import Atoms

UNUSABLE = 4
"""Exit code for unusable input, as pytest's own."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0, 1 where a comparison fails, or 4 where the input cannot be used."""
    parsed = _parser().parse_args(arguments, argparse.Namespace(exit_code=0))
    if sys.stdout is None:  # closed by somebody who wants the exit code alone
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - to the end of the process
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that cannot show a dash shows the rest
    try:
        if said := lost_links():
            raise InputError("", said)
        for text in parsed.command(parsed):
            _print(text)
    except InputError as error:
        return _unusable(str(error))
    except ValueError as error:
        from pydantic import ValidationError

        if not isinstance(error, ValidationError):
            raise
        wrong = error.errors()[0]
        return _unusable(f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}, found {wrong['input']!r}")
    except BrokenPipeError:  # the reader (head, less) has seen enough
        _print_nothing_more()
    return int(parsed.exit_code)


def _unusable(problem: str) -> int:
    from mlff_probes.core.text import visible

    print(visible(f"mlff-probes: error: {problem}"), file=sys.stderr)
    return UNUSABLE


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        _print_nothing_more()
        raise InputError("", f"standard output cannot be written ({error.strerror})") from error


def _print_nothing_more() -> None:
    """Keep Python from flushing at its end what could not be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Parser(argparse.ArgumentParser):
    """Ends in the exit code for unusable input, as pytest does."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end."""
        self.print_usage(sys.stderr)
        self.exit(UNUSABLE, f"{self.prog}: error: {message}\n")


def _parser() -> argparse.ArgumentParser:
    from mlff_probes import __version__
    from mlff_probes.session.commands import imports, look, make, models, record, store

    parser = Parser("mlff-probes", description="Acceptance tests for machine-learned force fields.")
    parser.add_argument("--version", action="version", version=f"mlff-probes {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (
        imports.add,
        make.add,
        record.add,
        look.add,
        models.add,
        store.add,
        _add_list,
        _add_compare,
        _add_report,
        _add_worst,
        _add_annotate,
    ):
        add(commands)
    return parser


def _add_list(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = commands.add_parser("list", help="the cases: quantities, references, tolerances, sources")
    parser.add_argument("case", nargs="*", metavar="CASE", help="only these cases (default: all)")
    _add_reference(parser)
    parser.add_argument(
        "--tolerances", metavar="FILE", type=path_of, help="TOML with tolerances that override the policy"
    )
    parser.set_defaults(command=_list)


def _add_compare(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = commands.add_parser("compare", help="a scorecard against an older one; exit code 1 for a regression")
    parser.add_argument("old", type=path_of, metavar="OLD.json", help="the baseline")
    parser.add_argument("new", type=path_of, metavar="NEW.json", help="what is compared with it")
    parser.add_argument("--baseline", metavar="LABEL", help="which calculator of OLD (default: its only one)")
    parser.add_argument("--calculator", metavar="LABEL", help="which calculator of NEW (default: all)")
    parser.add_argument(
        "--tolerances", metavar="FILE", type=path_of, help="TOML whose [regression] overrides the policy"
    )
    parser.add_argument(
        "--fail-on", choices=("tolerance", "regression", "both"), default="both", help="(default: both)"
    )
    parser.set_defaults(command=_compare)


def _add_report(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = commands.add_parser("report", help="one HTML page of one or several scorecards, pictures included")
    parser.add_argument("scorecards", nargs="+", type=path_of, metavar="FILE.json", help="what --probe-scorecard wrote")
    parser.add_argument("-o", "--output", type=path_of, default=Path("report.html"), help="(default: report.html)")
    parser.set_defaults(command=_report)


def _add_worst(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = commands.add_parser("worst-frames", help="write the labelled frames on which a model is most wrong")
    parser.add_argument(
        "frames", nargs="*", metavar="FILE", type=path_of, help="labelled frames (default: the parity cases)"
    )
    parser.add_argument(
        "--calculator", required=True, action="append", metavar="SPEC", help="as for pytest --calculator=SPEC"
    )
    parser.add_argument("-k", "--count", type=_count, default=10, help="how many (default: 10)")
    parser.add_argument("--by", choices=("force", "energy"), default="force", help="which error ranks (default: force)")
    parser.add_argument(
        "--energy-reference",
        choices=("composition", "elements", "absolute"),
        default="composition",
        help="what is taken off the energy errors (default: one offset per composition)",
    )
    parser.add_argument("-o", "--output", type=path_of, default=Path("worst.extxyz"), help="(default: worst.extxyz)")
    parser.add_argument("--case", metavar="CASE", help="only the frames of this parity case")
    for what in ("energy", "forces", "stress"):
        parser.add_argument(
            f"--{what}-key", metavar="NAME", help=f"name of the {what} in FILE (default: the usual ones)"
        )
    parser.add_argument("--device", help="cpu, cuda, cuda:N, mps or auto")
    parser.add_argument("--dtype", choices=("float32", "float64"))
    # also under the names that the refusal of a checkpoint gives
    parser.add_argument(
        "--sha256",
        "--probe-sha256",
        action="append",
        default=[],
        metavar="HEX",
        help="pin: the checkpoint must have it",
    )
    parser.add_argument(
        "--trust-checkpoint", "--probe-trust-checkpoint", action="store_true",
        help="load a checkpoint that the check refuses all the same; it can then run any code",
    )  # fmt: skip
    _add_reference(parser)
    parser.set_defaults(command=_worst)


def _add_annotate(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = commands.add_parser("annotate", help="print what failed in a scorecard as annotations of GitHub Actions")
    parser.add_argument("scorecard", type=path_of, metavar="SCORECARD.json")
    parser.set_defaults(command=_annotate)


def _add_reference(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--reference", action="append", default=[], type=path_of, metavar="DIR", help="add the cases of DIR; repeatable"
    )
    parser.add_argument("--reference-only", action="store_true", help="leave out the cases that come with mlff-probes")


def _directories(parsed: argparse.Namespace) -> list[Path]:
    from mlff_probes.session.assemble import directories

    return directories(parsed.reference, packaged=not parsed.reference_only, option="--reference-only")


def _list(parsed: argparse.Namespace) -> Iterator[str]:
    from mlff_probes.cases.listing import list_cases
    from mlff_probes.cases.tolerances import load_policy
    from mlff_probes.core.case import BrokenCase
    from mlff_probes.session.assemble import all_cases

    cases = all_cases(_directories(parsed), load_policy(parsed.tolerances))
    names = {case.id: case.id.removesuffix(".toml") if isinstance(case, BrokenCase) else case.id for case in cases}
    unknown = sorted(set(parsed.case) - {*names.values(), *names})
    if unknown:
        raise InputError("", f"there is no case '{unknown[0]}'", f"there are {', '.join(names)}")
    chosen = [case for case in cases if not parsed.case or {case.id, names[case.id]} & set(parsed.case)]
    yield list_cases(chosen)
    broken = [case.id for case in chosen if isinstance(case, BrokenCase)]
    if broken:
        raise InputError("", f"{len(broken)} of {len(chosen)} cases cannot be read: {', '.join(broken)}")


def _compare(parsed: argparse.Namespace) -> Iterator[str]:
    from mlff_probes.core.data import REGRESSION
    from mlff_probes.core.toml import read_toml
    from mlff_probes.scorecard import files
    from mlff_probes.scorecard.baseline import baseline_of, check_numbers
    from mlff_probes.scorecard.comparison import compare, several
    from mlff_probes.scorecard.regression import load_regression
    from mlff_probes.scorecard.reports import terminal
    from mlff_probes.scorecard.reports.text import verdict_line

    policy = load_regression(parsed.tolerances)
    if parsed.tolerances is not None and REGRESSION not in read_toml(parsed.tolerances):
        raise InputError(
            f"--tolerances={parsed.tolerances}",
            f"has no [{REGRESSION}], and nothing else of it matters",
            "leave it out",
        )
    baseline = baseline_of(files.read(parsed.old), str(parsed.old), parsed.baseline, by="--baseline=LABEL")
    card = files.read(parsed.new)
    labels = [identity.label for identity in card.calculators if identity.label != card.baseline]
    if parsed.calculator not in (None, *labels):
        raise InputError(parsed.new, f"holds no calculator '{parsed.calculator}'", f"it holds {', '.join(labels)}")
    chosen = [label for label in labels if parsed.calculator in (None, label)]
    check_numbers([row for row in card.results if row.calculator in chosen], str(parsed.new))
    options = card.options.model_copy(update={"baseline": str(parsed.old), "fail_on": parsed.fail_on})
    comparisons = tuple(compare(baseline, card, label, policy, len(chosen)) for label in chosen)
    rows = tuple(row for row in card.results if row.calculator in chosen)
    if not any(comparison.compares(judged=any(row.expectation for row in rows)) for comparison in comparisons):
        reasons = several(reason for comparison in comparisons for reason in comparison.left_out)
        said = f": {reasons}" if reasons else ""
        raise InputError(parsed.old, f"holds nothing that can be compared with {parsed.new}{said}")
    selected = len(rows) if card.complete else card.selected
    card = card.model_copy(
        update={"options": options, "comparisons": comparisons, "results": rows, "selected": selected}
    )
    judged = card.model_copy(update={"verdict": card.judged()})
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else terminal.LOG_WIDTH
    parsed.exit_code = 0 if judged.verdict == "passed" else 1  # also for a reader who stops at the first line
    yield terminal.render_comparisons(judged, width=width).rstrip()
    yield verdict_line(judged)


def _report(parsed: argparse.Namespace) -> Iterator[str]:
    from mlff_probes.calculators.registry import quiet
    from mlff_probes.scorecard import files
    from mlff_probes.scorecard.reports import page as report

    files.check_path(parsed.output, given="--output", known=(".html",))
    sources = [report.Source(path.name, files.read(path)) for path in parsed.scorecards]
    with quiet():
        page = report.render(sources)
    try:
        parsed.output.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--output={parsed.output}", f"cannot be written ({error.strerror})") from error
    yield f"wrote {parsed.output}"


def _worst(parsed: argparse.Namespace) -> Iterator[str]:
    import ase.io

    from mlff_probes.calculators.checkpoints.safety import checked_pins
    from mlff_probes.calculators.registry import quiet
    from mlff_probes.cases.load import gather_frames
    from mlff_probes.core.protocol import LabelKeys
    from mlff_probes.measure.parity.worst_frames import worst_frames
    from mlff_probes.scorecard.files import check_path
    from mlff_probes.session.models import Loading, one_model

    (spec, *more), directories = parsed.calculator, _directories(parsed)
    if more:
        raise InputError(f"--calculator={more[0]}", f"one model at a time is ranked, {spec} was named already")
    if parsed.frames and (parsed.case or parsed.reference):
        raise InputError(
            "", "files of frames are named, so that --case and --reference have no meaning", "leave them out"
        )
    check_path(parsed.output, given="--output", known=(".extxyz", ".xyz"))
    inputs = [file.resolve() for file in parsed.frames]
    if parsed.output.resolve() in inputs or any(d.resolve() in parsed.output.resolve().parents for d in directories):
        raise InputError(f"--output={parsed.output}", "would overwrite what the frames are read from")
    names = {key: getattr(parsed, key) for key in LabelKeys.model_fields}
    if not parsed.frames and any(names.values()):
        raise InputError("", "names of labels are given, but no file that has them", "cases name their own")
    read = gather_frames(parsed.frames, directories, parsed.case, LabelKeys(**names))
    assert read.stored is not None
    loading = Loading(
        device=parsed.device, dtype=parsed.dtype, trust_checkpoint=parsed.trust_checkpoint,
        sha256=checked_pins(parsed.sha256, option="--sha256"), pin_option="--sha256",
    )  # fmt: skip
    calculator = one_model(spec, loading)
    with quiet():
        found = worst_frames(
            calculator, read.frames, read.stored, parsed.count, by=parsed.by, reference=parsed.energy_reference
        )
    try:
        ase.io.write(parsed.output, found, format="extxyz")
    except OSError as error:
        raise InputError(f"--output={parsed.output}", f"cannot be written ({error.strerror})") from error
    yield f"wrote {len(found)} of {len(read.frames)} frames to {parsed.output}, worst {parsed.by} error first"
    if read.unlabelled:
        yield f"frames without energy or forces, left out: {len(read.unlabelled)}"
    for number, frame in enumerate(found, 1):
        yield f"{number:4d}  {_errors(frame)}"


def _errors(frame: Atoms) -> str:
    energy, force = (frame.info.get(name) for name in ("energy_error_mev_per_atom", "force_rmse_mev_per_a"))
    of_force = "unknown (all are zeroed by a constraint)" if force is None else f"{force:.1f} meV/A"
    of_energy = "unknown (nothing is left of it by --energy-reference)" if energy is None else f"{energy:+.1f} meV/atom"
    return (
        f"{frame.info['origin']}: {frame.get_chemical_formula()} from {frame.info['taken_from']}, "
        f"force RMSE {of_force}, energy error {of_energy}"
    )


def _annotate(parsed: argparse.Namespace) -> Iterator[str]:
    from mlff_probes.scorecard.files import read
    from mlff_probes.scorecard.reports.annotations import annotate

    yield from annotate(read(parsed.scorecard))


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, 1 or more, found {text}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
