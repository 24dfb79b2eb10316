"""A bare ASE calculator, as a factory or a package of somebody else returns it, with what it says of itself."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from mlff_probes.calculators.base import Calculator, CalculatorRequest
from mlff_probes.calculators.device import HOST, torch_device_of
from mlff_probes.calculators.identity import cpu_count, cpu_name, cuda_facts, sha256, versions
from mlff_probes.calculators.spec import DTYPES
from mlff_probes.core.errors import InputError, describe
from mlff_probes.core.records import NOT_STATED, CalculatorIdentity

DEVICE = re.compile(r"(cpu|mps|cuda|xpu)(:\d+)?")


def imported(step: Callable[[], Any], spec: str, what: str, *, looked: str = "") -> Any:
    """The result of an import, or one sentence that says that `what` cannot be imported."""
    try:
        return step()
    except (Exception, SystemExit) as error:
        raise InputError(f"--calculator={spec}", f"{what} cannot be imported: {describe(error)}{looked}") from error


def built(step: Callable[[], Any], spec: str) -> Any:
    """The result of foreign code that makes a calculator, or one sentence that says how it failed."""
    try:
        return step()
    except InputError as error:
        if error.where.startswith("--calculator="):
            raise
        raise error.within(f"--calculator={spec}") from error  # a family's own, which need not name the option
    except (Exception, SystemExit) as error:
        raise InputError(f"--calculator={spec}", f"the calculator cannot be built: {describe(error)}") from error


def wrapped(
    request: CalculatorRequest,
    calculator: Any,
    *,
    label: str,
    family: str,
    elements: tuple[str, ...] | None,
    version: str | None = None,
    file: Path | None = None,
    device: str = "cpu",
    dtype: str = "float64",
    options: dict[str, Any] | None = None,
    packages: tuple[str, ...] = (),
) -> Calculator:
    """`calculator` with an identity made of the request and of the calculator's own attributes.

    Parameters
    ----------
    version
        Version of the model; the class of the calculator if None.
    file
        The file whose hash identifies the calculator.
    device, dtype
        What was handed over and not refused; the calculator's own attribute wins over the device.
    options
        What the header shows, if it is not the options of the request.
    packages
        Distributions whose versions are noted in addition to those noted in every run.

    Raises
    ------
    InputError
        If `implemented_properties` or `level_of_theory` of the calculator is not what its name says, or it says that
        it computes on another device than was asked for.
    """
    properties = getattr(calculator, "implemented_properties", None) or None
    if not (properties is None or _is_list_of(properties, str)):
        raise InputError(
            f"--calculator={request.spec}", f"implemented_properties must be a list of names: {properties!r}"
        )
    level = getattr(calculator, "level_of_theory", None)
    if not (level is None or isinstance(level, str)):
        raise InputError(f"--calculator={request.spec}", f"level_of_theory must be text, found {level!r}")
    device = _device(calculator, request, device)
    torch = sys.modules.get("torch")
    gpu = torch is not None and device.startswith("cuda") and torch.cuda.is_available()
    identity = CalculatorIdentity(
        spec=request.spec,
        label=label,
        family=family,
        version=version or type(calculator).__name__,
        sha256=sha256(file) if file else None,
        elements=elements,
        level_of_theory=request.level_of_theory or _with_dispersion(calculator, level),
        dtype=stated_dtype(calculator) if dtype == NOT_STATED else dtype,
        device=device,
        device_name=_device_name(device, torch if gpu else None),
        threads=torch.get_num_threads() if torch else cpu_count(),
        options=request.options if options is None else options,
        versions=versions(*(("torch",) if torch else ()), *packages),
        compile_mode=request.compile_mode,
        kernels=request.kernels,
        **(cuda_facts(device) if gpu else {}),
    )
    return Calculator(
        identity=identity,
        ase=calculator,
        properties=frozenset(properties) if properties else None,
        device=torch_device_of(device) if gpu or (torch is not None and device == "mps") else HOST,
    )


def _device(calculator: Any, request: CalculatorRequest, handed_over: str) -> str:
    """The device on which a calculator computes: the one it states, or else the one that was handed over."""
    said = stated_device(calculator)
    asked = NOT_STATED if handed_over == "auto" else handed_over
    if NOT_STATED in (said, asked):
        return asked if said == NOT_STATED else said
    (said_kind, _, said_number), (kind, _, number) = said.partition(":"), asked.partition(":")
    if said_kind != kind or (said_number and number and said_number != number):
        raise InputError(
            f"--calculator={request.spec}",
            f"device {asked} was asked for, but the calculator says (attribute 'device') that it computes on {said}",
            "ask for that one, or mend what makes the calculator",
        )
    return said if said_number else asked


def _device_name(device: str, torch: Any) -> str:
    if torch is not None:
        return str(torch.cuda.get_device_name(device))
    return cpu_name() if device in ("cpu", NOT_STATED) else device


def check_ase(calculator: Any, request: CalculatorRequest, *, made_by: str) -> None:
    """Refuse an object that is not an ASE calculator."""
    if not callable(getattr(calculator, "get_potential_energy", None)):
        raise InputError(
            f"--calculator={request.spec}",
            f"{made_by} returned {type(calculator).__name__}, which is no ASE calculator "
            "(it has no get_potential_energy)",
        )


def known_elements(calculator: Any, request: CalculatorRequest) -> tuple[str, ...] | None:
    """Elements that the calculator file, or else the calculator, says it knows; None if neither says."""
    return request.elements or built(lambda: _stated_elements(calculator), request.spec)


def _stated_elements(calculator: Any) -> tuple[str, ...] | None:
    """`elements` of a calculator: symbols or atomic numbers, or a method that returns them."""
    found = getattr(calculator, "elements", None)
    found = found() if callable(found) else found
    if found is None:
        return None
    if _is_list_of(found, str | int | np.integer) and len(found):
        return tuple(e if isinstance(e, str) else chemical_symbols[int(e)] for e in found)
    raise InputError("", f"`elements` of the calculator must be a list of symbols or atomic numbers, found {found!r}")


def stated_device(calculator: Any) -> str:
    """`device` of a calculator (a name, or torch's own) where it says one that we know."""
    found = DEVICE.fullmatch(str(getattr(calculator, "device", NOT_STATED)))
    if found is None:
        return NOT_STATED
    return found[0] if found[1] == "cuda" else found[1]


def stated_dtype(calculator: Any) -> str:
    """`dtype` of a calculator (a name, or numpy's or torch's own) where it says one of the two that we know."""
    stated = getattr(calculator, "dtype", NOT_STATED)
    name = np.dtype(stated).name if isinstance(stated, type | np.dtype) else str(stated).removeprefix("torch.")
    return name if name in DTYPES else NOT_STATED


def _with_dispersion(calculator: Any, level: str | None) -> str | None:
    """The level of theory, marked where a part of a summed calculator adds dispersion (as D3 classes are named)."""
    parts = [calculator, *getattr(getattr(calculator, "mixer", None), "calcs", [])]
    names = [type(part).__name__.lower() for part in parts]
    added = any("d3" in name or "d4" in name or "dispersion" in name for name in names)
    return f"{level or NOT_STATED} with dispersion" if added else level


def _is_list_of(found: Any, kind: Any) -> bool:
    return isinstance(found, list | tuple | set | frozenset | np.ndarray) and all(isinstance(x, kind) for x in found)
