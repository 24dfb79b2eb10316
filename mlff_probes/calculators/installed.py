"""Families that other packages add, through the entry-point group `mlff_probes.calculators`.

An entry point names a callable ``load(request: CalculatorRequest)`` that returns a `Calculator` or any
bare ASE calculator. Nothing of a package is imported until its family is asked for.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import metadata
from typing import Any

from mlff_probes.calculators.base import Calculator, CalculatorRequest
from mlff_probes.calculators.identity import versions
from mlff_probes.calculators.wrapping import built, check_ase, imported, known_elements, wrapped
from mlff_probes.core.errors import InputError
from mlff_probes.core.levels import level_name
from mlff_probes.core.records import NOT_STATED, CalculatorIdentity

GROUP = "mlff_probes.calculators"


def installed() -> dict[str, list[metadata.EntryPoint]]:
    """The entry points of the group by name: those of one name come from several packages, which clash."""
    found: dict[str, list[metadata.EntryPoint]] = {}
    for point in metadata.entry_points(group=GROUP):
        found.setdefault(point.name, []).append(point)
    return found


def load_installed(request: CalculatorRequest, family: str) -> Calculator:
    """Load a calculator of the family `family` of an installed package.

    Raises
    ------
    InputError
        If two packages add the family, its package cannot be imported, or its loader raises or
        returns no calculator.
    """
    point = _only(installed()[family], request, family)
    what = f"the family '{family}' of {_package(point)}"
    request = replace(request, device=request.numbered_device)
    load = imported(point.load, request.spec, what)
    if not callable(load):
        raise InputError(f"--calculator={request.spec}", f"{what} has no loader: {point.value} is not callable")
    found = built(lambda: load(request), request.spec)
    packages = (point.dist.name,) if point.dist else ()
    if isinstance(found, Calculator):
        return _stamped(found, request, family, what, packages)
    check_ase(found, request, made_by=what)
    return wrapped(
        request,
        found,
        label=_label(request, family),
        family=family,
        elements=known_elements(found, request),
        version=request.version,
        file=request.path,
        device=request.device or NOT_STATED,
        dtype=request.dtype or NOT_STATED,
        packages=packages,
    )


def _only(points: list[metadata.EntryPoint], request: CalculatorRequest, family: str) -> metadata.EntryPoint:
    if len(points) > 1:
        raise InputError(
            f"--calculator={request.spec}",
            f"the family '{family}' is added by several installed packages: "
            f"{' and '.join(sorted(map(_package, points)))}",
            "uninstall all but one",
        )
    return points[0]


def _stamped(
    found: Calculator, request: CalculatorRequest, family: str, what: str, packages: tuple[str, ...]
) -> Calculator:
    """`found` with what the suite knows better than any package: the spec, the family, the versions."""
    if not isinstance(found.identity, CalculatorIdentity):
        raise InputError(
            f"--calculator={request.spec}", f"{what} returned a Calculator whose identity is no CalculatorIdentity"
        )
    if found.batch is None:
        check_ase(found.ase, request, made_by=what)
    for key, wanted, has in (
        ("compile", request.compile_mode, found.identity.compile_mode),
        ("kernels", request.kernels, found.identity.kernels),
        ("dtype", request.dtype, found.identity.dtype),
    ):
        if wanted is not None and has not in (wanted, NOT_STATED):  # a package may be older than these keys
            raise InputError(
                f"--calculator={request.spec}",
                f"{key}={wanted} was asked for, but {what} returned a Calculator whose identity says {has}",
                "leave the key out",
            )
    update: dict[str, Any] = {
        "spec": request.spec,
        "family": family,
        "versions": versions(*packages) | found.identity.versions,
    }
    if request.level_of_theory is not None:
        update["level_of_theory"] = level_name(request.level_of_theory)
    return replace(found, identity=found.identity.model_copy(update=update))


def _label(request: CalculatorRequest, family: str) -> str:
    if request.path is not None:
        return request.path.stem
    return f"{family}-{request.version}" if request.version else family


def _package(point: metadata.EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "a package without metadata"
