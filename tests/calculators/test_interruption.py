"""An interruption that a model swallows ends what runs after the model's call."""

from __future__ import annotations

import signal
from contextlib import suppress

import pytest
from ase.build import bulk
from sound import Sound

from mlff_probes import evaluate
from mlff_probes.calculators.interruption import Interruption, none_swallowed
from mlff_probes.calculators.limits import TimeUp
from mlff_probes.core.errors import EvaluationError

SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture
def listening():
    """Handlers that remember, in the place of whoever listens now."""
    handlers = {number: Interruption(f"by {number.name}", once=number is signal.SIGTERM) for number in SIGNALS}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield handlers
    for number, handler in before.items():
        signal.signal(number, handler)


class Swallowing(Sound):
    """Is interrupted in its second call, catches that, and does as `then` says."""

    def __init__(self, number, then=lambda: None):
        super().__init__()
        self.calls, self.number, self.then = 0, number, then

    def evaluated(self, atoms):
        self.calls += 1
        with suppress(BaseException):
            if self.calls == 2:
                signal.raise_signal(self.number)
        if self.calls == 2:
            self.then()
        return super().evaluated(atoms)


def fails():
    raise ValueError("a part of it was interrupted")


@pytest.mark.parametrize("then", [lambda: None, fails])
@pytest.mark.parametrize("number", SIGNALS)
def test_what_a_model_swallows_ends_the_run_after_its_call(listening, number, then):
    model = Swallowing(number, then)
    with pytest.raises(KeyboardInterrupt, match=f"by {number.name}"):
        evaluate(model, [bulk("Cu", a=3.4 + 0.1 * step) for step in range(5)])
    assert model.calls == 2


def test_without_an_interruption_nothing_is_raised_but_what_the_model_raises(listening):
    assert len(evaluate(Sound(), [bulk("Cu"), bulk("Al")]).energies) == 2
    with pytest.raises(EvaluationError, match="a part of it was interrupted"):
        evaluate(Swallowing(signal.SIGURG, fails), [bulk("Cu"), bulk("Al")])
    with pytest.raises(TimeUp), none_swallowed():
        raise TimeUp


def test_an_interruption_before_a_call_is_not_that_of_the_call(listening):
    """At the prompt of a debugger, which goes on."""
    with suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert len(evaluate(Sound(), [bulk("Cu"), bulk("Al")]).energies) == 2


def test_a_second_sigterm_changes_nothing_and_a_second_ctrl_c_interrupts(listening):
    for number, again in ((signal.SIGTERM, False), (signal.SIGINT, True)):
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        interrupted = False
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            interrupted = True
        assert interrupted == again
