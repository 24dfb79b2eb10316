"""What simulations of a calculator that evaluates one structure a call will take, told by their first steps."""

from __future__ import annotations

from mlff_probes.core.text import duration
from mlff_probes.measure.dynamics.protocols import MolecularDynamics

LONG_S = 60.0
"""Whatever takes no longer need not be announced."""


def foreseen_note(protocol: MolecularDynamics, call_s: float) -> str:
    """What a simulation takes whose calls take `call_s` seconds each; empty where that is not long."""
    calls = protocol.calls
    if calls * call_s < LONG_S:
        return ""
    return f"one structure a call: by its first steps, {calls:,} calls of {call_s:.2g} s, {duration(calls * call_s)}"
