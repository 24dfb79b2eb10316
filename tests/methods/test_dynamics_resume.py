"""Simulations that are interrupted, killed or crowded go on bitwise as if nothing had been."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.io.trajectory import Trajectory as AseTrajectory
from interrupted import RUNS, Stopping, each_sample_kept, folder, run, same, uninterrupted

import mlff_probes.methods.simulation.store as store_module
from mlff_probes.calculators.limits import TimeUp

BEGINNING, EQUILIBRATING, FIRST_OF_PRODUCTION, PRODUCING, LAST = 2, 19, 43, 80, 122
"""Model calls in which a run is interrupted; there are 2 to begin with, 40 of the equilibration, 80 of the production,
where an ASE engine takes five steps of one replica and then five of the other."""


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("call", [BEGINNING, EQUILIBRATING, FIRST_OF_PRODUCTION, PRODUCING, LAST])
@pytest.mark.parametrize(("engine", "ensemble"), RUNS)
def test_what_was_interrupted_goes_on_bitwise(engine, ensemble, call, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(engine, ensemble, tmp_path, Stopping(call - (engine == "ase")))  # ASE recalls the second first call
    resumed = run(engine, ensemble, tmp_path)
    same(resumed, uninterrupted(engine, ensemble))
    if call == BEGINNING:
        assert resumed.resumed_at_step is None
    else:
        assert resumed.resumed_at_step == (call - 2 - 1) // 10 * 5
        assert resumed.calls.calls == 2 + 2 * (60 - resumed.resumed_at_step)
    assert not resumed.notes


def test_it_may_be_interrupted_again_and_again(tmp_path):
    for _ in range(20):
        try:
            found = run("ase", "NPT", tmp_path, Stopping(14))
        except KeyboardInterrupt:
            continue
        break
    same(found, uninterrupted("ase", "NPT"))


@pytest.mark.parametrize("error", [TimeUp, ValueError])
def test_a_timeout_and_a_failure_cost_nothing_either(error, tmp_path):
    with pytest.raises((TimeUp, RuntimeError)):
        run("torch", "NVT", tmp_path, Stopping(PRODUCING, error))
    resumed = run("torch", "NVT", tmp_path)
    assert resumed.resumed_at_step == 35
    same(resumed, uninterrupted("torch", "NVT"))


@pytest.mark.parametrize(("engine", "ensemble"), RUNS)
def test_killed_between_samples_and_checkpoint(engine, ensemble, tmp_path, monkeypatch):
    written, savez = [], np.savez

    def killed(*args, **arrays):
        written.append(args)
        if len(written) == 6:
            raise Killed
        savez(*args, **arrays)

    monkeypatch.setattr(store_module.np, "savez", killed)
    with pytest.raises(Killed):
        run(engine, ensemble, tmp_path, clock=each_sample_kept())
    assert len(AseTrajectory(folder(tmp_path) / "replica-0.traj")) == 7
    resumed = run(engine, ensemble, tmp_path)
    assert resumed.resumed_at_step == 25
    same(resumed, uninterrupted(engine, ensemble))
    assert [len(AseTrajectory(file)) for file in sorted(folder(tmp_path).glob("*.traj"))] == [13, 13]


def test_killed_in_the_middle_of_a_frame(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run("ase", "NVT", tmp_path, Stopping(PRODUCING))
    with (folder(tmp_path) / "replica-1.traj").open("ab") as file:
        file.write(b"half a frame" * 50)
    resumed = run("ase", "NVT", tmp_path)
    assert resumed.resumed_at_step == 35
    same(resumed, uninterrupted("ase", "NVT"))
    same(run("ase", "NVT", tmp_path), uninterrupted("ase", "NVT"))


def test_a_process_that_is_killed_while_another_finds_the_place_taken(tmp_path):
    script = (
        "import sys, time, os, signal\n"
        "from pathlib import Path\n"
        "import interrupted as t\n"
        "class Waiting(t.Stopping):\n"
        "    def evaluated(self, atoms):\n"
        "        if self.calls == 60:\n"
        "            print('there', flush=True); time.sleep(60)\n"
        "        return super().evaluated(atoms)\n"
        "Waiting.__name__ = 'Stopping'\n"
        "t.run('ase', 'NVT', Path(sys.argv[1]), Waiting(), clock=t.each_sample_kept())\n"
    )
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1]), *sys.path])
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}) as child:
        assert child.stdout.readline() == "there\n"
        beside = run("ase", "NVT", tmp_path)
        child.send_signal(signal.SIGKILL)
    same(beside, uninterrupted("ase", "NVT"))
    assert beside.resumed_at_step is None
    place = folder(tmp_path)
    assert beside.notes == (f"this trajectory is not kept: another process is simulating the same in {place}",)
    resumed = run("ase", "NVT", tmp_path)
    assert (resumed.resumed_at_step, resumed.notes) == (25, ())
    same(resumed, uninterrupted("ase", "NVT"))
