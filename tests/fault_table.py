"""Which probe sees which fault, measured; `python tests/fault_table.py > docs/faults.md` writes the table."""

from __future__ import annotations

import inspect
import re
import shutil
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import ase.io
import faults
import numpy as np
from alike import Simulated, alike, noting
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from faults import load, slug
from sound import Sound
from support import record

from mlff_probes.calculators.base import Calculator
from mlff_probes.calculators.device import Device
from mlff_probes.calculators.evaluation import evaluate
from mlff_probes.cases.load import load_case, load_cases
from mlff_probes.cases.tolerances import load_policy
from mlff_probes.core.case import Case
from mlff_probes.core.data import DIRECTORY
from mlff_probes.core.records import Measurement, ProbeResult, State
from mlff_probes.measure.dynamics import measurement as dynamics
from mlff_probes.measure.dynamics.protocols import MolecularDynamics
from mlff_probes.measure.inference.protocols import Speed
from mlff_probes.measure.measurement import measure_case
from mlff_probes.methods.simulation.simulate import Simulation
from mlff_probes.session.suite import Suite

HELPERS = (Sound, faults.Counting)
FAULTS = {
    slug(kind): kind
    for kind in vars(faults).values()
    if inspect.isclass(kind) and issubclass(kind, Sound) and kind not in HELPERS
}

PAGE = """# Faults, and the probes that catch them

A gate that has never been seen to block is decoration. Each fault here is a force field that is right but for one
thing: an analytic potential (`tests/sound.py`) from which the cases were recorded, so that it passes everything, broken
in one place (`tests/faults.py`). `tests/test_fault_matrix.py` asserts that the probes named here fail and no others; a
probe is what `reference/tolerances.toml` has a tolerance for, over all cases.

Written by `python tests/fault_table.py > docs/faults.md`.

## What catches a fault

| fault | what is wrong | where it is met | caught by |
|---|---|---|---|
{faults}

## What a probe catches

| probe | faults |
|---|---|
{probes}
"""

EXAMPLES = {
    "symmetry": 12, "derivatives": 12, "smoothness": 8, "short_range_wall": 15, "stated_level": 3, "reproducibility": 8,
}  # fmt: skip
"""Fewer than the package's own, so that a fault is through all laws in a second."""

STRAINED, STRAINED_CELL_A = 6, 5.2
"""Crystals of aluminium whose stress is compared, and the length of their cell before it is strained, A."""

SOUND_COPPER_A = 3.407
"""Lattice constant of the sound calculator's copper."""

HOP_CELL_A = 5.6
"""A cell of aluminium, of which copper sees the octahedral and the tetrahedral site as minima."""

CASE = """schema_version = 1
title = "{title}"
tier = "quick"

[protocol]
{protocol}

[reference]
level_of_theory = "exact"
source = "the sound calculator of the tests"
"""

EXPECTATION = """
[[expectation]]
quantity = "{quantity}"
unit = "{unit}"
uncertainty = 0.0
value = {value}
"""

OWN_CASES = {
    # the sound calculator takes 4 steps; one whose energy and forces disagree takes from 12 to over 60, by chance
    "hop": """kind = "relaxed_path"
migrating_atom = 4
path_made_by = "hand"
images = 5
max_steps = 8""",
    # no step of the band: what relaxes there is seen in the hop, which has fewer atoms
    "vacancy": """kind = "fcc_vacancy"
element = "Cu"
guess_lattice_constant = 3.4
repeats = 2
fmax = 3.0
saddle_fmax = 3.0
max_steps = 8""",
}
MOVES = """kind = "molecular_dynamics"
ensemble = "{ensemble}"
temperature = {kelvin}
timestep_fs = {fs}
friction_per_fs = {friction}
equilibration_steps = {before}
steps = {steps}
sample_every = 2
seeds = {seeds}
rdf_max = 4.5
"""
SIMULATIONS = {
    "warm": (
        MOVES.format(ensemble="NVT", kelvin=300.0, friction=0.05, fs=5.0, before=40, steps=240, seeds=[0, 1, 2]),
        {"survival": "1", "temperature_offset": "%", "net_force": "meV/A", "first_peak_Cu_Cu": "A",
         "rdf_l1_Cu_Cu": "1", "rdf_wasserstein_Cu_Cu": "A"},
    ),
    "free": (
        MOVES.format(ensemble="NVE", kelvin=300.0, friction=0.05, fs=3.0, before=30, steps=160, seeds=[*range(10)]),
        {"survival": "1", "energy_drift": "eV/atom/ps", "net_force": "meV/A", "rmsd_growth_rate": "A/ps"},
    ),
    "tones": (
        MOVES.format(ensemble="NVE", kelvin=300.0, friction=0.05, fs=5.0, before=20, steps=280, seeds=[*range(10)]),
        {"mean_frequency_Cu": "THz", "vdos_wasserstein_Cu": "THz"},
    ),
    "layer": (
        MOVES.format(ensemble="NVT", kelvin=100.0, friction=0.02, fs=5.0, before=60, steps=200, seeds=[*range(3)]),
        {"first_peak_Sb_Te": "A"},
    ),
    "slab": (
        MOVES.format(ensemble="NVE", kelvin=50.0, friction=0.05, fs=5.0, before=0, steps=360, seeds=[0]),
        {"survival": "1"},
    ),
}  # fmt: skip
"""Simulations that take half a second each, and what is judged of them."""

ROUGH = {"temperature_offset": 20.0, "mean_frequency_Cu": 0.9, "vdos_wasserstein_Cu": 0.4}
"""Wider tolerances than the policy's, for what half a second does not resolve."""

JUDGED = ("outcome", "barrier", "reverse_barrier", "reaction_energy", "lattice_constant", "formation_energy")


def write_cases(target: Path) -> None:
    """The cases of the package and some that relax or move, with what the sound calculator says as the reference."""
    record(Sound(), target)
    (target / "parity").mkdir()
    shutil.copy(DIRECTORY / "parity" / "sb2te3_frames.toml", target / "parity")
    write_laws(target / "physicality")
    write_inference(target / "inference")
    write_representation(target / "representation")
    ase.io.write(target / "migration" / "hop.extxyz", hop(), format="extxyz")
    for name, protocol in OWN_CASES.items():
        record_relaxed(target / "migration" / f"{name}.toml", protocol)
    record_simulations(target / "dynamics")
    record_stresses(target / "parity" / "strained.toml")


def recorded_cases(target: Path) -> list[Case]:
    """What `write_cases` has written."""
    cases = load_cases([target])
    assert all(isinstance(case, Case) for case in cases), cases
    return cases


def write_laws(folder: Path) -> None:
    """The package's physical laws, on fewer examples."""
    folder.mkdir()
    for file in sorted((DIRECTORY / "physicality").glob("*.toml")):
        kind = tomllib.loads(file.read_text())["protocol"]["kind"]
        fewer = re.sub(r"(?m)^examples = .*$", f"examples = {EXAMPLES[kind]}", file.read_text())
        (folder / file.name).write_text(fewer)


def write_inference(folder: Path) -> None:
    """The package's comparison of paths, on the frames of two of its origins, and its timing of calls, on one size."""
    folder.mkdir()
    shutil.copy(DIRECTORY / "inference" / "sb2te3_speed.extxyz", folder / "speed.extxyz")
    text = re.sub(r"(?s)\nreport = .*?\n]\n", "\n", (DIRECTORY / "inference" / "sb2te3_speed.toml").read_text())
    text = re.sub(r"(?m)^repeats = .*\nbatches = .*\nseconds = .*$", "repeats = [[1, 1, 1]]\nseconds = 0.01", text)
    (folder / "speed.toml").write_text(text)
    lines = (DIRECTORY / "inference" / "path_agreement.toml").read_text().splitlines(keepends=True)
    (folder / "path_agreement.toml").write_text("".join(line for line in lines if not line.startswith("origins.deep")))


def write_representation(folder: Path) -> None:
    """The package's distances from training frames, of one path and a few frames: what is judged of features."""
    folder.mkdir()
    text = (DIRECTORY / "representation" / "sb2te3_paths.toml").read_text()
    text = re.sub(r"(?s)\nreport = .*?\n]\n", "\n", text)
    text = re.sub(r"(?m)^origins\.(deep|sliding) = .*\n", "", text)
    text = re.sub(r"(?m)^training = .*$", 'training = ["../sliding/sb2te3_fixed_gap_0.0.extxyz"]', text)
    (folder / "sb2te3_paths.toml").write_text(re.sub(r"(?m)^rattled = .*$", "rattled = 0", text))


def hop() -> list[Atoms]:
    """Copper at the octahedral site of a cell of aluminium, and at the tetrahedral site next to it."""
    frames = [bulk("Al", a=HOP_CELL_A, cubic=True) + Atoms("Cu", [[x * HOP_CELL_A] * 3]) for x in (0.5, 0.25)]
    for image, frame in enumerate(frames):
        frame.positions[-1] += [0.005, -0.006, 0.004]  # off the symmetric site, where no force would act
        frame.info["image"] = image
    return frames


def record_relaxed(file: Path, protocol: str) -> None:
    """Write a case that relaxes; what is expected of it is what the sound calculator gives."""
    text = CASE.format(title=file.stem, protocol=protocol)
    outcome = EXPECTATION.format(quantity="outcome", unit="1", value=1.0)
    file.write_text(text + outcome)
    values = measure_case(load(), load_case(file)).values
    rows = [EXPECTATION.format(quantity=name, unit=values[name].unit, value=values[name].value)
            for name in JUDGED if name in values]  # fmt: skip
    file.write_text(text + "".join(rows))


def record_simulations(folder: Path) -> None:
    """Write crystals of copper, a layer and a slab of two layers, with what the sound calculator gives."""
    folder.mkdir()
    copper = bulk("Cu", a=SOUND_COPPER_A, cubic=True).repeat((2, 2, 1))
    small = bulk("Cu", a=SOUND_COPPER_A, cubic=True).repeat((2, 1, 1))
    for name, start in {"warm": copper, "free": copper, "tones": small, "layer": slab(1), "slab": slab()}.items():
        protocol, units = SIMULATIONS[name]
        ase.io.write(folder / f"{name}.extxyz", start, format="extxyz")
        file = folder / f"{name}.toml"
        text = CASE.format(title=name, protocol=protocol)
        plain = [quantity for quantity in units if "_l1_" not in quantity and "_wasserstein_" not in quantity]
        file.write_text(text.replace('tier = "quick"', f'tier = "quick"\nreport = {plain}'))
        found = measure_case(load(), load_case(file))
        curves = [curve for curve in ("rdf_Cu_Cu", "vdos_Cu") if curve in found.arrays]
        for curve in curves:
            axis = found.arrays[f"{curve}_{'r' if curve.startswith('rdf') else 'frequency'}"]
            points = zip(axis, found.arrays[curve], strict=True)
            (folder / f"{name}_{curve}.csv").write_text("\n".join(f"{x},{max(y, 0.0)}" for x, y in points))
        compared = "".join(f'{curve} = "{name}_{curve}.csv"\n' for curve in curves)
        rows = "".join(_expected(quantity, unit, found) for quantity, unit in units.items())
        file.write_text(text.replace("[reference]", f"[protocol.curves]\n{compared}\n[reference]") + rows)


def record_stresses(file: Path) -> None:
    """Write strained crystals of aluminium with the sound calculator's energies, forces and stresses."""
    frames = [bulk("Al", a=STRAINED_CELL_A, cubic=True) for _ in range(STRAINED)]
    rng = np.random.default_rng(0)
    for frame in frames:
        frame.set_cell(frame.cell.array @ (np.eye(3) + rng.uniform(-0.03, 0.03, (3, 3))), scale_atoms=True)
        frame.rattle(0.02, rng=rng)
        results = Sound().evaluated(frame)
        frame.calc = SinglePointCalculator(frame, **results)
    ase.io.write(file.with_suffix(".extxyz"), frames, format="extxyz")
    row = EXPECTATION.format(quantity="stress_mae", unit="GPa", value="")
    file.write_text(CASE.format(title="strained aluminium", protocol='kind = "parity"') + row.replace("value = \n", ""))


def slab(layers: int = 2) -> Atoms:
    """Quintuple layers of Sb2Te3 in a vacuum."""
    found = ase.io.read(DIRECTORY / "dynamics" / "sb2te3.extxyz").repeat((1, 1, layers))
    found.center(vacuum=6.0, axis=2)
    return found


def _expected(quantity: str, unit: str, found: Measurement) -> str:
    """An expectation: a law at its value, any other at that of the sound calculator, a distance as the curve says."""
    exact = {"survival": 1.0, "temperature_offset": 0.0, "energy_drift": 0.0, "net_force": 0.0, "rmsd_growth_rate": 0.0}
    known = quantity in exact or quantity in found.values
    value = exact.get(quantity, found.values[quantity].value if quantity in found.values else None)
    row = EXPECTATION.format(quantity=quantity, unit=unit, value=value)
    row = row if known else row.replace("value = None\n", "")
    wide = ROUGH.get(quantity)
    reason = '"What half a second resolves."'
    return row + (f'tolerance = {{ value = {wide}, unit = "{unit}", reason = {reason} }}\n' if wide else "")


@contextmanager
def planted(kind: type[Sound]) -> Iterator[None]:
    """A fault in how atoms are moved, or a clock is read, where `kind` has one."""
    simulate = dynamics.simulate

    def simulated(calculator: Calculator, protocol: MolecularDynamics, start: Atoms, **rest: Any) -> Simulation:
        return simulate(calculator, *kind.simulated(protocol, start), **rest)

    with mock.patch.object(dynamics, "simulate", simulated), mock.patch.object(Device, "now", kind.now):
        yield


def judged(
    kind: type[Sound], cases: list[Case], known: Mapping[str, Simulated] | None = None
) -> Iterator[tuple[str, ProbeResult]]:
    """The results of all that is judged, each with the name of its probe.

    Of who answers as the sound calculator did in one of the `known` cases, they are what those of that are.
    """
    for case in cases:
        simulated = (known or {}).get(case.id)
        if simulated is not None and alike(kind, loaded(kind, case), simulated):
            yield from simulated.rows
        else:
            yield from judged_in(case, kind, loaded(kind, case))


def sound_simulations(cases: list[Case]) -> dict[str, Simulated]:
    """What is judged of the sound calculator in the cases that simulate or relax, by their names, for `judged`."""
    known = {}
    for case in cases:
        if isinstance(case.protocol, MolecularDynamics) or case.id in OWN_CASES:
            asked: list[Any] = []
            calculator = noting(loaded(Sound, case), asked)
            known[case.id] = Simulated(list(judged_in(case, Sound, calculator)), asked)
            assert not calculator.ase.results, "it was asked otherwise than in batches, too"
    return known


def loaded(kind: type[Sound], case: Case) -> Calculator:
    """A calculator of its own for a case, which has answered once.

    What a fault does to one case then does not hang on which others there are.
    """
    calculator = load(kind, device="cuda:0" if isinstance(case.protocol, Speed) else "cpu")
    evaluate(calculator, [bulk("Al")])
    return calculator


def judged_in(case: Case, kind: type[Sound], calculator: Calculator) -> Iterator[tuple[str, ProbeResult]]:
    """The results of what is judged in one case, each with the name of its probe."""
    suite = Suite([calculator], [case])
    for request in suite.requests(case.protocol.kind):
        with planted(kind):
            result = suite.result(request)
        if result.verdict.state is not State.REPORTED:
            yield f"{result.family}.{case.protocol.policy_name(result.quantity)}", result


def strengths(rows: Iterable[tuple[str, ProbeResult]]) -> dict[str, float]:
    """By how many tolerances a force field is off, at most, for each probe; infinite where there is no number."""
    found: dict[str, float] = {}
    for probe, result in rows:
        deviation, expected = result.verdict.deviation, result.expectation
        error = result.verdict.state is State.ERROR
        off = np.inf if deviation is None or expected is None or error else abs(deviation) / expected.tolerance.value
        found[probe] = max(off, found.get(probe, 0.0))
    return found


def fired(found: dict[str, float]) -> set[str]:
    """The probes that say that a force field is not sound, from its `strengths`."""
    return {probe for probe, off in found.items() if off > 1}


def table(found: dict[str, set[str]]) -> str:
    """The page `docs/faults.md`; `found` says for each fault which probes see it."""
    rows = [f"| {code([name])} | {' | '.join(told(FAULTS[name]))} | {code(found[name])} |" for name in found]
    probes = [f"{family}.{name}" for family, name in load_policy().tolerances]
    seen = [f"| {code([probe])} | {code(name for name in found if probe in found[name])} |" for probe in probes]
    return PAGE.format(faults="\n".join(rows), probes="\n".join(seen))


def told(kind: type[Sound]) -> tuple[str, str]:
    """What the fault is, and where it is met: the docstring's first paragraph and its second."""
    what, _, met = inspect.cleandoc(kind.__doc__).partition("\n\n")
    return what, " ".join(met.split())


def code(names: Iterable[str]) -> str:
    """Names as they stand in a cell of a table."""
    return ", ".join(f"`{name}`" for name in sorted(names)) or "nothing"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        write_cases(Path(folder) / "recorded")
        cases = recorded_cases(Path(folder) / "recorded")
    print(table({name: fired(strengths(judged(kind, cases))) for name, kind in FAULTS.items()}), end="")
