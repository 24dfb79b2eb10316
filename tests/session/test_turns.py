"""Calculators take turns: whose model is needed no more gives its memory back."""

from __future__ import annotations

import weakref
from dataclasses import replace

import pytest
from support import DoubleWell
from test_replicates import CASE

from mlff_probes.calculators.base import as_calculator
from mlff_probes.core.case import BrokenCase
from mlff_probes.session.suite import Suite
from mlff_probes.session.turns import Turns

CASES = [CASE, replace(CASE, id="hop_again"), BrokenCase("broken", "migration", "cannot be read")]


@pytest.fixture
def alive():
    """The models in memory, by label, and how often each was loaded."""
    return weakref.WeakValueDictionary(), {}


def calculator(label, alive):
    models, loads = alive

    def fresh():
        loads[label] = loads.get(label, 0) + 1
        found = as_calculator(DoubleWell(0.7))
        models[label] = found.ase
        return replace(found, identity=found.identity.model_copy(update={"label": label}), fresh=fresh, labelled=True)

    return fresh()


def begun(alive, live, labels=("a", "b", "c"), selected=("a", "b", "c")):
    suite = Suite([calculator(label, alive) for label in labels], CASES)
    turns = Turns(suite, live)
    items = ["of somebody else", *suite.requests("fixed_path"), "more"]
    items = [item for item in items if isinstance(item, str) or item.calculator in selected]
    ordered = turns.in_order(items[::-1], lambda item: None if isinstance(item, str) else item)
    assert (ordered[0], ordered[-1]) == ("more", "of somebody else")
    turns.begin(ordered[1:-1])
    return suite, turns, ordered[1:-1]


def measured(suite, turns, items, alive, live=None):
    """For each item, whose models are in memory once it has ended."""
    found = []
    for item in items:
        suite.result(item)
        if item.case != "broken":
            suite.measure(live or item.calculator, item.case)
        turns.ended(item)
        found.append("".join(sorted(alive[0])))
    return found


def test_a_model_gives_its_memory_back_as_soon_as_nothing_of_it_is_left_to_measure(alive):
    suite, turns, items = begun(alive, None)
    assert [item.calculator for item in items] == [*"aaabbbccc"]
    held = measured(suite, turns, items, alive)
    assert held[0] == "abc"
    assert (held[2], held[5], held[8]) == ("bc", "c", "c")  # nobody needs the room of the last
    assert [each.label for each in suite.calculators] == ["a", "b", "c"]


def test_a_baseline_comes_first_and_stays_for_what_is_compared_with_it(alive):
    suite, turns, items = begun(alive, "c", selected=("a", "b"))
    held = measured(suite, turns, items, alive, "c")
    assert held[0] == "abc"
    assert held[-1] == "b"
    _, _, items = begun(alive, "c")
    assert [item.calculator for item in items] == [*"cccaaabbb"]


def test_a_model_of_which_nothing_is_measured_gives_its_memory_back_at_once(alive):
    begun(alive, None, selected=("a", "c"))
    assert sorted(alive[0]) == ["a", "c"]


def test_a_model_that_is_asked_for_after_all_is_loaded_again(alive):
    suite, _, _ = begun(alive, None)
    suite.give_back(["a"])
    assert "a" not in alive[0]
    assert suite.result(suite.requests("fixed_path")[0]).measured.value == pytest.approx(0.7)
    assert (alive[1]["a"], alive[1]["b"]) == (2, 1)


def test_a_calculator_that_was_handed_over_stays(alive):
    suite = Suite([replace(calculator("a", alive), fresh=None), calculator("b", alive)], CASES)
    suite.give_back(["a", "b"])
    assert sorted(alive[0]) == ["a"]
