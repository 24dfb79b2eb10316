"""Does the package judge in an empty environment as it does in the checkout? What `make package` asks.

`python tests/judge_from_wheel.py dist/….whl` installs the wheel with one extra, within the constraints, into a
new virtual environment, runs the probes there from an empty folder, and compares with the checkout's scorecard.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import venv
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
    "not vacancy_ and not octahedral_hop and not physicality and not dynamics and not speed and not path_agreement",
)
"""Without the bands that relax and the simulations, which would magnify the last digit of a sum, and without the laws,
speed and the agreement of paths, which take seconds to half a minute."""


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


def main() -> None:
    """Install, run, compare, and say it in one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--extra", default="chgnet")
    parser.add_argument("--calculator", default="chgnet", help="as in pytest --calculator=…, paths absolute")
    given = parser.parse_args()
    chosen = f"--calculator={given.calculator}"
    with tempfile.TemporaryDirectory() as name:
        start = time.perf_counter()
        environment, empty = Path(name, "environment"), Path(name, "empty")
        empty.mkdir()
        venv.create(environment, with_pip=True)
        pip = [environment / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        wanted = f"{given.wheel.resolve()}[{given.extra}]"
        subprocess.run([*pip, "--constraint", ROOT / "constraints.txt", wanted], check=True, cwd=empty)
        took = time.perf_counter() - start
        card = scorecard_of([environment / "bin" / "pytest"], empty, *INSTALLED, chosen, *UNRELAXED)
    found = differences(card, scorecard_of(CHECKOUT, ROOT, chosen, *UNRELAXED))
    if found:
        sys.exit("\n".join([f"{given.wheel.name} and the checkout judge differently:", *found]))
    print(f"{given.wheel.name}[{given.extra}], installed in {took:.0f} s, judges {card.calculators[0].label} as the "
          f"checkout does: {len(card.results)} rows, {card.verdict}")  # fmt: skip


if __name__ == "__main__":
    main()
