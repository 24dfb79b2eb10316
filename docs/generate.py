"""Pages that are written from the code, so that they cannot differ from it: options, quantities, tolerances, cases.

Sphinx writes them into `docs/generated/` (conf.py), which git ignores.
"""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mlff_probes import cli, plugin
from mlff_probes.calculators.families import families
from mlff_probes.cases.load import load_cases
from mlff_probes.cases.tolerances import Policy, load_policy
from mlff_probes.core.case import BrokenCase, Case
from mlff_probes.core.protocol import BaseProtocol
from mlff_probes.measure import FAMILIES, KINDS
from mlff_probes.measure.kind import Kind
from mlff_probes.scorecard.regression import load_regression

ROOT = Path(__file__).parents[1]

FAMILY_TITLES = {
    "migration": "Migration",
    "sliding": "Sliding",
    "parity": "Parity",
    "representation": "Representation",
    "physicality": "Physical laws",
    "dynamics": "Dynamics",
    "inference": "Inference",
}

MORE = {
    "--calculator": "[naming a model](../models.md)",
    "--probe-device": "[the path of the numbers](../calculators.md#the-path-of-the-numbers)",
    "--probe-dtype": "[the path of the numbers](../calculators.md#the-path-of-the-numbers)",
    "--probe-require-device": "[the path of the numbers](../calculators.md#the-path-of-the-numbers)",
    "--probe-tier": "[tiers](../running.md#tiers)",
    "--probe-reference": "[a case of your own](../cases.md)",
    "--probe-reference-only": "[a case of your own](../cases.md)",
    "--probe-tolerances": "[the policy](tolerances.md)",
    "--probe-known-failures": "[when a failure is known](../tutorial.md#when-a-failure-is-known)",
    "--probe-level-of-theory": "[levels of theory](../running.md#levels-of-theory)",
    "--probe-scorecard": "[what a run writes](../running.md#what-a-run-writes)",
    "--probe-baseline": "[the gate](../gate.md)",
    "--probe-fail-on": "[the gate](../gate.md)",
    "--probe-seed": "[the gate](../gate.md)",
    "--probe-benchmark-json": "[how fast](../inference.md#how-fast)",
    "--probe-training-frames": "[the training set](../representation.md#the-training-set)",
    "--probe-store": "[what was measured before](../running.md#what-was-measured-before)",
    "--probe-budget": "[in a given time](../running.md#in-a-given-time)",
    "--probe-executor": "[many machines](../scaling.md)",
    "--probe-no-store": "[what was measured before](../running.md#what-was-measured-before)",
    "--probe-timeout": "[limits of time and memory](../running.md#limits-of-time-and-memory)",
    "--probe-sha256": "[pin a file](../checkpoints.md#pin-a-file)",
    "--probe-trust-checkpoint": "[checkpoints](../checkpoints.md)",
    "--probe-strict": "[exit codes](../failures.md#exit-codes)",
}
"""Where an option is explained at length."""


def write(folder: Path) -> None:
    """Write all pages; a page that would not change keeps its time, so that Sphinx does not read it again."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        file = folder / f"{name}.md"
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    """All generated pages: name -> Markdown."""
    cases = load_cases()
    if broken := [case for case in cases if isinstance(case, BrokenCase)]:
        raise ValueError(broken[0].message)
    sound = [case for case in cases if isinstance(case, Case)]
    return {
        "options": options(),
        "families": families_page(),
        "quantities": quantities(sound),
        "tolerances": tolerances(),
        "cases": case_list(sound),
        "changelog": root_page("CHANGELOG.md"),
        "contributing": root_page("CONTRIBUTING.md"),
    }


# ------------------------------------------------------------------------------------------------------------ Markdown


def cell(text: object) -> str:
    """A text as one cell of a table."""
    return str(text).replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell(text) for text in line) + " |" for line in lines)


def code(text: object) -> str:
    """A text as inline code; nothing stays nothing."""
    return f"`{text}`" if str(text) else ""


ATTRIBUTES = "Attributes\n----------\n"
"""The heading of the section of a docstring that explains the fields of a record."""


def prose(docstring: str | None) -> str:
    """A docstring as Markdown, up to its sections: our docstrings are plain text with code in single backticks."""
    return inspect.cleandoc(docstring or "").partition(ATTRIBUTES)[0].strip().replace("``", "`")


def root_page(name: str) -> str:
    """A file of the repository's root as a page of this site, its links as seen from here."""
    text = (ROOT / name).read_text(encoding="utf-8")
    text = re.sub(r"(\]\()docs/", r"\1../", text)
    return re.sub(r"(\]\()(?!\.\./|https?:|#|mailto:)", r"\1../../", text)


# ------------------------------------------------------------------------------------------------------------- options


class OptionRecorder:
    """Stands in for pytest's parser and notes what `pytest_addoption` registers."""

    def __init__(self) -> None:
        self.options: list[tuple[tuple[str, ...], dict[str, Any]]] = []
        self.ini: list[tuple[str, dict[str, Any]]] = []

    def getgroup(self, *_: object, **__: object) -> OptionRecorder:
        """A group of options notes them in the same place."""
        return self

    def addoption(self, *names: str, **attributes: Any) -> None:
        """Note an option."""
        self.options.append((names, attributes))

    def addini(self, name: str, help: str, **attributes: Any) -> None:
        """Note a key of the configuration file."""
        self.ini.append((name, {"help": help} | attributes))


def registered() -> OptionRecorder:
    """What the plugin registers with pytest."""
    recorder = OptionRecorder()
    plugin.pytest_addoption(recorder)  # type: ignore[arg-type]
    return recorder


def signature(names: Sequence[str], attributes: dict[str, Any]) -> str:
    """An option as it is written, with its value."""
    if attributes.get("action") in ("store_true", "version", "help"):
        return names[0]
    choices = attributes.get("choices")
    value = "|".join(map(str, choices)) if choices else attributes.get("metavar")
    return f"{names[0]}={value}" if value else names[0]


def options() -> str:
    """All options of the plugin and of the command line."""
    recorder = registered()
    rows = [
        (code(signature(names, attributes)), attributes["help"], MORE.get(names[0], ""))
        for names, attributes in recorder.options
    ]
    text = [
        "# Options",
        "Written from the code. An option that takes a value is written with `=`. Only `--calculator` has no prefix; "
        "all other options begin with `--probe-`, so that they cannot clash with those of pytest or of other plugins.",
        "## Of pytest",
        table(("option", "does", "more"), rows),
    ]
    if recorder.ini:
        keys = [(code(name), attributes["help"]) for name, attributes in recorder.ini]
        text += ["### Keys of the configuration file", table(("key", "does"), keys)]
    else:
        text += [
            "No key of pytest's configuration file is read. To give the same options in every run, put them into "
            "`addopts` of your `pyproject.toml` or into the environment variable `PYTEST_ADDOPTS`.",
        ]
    text += ["## Of the command `mlff-probes`", *commands()]
    return "\n\n".join(text) + "\n"


def families_page() -> str:
    """The families of models that are known by name."""
    text = [
        "# Families of models",
        "Written from `mlff_probes/calculators/families.toml`. `mlff-probes models` lists the same, and what is "
        "installed. A level of theory is that of the data that a model was trained on.",
    ]
    for name, row in families().items():
        alone = [("environment", f"of its own: {row.own_environment}")] if row.own_environment else []
        about = [("install", code(row.install)), *alone, *row.about(name)]
        text += [f"## {row.title}", table(("", ""), about)]
        if row.models:
            text.append(table(("SPEC", "level of theory", "weights"), row.released(name)))
    return "\n\n".join(text) + "\n"


def commands() -> Iterator[str]:
    """A section for each command of `mlff-probes`."""
    parser = cli._parser()
    (subparsers,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    helps = {action.dest: action.help for action in subparsers._choices_actions}
    for name, command in subparsers.choices.items():
        yield f"### mlff-probes {name}"
        yield f"{(helps[name] or '').strip().capitalize()}."
        rows = []
        for action in command._actions:
            if isinstance(action, argparse._HelpAction):
                continue
            value = "|".join(action.choices) if action.choices else action.metavar or action.dest.upper()
            if not action.option_strings:
                written = f"{value}" + (" …" if action.nargs in ("*", "+") else "")
            elif action.nargs == 0:
                written = ", ".join(action.option_strings)
            else:
                written = ", ".join(action.option_strings) + f" {value}"
            rows.append((code(written), action.help or ""))
        yield table(("argument", "is"), rows)


# ---------------------------------------------------------------------------------------------------------- quantities


def of_type(schema: dict[str, Any], definitions: dict[str, Any]) -> str:  # noqa: PLR0911 - one for each type
    """The type of a key, from the JSON schema of its protocol."""
    if "$ref" in schema:
        return of_type(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        return " or ".join(of_type(s, definitions) for s in schema["anyOf"] if s.get("type") != "null")
    if "enum" in schema:
        return " or ".join(f'"{value}"' for value in schema["enum"])
    match schema.get("type"):
        case "array" if "prefixItems" in schema:
            return f"{len(schema['prefixItems'])} x {of_type(schema['prefixItems'][0], definitions)}"
        case "array":
            return f"list of {of_type(schema['items'], definitions)}"
        case "object" if "properties" in schema:
            return "table with " + ", ".join(schema["properties"])
        case "object":
            (of,) = (
                schema["patternProperties"].values()
                if "patternProperties" in schema
                else [schema["additionalProperties"]]
            )
            return f"table of {of_type(of, definitions)}"
        case "string":
            return "text"
        case "boolean":
            return "true or false"
        case kind:
            return {"integer": "integer", "number": "number"}[kind or ""] + limits(schema)


def limits(schema: dict[str, Any]) -> str:
    """The limits of a number."""
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    said = [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema]
    return f" {' and '.join(said)}" if said else ""


def toml(value: Any) -> str:
    """A default as it would be written in a case file."""
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case list() | tuple():
            return "[" + ", ".join(map(toml, value)) + "]"
        case dict() if not value:
            return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def keys_of(protocol: type[BaseProtocol]) -> list[tuple[str, str, str, str]]:
    """The keys of `[protocol]`: name, type with limits, default ("required" without one), meaning."""
    schema = protocol.model_json_schema()
    rows = []
    for name, field in protocol.model_fields.items():
        if name == "kind":
            continue
        kind = of_type(schema["properties"][name], schema.get("$defs", {}))
        default = "required" if field.is_required() else toml(field.get_default(call_default_factory=True))
        rows.append((code(name), kind, default, field.description or meaning(protocol, name)))
    return rows


def meaning(protocol: type[BaseProtocol], name: str) -> str:
    """What the section "Attributes" of a docstring says of a key; of the class that has it, or of one it is made of."""
    for owner in protocol.__mro__:
        section = inspect.cleandoc(owner.__doc__ or "").partition(ATTRIBUTES)[2]
        found = re.search(rf"^{name}\n((?:    .*\n?)+)", section, re.MULTILINE)
        if found:
            return " ".join(found[1].split())
    return ""


def quantities(cases: Sequence[Case]) -> str:
    """Every kind of measurement: its frames, the keys of its protocol, its quantities with units and tolerances."""
    policy = load_policy()
    text = [
        "# Quantities",
        "Written from the code: each kind of measurement, what a case of that kind says in its `[protocol]`, and what "
        "is measured. A tolerance in this table is that of the [policy](tolerances.md); a quantity without a tolerance "
        "can only be reported. How to write a case is on [its own page](../cases.md).",
    ]
    for family in FAMILIES:
        text.append(f"## {FAMILY_TITLES.get(family, family.capitalize())}")
        for kind in KINDS:
            if kind.protocol.family == family:
                text += section(kind, [case for case in cases if case.protocol.kind == kind.name], policy)
    return "\n\n".join(text) + "\n"


def section(kind: Kind, cases: Sequence[Case], policy: Policy) -> Iterator[str]:
    """The section of one kind."""
    protocol = kind.protocol
    yield f"### {kind.name}"
    yield f'`kind = "{kind.name}"`. {prose(protocol.__doc__)}'
    keys = ", ".join(map(code, protocol.frame_keys))
    yield (
        f"Keys in the comment line of its frames: {keys}." if keys else "Its frames need no keys in their comment line."
    )
    if rows := keys_of(protocol):
        yield table(("key of [protocol]", "type", "default", "meaning"), rows)
    units, example = dict(protocol.quantities), ""
    for case in cases:
        more = {name: unit for name, unit in case.protocol.units(case.frames).items() if name not in units}
        if more:
            units |= more
            example = case.id
            break
    rows = []
    for name, unit in units.items():
        known = tolerance_of(policy, protocol, cases, name)
        of_example = f"as in `{example}`" if name not in protocol.quantities else ""
        rows.append((code(name), unit, known, of_example))
    if example:
        yield f"Names that depend on the frames (elements, images, sizes) are those of the case `{example}`."
        yield table(("quantity", "unit", "tolerance", ""), rows)
    else:
        yield table(("quantity", "unit", "tolerance"), [row[:3] for row in rows])


def tolerance_of(policy: Policy, protocol: type[BaseProtocol], cases: Sequence[Case], quantity: str) -> str:
    """The tolerance of the policy for a quantity, in words; empty where there is none."""
    name = cases[0].protocol.policy_name(quantity) if cases else quantity
    entry = policy.tolerances.get((protocol.family, name))
    return in_words(entry) if entry else ""


def in_words(entry: Any) -> str:
    """A tolerance: its value, and the one for float32 where that is another."""
    return f"{entry.value:g}" + (f" (float32: {entry.float32:g})" if entry.float32 else "")


# ---------------------------------------------------------------------------------------------- tolerances and cases


def tolerances() -> str:
    """The policy, family by family, with its reasons."""
    policy, regression = load_policy(), load_regression()
    text = [
        "# Tolerances",
        "Written from [tolerances.toml](../../reference/tolerances.toml): the largest absolute deviation that passes, "
        "and why. A case can set its own tolerance with a reason (marked * in a scorecard), and so can you, with "
        "`--probe-tolerances=FILE` (marked †). No tolerance may be smaller than the uncertainty of its reference. "
        "Where two values are given, the second is for a calculator that computes in float32.",
    ]
    for family in FAMILIES:
        rows = [
            (code(quantity), in_words(entry), entry.unit, entry.reason)
            for (of_family, quantity), entry in policy.tolerances.items()
            if of_family == family
        ]
        text += [
            f"## {FAMILY_TITLES.get(family, family.capitalize())}",
            table(("quantity", "tolerance", "unit", "reason"), rows),
        ]
    text += [
        "## Coverage",
        "The part of its samples (frames, force components, structures) that a number must stand on; on less it is an "
        'error. A case states its own with `minimum_share = { value = …, reason = "…" }`, at the top or in an '
        "expectation, and so can you, in `[samples]`, `[samples.FAMILY]` or `[samples.FAMILY.QUANTITY]` of "
        "`--probe-tolerances=FILE`.",
        table(
            ("of", "minimum share", "reason"),
            [
                (code(".".join(place)) if place else "all else", f"{100 * share.value:g} %", share.reason)
                for place, share in policy.shares.items()
            ],
        ),
        "## Regressions",
        "Against a [baseline](../gate.md), an error must grow by more than this part of its tolerance, or than the "
        "uncertainty of its reference where that is larger, and beyond it by more than chance could do, to count as "
        "worse.",
        table(
            ("family", "margin", "reason"),
            [(family, f"{entry.margin:g}", entry.reason) for family, entry in regression.margins.items()],
        ),
        "These have no reference, and become worse in one direction: by more than a margin in their own unit, and than "
        "chance could do.",
        table(
            ("quantity", "worse", "margin", "reason"),
            [
                (f"{family}.{name}", said.worse, f"{said.margin:g}", said.reason)
                for family, entry in regression.margins.items()
                for name, said in entry.reported.items()
            ],
        ),
        f"False alarms: {regression.false_alarms:g}. {regression.reason}",
        f"Against replicates, false alarms: {regression.retraining.false_alarms:g}. {regression.retraining.reason}",
    ]
    return "\n\n".join(text) + "\n"


def case_list(cases: Sequence[Case]) -> str:
    """All cases that come with the package."""
    text = [
        "# Cases that come with mlff-probes",
        "Written from the files in [reference](../../reference). `mlff-probes list CASE` shows every quantity of a "
        "case with its reference, uncertainty and tolerance.",
    ]
    for family in FAMILIES:
        rows = [
            (
                code(case.id),
                case.title,
                case.tier,
                f"[{case.protocol.kind}](quantities.md#{case.protocol.kind})",
                case.level_of_theory,
                case.source,
            )
            for case in cases
            if case.family == family
        ]
        header = ("case", "title", "tier", "kind", "level of theory", "source")
        text += [f"## {FAMILY_TITLES.get(family, family.capitalize())}", table(header, rows)]
    return "\n\n".join(text) + "\n"
