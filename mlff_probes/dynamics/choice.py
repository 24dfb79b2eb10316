"""Which engine runs a simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlff_probes.calculators.base import Calculator, as_calculator
from mlff_probes.dynamics.ase_engine import AseEngine
from mlff_probes.dynamics.engine import Engine
from mlff_probes.dynamics.torch_engine import TorchEngine

if TYPE_CHECKING:
    from mlff_probes.protocols import MolecularDynamics


def choose_engine(calculator: Calculator | Any, protocol: MolecularDynamics) -> type[Engine]:
    """torch-sim where the calculator has a batched pass, torch-sim the ensemble, and Python torch-sim; else ASE.

    That holds for a single replica, too: the batched pass leaves out the stress that ASE calculators always compute.
    """
    batched = as_calculator(calculator).batch is not None and protocol.ensemble in TorchEngine.ensembles
    return TorchEngine if batched and _importable() else AseEngine


def _importable() -> bool:
    try:
        import torch_sim  # noqa: F401
    except ImportError:
        return False
    return True
