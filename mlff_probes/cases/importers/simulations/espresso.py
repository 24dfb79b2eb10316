"""Molecular dynamics of pw.x of Quantum ESPRESSO, from its output."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from mlff_probes.cases.convergence import PEEK, opened
from mlff_probes.cases.files import read_frames
from mlff_probes.cases.importers.settings import read_settings
from mlff_probes.cases.importers.simulations.stated import Simulated
from mlff_probes.core.errors import InputError

PS_TO_FS = 1000.0


def read(file: Path) -> Simulated | None:
    """A simulation of pw.x; None if the file is no output of it.

    The first structure is that of the input, at time zero; each time that is printed belongs to what stands behind it.

    Raises
    ------
    InputError
        If it did no molecular dynamics, or cannot be read.
    """
    with opened(file) as handle:
        if "Program PWSCF" not in handle.read(PEEK):
            return None
        handle.seek(0)
        text = handle.read()
    step = re.search(r"Time step\s+=\s+[\d.]+ a\.u\.,\s+([\d.]+) femto-seconds", text)
    if step is None:
        raise InputError(file, "is no molecular dynamics of pw.x: it states no time step", "use calculation = 'md'")
    frames = read_frames(file, format="espresso-out")
    numbers = re.findall(r"Entering Dynamics:\s+iteration =\s+(\d+)", text)
    steps = np.array([0, *map(int, numbers)], dtype=float)[: len(frames)]
    heat = re.search(r"Starting temperature\s+=\s+([\d.]+) K", text)
    return Simulated(
        frames=frames,
        steps=steps if len(steps) == len(frames) else None,
        timestep_fs=float(step.group(1)),
        temperature=float(heat.group(1)) if heat else None,
        ensemble="NVT" if re.search(r"temperature is controlled by", text) else "NVE",
        settings=read_settings(file),
    )
