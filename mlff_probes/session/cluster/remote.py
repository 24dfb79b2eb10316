"""What a worker of a cluster does: it assembles the suite of the run, as the machine of the user would, and measures.

Each answer is a pair of what it is (`REFUSED`, `UNUSABLE`, `DESCRIBED`, `MEASURED`) and plain data, so that it can also
be told by a worker whose packages are not those of the run.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import uuid
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from mlff_probes.calculators.base import Calculator, unguarded
from mlff_probes.calculators.bench import Bench
from mlff_probes.calculators.device import HOST
from mlff_probes.calculators.identity import versions
from mlff_probes.calculators.process_state import ProcessState
from mlff_probes.core.errors import InputError
from mlff_probes.core.records import CalculatorIdentity
from mlff_probes.session.assemble import SuiteOptions, assemble
from mlff_probes.session.store.keys import BESIDE, code, numbers_of
from mlff_probes.session.suite import Suite

REFUSED = "refused"
"""The worker is not one of this run: why."""

UNUSABLE = "unusable"
"""What the user asked for cannot be had there: the parts of an `InputError`."""

DESCRIBED = "described"
"""The calculators of the run without their models, pickled."""

MEASURED = "measured"
"""A measurement in its JSON form."""

Answer = tuple[str, Any]


@dataclass(frozen=True)
class Order:
    """What the workers are told of a run.

    Attributes
    ----------
    options
        What its suite is made of.
    folder
        From where its paths are meant.
    run
        Tells it from all other runs, of which a worker remembers nothing.
    """

    options: SuiteOptions
    folder: str = field(default_factory=os.getcwd)
    run: str = field(default_factory=lambda: uuid.uuid4().hex)


def untimed(identity: CalculatorIdentity) -> str:
    """Why nothing is timed there: nobody knows what else computes on the machine of a worker."""
    return "on a cluster: other work may share the machine of a worker; time without --probe-executor"


def installed() -> dict[str, str]:
    """The versions that all workers of a run have to have."""
    return versions("torch", "chgnet", "mace-torch", *BESIDE) | {"its code": code()[:12]}


def describe(order: bytes, here: dict[str, str]) -> Answer:
    """The calculators of a run, as this worker has them; `here` is what is `installed` where the run was started."""
    suite = _suite_for(order, here)
    if not isinstance(suite, Suite):
        return suite
    return DESCRIBED, pickle.dumps([_bare(calculator) for calculator in suite.calculators])


def measure(
    order: bytes, here: dict[str, str], expected: dict[str, dict[str, Any]], calculator: str, case: str
) -> Answer:
    """Measure a case, or take it from the store.

    `expected` is by the label of each calculator of the run what its numbers depend on, as the first worker said.
    """
    suite = _suite_for(order, here)
    if not isinstance(suite, Suite):
        return suite if suite[0] == REFUSED else (REFUSED, str(InputError(*suite[1])))
    found = {each.label: numbers_of(each.identity) for each in suite.calculators}
    if found != expected:
        return REFUSED, _other(found, expected)
    with contextlib.chdir(_order(order).folder):
        measurement = suite.measure(calculator, case)
    return MEASURED, measurement.model_dump(mode="json")


def forget() -> None:
    """Let go of the models of a run that has ended."""
    _suite.cache_clear()
    _order.cache_clear()


def _suite_for(order: bytes, here: dict[str, str]) -> Suite | Answer:
    there = installed()
    if there != here:
        names = sorted(name for name in {*there, *here} if there.get(name) != here.get(name))
        said = [f"{name} {there.get(name, 'missing')} (here {here.get(name, 'missing')})" for name in names]
        return REFUSED, f"it has {', '.join(said)}"
    folder = _order(order).folder
    try:
        with contextlib.chdir(folder):
            return _suite(order)
    except InputError as error:
        return UNUSABLE, (error.where, error.problem, error.remedy)
    except OSError as error:
        return REFUSED, f"it does not see the folder of the run, {folder}: {error.strerror}"


@lru_cache(maxsize=1)
def _order(order: bytes) -> Order:
    found = pickle.loads(order)
    assert isinstance(found, Order)
    return found


@lru_cache(maxsize=1)
def _suite(order: bytes) -> Suite:
    suite = assemble(_order(order).options)
    suite.untimed = untimed
    return suite


def _bare(calculator: Calculator) -> Calculator:
    """What is known of a calculator, without its model and what belongs to this process."""
    return replace(
        calculator,
        ase=None, batch=None, features=None, fresh=None, device=HOST, guard=unguarded, journal=None,
        members=tuple(map(_bare, calculator.members)),
        foundation=_bare(calculator.foundation) if calculator.foundation else None,
        state=ProcessState(), bench=Bench(),
    )  # fmt: skip


def _other(found: dict[str, dict[str, Any]], expected: dict[str, dict[str, Any]]) -> str:
    """In what the calculators of this worker are not those of the first."""
    for label, wanted in expected.items():
        has = found.get(label, {})
        said = [f"{name} {has.get(name)}, not {wanted[name]}" for name in wanted if has.get(name) != wanted[name]]
        if said:
            return f"its {label} is another than that of the first worker: {'; '.join(said)}"
    return "it has other calculators than the first worker"
