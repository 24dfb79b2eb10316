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
    """A family: whether it is installed, its models with their levels of theory, its files, its licence."""
    state = f"{family.package} {family.version}" if family.version else f"not installed: {family.how_to_install}"
    lines = [f"{family.title}, {state}"]
    if family.models:
        lines.append(
            ", ".join(
                f"{name}:{model} ({row.levels}"
                + (", default" if model == family.default else "")
                + (")" if row.in_package else ", downloaded)")
                for model, row in family.models.items()
            )
        )
    if family.files:
        lines.append(("" if family.own_loader else f"{name}:FILE or ") + f"FILE, {family.files}")
    lines.append(f"licence {family.licence}; tried on {family.tried}")
    indented = [
        "\n".join(textwrap.wrap(line, WIDTH, initial_indent="    ", subsequent_indent="      ")) for line in lines
    ]
    return "\n".join([name, *indented])
