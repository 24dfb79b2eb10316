"""Calculators that are already Python: ASE's own (`ase:EMT`) and any factory (`py:module:factory`)."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from mlff_probes.calculators.base import Calculator, Request
from mlff_probes.calculators.identity import cpu_count, cpu_name, refuse_options, sha256, versions
from mlff_probes.calculators.spec import is_file
from mlff_probes.errors import InputError
from mlff_probes.evaluation import describe
from mlff_probes.records import CalculatorIdentity

ASE_NAMES = {"lennardjones": "lj", "morsepotential": "morse"}
"""Class names of ASE calculators whose registered name is another one."""


def load_ase(request: Request) -> Calculator:
    """Load one of ASE's own calculators, for instance `ase:EMT` or `ase:LennardJones,sigma=2.5`."""
    from ase.calculators.calculator import FileIOCalculator, get_calculator_class
    from ase.calculators.names import names

    name = request.target.partition(":")[2]
    key = ASE_NAMES.get(name.lower(), name.lower())
    if key not in names:
        raise InputError(
            f"--calculator={request.spec}: ASE has no calculator '{name}'; among its own are EMT, LennardJones, "
            "MorsePotential, EAM (all names: python -c 'from ase.calculators.calculator import names; print(names)')"
        )
    _refuse_torch_choices(request)
    kind = _built(lambda: get_calculator_class(key), request)
    known = tuple(getattr(kind, "default_parameters", {}))
    if known and not issubclass(kind, FileIOCalculator):  # ASE's own take any key and ignore a misspelt one
        refuse_options(request.options, known, spec=request.spec, family=request.target)
    calculator = _built(lambda: kind(**request.options), request)
    elements = None
    if key == "emt":
        from ase.calculators.emt import parameters

        elements = tuple(parameters)
    return _wrapped(request, calculator, label=name, family="ase", elements=elements)


def load_py(request: Request) -> Calculator:
    """Load what a factory returns: `py:package.module:factory` or `py:./file.py:factory`.

    The keys of the spec are handed to the factory; `device` and `dtype` too, if it takes them. A
    calculator may carry an attribute `elements` (symbols it knows) and `level_of_theory`.
    """
    module_name, _, factory_name = request.target.removeprefix("py:").rpartition(":")
    if not module_name or not factory_name:
        raise InputError(
            f"--calculator={request.spec}: write py:package.module:factory or py:./file.py:factory, where the "
            "factory is a callable that returns an ASE calculator"
        )
    module, file = _module(module_name, request)
    factory = getattr(module, factory_name, None)
    if not callable(factory):
        there = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        state = "is not callable" if factory is not None else "does not exist"
        raise InputError(
            f"--calculator={request.spec}: '{factory_name}' {state} in {module_name}; "
            f"callable there: {', '.join(there[:8]) or 'nothing'}"
        )
    arguments = dict(request.options)
    for key in ("device", "dtype"):
        wanted = getattr(request, key)
        if wanted is not None and _takes(factory, key):
            arguments[key] = wanted
        elif wanted is not None and wanted not in ("auto", "cpu"):
            raise InputError(
                f"--calculator={request.spec}: {key} {wanted} was asked for, but {factory_name}() takes no "
                f"argument '{key}'; give it one, or leave the {key} out"
            )
    calculator = _built(lambda: factory(**arguments), request)
    if not callable(getattr(calculator, "get_potential_energy", None)):
        raise InputError(
            f"--calculator={request.spec}: {factory_name}() returned {type(calculator).__name__}, which is no ASE "
            "calculator (it has no get_potential_energy)"
        )
    return _wrapped(
        request,
        calculator,
        label=factory_name,
        family="py",
        elements=_built(lambda: _elements(calculator, request), request),
        file=file,
        device=str(arguments.get("device", "not stated")),
        dtype=str(arguments.get("dtype", "not stated")),
    )


def _module(name: str, request: Request) -> tuple[Any, Path | None]:
    if not (name.endswith(".py") or "/" in name):
        with _importing_from(Path.cwd()):  # a module beside the user's tests, as `python -m pytest` finds it
            return _run(lambda: importlib.import_module(name), request), None
    path = Path(name).expanduser()
    if not is_file(str(path)):
        raise InputError(f"--calculator={request.spec}: there is no file {path} (looked from {Path.cwd()})")
    unique = f"_mlff_probes_py_{sha256(path)[:12]}"
    spec = importlib.util.spec_from_file_location(unique, path.resolve())
    if spec is None or spec.loader is None:
        raise InputError(f"--calculator={request.spec}: {path} is not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module  # dataclasses and pickle look a class's module up by name
    with _importing_from(path.resolve().parent):
        _run(lambda: spec.loader.exec_module(module), request)  # type: ignore[union-attr]
    return module, path


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Look in `folder` first while a module is imported, and last afterwards (it may import more when called)."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        if str(folder) not in sys.path:
            sys.path.append(str(folder))


def _run(step: Callable[[], Any], request: Request) -> Any:
    try:
        return step()
    except (Exception, SystemExit) as error:
        raise InputError(
            f"--calculator={request.spec}: the module cannot be imported: {describe(error)} (looked from {Path.cwd()})"
        ) from error


def _built(step: Callable[[], Any], request: Request) -> Any:
    try:
        return step()
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        raise InputError(f"--calculator={request.spec}: the calculator cannot be built: {describe(error)}") from error


def _elements(calculator: Any, request: Request) -> tuple[str, ...] | None:
    """Elements that a calculator says it knows: symbols or atomic numbers; None if it does not say."""
    found = getattr(calculator, "elements", None)
    found = found() if callable(found) else found
    if found is None:
        return None
    if _is_list_of(found, str | int | np.integer) and len(found):
        return tuple(e if isinstance(e, str) else chemical_symbols[int(e)] for e in found)
    raise InputError(
        f"--calculator={request.spec}: `elements` of the calculator must be a list of symbols or atomic numbers, "
        f"found {found!r}"
    )


def _with_dispersion(calculator: Any, level: str | None) -> str | None:
    """The level of theory, marked where a part of a summed calculator adds dispersion (as D3 classes are named)."""
    parts = [calculator, *getattr(getattr(calculator, "mixer", None), "calcs", [])]
    names = [type(part).__name__.lower() for part in parts]
    added = any("d3" in name or "d4" in name or "dispersion" in name for name in names)
    return f"{level or 'not stated'} with dispersion" if added else level


def _is_list_of(found: Any, kind: Any) -> bool:
    return isinstance(found, list | tuple | set | frozenset | np.ndarray) and all(isinstance(x, kind) for x in found)


def _takes(factory: Callable[..., Any], name: str) -> bool:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.name == name or p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)


def _refuse_torch_choices(request: Request) -> None:
    if request.dtype not in (None, "float64"):
        raise InputError(f"--calculator={request.spec}: ASE's own calculators compute in float64, not {request.dtype}")
    if request.device not in (None, "auto", "cpu"):
        raise InputError(f"--calculator={request.spec}: ASE's own calculators run on the CPU, not on {request.device}")


def _wrapped(
    request: Request,
    calculator: Any,
    *,
    label: str,
    family: str,
    elements: tuple[str, ...] | None,
    file: Path | None = None,
    device: str = "cpu",
    dtype: str = "float64",
) -> Calculator:
    properties = getattr(calculator, "implemented_properties", None) or None
    if not (properties is None or _is_list_of(properties, str)):
        raise InputError(f"--calculator={request.spec}: implemented_properties must be a list of names: {properties!r}")
    level = getattr(calculator, "level_of_theory", None)
    if not (level is None or isinstance(level, str)):
        raise InputError(f"--calculator={request.spec}: level_of_theory must be text, found {level!r}")
    identity = CalculatorIdentity(
        spec=request.spec,
        label=label,
        family=family,
        version=type(calculator).__name__,
        sha256=sha256(file) if file else None,
        elements=elements,
        level_of_theory=request.level_of_theory or _with_dispersion(calculator, level),
        dtype=dtype,
        device=device,
        device_name=cpu_name() if device in ("cpu", "not stated") else device,
        threads=torch.get_num_threads() if (torch := sys.modules.get("torch")) else cpu_count(),
        options=request.options,
        versions=versions("torch") if "torch" in sys.modules else versions(),
    )
    return Calculator(identity=identity, ase=calculator, properties=frozenset(properties) if properties else None)
