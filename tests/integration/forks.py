"""Runs pytest in forks of a process that has imported what such a run needs, which is most of a short run's time.

The process is multiprocessing's fork server. Neither torch nor a plugin of pytest's that would notice is imported
before the fork. It has also parsed the structures of the references that most runs read (`parsed.py`). Each run has its
own session, folder, environment and standard streams.
Where a test is about the process itself (signals, limits, workers that die, what is imported when, warnings as errors),
it has a fresh interpreter instead: `start_probes_in` of `conftest.py`.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver, get_context
from pathlib import Path
from unittest import mock

FORKS = get_context("forkserver")
FORKS.set_forkserver_preload([
    "_pytest.faulthandler", "_pytest.helpconfig", "_pytest.junitxml", "_pytest.pastebin", "_pytest.setupplan",
    "_pytest.skipping", "_pytest.stepwise", "_pytest.threadexception", "_pytest.tracemalloc", "_pytest.unittest",
    "_pytest.warnings", "ase.build", "ase.calculators.emt", "ase.calculators.lj", "ase.calculators.mixing",
    "ase.io.extxyz", "ase.mep", "ase.optimize", "email.parser", "execnet.gateway_bootstrap", "execnet.multi",
    "filelock", "hypothesis.strategies", "mlff_probes.measure.dynamics.measurement",
    "mlff_probes.measure.inference.agreement", "mlff_probes.measure.laws.derivatives",
    "mlff_probes.measure.laws.reproducibility", "mlff_probes.measure.laws.smoothness",
    "mlff_probes.measure.laws.symmetry", "mlff_probes.measure.laws.wall", "mlff_probes.measure.migration.relaxed_path",
    "mlff_probes.measure.migration.vacancy", "mlff_probes.session.start", "numpy", "pdb", "platformdirs.unix",
    "pydantic.main", "pydantic.types", "pytest", "rich._emoji_codes", "rich.console", "rich.table", "scipy.integrate",
    "scipy.interpolate", "scipy.ndimage", "scipy.optimize", "threadpoolctl", "xml.etree.ElementTree", "parsed",
])  # fmt: skip
TESTS = str(Path(__file__).parents[1])
REFERENCES = "PARSED_ONCE"
"""An environment variable of the fork server: the reference directories that it parses."""


def start_forks(*references: Path) -> None:
    """Start the fork server, unless it runs, and let it parse the structures of some reference directories."""
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    with mock.patch.dict(os.environ, {"PYTHONPATH": path, REFERENCES: os.pathsep.join(map(str, references))}):
        forkserver.ensure_running()


def run_in_fork(
    args: Sequence[str], folder: Path, environment: Mapping[str, str], timeout_s: float
) -> tuple[int, str, str]:
    """`python -P -m pytest ARGS` in `folder`: exit code, standard output, standard error.

    Raises
    ------
    TimeoutError
        After `timeout_s`; the run, and what it started, is killed then.
    """
    with tempfile.TemporaryDirectory() as place:
        streams = [Path(place, name) for name in ("out", "errors")]
        process = FORKS.Process(target=become_pytest, args=(list(args), folder, dict(environment), streams))
        process.start()
        process.join(timeout_s)
        if process.exitcode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.join()
            raise TimeoutError(f"pytest {' '.join(args)} took more than {timeout_s} s")
        return (process.exitcode, *(stream.read_text(encoding="utf-8") for stream in streams))


def become_pytest(args: list[str], folder: Path, environment: dict[str, str], streams: list[Path]) -> None:
    """Make this process what `python -P -m pytest ARGS` would be in `folder` and `environment`, and run that."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job is born deaf to it
    for stream, number in zip(streams, (1, 2), strict=True):
        os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.chdir(folder)
    own = [entry for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
    sys.path[:] = own + [entry for entry in sys.path if entry and not entry.startswith(TESTS) and entry not in own]
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[:] = ["pytest", *args]
    runpy.run_module("pytest", run_name="__main__", alter_sys=True)
