"""The worst example of each law that is broken: its structures, and a script that shows it again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlff_probes.core.records import NOT_STATED, CalculatorIdentity, ProbeResult, State
from mlff_probes.scorecard.model import Scorecard

MARK = '"""The worst example of '
"""How our scripts begin: by it those of an earlier run are known."""

HEAD = '''{mark}{quantity} for {calculator}: {value:.4g} {unit}.

{says}

Run it in the folder in which the run was started, so that the calculator is found.
"""

from pathlib import Path

import ase.io
import numpy as np
from ase.stress import voigt_6_to_full_3x3_stress
from ase.units import GPa

from mlff_probes import evaluate, load_calculator

frames = ase.io.read(Path(__file__).with_suffix(".extxyz"), ":")
{load}

'''

SYMMETRY = """before, after = frames
found = evaluate(calculator, frames, forces={forces})
one, other = found.energies / [len(before), len(after)]
print(f"energy before {{one:.9f}}, after {{other:.9f}} eV/atom: {{(other - one) * 1e3:.4g}} meV/atom")
if found.forces:
    expected = found.forces[0][after.arrays["came_from"]] @ np.reshape(after.info["turned"], (3, 3)).T
    off = np.linalg.norm(found.forces[1] - expected, axis=1)
    print(f"force on atom {{off.argmax()}} {{found.forces[1][off.argmax()]}}, expected {{expected[off.argmax()]}} eV/A")
    print(f"off by {{off.max() * 1e3:.4g}} meV/A")
"""

FORCE = """(atoms,) = frames
direction = atoms.arrays["direction"]
print("step (A), central difference (eV/A)")
for step in 0.04 / 2.0 ** np.arange(9):
    moved = [atoms.copy(), atoms.copy()]
    moved[0].positions -= step * direction
    moved[1].positions += step * direction
    low, high = evaluate(calculator, moved, forces=False).energies
    print(f"{{step:.6f}} {{(high - low) / (2 * step):.6f}}")
forces = evaluate(calculator, frames).forces[0]
print(f"by the forces {{-(forces * direction).sum():.6f}}")
"""

STRESS = """(atoms,) = frames
strain = np.reshape(atoms.info["strain"], (3, 3))
print("strain, central difference / volume (GPa)")
for step in 0.008 / 2.0 ** np.arange(8):
    deformed = [atoms.copy(), atoms.copy()]
    for each, side in zip(deformed, (-1, 1), strict=True):
        each.set_cell(atoms.cell.array @ (np.eye(3) + side * step * strain), scale_atoms=True)
    low, high = evaluate(calculator, deformed, forces=False).energies
    print(f"{{step:.6f}} {{(high - low) / (2 * step) / atoms.get_volume() / GPa:.6f}}")
stress = voigt_6_to_full_3x3_stress(evaluate(calculator, frames, stress=True).stresses[0])
print(f"by the stress {{(stress * strain).sum() / GPa:.6f}}")
"""

JUMP = """direction = frames[0].arrays["direction"]
found = evaluate(calculator, frames)
s = [((frame.positions - frames[0].positions) * direction).sum() / (direction**2).sum() for frame in frames]
f = [(forces * direction).sum() for forces in found.forces]
print("s (A), energy (eV), force along the line (eV/A)")
for row in zip(s, found.energies, f, strict=True):
    print("{{:.6f}} {{:.9f}} {{:.9f}}".format(*row))
before, inside, after = np.abs(np.diff(found.energies) + np.diff(s) * np.add(f[1:], f[:-1]) / 2)
print(f"the energy jumps by {{(inside - min(before, after)) * 1e3:.4g}} meV")
print(f"the force jumps by {{abs((f[2] - f[1]) - (f[1] - f[0] + f[3] - f[2]) / 2) * 1e3:.4g}} meV/A")
"""

WALL = """energies = evaluate(calculator, frames, forces=False).energies
print("distance (A), energy (eV)")
for frame, energy in zip(frames, energies, strict=True):
    print(f"{{frame.get_distance(0, 1):.3f}} {{energy:.4f}}")
"""

REPEAT = """before, example, _ = frames
for _ in range(4):
    evaluate(alone, [before])
    show("example", evaluate(alone, [example]))
"""

HISTORY = """first, example, second = frames
for before in (first, second, first, second):
    evaluate(alone, [before])
    show("example", evaluate(alone, [example]))
"""

FIRST = """example, other = frames
for call in range(5):
    show(f"call {{2 * call + 1}}", evaluate(alone, [example], stress={stress}))
    evaluate(alone, [other])
"""

BATCH = """example, *all_of_them = frames
together = evaluate(calculator, all_of_them)
for index, structure in enumerate(all_of_them):
    if structure == example:
        show("in a batch", together, index)
show("alone", evaluate(alone, [example]))
"""

PRECISION = """for dtype in ("float32", "float64"):
    show(dtype, evaluate(calculator.fresh(dtype=dtype), frames, stress={stress}))
"""

OTHER_PATH = """show("in use", evaluate(calculator, frames, stress={stress}))
show("the other path", evaluate(calculator.fresh({changes}), frames, stress={stress}))
"""

SHOW = """alone = replace(calculator, batch=None)


def show(what, found, index=0):
    forces = f", largest force {{np.abs(found.forces[index]).max():.9f}} eV/A" if {forces} else ""
    stress = f", stress {{found.stresses[index] / GPa}} GPa" if {stress} else ""
    print(f"{{what}}: {{found.energies[index]:.9f}} eV{{forces}}{{stress}}")


"""

BODIES = {
    "force_consistency": FORCE,
    "stress_consistency": STRESS,
    "energy_jump": JUMP,
    "force_jump": JUMP,
    "wall_deficit": WALL,
    "repeat": SHOW + REPEAT,
    "history": SHOW + HISTORY,
    "first_call": SHOW + FIRST,
    "batch": SHOW + BATCH,
    "float32": SHOW + PRECISION,
    "plainest": SHOW + OTHER_PATH,
    "compiled": SHOW + OTHER_PATH,
    "kernels": SHOW + OTHER_PATH,
}
"""By quantity, or by what stands before `_energy`, `_force` and `_stress`; symmetries have none of their own."""


def write_worst(card: Scorecard, directory: Path) -> list[Path]:
    """Write `<calculator>-<case>-<quantity>.extxyz` and `.py` for each law that failed; all files written.

    Those of an earlier run are removed from `directory`, which is created if need be.
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
    what, _, kind = row.quantity.rpartition("_")
    body = BODIES.get(row.quantity) or BODIES.get(what, SYMMETRY)
    if identity.family == "ase" and not identity.spec.startswith("ase:"):
        load = f'raise SystemExit("put the {identity.spec} of the run here: it was handed over ready-made")'
    else:
        choices = {"device": identity.device, "dtype": identity.dtype}
        given = "".join(f', {key}="{value}"' for key, value in choices.items() if value != NOT_STATED)
        trusted = ", trust_checkpoint=True" * (identity.checkpoint == "unchecked")
        load = f"calculator = load_calculator({json.dumps(identity.spec)}{given}{trusted})"
    head = HEAD.format(
        mark=MARK,
        quantity=row.quantity,
        calculator=row.calculator,
        value=example["value"],
        unit=example["unit"],
        says=example["says"][0].upper() + example["says"][1:] + ".",
        load=load,
    )
    if body.startswith(SHOW):
        head = head.replace("from pathlib", "from dataclasses import replace\nfrom pathlib", 1)
    if "np." not in body:
        head = head.replace("import numpy as np\n", "")
    if "voigt" not in body:
        head = head.replace("from ase.stress import voigt_6_to_full_3x3_stress\n", "")
    if "GPa" not in body:
        head = head.replace("from ase.units import GPa\n", "")
    changes = ", ".join(f"{key}={value!r}" for key, value in example.get("changes", {}).items())
    return head + body.format(forces=kind == "force", stress=kind == "stress", changes=changes)


def _broken(card: Scorecard) -> Iterator[tuple[ProbeResult, dict[str, Any]]]:
    for row in card.results:
        measurement = card.measurement(row.calculator, row.case)
        worst = measurement.diagnostics.get("worst", {}) if measurement else {}
        if row.verdict.state in (State.FAILED, State.KNOWN_FAILURE) and row.quantity in worst:
            yield row, worst[row.quantity]
