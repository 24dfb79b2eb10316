"""What `--probe-executor` costs a measurement, and what a second worker gains.

``pytest benchmarks/test_executor.py`` (or ``make bench``), on a quiet machine of two cores at least; figures in
``results/scaling.md``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from mlff_probes.core.data import DIRECTORY
from mlff_probes.core.progress import silent
from mlff_probes.scorecard.model import RunOptions
from mlff_probes.session.assemble import SuiteOptions
from mlff_probes.session.cluster.connection import connected
from mlff_probes.session.cluster.dispatch import Dispatch
from mlff_probes.session.models import Loading

OVERHEAD_S = 0.05
"""What a measurement may cost beside itself."""
SPEEDUP = 1.8
MEASUREMENTS = 200
CALCULATOR = """
from ase.calculators.lj import LennardJones


class Busy(LennardJones):
    def calculate(self, *args, **kwargs):
        for _ in range({loops}):
            sum(range(1_000_000))
        super().calculate(*args, **kwargs)
"""


@contextmanager
def cluster(folder: Path, workers: int):
    """The scheduler file of a cluster of processes of one thread."""
    file, started = folder / f"scheduler_{workers}.json", []
    with ExitStack() as stack:
        log = stack.enter_context((folder / "dask.log").open("a"))
        for kind, args in [("scheduler", ("--port", "0")), *[("worker", ("--nthreads", "1"))] * workers]:
            command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--host", "127.0.0.1", "--no-dashboard",
                       "--scheduler-file", file, *args]  # fmt: skip
            environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
            started.append(process)
        while not file.exists():
            time.sleep(0.1)
        try:
            yield file
        finally:
            for process in started:
                process.terminate()
                process.wait()


@contextmanager
def dispatch(folder: Path, workers: int, loops: int):
    """A run on such a cluster, all of whose workers have loaded it."""
    (folder / "calc.py").write_text(CALCULATOR.format(loops=loops))
    run = RunOptions(tier="full", strict=False, any_level_of_theory=False)
    spec = f"py:{folder}/calc.py:Busy"
    with cluster(folder, workers) as file:
        given = Dispatch(connected(f"dask:{file}"), SuiteOptions(run=run, models=[spec], loading=Loading()))
        while len(given.cluster.workers()) < workers:
            time.sleep(0.1)
        (model,) = given.calculators()
        wake = [(model.label, "cr_sb2te3_in_gap")] * 2 * workers
        list(given.measured(wake))
        yield given, model.label
        given.close()


def test_overhead_of_a_measurement(tmp_path):
    """A sliding curve of thirteen structures of a Lennard-Jones crystal: next to nothing is computed."""
    with dispatch(tmp_path, 1, 0) as (given, label):
        pairs = [(label, "sb2te3_fixed_gap_0.0")] * MEASUREMENTS
        start = time.perf_counter()
        assert len(list(given.measured(pairs, silent))) == MEASUREMENTS
        each = (time.perf_counter() - start) / MEASUREMENTS
    print(f"\n{1e3 * each:.1f} ms a measurement")
    assert each < OVERHEAD_S


def test_two_workers_and_one(tmp_path):
    """Sliding curves, of a Lennard-Jones crystal behind a loop that costs as a model does."""
    took: dict[int, list[float]] = {}
    for trial, workers in enumerate((1, 2, 1, 2)):
        folder = tmp_path / str(trial)
        folder.mkdir()
        with dispatch(folder, workers, 20) as (given, label):
            pairs = [(label, file.stem) for file in sorted((DIRECTORY / "sliding").glob("*_fixed_gap_*.toml"))]
            start = time.perf_counter()
            found = dict(given.measured(pairs, silent))
            took.setdefault(workers, []).append(time.perf_counter() - start)
            assert len(found) == len(pairs) >= 4
            assert all(made is not None and made.problem is None for made in found.values())
    one, two = min(took[1]), min(took[2])
    print(f"\none worker {one:.1f} s, two {two:.1f} s: {one / two:.2f} times as fast")
    assert one / two > SPEEDUP


if __name__ == "__main__":
    sys.exit(pytest.main([__file__, "-s"]))
