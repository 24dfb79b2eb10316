"""Measurements on the workers of a cluster that is played here: who gets which, what is lost, who is refused."""

from __future__ import annotations

import heapq
import pickle
import sys
from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from support import DoubleWell

from mlff_probes.calculators.base import as_calculator
from mlff_probes.cases.load import load_cases
from mlff_probes.core.data import DIRECTORY
from mlff_probes.core.errors import InputError
from mlff_probes.core.records import Measurement
from mlff_probes.measure import BY_KIND
from mlff_probes.scorecard.model import RunOptions
from mlff_probes.session.assemble import SuiteOptions
from mlff_probes.session.budget import longest_first
from mlff_probes.session.cluster import dispatch, remote
from mlff_probes.session.cluster.connection import Cluster, connected
from mlff_probes.session.cluster.dispatch import ATTEMPTS, Dispatch
from mlff_probes.session.costs import Costs
from mlff_probes.session.models import Loading
from mlff_probes.session.suite import Suite
from mlff_probes.session.workers.exchange import KILLED

OPTIONS = SuiteOptions(
    run=RunOptions(tier="smoke", strict=False, any_level_of_theory=False), models=["ase:EMT"], loading=Loading()
)
PAIRS = [("EMT", f"case_{number}") for number in range(6)]


class PlayedClient:
    """Workers by their addresses, each of which answers when it is told to."""

    def __init__(self, *addresses, threads=1):
        self.threads = dict.fromkeys(addresses, threads)
        self.begun, self.open, self.forgotten = [], {}, []

    def scheduler_info(self, n_workers):
        assert n_workers == -1
        return {"workers": {address: {"nthreads": threads} for address, threads in self.threads.items()}}

    def submit(self, function, *arguments, workers, pure, allow_other_workers=False):
        assert (allow_other_workers, pure) == (False, False)
        future = Future()
        if function is remote.forget:
            self.forgotten += workers
            future.set_result(None)
            return future
        self.open[workers[0]] = future, function, arguments
        self.begun.append((workers[0], arguments[-2:]))
        return future

    def answer(self, address, said=None):
        """Let a worker answer: with what its function gives, with `said`, or with an exception."""
        future, function, arguments = self.open.pop(address)
        if isinstance(said, BaseException):
            future.set_exception(said)
        else:
            future.set_result(function(*arguments) if said is None else said)

    def answer_all(self, said=None):
        for address in [address for address, (future, *_) in self.open.items() if not future.done()]:
            self.answer(address, said)

    def lose(self, address):
        self.threads.pop(address, None)
        self.open.pop(address, None)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(dispatch, "POLL_S", 0.001)
    remote.forget()
    yield
    remote.forget()


def played(*addresses, patience_s=0.05, **how):
    client = PlayedClient(*addresses, **how)
    return client, Dispatch(Cluster(client, "cluster", patience_s, lambda: None), OPTIONS)


def measured(calculator, case, **more):
    return remote.MEASURED, Measurement(calculator=calculator, case=case, **more).model_dump(mode="json")


def run(client, given, step):
    """What comes of all pairs; `step(client)` is called whenever the run waits."""
    return list(given.measured(PAIRS, lambda _: step(client)))


def done(client):
    for address, (_, _, arguments) in list(client.open.items()):
        client.answer(address, measured(*arguments[-2:]))


def test_each_worker_has_one_at_a_time_in_order():
    client, given = played("a", "b")
    found = run(client, given, done)
    assert {pair for pair, _ in found} == set(PAIRS)
    assert [pair for _, pair in client.begun] == PAIRS
    assert all(made == Measurement(calculator=pair[0], case=pair[1]) for pair, made in found)


def test_what_a_lost_worker_was_at_is_next():
    client, given = played("a", "b")

    def once(client):
        if "b" in client.threads:
            client.lose("b")
        else:
            done(client)

    found = run(client, given, once)
    assert sorted(pair for pair, _ in found) == PAIRS
    assert all(made.problem is None for _, made in found)
    assert [pair for _, pair in client.begun][:4] == [PAIRS[0], PAIRS[1], PAIRS[1], PAIRS[2]]


def test_what_kills_every_worker_is_an_error_and_costs_no_other():
    client, given = played("a")
    names = iter(range(100))

    def step(client):
        for address, (_, _, arguments) in list(client.open.items()):
            if arguments[-1] == "case_2":
                client.lose(address)
                client.threads[f"new {next(names)}"] = 1
            else:
                client.answer(address, measured(*arguments[-2:]))

    found = dict(run(client, given, step))
    assert found["EMT", "case_2"].problem.reason == KILLED
    assert next(names) == ATTEMPTS
    assert sum(made.problem is None for made in found.values()) == 5


def test_a_worker_joins_that_comes_late():
    client, given = played("a")

    def step(client):
        client.threads["late"] = 1
        done(client)

    run(client, given, step)
    assert {address for address, _ in client.begun} == {"a", "late"}


@pytest.mark.parametrize("error", [None, ModuleNotFoundError("No module named 'mlff_probes'")])
def test_a_worker_that_is_not_of_this_run_gets_nothing_more(error):
    client, given = played("a", "b")

    def step(client):
        for address, (_, _, arguments) in list(client.open.items()):
            refusal = error or (remote.REFUSED, "it has numpy 1.0 (here 2.0)")
            client.answer(address, refusal if address == "b" else measured(*arguments[-2:]))

    found = run(client, given, step)
    assert all(made.problem is None for _, made in found)
    assert len(found) == len(PAIRS)
    assert [address for address, _ in client.begun].count("b") == 1
    assert list(given.refused) == ["b"]
    assert ("mlff_probes" if error else "numpy 1.0 (here 2.0)") in given.refused["b"]


def test_without_workers_all_that_is_missing_is_an_error():
    client, given = played("a")

    def step(client):
        if len(client.begun) == 2:
            client.lose("a")
        else:
            done(client)

    found = dict(run(client, given, step))
    assert found[PAIRS[0]].problem is None
    assert {made.problem.reason for pair, made in found.items() if pair != PAIRS[0]} == {
        "cluster: no worker is left"
    }  # fmt: skip
    assert len(found) == len(PAIRS)


def test_a_scheduler_that_goes_away_costs_what_is_missing():
    client, given = played("a")

    def gone(n_workers):
        raise OSError("connection closed")

    def step(client):
        if len(client.begun) == 2:
            client.scheduler_info = gone
        else:
            done(client)

    found = dict(run(client, given, step))
    assert len(found) == len(PAIRS)
    reasons = {made.problem.reason for made in found.values() if made.problem}
    assert len(reasons) == 1
    assert "its scheduler does not answer any more" in reasons.pop()
    given.close()


def test_a_budget_leaves_out_before_anything_is_begun():
    client, given = played("a")
    found = dict(given.measured(PAIRS, lambda _: done(client), lambda pair: "late" if pair > PAIRS[2] else ""))
    assert [pair for pair, made in found.items() if made is None] == PAIRS[3:]
    assert [pair for _, pair in client.begun] == PAIRS[:3]


def test_an_interruption_withdraws_what_was_asked_for():
    client, given = played("a", "b")

    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(given.measured(PAIRS, interrupt))
    assert all(future.cancelled() for future, *_ in client.open.values())
    given.close()
    assert sorted(client.forgotten) == ["a", "b"]


def calculators(client, given, monkeypatch):
    monkeypatch.setattr(dispatch.time, "sleep", lambda _: client.answer_all())
    return given.calculators()


def test_the_first_worker_says_who_is_measured_and_all_must_be_alike(monkeypatch):
    client, given = played("a", "b", patience_s=60)
    (model,) = calculators(client, given, monkeypatch)
    assert (model.label, model.ase, model.fresh) == ("EMT", None, None)
    assert "energy" in model.properties
    pair = ("EMT", "sb2te3_frames")
    assert dict(given.measured([pair], lambda _: client.answer_all()))[pair].problem.state == "not applicable"
    given._expected["EMT"] |= {"device": "cuda"}
    given.cluster.patience_s = 0.01
    assert next(made for _, made in given.measured([pair], lambda _: client.answer_all())).problem.state == "error"
    assert given.refused["a"] == "its EMT is another than that of the first worker: device cpu, not cuda"


def test_nothing_begins_without_a_worker_of_this_run(monkeypatch):
    with pytest.raises(InputError, match=r"^cluster: had no worker for 0.05 s; start some with: dask worker"):
        played()[1].calculators()
    with pytest.raises(InputError, match="a: it does 8 things at once in one process; start it with --nthreads 1"):
        played("a", threads=8)[1].calculators()
    client, given = played("a", patience_s=60)
    monkeypatch.setattr(given, "_here", given._here | {"numpy": "0.1", "ghost": "1"})
    said = rf"a: it has ghost missing \(here 1\), numpy {np.__version__} \(here 0.1\)$"
    with pytest.raises(InputError, match=said):
        calculators(client, given, monkeypatch)


def test_what_a_worker_cannot_load_is_said_as_here(monkeypatch):
    client, given = played("a", patience_s=60)
    given._order = pickle.dumps(remote.Order(replace(OPTIONS, models=["missing.model"])))
    with pytest.raises(InputError, match=r"--calculator=missing\.model: there is no file missing\.model"):
        calculators(client, given, monkeypatch)
    client, given = played("a", patience_s=60)
    given._order = pickle.dumps(remote.Order(OPTIONS, folder="/nowhere/at/all"))
    with pytest.raises(InputError, match="a: it does not see the folder of the run, /nowhere/at/all: No such file"):
        calculators(client, given, monkeypatch)


def test_many_devices_are_done_within_a_tenth_of_the_lower_bound():
    """1,000 measurements as of 33 models, whose times are guessed from the cases and differ from the guess."""
    found = as_calculator(DoubleWell())
    models = [replace(found, identity=found.identity.model_copy(update={"label": f"m{n}", "spec": f"m{n}"}))
              for n in range(33)]  # fmt: skip
    suite = Suite(models, load_cases([DIRECTORY]), tier="quick")
    costs = Costs(suite, [request for kind in BY_KIND for request in suite.requests(kind)])
    pairs = sorted(longest_first(costs), key=longest_first(costs).__getitem__)[:1000]
    random = np.random.default_rng(0)
    takes = {pair: costs.guess_s(pair) * random.lognormal(0.0, 0.3) for pair in pairs}
    client = PlayedClient(*map(str, range(64)))
    given = Dispatch(Cluster(client, "cluster", 60.0, lambda: None), OPTIONS)
    now, ends = 0.0, []

    def first_ends(_):
        nonlocal now
        at_it = {address for _, address in ends}
        for address, (_, _, arguments) in client.open.items():
            if address not in at_it:
                heapq.heappush(ends, (now + takes[arguments[-2:]], address))
        now, address = heapq.heappop(ends)
        client.answer(address, measured(*client.open[address][2][-2:]))

    assert len(list(given.measured(pairs, first_ends))) == len(pairs) == 1000
    bound = max(sum(takes.values()) / 64, *takes.values())
    assert bound <= now < 1.1 * bound


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("slurm", "--probe-executor=slurm: names no executor; write dask:ADDRESS"),
        ("dask:", "--probe-executor=dask:: names no executor"),
        ("dask:here.json", "there is no scheduler file here.json"),
        ("dask:nonsense://x:1", "no scheduler answers there"),
        ("dask-jobqueue:missing.toml", "missing.toml: cannot be read"),
    ],
)
def test_what_names_no_cluster_is_refused(given, said):
    with pytest.raises(InputError) as caught:
        connected(given)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('system = "slurm"', "job"),
        ('system = "abacus"\n[job]\ncores = 1', "'htcondor', 'local', 'lsf'"),
        ('system = "slurm"\njobs = 0\n[job]\ncores = 1', "jobs"),
        ('system = "slurm"\n[job]\ncores = 1\nmemory = "1GB"', "there is no sbatch here; start the run where jobs"),
        (
            'system = "local"\n[job]\ncores = 1',
            "[job] is refused by LocalCluster of dask-jobqueue: ValueError: You must",
        ),
        ('system = "local"\n[job]\ncores = 1\nmemory = "1GB"\nqeue = "gpu"', "[job] is refused by LocalCluster"),
    ],
)
def test_a_file_of_jobs_is_checked(tmp_path, monkeypatch, toml, said):
    monkeypatch.setenv("PATH", str(tmp_path))
    file = tmp_path / "jobs.toml"
    file.write_text(toml)
    with pytest.raises(InputError) as caught:
        connected(f"dask-jobqueue:{file}")
    assert said in str(caught.value)


@pytest.mark.parametrize(("given", "module"), [("dask:tcp://x:1", "distributed")])
def test_a_package_that_is_missing_is_named(monkeypatch, given, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=f"needs {module}, which is not installed; pip install 'mlff-probes.cluster.'"):
        connected(given)


def test_a_scheduler_info_is_only_that_of_its_workers():
    client = SimpleNamespace(scheduler_info=lambda n_workers: {"workers": {"tcp://a:1": {"nthreads": 2, "name": 0}}})
    assert Cluster(client, "cluster", 1.0, lambda: None).workers() == {"tcp://a:1": 2}
