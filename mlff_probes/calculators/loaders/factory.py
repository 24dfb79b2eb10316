"""Calculators that are already Python: ASE's own (`ase:EMT`) and any factory (`py:module:factory`)."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlff_probes.calculators.base import Calculator, CalculatorRequest
from mlff_probes.calculators.checkpoints.safety import as_imported_by_a_factory
from mlff_probes.calculators.identity import refuse_acceleration, refuse_device, refuse_dtype, refuse_options, sha256
from mlff_probes.calculators.spec import is_file
from mlff_probes.calculators.wrapping import (
    built,
    check_ase,
    imported,
    known_elements,
    stated_device,
    stated_dtype,
    wrapped,
)
from mlff_probes.core.errors import InputError
from mlff_probes.core.records import NOT_STATED

ASE_NAMES = {"lennardjones": "lj", "morsepotential": "morse"}
"""Class names of ASE calculators whose registered name is another one."""


def load_ase(request: CalculatorRequest) -> Calculator:
    """Load one of ASE's own calculators, for instance `ase:EMT` or `ase:LennardJones,sigma=2.5`."""
    from ase.calculators.calculator import FileIOCalculator, get_calculator_class
    from ase.calculators.names import names

    name = request.version or ""
    key = ASE_NAMES.get(name.lower(), name.lower())
    if key not in names:
        raise InputError(
            f"--calculator={request.spec}",
            f"ASE has no calculator '{name}'",
            "among its own are EMT, LennardJones, MorsePotential, EAM (all names: "
            "python -c 'from ase.calculators.calculator import names; print(names)')",
        )
    refuse_device(request, f"'{request.target}'")
    refuse_dtype(request, f"'{request.target}'", "float64")
    refuse_acceleration(request, "ASE's own calculators have neither")
    kind = built(lambda: get_calculator_class(key), request.spec)
    known = tuple(getattr(kind, "default_parameters", {}))
    if known and not issubclass(kind, FileIOCalculator):  # ASE's own take any key and ignore a misspelt one
        refuse_options(request.options, known, spec=request.spec, family=request.target)
    calculator = built(lambda: kind(**request.options), request.spec)
    return wrapped(request, calculator, label=name, family="ase", elements=known_elements(calculator, request))


def load_py(request: CalculatorRequest) -> Calculator:
    """Load what a factory returns: `py:package.module:factory` or `py:./file.py:factory`.

    The options are handed to the factory; `device`, `dtype`, `compile` and `kernels` too, if it takes them. A
    calculator may carry attributes `elements` (symbols it knows), `level_of_theory`, `device`, `dtype` and
    `model_identity`.
    """
    module_name, _, factory_name = request.target.removeprefix("py:").rpartition(":")
    if not module_name or not factory_name:
        raise InputError(
            f"--calculator={request.spec}",
            "write py:package.module:factory or py:./file.py:factory, where the factory is a callable that returns "
            "an ASE calculator",
        )
    file = _source_file(module_name, request)
    # A module beside the user's tests, as `python -m pytest` finds it. Never beside the calculator file: of
    # two files that name a module alike, the second would get the module of the first.
    with _importing_from(file.resolve().parent if file else Path.cwd()):
        module = _module(module_name, file, request)
        factory = _factory(module, module_name, factory_name, request)
        arguments = _arguments(factory, factory_name, request)
        as_imported_by_a_factory()
        calculator = built(lambda: factory(**arguments), request.spec)
    check_ase(calculator, request, made_by=f"{factory_name}()")
    _check_choices(calculator, arguments, factory_name, request)
    named = {"factory": f"{module_name}:{factory_name}"} if request.table else {}  # the spec does not name it then
    found = wrapped(
        request,
        calculator,
        label=request.table.stem if request.table else factory_name,
        family="py",
        elements=known_elements(calculator, request),
        file=file,
        hash_of=f"{file.name}, in which {factory_name}() is, not of a model" if file else None,
        device=str(arguments.get("device", request.device or NOT_STATED)),
        dtype=str(arguments.get("dtype", NOT_STATED)),
        options=named | request.options,
    )
    return replace(found, can_compile=_takes(factory, "compile"))


def _factory(module: Any, module_name: str, name: str, request: CalculatorRequest) -> Callable[..., Any]:
    factory = getattr(module, name, None)
    if callable(factory):
        return factory  # type: ignore[no-any-return]
    there = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
    state = "is not callable" if factory is not None else "does not exist"
    raise InputError(
        f"--calculator={request.spec}",
        f"'{name}' {state} in {module_name}",
        f"callable there: {', '.join(there[:8]) or 'nothing'}",
    )


def _arguments(factory: Callable[..., Any], name: str, request: CalculatorRequest) -> dict[str, Any]:
    """What the factory is called with; what it does not take is refused."""
    arguments = dict(request.options)
    known = _parameters(factory)
    unknown = [] if known is None else sorted(key for key in arguments if not _takes(factory, key))
    if unknown:
        takes = ", ".join(known or ()) or "none"
        raise InputError(
            f"--calculator={request.spec}", f"{name}() takes no argument '{unknown[0]}'", f"its arguments are: {takes}"
        )
    wanted = _path(request)
    return arguments | {key: wanted[key] for key in wanted if _takes(factory, key)}


def _path(request: CalculatorRequest) -> dict[str, str]:
    """The device, dtype, compile mode and kernels that were asked for, under the names of the keys."""
    asked = {
        "device": request.numbered_device,
        "dtype": request.dtype,
        "compile": request.compile_mode,
        "kernels": request.kernels,
    }
    return {key: wanted for key, wanted in asked.items() if wanted is not None}


def _check_choices(calculator: Any, arguments: dict[str, Any], name: str, request: CalculatorRequest) -> None:
    """Refuse a device, dtype or such that the factory does not take, unless the calculator states that it has it."""
    has = {"device": ("auto", "cpu", stated_device(calculator)), "dtype": (stated_dtype(calculator),)}
    for key, wanted in _path(request).items():
        if key not in arguments and wanted not in has.get(key, ()):
            raise InputError(
                f"--calculator={request.spec}",
                f"{key} {wanted} was asked for, but {name}() takes no argument '{key}'",
                f"give it one, or leave the {key} out",
            )


def _source_file(name: str, request: CalculatorRequest) -> Path | None:
    """The file that `name` names; None where it names a module."""
    if not (name.endswith(".py") or "/" in name):
        return None
    path = Path(name).expanduser()
    place = request.folder / path
    if not is_file(str(place)):
        raise InputError(f"--calculator={request.spec}", f"there is no file {path} (looked from {request.folder})")
    if place.suffix != ".py":
        raise InputError(f"--calculator={request.spec}", f"{path} is not a Python file", "its name must end in .py")
    return place


def _module(name: str, file: Path | None, request: CalculatorRequest) -> Any:
    if file is None:
        return _run(lambda: importlib.import_module(name), request, Path.cwd())
    unique = f"_mlff_probes_py_{sha256(file)[:12]}"
    spec = importlib.util.spec_from_file_location(unique, file.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module  # dataclasses and pickle look a class's module up by name
    _run(lambda: spec.loader.exec_module(module), request, request.folder)  # type: ignore[union-attr]
    return module


def _run(step: Callable[[], Any], request: CalculatorRequest, folder: Path) -> Any:
    return imported(step, request.spec, "the module", looked=f" (looked from {folder})")


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Look in `folder` first while a calculator is made, and last afterwards (it may import more when called).

    A module that is loaded already is put aside if `folder` has one of that name: of two calculators with a
    `model_def.py` each, the second would else be built from the code of the first.
    """
    namesakes = [name for name in sys.modules if _namesake(name, folder)]
    aside = {name: sys.modules.pop(name) for name in namesakes}
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.modules.update(aside)
        sys.path.remove(str(folder))
        if str(folder) not in sys.path:
            sys.path.append(str(folder))


def _namesake(name: str, folder: Path) -> bool:
    """Whether `folder` has a module of this name which is not the one that is loaded; what is installed stays."""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top == "__main__":
        return False
    loaded = Path(getattr(sys.modules.get(top), "__file__", None) or "")
    own = [file for file in (folder / f"{top}.py", folder / top / "__init__.py") if file.is_file()]
    installed = {"site-packages", "dist-packages"} & set(loaded.parts)
    return bool(own) and loaded.is_file() and not installed and loaded.resolve() not in [f.resolve() for f in own]


def _takes(factory: Callable[..., Any], name: str) -> bool:
    kinds = _parameters(factory) or {}
    return name in kinds or inspect.Parameter.VAR_KEYWORD in kinds.values()


def _parameters(factory: Callable[..., Any]) -> dict[str, Any] | None:
    """Names and kinds of the parameters of a factory; None where it has no signature to read."""
    try:
        return {p.name: p.kind for p in inspect.signature(factory).parameters.values()}
    except (TypeError, ValueError):
        return None
