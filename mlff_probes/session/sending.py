"""Hand the scorecard to those who implement `pytest_probes_scorecard`."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from mlff_probes.core.errors import describe
from mlff_probes.scorecard.model import Scorecard

HOOK = "pytest_probes_scorecard"


def send(card: Scorecard, config: pytest.Config) -> list[str]:
    """Call every implementation of the hook; a sentence for each that raised, which costs no other its call.

    Each gets a copy of its own: records are frozen, but lists and dictionaries in them are not.
    """
    problems = []
    implementations = config.hook.pytest_probes_scorecard.get_hookimpls()
    for one in reversed(implementations):  # as pluggy does: the last that was registered comes first
        others = [each.plugin for each in implementations if each is not one]
        try:
            config.pluginmanager.subset_hook_caller(HOOK, others)(scorecard=card.model_copy(deep=True), config=config)
        except BaseException as error:  # also sys.exit, pytest.exit, and Ctrl-C while a server does not answer
            problems.append(f"{HOOK} in {_place(one)}: {describe(error)}")
    return problems


def _place(implementation: Any) -> str:
    """The file that an implementation stands in, or the name of its plugin."""
    try:
        return inspect.getfile(inspect.unwrap(implementation.function))
    except TypeError:  # no function, but an object that can be called
        return str(implementation.plugin_name)
