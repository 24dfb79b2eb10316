"""Scorecard files: the format follows the suffix."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from urllib.parse import quote

from pydantic import ValidationError

from mlff_probes.core.errors import InputError
from mlff_probes.core.records import Record
from mlff_probes.measure import FAMILIES
from mlff_probes.scorecard.model import SCHEMA_VERSION, Scorecard
from mlff_probes.scorecard.reports.worst import write_worst


def check_path(path: Path, *, given: str = "--probe-scorecard", known: Collection[str] | None = None) -> None:
    """Refuse a path that cannot be written, before anything is measured.

    Parameters
    ----------
    path
        Where the file shall go; its folder is made.
    given
        The option or argument that named it.
    known
        Suffixes that can be written; by default the suffixes of scorecards.

    Raises
    ------
    InputError
        If the suffix is unknown, the path is a directory, or its folder cannot be made or written to.
    """
    where = f"{given}={path}"
    example = "scorecard.md" if known is None else f"result{next(iter(known))}"
    if path.is_dir():
        raise InputError(where, "is a directory", f"name a file in it, for instance {path / example}")
    known = WRITERS if known is None else known
    if path.suffix.lower() not in known:
        raise InputError(where, f"unknown format '{path.suffix}'", f"known are {', '.join(known)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        existed = path.exists()
        with path.open("a", encoding="utf-8"):
            pass
        if not existed:
            path.unlink()
    except OSError as error:
        raise InputError(where, f"cannot be written ({os.strerror(error.errno or 0)}: {error.filename})") from error


def write(card: Scorecard, path: Path) -> list[Path]:
    """Write `card` in the format that the suffix of `path` names; all files written."""
    return WRITERS[path.suffix.lower()](card, path)


def read(path: Path) -> Scorecard:
    """Read a JSON scorecard back.

    Raises
    ------
    InputError
        If the file cannot be read, holds no scorecard, or one of a newer schema, or one that contradicts itself.
    """
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(path, f"cannot be read ({os.strerror(error.errno or 0)})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(path, f"no scorecard: no JSON, or cut short ({error})") from error
    version = data.get("schema_version") if isinstance(data, dict) else None
    if not isinstance(version, int):
        raise InputError(path, "no scorecard: it has no schema_version")
    if version != SCHEMA_VERSION:
        raise InputError(
            path,
            f"a scorecard of schema version {version}, and this mlff-probes reads {SCHEMA_VERSION}: install the one "
            "that wrote it, or make the scorecard again",
        )
    try:
        card = Scorecard.model_validate(data, strict=False)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(path, f"no scorecard: {where}: {first['msg']}") from error
    if contradiction := _contradiction(card):
        raise InputError(path, contradiction, "correct it, or make the scorecard again")
    return card


def _contradiction(card: Scorecard) -> str:
    """Where it is not clear whose numbers are whose, as after a slip in an editor; empty where it is."""
    labels = [identity.label for identity in card.calculators]
    if twice := [label for label, count in Counter(labels).items() if count > 1]:
        return f"two calculators are called '{twice[0]}'"
    groups = [identity.replicate_of for identity in card.calculators]
    strangers = {
        "results": {row.calculator for row in card.results}.difference(labels),
        "measurements": {made.calculator for made in card.measurements}.difference(labels),
        "comparisons": {made.calculator for made in card.comparisons}.difference(labels),
        "changes": {change.calculator for made in card.comparisons for change in made.changes}.difference(labels),
        "replicates": {spread.replicate_of for spread in card.replicates}.difference(groups),
        "baseline": set(filter(None, [card.baseline])).difference(labels),
    }
    for where, names in strangers.items():
        if names:
            return f"{where} names '{min(names)}', which is none of its calculators ({', '.join(labels)})"
    families = {case.family for case in card.cases} | {row.family for row in card.results}
    if unknown := families.difference(FAMILIES):
        return f"there is no family '{min(unknown)}'"
    known: dict[tuple[str, ...], Record] = {}
    for made in card.measurements:
        if known.setdefault((made.calculator, made.case), made) != made:
            return f"two measurements of {made.calculator}, {made.case}"
    for row in card.results:
        if known.setdefault((row.calculator, row.case, row.quantity), row) != row:
            return f"two results of {row.calculator}, {row.case}, {row.quantity}"
    return ""


def _write_json(card: Scorecard, path: Path) -> list[Path]:
    path.write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return [path, *write_worst(card, path.with_name(f"{path.stem}_worst"))]


def _write_markdown(card: Scorecard, path: Path) -> list[Path]:
    from mlff_probes.scorecard.reports import markdown

    figures, problems = _write_figures(card, path.with_name(f"{path.stem}_figures"))
    links = {case: quote(f"{file.parent.name}/{file.name}") for case, file in figures.items()}
    worst = write_worst(card, path.with_name(f"{path.stem}_worst"))
    scripts = {file.stem: quote(f"{file.parent.name}/{file.name}") for file in worst if file.suffix == ".py"}
    path.write_text(markdown.render(card, figures=links, scripts=scripts, problems=problems), encoding="utf-8")
    return [path, *figures.values(), *worst]


def _write_figures(card: Scorecard, directory: Path) -> tuple[dict[str, Path], list[str]]:
    from mlff_probes.scorecard.reports.figures import write_figures

    return write_figures(card, directory)


def _write_csv(card: Scorecard, path: Path) -> list[Path]:
    from mlff_probes.scorecard.reports.csv import as_csv

    path.write_text(as_csv(card), encoding="utf-8", newline="")
    return [path]


def _write_html(card: Scorecard, path: Path) -> list[Path]:
    from mlff_probes.scorecard.reports import page as report

    path.write_text(report.render([report.Source(path.stem, card)]), encoding="utf-8")
    return [path]


WRITERS: dict[str, Callable[[Scorecard, Path], list[Path]]] = {
    ".json": _write_json,
    ".md": _write_markdown,
    ".csv": _write_csv,
    ".html": _write_html,
}
