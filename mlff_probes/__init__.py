"""Acceptance tests for machine-learned force fields: measured, judged against DFT, pass or fail.

The public names below are imported on first use, so that ``import mlff_probes`` (which every pytest
run of an environment does, through the plugin's entry point) loads nothing but the standard library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOME = {
    "Benchmark": "session.benchmark",
    "Calculator": "calculators.base",
    "CalculatorIdentity": "core.records",
    "CalculatorRequest": "calculators.base",
    "Case": "core.case",
    "Evaluation": "core.evaluation",
    "InputError": "core.errors",
    "Measurement": "core.records",
    "ProbeResult": "core.records",
    "Scorecard": "scorecard.model",
    "descriptors": "calculators.descriptors",
    "evaluate": "calculators.evaluation",
    "load_calculator": "calculators.registry",
    "load_cases": "cases.load",
    "measure_case": "measure.measurement",
}

__all__ = [
    "Benchmark",
    "Calculator",
    "CalculatorIdentity",
    "CalculatorRequest",
    "Case",
    "Evaluation",
    "InputError",
    "Measurement",
    "ProbeResult",
    "Scorecard",
    "__version__",
    "descriptors",
    "evaluate",
    "load_calculator",
    "load_cases",
    "measure_case",
]

if TYPE_CHECKING:
    __version__: str

    from mlff_probes.calculators.base import Calculator, CalculatorRequest
    from mlff_probes.calculators.descriptors import descriptors
    from mlff_probes.calculators.evaluation import evaluate
    from mlff_probes.calculators.registry import load_calculator
    from mlff_probes.cases.load import load_cases
    from mlff_probes.core.case import Case
    from mlff_probes.core.errors import InputError
    from mlff_probes.core.evaluation import Evaluation
    from mlff_probes.core.records import CalculatorIdentity, Measurement, ProbeResult
    from mlff_probes.measure.measurement import measure_case
    from mlff_probes.scorecard.model import Scorecard
    from mlff_probes.session.benchmark import Benchmark


def __getattr__(name: str) -> Any:
    """Import a public name from its home module, or read the version, on first use (PEP 562)."""
    if name == "__version__":
        from mlff_probes.core.version import installed_version

        value: Any = installed_version()
    elif name in _HOME:
        value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
