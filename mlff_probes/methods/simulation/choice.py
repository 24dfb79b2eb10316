"""Which engine runs a simulation."""

from __future__ import annotations

from typing import Any

from mlff_probes.calculators.base import Calculator, as_calculator
from mlff_probes.methods.simulation.engine import Engine
from mlff_probes.methods.simulation.settings import SimulationSettings
from mlff_probes.methods.simulation.torch_engine import TorchEngine


def choose_engine(calculator: Calculator | Any, protocol: SimulationSettings) -> type[Engine]:
    """torch-sim where the calculator has a batched pass, torch-sim the ensemble, and Python torch-sim; else ASE.

    That holds for a single replica, too: the batched pass leaves out the stress that ASE calculators always compute.
    """
    batched = as_calculator(calculator).batch is not None and protocol.ensemble in TorchEngine.ensembles
    if batched and _importable():
        return TorchEngine
    from mlff_probes.methods.simulation.ase_engine import AseEngine  # which brings scipy's optimizers along

    return AseEngine


def _importable() -> bool:
    try:
        import torch_sim  # noqa: F401
    except ImportError:
        return False
    return True
