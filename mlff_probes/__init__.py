"""Acceptance tests for machine-learned force fields: measured, judged against DFT, pass or fail.

The public names below are imported on first use, so that ``import mlff_probes`` (which every pytest
run of an environment does, through the plugin's entry point) loads nothing but the standard library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

UNKNOWN_VERSION = "0+unknown"
"""`__version__` of a source tree that was put on the path without being installed."""

_HOME = {
    "Benchmark": "benchmark",
    "Calculator": "calculators.base",
    "CalculatorIdentity": "records",
    "CalculatorRequest": "calculators.base",
    "Case": "records",
    "Evaluation": "evaluation",
    "InputError": "errors",
    "Measurement": "records",
    "ProbeResult": "records",
    "Scorecard": "scorecard.model",
    "evaluate": "evaluation",
    "load_calculator": "calculators.registry",
    "load_cases": "reference",
    "measure_case": "measure",
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
    "evaluate",
    "load_calculator",
    "load_cases",
    "measure_case",
]

if TYPE_CHECKING:
    __version__: str

    from mlff_probes.benchmark import Benchmark
    from mlff_probes.calculators.base import Calculator, CalculatorRequest
    from mlff_probes.calculators.registry import load_calculator
    from mlff_probes.errors import InputError
    from mlff_probes.evaluation import Evaluation, evaluate
    from mlff_probes.measure import measure_case
    from mlff_probes.records import CalculatorIdentity, Case, Measurement, ProbeResult
    from mlff_probes.reference import load_cases
    from mlff_probes.scorecard.model import Scorecard


def __getattr__(name: str) -> Any:
    """Import a public name from its home module, or read the version, on first use (PEP 562)."""
    if name == "__version__":
        value: Any = _installed_version()
    elif name in _HOME:
        value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def _installed_version() -> str:
    """The version that the git tag gave when this package was installed; an editable one keeps it until it is again."""
    from importlib import metadata

    try:
        return metadata.version("mlff-probes")
    except metadata.PackageNotFoundError:
        return UNKNOWN_VERSION


def __dir__() -> list[str]:
    return __all__
