"""Runs pytest in forks of a process that has numpy, ASE and pydantic imported, which are most of a short run's time.

Nothing of this project is imported before the fork, and neither torch nor a plugin of pytest's that would notice. Each
run is a process of its own, in its own session, with its own folder, environment and standard streams, and ends as an
interpreter ends. Where a test is about the process itself (signals, limits, workers that die, what is imported when,
warnings as errors), it has a fresh interpreter instead: `start_probes_in` of `conftest.py`.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

PRELOADED = (
    "ase.build", "ase.calculators.emt", "ase.calculators.lj", "ase.calculators.mixing", "ase.io.extxyz", "ase.mep",
    "ase.optimize", "filelock", "numpy", "pydantic.main", "pydantic.types", "pytest", "rich.console", "rich.table",
    "scipy.integrate", "scipy.interpolate", "scipy.optimize", "threadpoolctl",
)  # fmt: skip
PATH = "PYTHONPATH"
MOST_BYTES = 1 << 17
"""Of a request; an environment and a command line are some thousand."""


class ForkServer:
    """The process that forks, seen from the tests; started by the first run."""

    def __init__(self) -> None:
        self.socket: socket.socket | None = None

    def run(
        self, args: Sequence[str], folder: Path, environment: Mapping[str, str], timeout_s: float
    ) -> tuple[int, str, str]:
        """`pytest ARGS` in `folder`: exit code, standard output, standard error.

        Raises
        ------
        TimeoutError
            After `timeout_s`; the run, and what it started, is killed then.
        """
        if self.socket is None:
            self._start(environment)
        with tempfile.TemporaryFile("w+", encoding="utf-8") as out, tempfile.TemporaryFile("w+") as errors:
            request = json.dumps({"args": args, "folder": str(folder), "environment": dict(environment)}).encode()
            socket.send_fds(self.socket, [request], [out.fileno(), errors.fileno()])
            process = int(self.socket.recv(MOST_BYTES))
            self.socket.settimeout(timeout_s)
            try:
                code = int(self.socket.recv(MOST_BYTES))
            except TimeoutError:
                os.killpg(process, signal.SIGKILL)
                self.socket.recv(MOST_BYTES)  # how that ended, which is not for the next run to hear
                raise
            finally:
                self.socket.settimeout(None)
            for file in (out, errors):
                file.seek(0)
            return code, out.read(), errors.read()

    def stop(self) -> None:
        """End it."""
        if self.socket is not None:
            self.socket.close()
            self.process.wait()

    def _start(self, environment: Mapping[str, str]) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.process = subprocess.Popen(
            [sys.executable, "-P", __file__, str(theirs.fileno())], env=environment, pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        theirs.close()


def serve(connection: socket.socket) -> None:
    """Fork for each request, and say who runs it and how that ended; in the fork return, ready to run."""
    while True:
        request, descriptors, *_ = socket.recv_fds(connection, MOST_BYTES, 2)
        if not request:
            sys.exit()
        process = os.fork()
        if process == 0:
            connection.close()
            become(**json.loads(request), streams=descriptors)
            return
        for descriptor in descriptors:
            os.close(descriptor)
        connection.send(str(process).encode())
        _, status = os.waitpid(process, 0)
        connection.send(str(os.waitstatus_to_exitcode(status)).encode())


def become(args: list[str], folder: str, environment: dict[str, str], streams: list[int]) -> None:
    """Make this process what `python -P -m pytest ARGS` would be in `folder` and `environment`."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job is born deaf to it
    for stream, number in zip(streams, (1, 2), strict=True):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    before, after = (known.get(PATH, "").split(os.pathsep) for known in (os.environ, environment))
    sys.path[:] = [entry for entry in after if entry] + [entry for entry in sys.path if entry not in before]
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[1:] = args


if __name__ == "__main__":
    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()  # what is there already stays shared between the forks
    serve(socket.socket(fileno=int(sys.argv[1])))
    runpy.run_module("pytest", run_name="__main__", alter_sys=True)
