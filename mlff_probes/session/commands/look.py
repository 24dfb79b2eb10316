"""`mlff-probes check` and `mlff-probes show`: cases by themselves, without any model."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlff_probes.core.errors import InputError
from mlff_probes.session.commands.common import path_of

BROKEN = 4
"""Exit code where a case cannot be read, as for all unusable input."""


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the parsers of `check` and `show`."""
    check = commands.add_parser("check", help="whether cases can be read, and all that is wrong with those that cannot")
    check.add_argument(
        "where",
        nargs="+",
        type=path_of,
        metavar="DIR",
        help="a reference directory, the TOML of one case, or its id",
    )
    check.add_argument(
        "--tolerances", metavar="FILE", type=path_of, help="TOML with tolerances that override the policy"
    )
    _add_references(check)
    check.set_defaults(command=_check)
    show = commands.add_parser("show", help="draw a case: the curve of its reference, or its structures")
    show.add_argument("case", metavar="CASE", help="the TOML of a case, or its id")
    _add_references(show)
    show.add_argument(
        "-o", "--output", type=path_of, metavar="FILE", help="picture (default: ID.png here); .png, .pdf or .svg"
    )
    show.set_defaults(command=_show)


def _add_references(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--reference", action="append", default=[], type=path_of, metavar="DIR",
        help="where a case is looked for by its id, beside those of the package",
    )  # fmt: skip


def _check(parsed: argparse.Namespace) -> Iterator[str]:
    from mlff_probes.cases.files import files_of
    from mlff_probes.cases.load import load_case
    from mlff_probes.cases.tolerances import load_policy
    from mlff_probes.core.case import BrokenCase
    from mlff_probes.core.data import DIRECTORY
    from mlff_probes.session.assemble import all_cases

    policy = load_policy(parsed.tolerances)
    cases: list[Any] = []
    for where in parsed.where:
        by_id = [] if where.exists() else list(files_of(str(where), (*parsed.reference, DIRECTORY)))
        files = by_id or ([where] if where.suffix == ".toml" else [])
        if not files:
            cases += all_cases([where], policy)
        for file in files:
            try:
                cases.append(load_case(file, policy=policy))
            except InputError as error:
                cases.append(BrokenCase(id=file.name, family=file.resolve().parent.name, error=error))
    broken = [case for case in cases if isinstance(case, BrokenCase)]
    parsed.exit_code = BROKEN if broken else 0
    for case in cases:
        yield _line(case)
    yield (
        f"{len(cases)} case{'' if len(cases) == 1 else 's'}, {len(broken)} of which cannot be read"
        if broken
        else (f"{len(cases)} case{' is' if len(cases) == 1 else 's are'} in order")
    )


def _line(case: Any) -> str:
    from mlff_probes.core.case import BrokenCase

    if isinstance(case, BrokenCase):
        return f"error  {case.family}/{case.id.removesuffix('.toml')}: {case.message}"
    judged, frames = len(case.expectations), len(case.frames)
    blind = f", {len(case.blind)} blind" if case.blind else ""
    return (
        f"ok     {case.family}/{case.id}: {case.protocol.kind}, {frames} frame{'' if frames == 1 else 's'}, "
        f"{judged} of {len(case.quantities)} quantities judged{blind}, {case.level_of_theory}"
    )


def _show(parsed: argparse.Namespace) -> Iterator[str]:
    from mlff_probes.cases.listing import list_cases
    from mlff_probes.session.showing import curves, found_case, write_picture

    case = found_case(parsed.case, parsed.reference)
    yield list_cases([case])
    if lines := curves(case):
        yield lines
    for note in case.notes:
        yield f"note: {note}"
    for row in case.context:
        yield f"published: {row.what} {row.value:g} {row.unit} ({row.source})"
    yield f"wrote {write_picture(case, parsed.output or Path(f'{case.id}.png'), given='--output')}"
