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

from mlff_probes.calculators.base import Calculator, CalculatorRequest
from mlff_probes.calculators.identity import refuse_options, sha256
from mlff_probes.calculators.spec import is_file
from mlff_probes.calculators.wrapping import built, check_ase, imported, known_elements, wrapped
from mlff_probes.errors import InputError

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
            f"--calculator={request.spec}: ASE has no calculator '{name}'; among its own are EMT, LennardJones, "
            "MorsePotential, EAM (all names: python -c 'from ase.calculators.calculator import names; print(names)')"
        )
    _refuse_torch_choices(request)
    kind = built(lambda: get_calculator_class(key), request.spec)
    known = tuple(getattr(kind, "default_parameters", {}))
    if known and not issubclass(kind, FileIOCalculator):  # ASE's own take any key and ignore a misspelt one
        refuse_options(request.options, known, spec=request.spec, family=request.target)
    calculator = built(lambda: kind(**request.options), request.spec)
    elements = None
    if key == "emt":
        from ase.calculators.emt import parameters

        elements = tuple(parameters)
    return wrapped(request, calculator, label=name, family="ase", elements=elements)


def load_py(request: CalculatorRequest) -> Calculator:
    """Load what a factory returns: `py:package.module:factory` or `py:./file.py:factory`.

    The options are handed to the factory; `device` and `dtype` too, if it takes them. A calculator may
    carry an attribute `elements` (symbols it knows) and `level_of_theory`.
    """
    module_name, _, factory_name = request.target.removeprefix("py:").rpartition(":")
    if not module_name or not factory_name:
        raise InputError(
            f"--calculator={request.spec}: write py:package.module:factory or py:./file.py:factory, where the "
            "factory is a callable that returns an ASE calculator"
        )
    module, file = _module(module_name, request)
    factory = _factory(module, module_name, factory_name, request)
    arguments = _arguments(factory, factory_name, request)
    calculator = built(lambda: factory(**arguments), request.spec)
    check_ase(calculator, request, made_by=f"{factory_name}()")
    named = {"factory": f"{module_name}:{factory_name}"} if request.table else {}  # the spec does not name it then
    return wrapped(
        request,
        calculator,
        label=request.table.stem if request.table else factory_name,
        family="py",
        elements=known_elements(calculator, request),
        file=file,
        device=str(arguments.get("device", "not stated")),
        dtype=str(arguments.get("dtype", "not stated")),
        options=named | request.options,
    )


def _factory(module: Any, module_name: str, name: str, request: CalculatorRequest) -> Callable[..., Any]:
    factory = getattr(module, name, None)
    if callable(factory):
        return factory  # type: ignore[no-any-return]
    there = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
    state = "is not callable" if factory is not None else "does not exist"
    raise InputError(
        f"--calculator={request.spec}: '{name}' {state} in {module_name}; "
        f"callable there: {', '.join(there[:8]) or 'nothing'}"
    )


def _arguments(factory: Callable[..., Any], name: str, request: CalculatorRequest) -> dict[str, Any]:
    """What the factory is called with; a device or dtype that it does not take is refused."""
    arguments = dict(request.options)
    for key in ("device", "dtype"):
        wanted = getattr(request, key)
        if wanted is not None and _takes(factory, key):
            arguments[key] = wanted
        elif wanted is not None and wanted not in ("auto", "cpu"):
            raise InputError(
                f"--calculator={request.spec}: {key} {wanted} was asked for, but {name}() takes no "
                f"argument '{key}'; give it one, or leave the {key} out"
            )
    return arguments


def _module(name: str, request: CalculatorRequest) -> tuple[Any, Path | None]:
    if not (name.endswith(".py") or "/" in name):
        # A module beside the user's tests, as `python -m pytest` finds it. Never beside the calculator file: of
        # two files that name a module alike, the second would get the module of the first.
        with _importing_from(Path.cwd()):
            return _run(lambda: importlib.import_module(name), request, Path.cwd()), None
    path = Path(name).expanduser()
    place = request.folder / path
    if not is_file(str(place)):
        raise InputError(f"--calculator={request.spec}: there is no file {path} (looked from {request.folder})")
    unique = f"_mlff_probes_py_{sha256(place)[:12]}"
    spec = importlib.util.spec_from_file_location(unique, place.resolve())
    if spec is None or spec.loader is None:
        raise InputError(f"--calculator={request.spec}: {path} is not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module  # dataclasses and pickle look a class's module up by name
    with _importing_from(place.resolve().parent):
        _run(lambda: spec.loader.exec_module(module), request, request.folder)  # type: ignore[union-attr]
    return module, place


def _run(step: Callable[[], Any], request: CalculatorRequest, folder: Path) -> Any:
    return imported(step, request.spec, "the module", looked=f" (looked from {folder})")


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


def _takes(factory: Callable[..., Any], name: str) -> bool:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.name == name or p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)


def _refuse_torch_choices(request: CalculatorRequest) -> None:
    if request.dtype not in (None, "float64"):
        raise InputError(f"--calculator={request.spec}: ASE's own calculators compute in float64, not {request.dtype}")
    if request.device not in (None, "auto", "cpu"):
        raise InputError(f"--calculator={request.spec}: ASE's own calculators run on the CPU, not on {request.device}")
