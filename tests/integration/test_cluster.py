"""A run on a Dask cluster of processes of this machine: the numbers of one process, whoever is lost in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from mlff_probes.session.workers.exchange import KILLED

DASK = (sys.executable, "-P", "-m", "distributed.cli.dask_{}")
ONCE = '''

import os
import signal


class Fatal(Counted):
    """Takes its process down at a structure of 21 atoms: once, or always."""

    def __init__(self, always):
        super().__init__()
        self.always, self.model_identity = always, "1"

    def calculate(self, atoms=None, *args, **kwargs):
        if len(atoms) == 21 and (self.always or not os.path.exists("died")):
            with open("died", "a") as log:
                log.write("death\\n")
            os.kill(os.getpid(), signal.SIGKILL)
        super().calculate(atoms, *args, **kwargs)


def once():
    return Fatal(False)


def always():
    return Fatal(True)
'''
CASES = ("-k", "cr_sb2te3_in_gap or sb2te3_fixed_gap")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, inner_environment):
    """The scheduler file of two workers that measure, and one that does several things at once."""
    folder = tmp_path_factory.mktemp("cluster")
    file, started = folder / "scheduler.json", []

    def start(kind, *args):
        program = [word.format(kind) for word in DASK]
        common = ("--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", file)
        with (folder / f"{kind}.log").open("a") as log:
            started.append(
                subprocess.Popen(
                    [*program, *common, *args], cwd=folder, env=inner_environment | {"OMP_NUM_THREADS": "1"},
                    stdout=log, stderr=log, start_new_session=True,
                )
            )  # fmt: skip

    try:
        start("scheduler", "--port", "0")
        for _ in range(2):
            start("worker", "--nthreads", "1", "--local-directory", folder)
        start("worker", "--nthreads", "2", "--no-nanny", "--local-directory", folder)
        ends = time.monotonic() + 60
        while not file.exists() and time.monotonic() < ends:
            time.sleep(0.1)
        yield file
    finally:
        for process in started:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def run(tmp_path_factory, run_fresh_probes_in, counted, recorded):
    """Run the probes of some cases in a folder of their own."""

    def run(factory, *args):
        folder = tmp_path_factory.mktemp(factory)
        (folder / "calc.py").write_text(counted + ONCE)
        reference = ("--probe-reference-only", f"--probe-reference={recorded}")
        return run_fresh_probes_in(folder, f"--calculator=py:./calc.py:{factory}", *reference, *CASES, *args)

    return run


@pytest.fixture(scope="module")
def alone(run):
    return run("counted")


def rows(run):
    return [(r.case, r.quantity, r.verdict, r.expectation, r.measured) for r in run.card.results]


def test_a_worker_that_dies_costs_nothing(run, cluster, alone):
    found = run("once", f"--probe-executor=dask:{cluster}")
    assert sorted(rows(found), key=str) == sorted(rows(alone), key=str)
    assert (found.directory / "died").read_text() == "death\n"
    assert found.calls == alone.calls == found.card.time.model_calls
    assert (found.code, found.card.verdict) == (alone.code, alone.card.verdict) == (0, "passed")
    assert f"measured by the workers of --probe-executor=dask:{cluster}" in found.text
    assert "it does 2 things at once in one process; start it with --nthreads 1" in found.text
    again = run(
        "once", f"--probe-executor=dask:{cluster}", f"--probe-store={found.directory}/.pytest_cache/d/mlff-probes"
    )
    assert "store:" in again.text
    assert again.calls == 0
    assert sorted(rows(again), key=str) == sorted(rows(alone), key=str)


def test_what_kills_each_worker_is_an_error(run, cluster):
    found = run("always", f"--probe-executor=dask:{cluster}", "--probe-no-store")
    assert found.code == pytest.ExitCode.TESTS_FAILED
    lost = {(r.case, r.verdict.state.value, r.verdict.reason) for r in found.card.results if "fixed_gap" not in r.case}
    assert lost == {("cr_sb2te3_in_gap", "error", KILLED)}
    kept = [r.verdict.state.value for r in found.card.results if "fixed_gap" in r.case]
    assert kept
    assert set(kept) == {"passed"}


def test_it_ends_at_ctrl_c_with_what_is_there(tmp_path, cluster, counted, recorded, start_fresh_probes, finish):
    slow = (
        "\n\ndef slow():\n    import time\n    if os.path.exists('go'):\n        time.sleep(2)\n    return Counted()\n"
    )
    (tmp_path / "calc.py").write_text(counted + "\nimport os\n" + slow)
    process = start_fresh_probes(
        tmp_path, "--calculator=py:./calc.py:slow", "--probe-reference-only", f"--probe-reference={recorded}",
        f"--probe-executor=dask:{cluster}", "-v",
    )  # fmt: skip
    while not (tmp_path / "calls.log").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    found = finish(process, tmp_path)
    assert found.code == pytest.ExitCode.INTERRUPTED, found.output
    assert not found.card.complete


def test_jobs_are_submitted(run, alone, tmp_path):
    (tmp_path / "jobs.toml").write_text(
        f'system = "local"\njobs = 2\n[job]\ncores = 1\nmemory = "1GB"\npython = "{sys.executable}"\n'
        f'local_directory = "{tmp_path}"\n'
    )
    found = run("counted", f"--probe-executor=dask-jobqueue:{tmp_path}/jobs.toml")
    assert sorted(rows(found), key=str) == sorted(rows(alone), key=str)
    assert found.calls == alone.calls


def test_two_that_measure_contradict_each_other(run_probes):
    found = run_probes("--calculator=ase:EMT", "-n", "2", "--probe-executor=dask:tcp://127.0.0.1:1")
    found.assert_usage_error(
        "--probe-executor=dask:tcp://127.0.0.1:1: and -n both say who measures", "leave one of them out"
    )


def test_a_scheduler_that_is_not_there(run_probes):
    found = run_probes("--calculator=ase:EMT", "--probe-executor=dask:tcp://127.0.0.1:1")
    found.assert_usage_error("no scheduler answers there", "start one with: dask scheduler")
