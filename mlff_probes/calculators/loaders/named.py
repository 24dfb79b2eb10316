"""Families that `families.toml` describes whole: a model by its name (`sevennet:7net-0`), or a file (`nep:nep.txt`)."""

from __future__ import annotations

import inspect
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from mlff_probes.calculators.base import Calculator, CalculatorRequest
from mlff_probes.calculators.checkpoints.safety import hold_to_pins
from mlff_probes.calculators.families import OF_THE_MODEL, Family, Model, families, refuse_foreign
from mlff_probes.calculators.identity import (
    refuse_acceleration,
    refuse_device,
    refuse_dtype,
    refuse_options,
    sha256,
    torch_device,
)
from mlff_probes.calculators.spec import is_file
from mlff_probes.calculators.wrapping import built, check_ase, imported, known_elements, wrapped
from mlff_probes.core.errors import InputError, describe
from mlff_probes.core.records import NOT_STATED

NO_ANSWER_S = 20.0
"""A download that gets no answer for so long has no network."""

UNREAD = (AttributeError, ImportError, KeyError, TypeError, UnpicklingError)
"""What packages raise at a file in which something is that this version of theirs does not know."""


def load(request: CalculatorRequest, name: str) -> Calculator:
    """Load a model of the family `name`, which is a row of the table.

    Raises
    ------
    InputError
        If the package is not installed, there is no such model or file, weights cannot be downloaded, or a key cannot
        be honoured.
    """
    family = families()[name]
    request = _with_head(request, family)
    file, model = _chosen(request, name, family)
    _refuse(request, name, family, model)
    named = request.path is None or request.family is not None  # else the file itself showed that it is of this family
    if file is not None and named:
        refuse_foreign(file, name, request.spec)
    options = {**(model.arguments if model else {}), **request.options}
    head = _head(request, family, model, options)
    factory = _imported(family.factory, request, family)
    weights = file or weights_of(family, _model_name(request, family), request)
    brought = weights is not None and not (model and model.in_package)  # by the user or from the network
    if weights is not None and brought:
        _hold(weights, request, family, trusted=file is None)
    device, dtype = _device(request, name, family), _dtype(request, family, model)
    given = file or (None if family.by_name else weights) or _model_name(request, family)
    path = {family.device_argument: device, family.dtype_argument: dtype}
    arguments = options | {key: value for key, value in path.items() if key} | {str(family.argument): str(given)}

    calculator = _built(factory, arguments, file, request, family)
    check_ase(calculator, request, made_by=name)
    level = request.level_of_theory or (model.level_with(request.options, family.head_option) if model else None)
    found = wrapped(
        replace(request, level_of_theory=level),
        calculator,
        label="-".join([file.stem if file else f"{name}-{_model_name(request, family)}", *([head] if head else [])]),
        family=name,
        version=None if file else _model_name(request, family),
        elements=known_elements(calculator, request),
        file=weights,
        device=device,
        dtype=dtype,
        options=options,
        packages=(family.package,),
    )
    refuse_dtype(request, f"the family '{name}'", found.identity.dtype)
    update: dict[str, Any] = {"checkpoint": "unchecked"} if brought and family.unpickles else {}
    if file is not None and family.names_files:
        update["files"] = found.identity.files | files_named_in(file)
    found = replace(found, identity=found.identity.model_copy(update=update))
    return _for_many(found, request, family)


def _for_many(found: Calculator, request: CalculatorRequest, family: Family) -> Calculator:
    """The calculator as its row evaluates many structures: with one object a size, or in batches."""
    plain = found.ase
    if family.one_a_size:
        from mlff_probes.calculators.loaders.one_a_size import OneASize

        found = replace(found, ase=OneASize(plain))
    if family.features is not None:
        features = _imported(family.features, request, family)
        made = built(lambda: features(plain), request.spec)
        found = replace(found, features=made, features_name=family.features_name)
    if family.batch is None or not request.batch:
        return found
    from mlff_probes.calculators.loaders.batches import with_batches

    batch = _imported(family.batch, request, family)
    return with_batches(found, built(lambda: batch(found.ase), request.spec))


def heads(request: CalculatorRequest, name: str) -> list[str]:
    """The heads of a model of the family `name`, in the order of the table, or in that of its file.

    Raises
    ------
    InputError
        If there is no such model, it has one head, or nobody says which it has.
    """
    family = families()[name]
    file, model = _chosen(request, name, family)
    found = list(model.heads) if model is not None else _heads_of_file(Path(str(file)), request, name, family)
    if not found:
        raise _of_one_head(request)
    return found


def _heads_of_file(file: Path, request: CalculatorRequest, name: str, family: Family) -> list[str]:
    """The heads of a file as its package says them: it is read for that, and held to trust as if it were loaded."""
    if family.heads is None:
        remedy = f"name one: ,{family.head_option}=…"
        raise InputError(f"--calculator={request.spec}", f"which heads {file} has is not known here", remedy)
    _refuse(replace(request, options={}), name, family, None)
    find = _imported(family.heads, request, family)
    _hold(file, request, family, trusted=False)
    found: list[str] = _read(lambda: [str(head) for head in find(str(file))], file, request, family)
    return found


def _of_one_head(request: CalculatorRequest) -> InputError:
    return InputError(f"--calculator={request.spec}", "the model has one head", "leave its choice out")


def _with_head(request: CalculatorRequest, family: Family) -> CalculatorRequest:
    """The request with the head under the name that the family has for it."""
    own, options = family.head_option, dict(request.options)
    if own is None or "head" in family.options or "head" not in options:
        return request
    if own in options:
        raise InputError(f"--calculator={request.spec}", f"the head is given twice, by 'head' and by '{own}'")
    return replace(request, options=options | {own: options.pop("head")})


def _head(request: CalculatorRequest, family: Family, model: Model | None, options: dict[str, Any]) -> str | None:
    """The head in use; None where a model has none, as far as the table says."""
    own, known = family.head_option, list(model.heads) if model else []
    chosen = None if own is None else options.get(own)
    if not known and model is not None and own in request.options:
        raise _of_one_head(request)
    if not known:
        return None if chosen is None else str(chosen)
    if str(chosen) not in known:
        said = "several heads, and none was chosen" if chosen is None else f"no head '{chosen}'"
        raise InputError(
            f"--calculator={request.spec}", f"the model has {said}", f"add ,{own}=… with one of: {', '.join(known)}"
        )
    return str(chosen)


def _refuse(request: CalculatorRequest, name: str, family: Family, model: Model | None) -> None:
    """Refuse what can be refused before anything is imported."""
    where = f"--calculator={request.spec}"
    refuse_options(request.options, family.options, spec=request.spec, family=name)
    refuse_acceleration(request, f"{family.title} is loaded without either")
    if (dtype := _dtype(request, family, model)) != NOT_STATED:
        refuse_dtype(request, f"the family '{name}'", dtype)
    if family.version is None:
        raise InputError(where, f"the package '{family.package}' is not installed", family.how_to_install)


def _dtype(request: CalculatorRequest, family: Family, model: Model | None) -> str:
    """The precision in which a model computes, as far as the table knows it, or it can be had as it is asked for."""
    if family.dtype_argument and request.dtype:
        return request.dtype
    own = (model.dtype if model else None) or str(family.dtype)
    return NOT_STATED if own == OF_THE_MODEL else own


def _built(
    factory: Callable[..., Any],
    arguments: dict[str, Any],
    file: Path | None,
    request: CalculatorRequest,
    family: Family,
) -> Any:
    """The calculator that a factory makes."""
    return _read(lambda: factory(**_taken(factory, arguments)), file, request, family)


def _read(step: Callable[[], Any], file: Path | None, request: CalculatorRequest, family: Family) -> Any:
    """What a step gives that may read a file; where its package cannot, with what the reason may be."""
    try:
        return built(step, request.spec)
    except InputError as error:
        unread = isinstance(error.__cause__, UNREAD) or "state_dict" in error.problem
        if file is None or error.remedy or not unread:
            raise
        remedy = f"it may be a file of another version than the installed {family.package} {family.version}, or none"
        raise InputError(error.where, f"{file}: {error.problem}", remedy) from error


def files_named_in(file: Path) -> dict[str, str]:
    """The hashes of the files beside a text file that words in it name."""
    words = sorted(set(file.read_text(encoding="utf-8").split()))
    return {word: sha256(file.parent / word) for word in words if "." in word and is_file(str(file.parent / word))}


def _hold(file: Path, request: CalculatorRequest, family: Family, *, trusted: bool) -> None:
    """Hold a file to the pinned hashes, and to trust where reading it runs its code."""
    found = sha256(file)
    hold_to_pins(request, file, found)
    if family.unpickles and not (trusted or request.pins or request.trust_checkpoint):
        raise InputError(
            f"--calculator={request.spec}",
            f"{family.title} runs whatever code is in {file}, and no check of ours knows what belongs there",
            f"if it comes from somebody you trust, pin it with --probe-sha256={found}, or add --probe-trust-checkpoint",
        )


def _chosen(request: CalculatorRequest, name: str, family: Family) -> tuple[Path | None, Model | None]:
    """The file that is named, or the model."""
    where, version = f"--calculator={request.spec}", request.version
    if request.path is not None:
        if family.files is None:
            raise InputError(where, f"the family '{name}' reads no file", f"its models are {_names(family)}")
        return request.path, None
    if version is None and family.default is None:
        raise InputError(where, f"the family '{name}' has no model of its own", f"write {name}:FILE, {family.files}")
    chosen = version or str(family.default)
    if chosen in family.models:
        return None, family.models[chosen]
    place = request.folder / Path(chosen).expanduser()
    if family.files is not None and is_file(str(place)):
        return place, None
    known = f"its models are {_names(family)}" if family.models else ""
    reads = f"it reads {family.files} (looked from {request.folder})" if family.files else ""
    raise InputError(where, f"the family '{name}' has no model '{chosen}'", "; ".join(filter(None, (known, reads))))


def _names(family: Family) -> str:
    return ", ".join(family.models)


def _model_name(request: CalculatorRequest, family: Family) -> str:
    return request.version or str(family.default)


def _imported(place: str | None, request: CalculatorRequest, family: Family) -> Callable[..., Any]:
    """What stands at ``package.module:name``."""
    module, _, attribute = str(place).partition(":")
    found = imported(lambda: import_module(module), request.spec, f"the package '{family.package}'")
    if not hasattr(found, attribute):
        raise InputError(
            f"--calculator={request.spec}",
            f"{family.package} {family.version} has no {module}.{attribute}, by which its models are loaded",
            f"take another version of {family.package}, or load the model through a factory (py:…)",
        )
    made: Callable[..., Any] = getattr(found, attribute)
    return made


def _device(request: CalculatorRequest, name: str, family: Family) -> str:
    if family.device_argument:
        return torch_device(request.device, request.spec, request.gpu)[0]
    refuse_device(request, f"the family '{name}'")
    return "cpu"


def weights_of(family: Family, name: str, request: CalculatorRequest) -> Path | None:
    """The file of a named model, downloaded where it has to be; None where its package does not tell.

    Raises
    ------
    InputError
        If it cannot be had.
    """
    if family.weights is None:
        return None
    find = _imported(family.weights, request, family)
    with _impatient():
        try:
            return Path(find(name))
        except Exception as error:
            raise InputError(
                f"--calculator={request.spec}",
                f"the weights of '{name}' cannot be had: {describe(error)}",
                "without a network, download them elsewhere and name the file",
            ) from error


@contextmanager
def _impatient() -> Iterator[None]:
    """No connection that is opened waits for ever, nor one of requests, which tells its sockets to do so."""
    before, as_told = socket.getdefaulttimeout(), socket.socket.settimeout

    def settimeout(self: socket.socket, value: float | None) -> None:
        as_told(self, NO_ANSWER_S if value is None else value)

    socket.setdefaulttimeout(NO_ANSWER_S)
    socket.socket.settimeout = settimeout  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del socket.socket.settimeout  # of the class that inherits it
        socket.setdefaulttimeout(before)


def _taken(factory: Callable[..., Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments, held against the signature of the factory: another version of its package may take others."""
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return arguments
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return arguments
    if unknown := sorted(set(arguments) - set(parameters)):
        raise InputError("", f"{factory.__name__}() of this version takes no argument '{unknown[0]}'")
    return arguments
