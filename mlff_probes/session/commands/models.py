"""`mlff-probes models`: the families of models that are known by name."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mlff_probes.core.errors import InputError

if TYPE_CHECKING:
    from mlff_probes.calculators.families import Family

WIDTH = 100
"""Characters of a line."""


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of `models`."""
    parser = commands.add_parser("models", help="the families of models that are known by name, and what is installed")
    parser.add_argument("family", nargs="*", metavar="FAMILY", help="only these (default: all)")
    parser.set_defaults(command=_models)


def _models(parsed: argparse.Namespace) -> Iterator[str]:
    from mlff_probes.calculators.families import families
    from mlff_probes.calculators.installed import installed

    added = sorted(set(installed()) - set(families()))
    known = [*families(), *added]
    for name in parsed.family:
        if name not in known:
            raise InputError("", f"there is no family '{name}'", f"there are {', '.join(known)}")
    for name in parsed.family or known:
        yield _described(name, families()[name]) if name in families() else f"{name}\n    added by an installed package"


def _described(name: str, family: Family) -> str:
    """A family: whether it is installed, its models with their levels of theory, and what else is to be said of it."""
    state = f"{family.package} {family.version}" if family.version else f"not installed: {family.how_to_install}"
    models = "; ".join(f"{each.spec}, {each.level}, {each.weights}" for each in family.released(name))
    said = [f"{what}: {text}" for what, text in family.about(name)]
    lines = [line.replace("`", "") for line in (f"{family.title}, {state}", models, *said) if line]
    indented = [
        textwrap.fill(line, WIDTH, initial_indent="    ", subsequent_indent="      ", break_on_hyphens=False)
        for line in lines
    ]
    return "\n".join([name, *indented])
