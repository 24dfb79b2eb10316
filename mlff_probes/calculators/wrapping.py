"""A bare ASE calculator, as a factory or a package of somebody else returns it, with what it says of itself."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from mlff_probes.calculators.base import Calculator, CalculatorRequest
from mlff_probes.calculators.device import HOST, torch_device_of
from mlff_probes.calculators.identity import cpu_count, cpu_name, cuda_facts, sha256, versions
from mlff_probes.calculators.spec import DTYPES, is_file
from mlff_probes.calculators.tree import (
    Part,
    dispersion,
    elements_of,
    has_dispersion,
    level_of_theory,
    packages_of,
    parts,
    precision,
    whereabouts,
)
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
    hash_of: str | None = None,
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
    hash_of
        What that file is, where it is not the model.
    device, dtype
        What was handed over and not refused; what the calculator says of the device wins.
    options
        What the header shows, if it is not the options of the request.
    packages
        Distributions whose versions are noted in addition to those noted in every run, and to those from which the
        classes of the calculator and of all in it come.

    Raises
    ------
    InputError
        If `implemented_properties`, `level_of_theory` or `model_identity` of it is not what its name says, or it says
        that it computes on another device, or in another precision, than was asked for.
    """
    properties = getattr(calculator, "implemented_properties", None) or None
    if not (properties is None or _is_list_of(properties, str)):
        raise InputError(
            f"--calculator={request.spec}", f"implemented_properties must be a list of names: {properties!r}"
        )
    tree = parts(calculator)
    level, added = _level_of_theory(calculator, request, tree)
    device = _device(calculator, request, tree, device)
    torch = sys.modules.get("torch")
    gpu = torch is not None and device.startswith("cuda") and torch.cuda.is_available()
    identity = CalculatorIdentity(
        spec=request.spec,
        label=label,
        family=family,
        version=version or type(calculator).__name__,
        sha256=sha256(file) if file else None,
        sha256_of=hash_of,
        files=_files(request.options),
        model_identity=_model_identity(calculator, request),
        elements=elements,
        level_of_theory=level,
        dispersion=None if added is None else str(added),
        dtype=_dtype(calculator, request, tree, dtype),
        device=device,
        device_name=_device_name(device, torch if gpu else None),
        threads=torch.get_num_threads() if torch else cpu_count(),
        options=request.options if options is None else options,
        versions=versions(*(("torch",) if torch else ()), *packages, *packages_of(tree)),
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


def _device(calculator: Any, request: CalculatorRequest, tree: list[Part], handed_over: str) -> str:
    """The device on which a calculator computes.

    The one on which the parameters of its networks lie, or the one it states, or else the one that was handed over.
    """
    found = NOT_STATED if handed_over == "auto" else handed_over
    for said, how in (
        (stated_device(calculator), "the calculator says (attribute 'device') that it computes on"),
        (device_name(whereabouts(tree)), "the parameters of its model lie on"),
    ):
        if NOT_STATED not in (found, said) and not _same_device(found, said):
            raise InputError(
                f"--calculator={request.spec}",
                f"device {found} was asked for, but {how} {said}",
                "ask for that one, or mend what makes the calculator",
            )
        if said != NOT_STATED and (found == NOT_STATED or ":" in said):
            found = said
    return found


def _same_device(one: str, other: str) -> bool:
    """Whether two names may be those of one device: without its number a name is that of any of its kind."""
    (kind, _, number), (other_kind, _, other_number) = one.partition(":"), other.partition(":")
    return kind == other_kind and not (number and other_number and number != other_number)


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
    """Elements that the calculator file, or else the calculator or a part of it, says it knows; None if none says."""
    stated = request.elements or built(lambda: _stated_elements(calculator), request.spec)
    return stated or elements_of(calculator, parts(calculator))


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
    return device_name(getattr(calculator, "device", None))


def device_name(said: Any) -> str:
    """A device by the name that we know it by: numbered where it is one of several."""
    found = DEVICE.fullmatch(str(said))
    if found is None:
        return NOT_STATED
    return found[0] if found[1] == "cuda" else found[1]


def stated_dtype(calculator: Any) -> str:
    """`dtype` of a calculator (a name, or numpy's or torch's own) where it says one of the two that we know."""
    stated = getattr(calculator, "dtype", NOT_STATED)
    name = np.dtype(stated).name if isinstance(stated, type | np.dtype) else str(stated).removeprefix("torch.")
    return name if name in DTYPES else NOT_STATED


def _model_identity(calculator: Any, request: CalculatorRequest) -> str | None:
    """What a calculator says of itself so that its measurements may be kept: a text that changes with its numbers."""
    said = getattr(calculator, "model_identity", None)
    if said is None or (isinstance(said, str) and said.strip()):
        return said
    raise InputError(f"--calculator={request.spec}", f"model_identity must be text, found {said!r}")


def _level_of_theory(calculator: Any, request: CalculatorRequest, tree: list[Part]) -> tuple[str | None, Part | None]:
    """The level of theory, marked where a part of the calculator adds dispersion to it, and that part."""
    own = getattr(calculator, "level_of_theory", None)
    if not (own is None or isinstance(own, str)):
        raise InputError(f"--calculator={request.spec}", f"level_of_theory must be text, found {own!r}")
    stated = request.level_of_theory or level_of_theory(tree)
    if request.level_of_theory or (stated and has_dispersion(stated)):
        return stated, None
    added = dispersion(tree)
    return (stated, None) if added is None else (f"{stated or NOT_STATED} with dispersion", added)


def _dtype(calculator: Any, request: CalculatorRequest, tree: list[Part], handed_over: str) -> str:
    """The precision in which a calculator computes: that of its networks, or the one it states, or was handed over."""
    parameters, said = precision(tree), stated_dtype(calculator)
    for found, where in ((parameters, "the parameters of its model are {}"), (said, "it says (attribute 'dtype') {}")):
        if handed_over in DTYPES and found not in (None, NOT_STATED, handed_over):
            raise InputError(
                f"--calculator={request.spec}",
                f"dtype {handed_over} was asked for, but the calculator does not compute in it: {where.format(found)}",
                "ask for that one, or mend what makes the calculator",
            )
    if "float32" in (parameters, said):
        return "float32"
    return parameters if parameters in DTYPES else said if handed_over == NOT_STATED else handed_over


def _files(options: Mapping[str, Any]) -> dict[str, str]:
    """The hashes of the files that options name."""
    named = {key: Path(value) for key, value in options.items() if isinstance(value, str) and is_file(value)}
    return {key: sha256(path) for key, path in named.items()}


def _is_list_of(found: Any, kind: Any) -> bool:
    return isinstance(found, list | tuple | set | frozenset | np.ndarray) and all(isinstance(x, kind) for x in found)
