"""The worst example of each broken law: its structures, and a script that shows the deviation again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlff_probes.core.records import NOT_STATED, CalculatorIdentity, ProbeResult, State
from mlff_probes.scorecard.model import Scorecard

MARK = '"""The worst example of '
"""The beginning of every script written here, by which the scripts of an earlier run are recognised."""

TEMPLATES = {
    "force_consistency": "force",
    "stress_consistency": "stress",
    "energy_jump": "jump",
    "force_jump": "jump",
    "wall_deficit": "wall",
    "stated_level": "level",
    "repeat": "repeat",
    "history": "history",
    "first_call": "first_call",
    "batch": "batch",
    "float32": "precision",
    "plainest": "other_path",
    "compiled": "other_path",
    "kernels": "other_path",
}
"""File in `templates/worst/` by quantity, or by what stands before `_energy`, `_force` and `_stress`.

The quantities that are not named here are the symmetries, which share the template `symmetry`.
"""


def write_worst(card: Scorecard, directory: Path) -> list[Path]:
    """Write `<calculator>-<case>-<quantity>.extxyz` and `.py` for each law that failed; all files written.

    Scripts and frames of an earlier run are removed from `directory`, which is created if need be.
    """
    for script in directory.glob("*.py") if directory.is_dir() else ():
        if script.read_text(encoding="utf-8").startswith(MARK):
            script.unlink()
            script.with_suffix(".extxyz").unlink(missing_ok=True)
    written = []
    for row, example in _broken(card):
        directory.mkdir(parents=True, exist_ok=True)
        frames = directory / f"{row.calculator}-{row.case}-{row.quantity}.extxyz"
        identity = next(c for c in card.calculators if c.label == row.calculator)
        frames.write_text(example["extxyz"], encoding="utf-8")
        script = frames.with_suffix(".py")
        script.write_text(script_of(row, example, identity), encoding="utf-8")
        written += [frames, script]
    return written


def script_of(row: ProbeResult, example: dict[str, Any], identity: CalculatorIdentity) -> str:
    """A script that evaluates the frames beside it and prints what is wrong with them."""
    from mlff_probes.scorecard.reports.templating import template

    what, _, kind = row.quantity.rpartition("_")
    name = TEMPLATES.get(row.quantity) or TEMPLATES.get(what, "symmetry")
    return template(f"worst/{name}.py").render(
        mark=MARK,
        quantity=row.quantity,
        calculator=row.calculator,
        value=f"{example['value']:.4g}",
        unit=example["unit"],
        says=example["says"][0].upper() + example["says"][1:] + ".",
        load=_loading(identity),
        forces=kind == "force",
        stress=kind == "stress",
        changes=", ".join(f"{key}={value!r}" for key, value in example.get("changes", {}).items()),
    )


def _loading(identity: CalculatorIdentity) -> str:
    """The line of a script that loads the calculator as it was loaded in the run."""
    if identity.family == "ase" and not identity.spec.startswith("ase:"):
        return f'raise SystemExit("put the {identity.spec} of the run here: it was handed over ready-made")'
    choices = {"device": identity.device, "dtype": identity.dtype}
    given = "".join(f', {key}="{value}"' for key, value in choices.items() if value != NOT_STATED)
    trusted = ", trust_checkpoint=True" * (identity.checkpoint == "unchecked")
    return f"calculator = load_calculator({json.dumps(identity.spec)}{given}{trusted})"


def _broken(card: Scorecard) -> Iterator[tuple[ProbeResult, dict[str, Any]]]:
    for row in card.results:
        measurement = card.measurement(row.calculator, row.case)
        worst = measurement.diagnostics.get("worst", {}) if measurement else {}
        if row.verdict.state in (State.FAILED, State.KNOWN_FAILURE) and row.quantity in worst:
            yield row, worst[row.quantity]
