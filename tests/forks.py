"""Runs Python in forks of a process that has imported what such a run needs, which is most of a short run's time.

The process is a fork server of multiprocessing's: one without torch and without a plugin of pytest's that would notice,
and one that has imported models as well. They have also parsed the structures of the references that most runs read
(`parsed.py`). Each run has its own session, folder, environment and standard streams, and its workers (`-n 2`) are
forks too, made before it begins. Where a test is about the interpreter itself (limits, what is imported when, warnings
as errors), it has a fresh one instead.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import forkserver, get_context
from pathlib import Path
from typing import IO
from unittest import mock

from execnet import gateway_io

from mlff_probes.core.data import DIRECTORY

PACKAGE = [
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
]  # fmt: skip
"""Not pytest-xdist, which gives its workers the path that it finds when it is imported."""

MODELS = ["imported_models"]
TESTS = str(Path(__file__).parent)
REFERENCES = "PARSED_ONCE"
"""An environment variable of a fork server: the reference directories that it parses."""
DEATHS = 4
"""Workers that may die and be replaced by a fork; a fresh interpreter takes the place of any further one."""


@lru_cache
def server(references: tuple[Path, ...] = (DIRECTORY,), *, models: bool = False) -> forkserver.ForkServer:
    """A fork server that has parsed the structures of some reference directories, and has imported models or not."""
    found = forkserver.ForkServer()
    found.set_forkserver_preload(PACKAGE + MODELS * models)
    path = os.pathsep.join([TESTS, os.environ.get("PYTHONPATH", "")])
    told = {"PYTHONPATH": path, REFERENCES: os.pathsep.join(map(str, references))}
    with mock.patch.dict(os.environ, told | {"OMP_NUM_THREADS": "1"} if models else told):  # no threads before a fork
        found.ensure_running()
    return found


class Fork:
    """`python -P -m MODULE ARGS` in `folder` and `environment`, begun; to be used as a `subprocess.Popen` of it."""

    def __init__(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str], forks: forkserver.ForkServer
    ) -> None:
        self.place = tempfile.TemporaryDirectory()
        self.streams = [Path(self.place.name, name) for name in ("out", "errors")]
        self.args = [str(word) for word in command]
        given = (self.args, folder, dict(environment), self.streams)
        self.process = get_context("forkserver").Process(target=become, args=given)
        with mock.patch.object(forkserver, "connect_to_new_process", forks.connect_to_new_process):
            self.process.start()

    @property
    def pid(self) -> int:
        """Its process id, and that of its group."""
        return int(self.process.pid or 0)

    @property
    def returncode(self) -> int | None:
        """Its exit code, once it has ended."""
        return self.process.exitcode

    def poll(self) -> int | None:
        """The same."""
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it wrote to standard output and to standard error.

        Raises
        ------
        subprocess.TimeoutExpired
            If it has not ended after `timeout`, s.
        """
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        said, wrong = (file.read_text(encoding="utf-8") if file.exists() else "" for file in self.streams)
        self.place.cleanup()
        return said, wrong


def run(command: Sequence[str], folder: Path, *, models: bool = True) -> subprocess.CompletedProcess[str]:
    """`python -P -m MODULE ARGS` (or `-c TEXT`) in `folder`, as `subprocess.run` does it, in a fork."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    fork = Fork(command, folder, kept, server(models=models))
    said, wrong = fork.communicate(300.0)
    return subprocess.CompletedProcess(fork.args, int(fork.returncode or 0), said, wrong)


def become(command: list[str], folder: Path, environment: dict[str, str], streams: list[Path]) -> None:
    """Make this process what `python -P -m MODULE ARGS` would be in `folder` and `environment`, and run that."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job is born deaf to it
    for stream, number in zip(streams, (1, 2), strict=True):
        os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.chdir(folder)
    own = [entry for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
    sys.path[:] = own + [entry for entry in sys.path if entry and not entry.startswith(TESTS) and entry not in own]
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[:] = command
    if "-n" in command:
        spare = [spare_worker() for _ in range(int(command[command.index("-n") + 1]) + DEATHS)]
        gateway_io.Popen2IOMaster.__init__ = forked_first(spare)  # type: ignore[method-assign]
    if command[0] == "-c":
        exec(command[1], {"__name__": "__main__"})
    else:
        runpy.run_module(command[0], run_name="__main__", alter_sys=True)


@dataclass
class Worker:
    """A process that waits to become a worker, in the place of the `subprocess.Popen` of execnet."""

    pid: int
    stdin: IO[bytes]
    stdout: IO[bytes]

    def wait(self) -> int:
        """Its exit status."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def kill(self) -> None:
        """End it."""
        os.kill(self.pid, signal.SIGKILL)


def spare_worker() -> Worker:
    """Fork a worker, before any thread; it reads its folder and environment, and then what execnet sends."""
    (its_in, ours_in), (ours_out, its_out) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid:
        os.close(its_in)
        os.close(its_out)
        return Worker(pid, os.fdopen(ours_in, "wb"), os.fdopen(ours_out, "rb"))
    try:
        os.dup2(its_in, 0)
        os.dup2(its_out, 1)
        os.closerange(3, 256)
        sys.stdin, sys.stdout, sys.argv[:] = os.fdopen(0), os.fdopen(1, "w"), ["-c"]
        if told := sys.stdin.readline():
            folder, environment = json.loads(told)
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(environment)
            exec(eval(sys.stdin.readline()), {"__name__": "__main__"})
    finally:
        os._exit(0)


def forked_first(spare: list[Worker]):
    """What makes the channel to a worker: a spare one if there is one, otherwise the interpreter that is asked for."""
    interpreter = gateway_io.Popen2IOMaster.__init__

    def made(self: gateway_io.Popen2IOMaster, args: Sequence[str], execmodel) -> None:
        if not spare:
            interpreter(self, args, execmodel)
            return
        self.popen = worker = spare.pop()
        worker.stdin.write(json.dumps([str(Path.cwd()), dict(os.environ)]).encode() + b"\n")
        gateway_io.Popen2IO.__init__(self, worker.stdin, worker.stdout, execmodel=execmodel)

    return made
