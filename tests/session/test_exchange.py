"""Measurements shared by processes: each made once, a death noticed once, and nothing that can break a run."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlff_probes.core.records import Measurement, Value
from mlff_probes.session.workers.exchange import KILLED, Exchange

KEY = ("model", "case")

OTHER = """
import ctypes, os, signal, sys, time
from pathlib import Path

from mlff_probes.session.workers.exchange import Exchange
from mlff_probes.core.records import Measurement

folder = Path(sys.argv[1])


def make():
    with open(folder / "made.log", "a") as log:
        log.write("made\\n")
    {body}
    return Measurement(calculator="model", case="case", model_calls=3)


print(Exchange(folder / "shared").measurement("model", "case", make).model_dump_json())
"""
"""Another process that wants the same measurement."""

DEATHS = {
    "leaves": "os._exit(0)",
    "segfault": "ctypes.string_at(0)",
    "killed": "os.kill(os.getpid(), signal.SIGKILL)",
}


@pytest.fixture
def shared(tmp_path):
    """The directory of a run."""
    (tmp_path / "shared").mkdir()
    return tmp_path / "shared"


@pytest.fixture
def start(tmp_path):
    """Start another process that makes the measurement with `body`."""
    return lambda body: subprocess.Popen(
        [sys.executable, "-c", OTHER.format(body=body), tmp_path],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def made(calculator="model", case="case", **more):
    return Measurement(calculator=calculator, case=case, **more)


def never():
    raise AssertionError("must not be made again")


def times_made(shared):
    return len((shared.parent / "made.log").read_text().splitlines())


def begun(shared, process):
    """Wait until `process` is at work."""
    while not (shared.parent / "made.log").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def test_two_processes_make_it_once(shared, start):
    both = [start("time.sleep(0.3)") for _ in range(2)]
    said = {process.communicate(timeout=30)[0] for process in both}
    assert len(said) == 1
    assert times_made(shared) == 1
    assert Exchange(shared).measurement(*KEY, never) == made(model_calls=3)


def test_the_wait_is_counted(shared, start):
    process = start("time.sleep(0.3)")
    begun(shared, process)
    exchange = Exchange(shared)
    assert exchange.measurement(*KEY, never).model_calls == 3
    assert 0.1 < exchange.waited_s < 10
    process.communicate(timeout=30)


@pytest.mark.parametrize("death", DEATHS)
def test_a_death_is_noticed_and_not_repeated(death, shared, start):
    process = start(DEATHS[death])
    process.communicate(timeout=30)
    for _ in range(2):
        found = Exchange(shared).measurement(*KEY, never)
        assert (found.calculator, found.case) == KEY
        assert (found.problem.state, found.problem.reason) == ("error", KILLED)
        assert not found.values
    assert times_made(shared) == 1


def test_a_death_that_somebody_waits_for(shared, start):
    process = start("time.sleep(0.3); os._exit(1)")
    begun(shared, process)
    assert Exchange(shared).measurement(*KEY, never).problem.reason == KILLED
    process.communicate(timeout=30)


def test_a_death_costs_no_other_measurement(shared, start):
    start("os._exit(1)").communicate(timeout=30)
    for key in [("model", "other"), ("other", "case")]:
        assert Exchange(shared).measurement(*key, lambda key=key: made(*key)).problem is None


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_an_exception_is_no_death(error, shared):
    def interrupted():
        raise error

    with pytest.raises(error):
        Exchange(shared).measurement(*KEY, interrupted)
    assert Exchange(shared).measurement(*KEY, made) == made()
    assert Exchange(shared).measurement(*KEY, never) == made()


@pytest.mark.parametrize("content", [b"", b'{"calculator": "mo', b'{"calculator": 1}', b"[]", b"\xff\xfe"])
def test_a_result_cut_short_is_made_again(content, shared):
    exchange = Exchange(shared)
    exchange.measurement(*KEY, made)
    (file,) = shared.glob("*.json")
    file.write_bytes(content)
    assert exchange.measurement(*KEY, lambda: made(model_calls=7)).model_calls == 7
    assert exchange.measurement(*KEY, never).model_calls == 7


def test_a_directory_that_is_gone(tmp_path):
    """As on another machine: everybody measures for himself, and nobody leaves a directory behind."""
    exchange = Exchange(tmp_path / "gone")
    for calls in (1, 2):
        assert exchange.measurement(*KEY, lambda calls=calls: made(model_calls=calls)).model_calls == calls
    assert not list(tmp_path.iterdir())


def test_a_directory_that_goes_meanwhile(shared):
    def sweeping():
        for file in shared.iterdir():
            file.unlink()
        shared.rmdir()
        return made()

    assert Exchange(shared).measurement(*KEY, sweeping) == made()
    assert not shared.exists()


def test_a_full_disk(shared, monkeypatch):
    """What cannot be written is measured again, and not taken for a death."""

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    exchange = Exchange(shared)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        assert exchange.measurement(*KEY, made) == made()
    assert exchange.measurement(*KEY, lambda: made(model_calls=2)).model_calls == 2
    assert exchange.measurement(*KEY, never).model_calls == 2
    with monkeypatch.context() as patch:
        patch.setattr(Path, "touch", full)
        assert exchange.measurement("other", "case", lambda: made("other")) == made("other")


ODD = ["a/b", "../up", "a b\n", "ä" * 300, "a-b", "CON", "."]


def test_any_name_is_a_name(shared):
    keys = [(a, b) for a in ODD for b in ODD] + [("x-y", "z"), ("x", "y-z")]
    exchange = Exchange(shared)
    for number, key in enumerate(keys):
        exchange.measurement(*key, lambda key=key, number=number: made(*key, model_calls=number))
    assert [exchange.measurement(*key, never).model_calls for key in keys] == list(range(len(keys)))
    assert [entry.name for entry in shared.parent.iterdir()] == ["shared"]


def test_what_is_read_is_what_was_written(shared):
    """As exactly as in one process, or two runs of different workers would differ."""
    whole = made(
        values={"barrier": Value(value=0.1 + 0.2, unit="eV", also={"kJ/mol": 1e-300})},
        arrays={"energies": [1 / 3, float("nan"), None], "gaps": []},
        diagnostics={"warnings": ["ä"], "nested": {"seed": 0, "inf": float("-inf")}},
        model_calls=9,
        model_s=0.1,
        wall_s=1e9,
    )
    Exchange(shared).measurement(*KEY, lambda: whole)
    found = Exchange(shared).measurement(*KEY, never)
    assert json.dumps(found.model_dump(mode="json")) == json.dumps(whole.model_dump(mode="json"))
    assert not list(shared.glob("*.part"))
    assert not list(shared.glob("*.begun"))
