"""Write docs/gallery.md and its pictures from the scorecards that run.py made: `make gallery`. ::

    python benchmarks/gallery/page.py FOLDER

Every number of the page is read from a scorecard: those of the texts in models.toml stand there as {CASE/QUANTITY}.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from mlff_probes.core.records import ProbeResult, State
from mlff_probes.measure.styles import own_settings
from mlff_probes.scorecard import files
from mlff_probes.scorecard.model import Scorecard
from mlff_probes.scorecard.reports import text as fmt
from mlff_probes.scorecard.reports.figures import draw_cases
from mlff_probes.scorecard.reports.page import Source, joined

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
TABLES: dict[str, Any] = tomllib.loads((HERE / "models.toml").read_text(encoding="utf-8"))
WIDTH = 120
DPI = 80
"""Seven pictures then take less than 1.5 MB."""

PLACE = re.compile(r"\{([\w.]+)([/=])(\w+)\}")
PART = ".part.json"
"""The end of the name of a scorecard of some of the probes, made by hand (`-k`) where the others take too long."""

UNTESTED = (State.NOT_APPLICABLE, State.NOT_COMPARABLE)


def main() -> None:
    """Write the page."""
    folder = Path(sys.argv[1])
    names = [model["name"] for model in TABLES["model"]]
    found = {name: file for name in names if (file := _file(folder, name))}
    cards = {name: files.read(file) for name, file in found.items()}
    whole = [name for name, file in found.items() if not file.name.endswith(PART)]
    costs = {name: json.loads((folder / f"{name}.cost").read_text(encoding="utf-8")) for name in whole}
    everything = joined([Source(name, card) for name, card in cards.items()])
    pictures = DOCS / "gallery"
    pictures.mkdir(exist_ok=True)
    parts = [
        _head(everything, costs, {name: cards[name] for name in cards if name not in whole}, set(names) - set(cards)),
        *_quantities(everything, cards),
        _counts(cards),
        *_drawn(everything, pictures),
        "## Each model",
        *(_paragraph(model, cards[model["name"]]) for model in TABLES["model"] if model["name"] in cards),
        _made_with(cards, costs),
    ]
    (DOCS / "gallery.md").write_text("\n\n".join(part.strip() for part in parts) + "\n", encoding="utf-8")
    print(f"wrote {DOCS / 'gallery.md'} with {len(cards)} of {len(names)} models")


def _file(folder: Path, name: str) -> Path | None:
    """The scorecard of a model; one of a part of the probes where there is no other."""
    return next((file for end in (".json", PART) if (file := folder / f"{name}{end}").is_file()), None)


def _head(card: Scorecard, costs: dict[str, Any], partly: dict[str, Scorecard], missing: set[str]) -> str:
    machine = " and ".join(sorted({f"{cost['processor']}, {cost['cores']} cores" for cost in costs.values()}))
    said = f" Not run: {', '.join(sorted(missing))}." if missing else ""
    if partly:
        of_each = [f"{name} ({len(each.results)} quantities)" for name, each in partly.items()]
        said += f" Run in parts, and empty where nothing was measured: {', '.join(of_each)}."
    text = f"""What the quick tier says of {len(card.calculators)} models (`pytest --pyargs
mlff_probes.probes --calculator=…`). Written by `benchmarks/gallery/page.py`, as `make gallery` does, from scorecards of
{card.created[:10]}; every measured number is read from them. Machine: {machine},
shared with others, one thread, no GPU.{said}

This is no ranking of force fields: few materials, the small cells and short simulations of a gate, and references that
some of the models did not learn. What a mark means is said below the first table;
[how to read a failure](failures.md)."""
    return f"# Gallery: models that people use\n\n{_wrapped(text)}"


def _quantities(card: Scorecard, cards: dict[str, Scorecard]) -> Iterable[str]:
    """The tables of quantities, with the models that have something in them."""
    for table in TABLES["table"]:
        rows = [(row, _rows(card, row["case"], row["quantity"])) for row in table["rows"]]
        names = [name for name in cards if any(_tells(found.get(name)) for _, found in rows)]
        head = ["", "unit", table["reference"], *names]
        body = [
            [row["says"], _any(found, "unit"), _expected(found), *(_cell(found.get(name)) for name in names)]
            for row, found in rows
        ]
        yield f"## {table['title']}"
        yield _table(head, body)
        yield table["below"]


def _rows(card: Scorecard, case: str, quantity: str) -> dict[str, ProbeResult]:
    return {row.calculator: row for row in card.results if (row.case, row.quantity) == (case, quantity)}


def _tells(row: ProbeResult | None) -> bool:
    """Whether a row has something to show: a model without the elements has nothing."""
    return row is not None and row.verdict.state is not State.NOT_APPLICABLE


def _any(found: dict[str, ProbeResult], key: str) -> str:
    return next((fmt.cells(row)[key] for row in found.values()), "")


def _expected(found: dict[str, ProbeResult]) -> str:
    judged = [row for row in found.values() if row.expectation]
    if not judged:
        return "—"
    cells = fmt.cells(judged[0])
    return f"{cells['reference']} ± {cells['tolerance'].rstrip('*†')}"


def _cell(row: ProbeResult | None) -> str:
    if row is None:
        return ""
    said = fmt.cells(row)["measured"]
    mark = "" if row.verdict.state is State.REPORTED else f" {fmt.MARK[row.verdict.state]}"
    return f"**{said}**{mark}" if row.verdict.state in (State.FAILED, State.ERROR) else said + mark


def _counts(cards: dict[str, Scorecard]) -> str:
    """How many quantities passed of those judged, by family."""
    families = list(dict.fromkeys(family for card in cards.values() for family in _families(card)))
    body = []
    for name, card in cards.items():
        cells = [_passed([row for row in card.results if row.family == family]) for family in families]
        body.append([name, *cells, _passed(card.results), f"{card.time.model_calls:,}"])
    return "\n\n".join([
        "## Verdicts",
        _table(["passed of judged", *families, "all", "model calls"], body),
        "Quantities that passed, of those that have a verdict; — where none has.",
    ])  # fmt: skip


def _families(card: Scorecard) -> list[str]:
    return card.families(card.calculators[0].label)


def _passed(rows: Iterable[ProbeResult]) -> str:
    states = [row.verdict.state for row in rows if row.expectation]
    judged = [state for state in states if state not in (*UNTESTED, State.REPORTED)]
    return f"{judged.count(State.PASSED)} of {len(judged)}" if judged else "—"


def _drawn(card: Scorecard, folder: Path) -> Iterable[str]:
    """The pictures, each below a heading of its own."""
    yield "## Pictures"
    for each in TABLES["picture"]:
        case = next(case for case in card.cases if case.id == each["case"])
        figure: Figure | None = draw_cases(_with_numbers(card, case.id), [case])
        if figure is None:
            continue
        with own_settings():
            figure.savefig(folder / f"{case.id}.png", dpi=DPI)
        yield f"{each['says']}\n\n![{case.title}](gallery/{case.id}.png)"


def _with_numbers(card: Scorecard, case: str) -> Scorecard:
    """The scorecard without the models that measured nothing of a case, so that no legend names them."""
    has = {made.calculator for made in card.measurements if made.case == case and made.arrays}
    return card.model_copy(update={"calculators": tuple(each for each in card.calculators if each.label in has)})


def _paragraph(model: dict[str, Any], card: Scorecard) -> str:
    """What is said of a model, with its numbers."""
    results = {(row.case, row.quantity): row for row in card.results}

    def measured(match: re.Match[str]) -> str:
        row = results.get((match[1], match[3]))
        return "(not run)" if row is None else fmt.cells(row)["measured" if match[2] == "/" else "reference"]

    return _wrapped(f"**{model['name']}** (`{model['shown']}`). {PLACE.sub(measured, model['says'].strip())}")


def _wrapped(text: str) -> str:
    """Paragraphs with lines that a reader of the source can read."""
    return "\n\n".join(
        textwrap.fill(" ".join(part.split()), WIDTH, break_on_hyphens=False) for part in text.split("\n\n")
    )


def _made_with(cards: dict[str, Scorecard], costs: dict[str, Any]) -> str:
    """What was run, on what, in what time."""
    body = []
    for card in cards.values():
        (identity,) = card.calculators
        versions = ", ".join(f"{name} {number}" for name, number in identity.versions.items())
        cost = costs.get(identity.label)
        level = identity.level_of_theory or "not stated"
        minutes = [f"{cost[key] / 60:.1f}" if cost else "—" for key in ("processor_s", "wall_s")]
        each = f"{cost['processor_s'] * 1e3 / card.time.model_calls:.1f}" if cost else "—"
        body.append([identity.label, level, identity.dtype, versions, *minutes, each])
    times = ["processor time (min)", "wall time (min)", "processor time a model call (ms)"]
    head = ["", "level of theory", "precision", "versions", *times]
    return "\n\n".join([
        "## What it was made with",
        _table(head, body),
        "Processor time of the whole command, loading and reports included, all processes together. The wall time is "
        "that of a machine with several other users. Latencies measured there would say nothing, and are not shown: a "
        "call is the processor time of the whole run over its model calls, most of which are of two atoms.",
    ])  # fmt: skip


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in lines)


if __name__ == "__main__":
    main()
