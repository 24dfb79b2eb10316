"""What the commands that make cases share: where a case goes, and how a model is judged on it."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlff_probes.core.records import Tier

DIRECTORY = Path("cases")


def add_common(parser: argparse.ArgumentParser, *, picture: bool = True) -> None:
    """Options of all importers: what the case is called and where it goes, what no file says, and the `picture`."""
    parser.add_argument("--id", metavar="ID", help="name of the case (default: that of the source)")
    parser.add_argument(
        "--to", type=path_of, default=DIRECTORY, metavar="DIR", help=f"reference directory (default: {DIRECTORY})"
    )
    parser.add_argument("--level", metavar="LEVEL", help="level of theory, where the source does not say it: PBE")
    parser.add_argument("--material", metavar="FORMULA", help="what it is a case of")
    parser.add_argument("--title", metavar="TEXT", help="what a reader sees")
    parser.add_argument("--replace", action="store_true", help="overwrite a case of this id")
    if not picture:
        return
    drawn = parser.add_mutually_exclusive_group()
    drawn.add_argument("--no-picture", action="store_true", help="draw none")
    drawn.add_argument(
        "--picture", type=path_of, metavar="FILE", help="where to draw it (default: a PNG beside the case)"
    )


def path_of(text: str) -> Path:
    """A path that the user gives."""
    return Path(text).expanduser()


def next_command(directory: Path, id: str, tier: Tier = "quick") -> str:
    """How to judge a model on a case, in a line."""
    return f"judge a model on it: {judging_command(directory, [id], tier)}"


def judging_command(directory: Path, ids: Sequence[str], tier: Tier = "quick", calculator: str = "chgnet") -> str:
    """How to judge a model on the cases `ids` of a directory, and on no others."""
    from mlff_probes.core.data import DIRECTORY as PACKAGED
    from mlff_probes.measure import BY_KIND, FAMILIES

    cases = {file.stem for folder in (PACKAGED, directory) for file in folder.glob("*/*.toml")}
    others = {*BY_KIND, *FAMILIES, *(cases - set(ids))}
    # pytest looks for parts of names; that of a test has its case between hyphens, which no id has
    exact = any(id.lower() in other.lower() for id in ids for other in others)
    chosen = " or ".join(f"(-{id}-)" if exact else id for id in ids)
    options = [f"--probe-reference={directory}", *([] if tier == "quick" else [f"--probe-tier={tier}"]), "-k", chosen]
    return f"pytest --pyargs mlff_probes.probes --calculator={calculator} {shlex.join(options)}"
