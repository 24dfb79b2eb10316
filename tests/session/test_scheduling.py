"""Who gets what, and who gets it when a worker dies: the schedulers alone, with workers that only take notes."""

from __future__ import annotations

from itertools import chain
from types import SimpleNamespace

import pytest

from mlff_probes.session.workers.scheduling import EachMeasurementScheduling, MeasurementScheduling, scheduling

PROBES = [
    f"probes/test_{family}.py::test_{family}[model-{case}-{quantity}]"
    for family, case in [("slide", "near"), ("slide", "far"), ("path", "hop")]
    for quantity in ("first", "second", "third")
]
OWN = ["own/test_a.py::test_1", "own/test_a.py::Test::test_2", "own/test_a.py::Test::test_3", "own/test_b.py::test_4"]
GROUPED = ["own/test_a.py::test_5@db", "own/test_b.py::test_6@db"]
EACH_ALONE = [[test] for test in OWN]
BY_FILE = [[*OWN[:3], GROUPED[0]], [OWN[3], GROUPED[1]]]
BY_SCOPE = [[OWN[0], GROUPED[0]], OWN[1:3], [OWN[3], GROUPED[1]]]


class Worker:
    """Stands for a worker: it only takes notes."""

    def __init__(self, name):
        self.gateway = SimpleNamespace(id=name, spec="popen")
        self.sent, self.shutting_down = [], False

    def send_runtest_some(self, indices):
        assert not self.shutting_down
        self.sent += indices

    def shutdown(self):
        self.shutting_down = True


def log(*args):
    """Keep quiet."""


log.loadscopesched = log.eachsched = log


def config(dist, workers=2):
    values = {"dist": dist, "tx": ["popen"] * workers}
    return SimpleNamespace(getvalue=values.get, option=SimpleNamespace(loadscopereorder=False))


def measurement_of(nodeid):
    return nodeid.partition("[")[2].rpartition("-")[0] or None


def collected(sched, worker, tests):
    """What pytest-xdist does once a worker has collected."""
    sched.add_node_collection(worker, tests)
    if sched.collection_is_completed:
        sched.schedule()


def started(tests, dist="load", workers=2):
    """A scheduler whose workers have collected `tests`."""
    sched = scheduling(config(dist, workers), log, measurement_of)
    nodes = [Worker(f"gw{number}") for number in range(workers)]
    for node in nodes:
        sched.add_node(node)
    for node in nodes:
        collected(sched, node, tests)
    return sched, nodes


def finish(sched, nodes):
    """Let the workers run whatever they are sent; which tests each of them ran.

    As in pytest-xdist, a worker begins a test only when it knows the next, or that there is none.
    """
    ran = {node: [] for node in nodes}
    while True:
        if sched.tests_finished:
            for node in sched.nodes:
                node.shutdown()
        ready = [node for node in nodes if len(node.sent) - len(ran[node]) > (not node.shutting_down)]
        if not ready:
            break
        for node in ready:
            ran[node].append(node.sent[len(ran[node])])
            sched.mark_test_complete(node, ran[node][-1])
    return list(ran.values())


@pytest.mark.parametrize(
    ("dist", "own"),
    {
        "no": EACH_ALONE,
        "load": EACH_ALONE,
        "loadfile": BY_FILE,
        "loadscope": BY_SCOPE,
        "loadgroup": [*EACH_ALONE, GROUPED],
    }.items(),
)
def test_what_stays_together(dist, own):
    """A measurement always, other tests as the user says."""
    sched = scheduling(config(dist), log, measurement_of)
    assert isinstance(sched, MeasurementScheduling)
    tests = [*PROBES, *OWN, *(GROUPED if own is not EACH_ALONE else [])]
    scopes = {}
    for test in tests:
        scopes.setdefault(sched._split_scope(test), []).append(test)
    assert sorted(scopes.values()) == sorted([PROBES[:3], PROBES[3:6], PROBES[6:], *own])


def test_others_are_left_to_pytest_xdist():
    assert scheduling(config("worksteal"), log, measurement_of) is None
    assert isinstance(scheduling(config("each"), log, measurement_of), EachMeasurementScheduling)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_everything_runs_once(workers):
    tests = [*PROBES, *OWN]
    sched, nodes = started(tests, workers=workers)
    ran = finish(sched, nodes)
    assert sorted(chain(*ran)) == list(range(len(tests)))
    for measurement in (range(3), range(3, 6), range(6, 9)):
        assert sum(any(index in mine for index in measurement) for mine in ran) == 1
    assert sched.tests_finished
    assert all(node.shutting_down for node in nodes)


def test_a_death_costs_the_measurement_it_was_making():
    sched, (first, second) = started(PROBES)
    sched.mark_test_complete(first, 0)
    assert sched.remove_node(first) == PROBES[1]
    assert sched.lost == {PROBES[1]: PROBES[1:3]}
    late = Worker("gw2")
    sched.add_node(late)
    collected(sched, late, PROBES)
    ran = finish(sched, [second, late])
    assert sorted(chain(*ran)) == [3, 4, 5, 6, 7, 8]
    assert sched.tests_finished


def test_a_death_in_a_test_of_their_own_costs_that_test():
    tests = [f"own/test_a.py::test_{number}" for number in range(5)]
    sched, (node,) = started(tests, "loadfile", workers=1)
    sched.mark_test_complete(node, 0)
    assert sched.remove_node(node) == tests[1]
    assert sched.lost == {tests[1]: [tests[1]]}
    late = Worker("gw1")
    sched.add_node(late)
    collected(sched, late, tests)
    assert finish(sched, [late]) == [[2, 3, 4]]
    assert sched.tests_finished


def test_a_late_worker_begins_single_items():
    sched, (node,) = started(OWN, workers=1)
    assert sched.remove_node(node) == OWN[0]
    late = Worker("gw1")
    sched.add_node(late)
    collected(sched, late, OWN)
    assert finish(sched, [late]) == [[2, 3, 1]]


@pytest.mark.parametrize("dist", ["load", "loadfile"])
def test_a_test_that_is_to_run_again(dist):
    """As a plugin for flaky tests asks after a death; with the others of its file or without."""
    sched, (node,) = started([*OWN[:3], *PROBES[:2]], dist, workers=1)
    assert sched.remove_node(node) == OWN[0]
    sched.mark_test_pending(OWN[0])
    late = Worker("gw1")
    sched.add_node(late)
    collected(sched, late, [*OWN[:3], *PROBES[:2]])
    assert sorted(*finish(sched, [late])) == [0, 1, 2, 3, 4]
    assert sched.tests_finished


def test_a_lost_measurement_stays_lost():
    sched, (node,) = started(PROBES[:4], workers=1)
    assert sched.remove_node(node) == PROBES[0]
    sched.mark_test_pending(PROBES[0])
    late = Worker("gw1")
    sched.add_node(late)
    collected(sched, late, PROBES[:4])
    assert finish(sched, [late]) == [[3]]


def test_a_death_in_the_last_test_leaves_nothing():
    sched, (node,) = started(PROBES[:1], workers=1)
    assert sched.remove_node(node) == PROBES[0]
    assert sched.tests_finished
    assert not sched.workqueue


def test_an_idle_worker_costs_nothing():
    sched, nodes = started(PROBES)
    finish(sched, nodes)
    assert [sched.remove_node(node) for node in nodes] == [None, None]
    assert sched.lost == {}


def test_a_worker_that_is_not_ready_gets_nothing():
    """The first dies after it has collected, before the second has: its replacement is there, but knows no test."""
    sched = scheduling(config("load"), log, measurement_of)
    first, second, late = (Worker(f"gw{number}") for number in range(3))
    sched.add_node(first)
    sched.add_node(second)
    collected(sched, first, PROBES)
    assert sched.remove_node(first) is None
    sched.add_node(late)
    collected(sched, second, PROBES)
    assert second.sent
    assert not late.sent
    collected(sched, late, PROBES)
    assert sorted(chain(*finish(sched, [second, late]))) == list(range(9))


def test_each_survives_late_workers_that_die():
    sched, nodes = started(PROBES, "each")
    assert all(node.sent == list(range(9)) for node in nodes)
    for node in nodes:
        assert sched.remove_node(node) == PROBES[0]
    late = [Worker("gw2"), Worker("gw3")]
    for node in late:
        sched.add_node(node)
    for node in late:
        collected(sched, node, PROBES)
        assert node.sent == list(range(1, 9))
        assert node.shutting_down
    assert sched.remove_node(late[0]) == PROBES[1]
    assert not sched.tests_finished
    last = Worker("gw4")
    sched.add_node(last)
    collected(sched, last, PROBES)
    assert last.sent == list(range(2, 9))
    finish(sched, [late[1], last])
    assert sched.tests_finished


def test_each_has_nothing_for_a_late_worker_after_the_last_test():
    sched, (first, second) = started(PROBES[:2], "each")
    sched.mark_test_complete(first, 0)
    assert sched.remove_node(first) == PROBES[1]
    late = Worker("gw2")
    sched.add_node(late)
    collected(sched, late, PROBES[:2])
    assert late.sent == []
    assert late.shutting_down
    finish(sched, [second])
    assert sched.tests_finished
