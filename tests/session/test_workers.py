"""Which device a worker of pytest-xdist computes on, and when its times are its own; with a fake list of devices."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mlff_probes.calculators.base import Calculator
from mlff_probes.cases.load import load_cases
from mlff_probes.core.records import CalculatorIdentity, Measurement
from mlff_probes.session.suite import Suite
from mlff_probes.session.workers import hooks, places
from mlff_probes.session.workers.hooks import ParallelRun
from mlff_probes.session.workers.places import PLACE, own_gpu, shared_machine

ALONE = SimpleNamespace()
SHARED = "shared machine: {0} workers (-n {0}) compute beside each other; time without -n"


def worker(place, workers):
    return SimpleNamespace(workerinput={PLACE: (place, workers)})


def on(device):
    return CalculatorIdentity(
        spec="s", label="l", family="py", dtype="float64", device=device, device_name=device, threads=1
    )


@pytest.fixture
def devices(monkeypatch):
    """Choose how many CUDA devices there are."""
    return lambda count: monkeypatch.setattr(places, "cuda_devices", lambda: count)


@pytest.mark.parametrize(
    ("there", "taken"), [(0, [0, 0, 0, 0]), (1, [0, 0, 0, 0]), (2, [0, 1, 0, 1]), (3, [0, 1, 2, 0]), (8, [0, 1, 2, 3])]
)
def test_workers_take_the_devices_in_turn(devices, there, taken):
    devices(there)
    assert [own_gpu(worker(place, 4)) for place in range(4)] == taken
    assert own_gpu(ALONE) == 0


@pytest.mark.parametrize(
    ("there", "place", "workers", "device", "shared"),
    [
        (0, 0, 1, "cpu", False),  # one worker has the machine to itself
        (0, 1, 2, "cpu", True),
        (2, 1, 2, "cpu", True),
        (2, 0, 2, "cuda", False),
        (2, 0, 2, "cuda:0", False),
        (2, 1, 2, "cuda:1", False),
        (2, 1, 2, "cuda:0", True),  # as the user numbered it, whoever the worker is
        (2, 1, 2, "not stated", True),
        (2, 2, 3, "cuda:0", True),
        (1, 1, 2, "cuda", True),
    ],
)
def test_times_are_its_own_where_a_worker_has_its_device_to_itself(devices, there, place, workers, device, shared):
    devices(there)
    assert shared_machine(worker(place, workers), on(device), given_out=True) == (
        SHARED.format(workers) if shared else ""
    )


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_without_workers_nothing_is_shared(devices, device):
    devices(0)
    for config in (ALONE, SimpleNamespace(workerinput={})):  # the latter on another machine
        assert shared_machine(config, on(device), given_out=False) == ""


def test_a_device_that_the_user_chose_may_be_another_worker_s(devices):
    devices(2)
    assert shared_machine(worker(0, 2), on("cuda:0"), given_out=False) == SHARED.format(2)


class Node(SimpleNamespace):
    __hash__ = object.__hash__


def node(*, popen=True):
    config = SimpleNamespace(option=SimpleNamespace(dist="load", tx=["2*popen", "ssh=there"]))
    config.getoption = config.getvalue = lambda name, default=None: getattr(config.option, name, default)
    return Node(config=config, workerinput={}, gateway=SimpleNamespace(spec=SimpleNamespace(popen=popen)))


def test_a_worker_that_replaces_a_dead_one_takes_its_device(monkeypatch):
    monkeypatch.setattr(hooks, "_temporary_directory", lambda config: "")
    config = SimpleNamespace(getoption=lambda *_: None)
    run = ParallelRun(Suite([], []), None, None, config, strict=False)
    nodes = [node(), node(), node(popen=False)]
    for each in nodes:
        run.pytest_configure_node(each)
    assert [each.workerinput.get(PLACE) for each in nodes] == [(0, 2), (1, 2), None]
    run.pytest_testnodedown(nodes[0])
    late = node()
    run.pytest_configure_node(late)
    assert late.workerinput[PLACE] == (0, 2)


def test_a_measurement_is_told_whether_its_times_are_its_own(monkeypatch):
    told = []

    def measured(calculator, case, *, shared, **_):
        told.append(shared)
        return Measurement(calculator=calculator.label, case=case.id)

    monkeypatch.setattr("mlff_probes.session.suite.measure_case", measured)
    case = next(case for case in load_cases() if case.family == "inference")
    asked = []
    shared = Suite([Calculator(on("cpu"), None)], [case], untimed=lambda identity: asked.append(identity) or "why")
    shared.measure("l", case.id)
    Suite([Calculator(on("cpu"), None)], [case]).measure("l", case.id)
    assert told == ["why", ""]
    assert [identity.device for identity in asked] == ["cpu"]
