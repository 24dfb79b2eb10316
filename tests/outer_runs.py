"""Runs of the probes as a user starts them, in processes of their own, and where their scorecards differ."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mlff_probes.core.records import ProbeResult
from mlff_probes.scorecard.files import read
from mlff_probes.scorecard.model import Scorecard

ROOT = Path(__file__).parents[1]
CHECKOUT = (sys.executable, "-m", "pytest")
"""pytest as run in `ROOT`: the working directory, and so the checkout, comes first on the path."""

INSTALLED = ("--pyargs", "mlff_probes.probes")
ROUNDING = 1e-4
"""In float32 a total energy of 200 eV, as in the larger cases, ends at 1.5e-5 eV; a quantity is made of a few."""


UNRELAXED = (
    "-k",
    "not vacancy_ and not octahedral_hop and not physicality and not dynamics and not speed and not path_agreement "
    "and not extrapolation and not forgetting",
)
"""Without the bands that relax and the simulations, which would magnify the last digit of a sum, and without the laws,
speed, the agreement of paths and representation, which take seconds to half a minute."""


def scorecard_of(command: Sequence[str | Path], folder: Path, *args: str) -> Scorecard:
    """What the pytest that `command` starts finds in `folder`, on the CPU."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))}
    with tempfile.TemporaryDirectory() as elsewhere:
        card = Path(elsewhere) / "card.json"
        done = subprocess.run(
            [*command, f"--probe-scorecard={card}", "--tb=no", *args],
            cwd=folder, env=clean | {"CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert card.exists(), done.stdout + done.stderr
        return read(card)


def differences(one: Scorecard, other: Scorecard) -> list[str]:
    """Where two scorecards tell another story, one line each."""
    rows, twins = ({(r.calculator, r.case, r.quantity): r for r in card.results} for card in (one, other))
    if list(rows) != list(twins):
        return [f"only in one: {' '.join(key)}" for key in rows.keys() ^ twins.keys()] or ["rows in another order"]
    return [
        f"{' '.join(key)}: {_measured(row)} {row.verdict.state.value}, {_measured(twin)} {twin.verdict.state.value}"
        for key, row in rows.items()
        if not _same(row, twin := twins[key])
    ]


def _measured(row: ProbeResult) -> float | None:
    return row.measured.value if row.measured else None


def _same(row: ProbeResult, twin: ProbeResult) -> bool:
    if (row.verdict.state, row.expectation) != (twin.verdict.state, twin.expectation):
        return False
    here, there = _measured(row), _measured(twin)
    if here is None or there is None:
        return here is there
    return abs(here - there) <= ROUNDING
