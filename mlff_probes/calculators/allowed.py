"""What a MACE checkpoint may name, and what each of these may be made from."""

from __future__ import annotations

import importlib
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mlff_probes.calculators.embedded_code import RefusedError, check_graph_code
from mlff_probes.calculators.pickle_names import modern
from mlff_probes.calculators.torchscript import check_torchscript

ACTIVATIONS = re.compile(
    r"torch\.nn\.functional\.(celu|elu|gelu|hardtanh|leaky_relu|mish|relu|selu|sigmoid|silu|softplus|softsign|tanh)"
    r"|torch\._C\._nn\.(elu|gelu|leaky_relu|mish|silu|softplus)"
)
"""Functions that a model keeps as its nonlinearities; calling them computes a tensor."""

TORCH_FUNCTIONS = "torch._C._VariableFunctionsClass"
TORCH_ACTIVATIONS = ("abs", "celu", "cos", "erf", "exp", "relu", "selu", "sigmoid", "sin", "sqrt", "square", "tanh")
"""The same of `torch` itself, which pickle writes as ``getattr(torch._C._VariableFunctionsClass, "tanh")``."""

MODULE = re.compile(
    r"(mace\.modules|e3nn\.nn|e3nn\.o3|e3nn\.math)(\.\w+)+"
    r"|torch\.nn\.modules\.(activation|container|dropout|linear|module|normalization|sparse)"
)
"""Where classes of modules may come from: only `torch.nn.Module`s defined there, see `_module_class`."""

TUPLES = frozenset(
    {
        "e3nn.o3._irreps.Irrep",
        "e3nn.o3._irreps.Irreps",
        "e3nn.o3._irreps._MulIr",
        "e3nn.o3._linear.Instruction",
        "e3nn.o3._tensor_product._instruction.Instruction",
    }
)
"""Tuples of numbers that are made from plain data (their `__new__` at most reads a text such as ``8x0e``)."""

GRAPH_MODULE = "torch.fx.graph_module.reduce_graph_module"
TRACER = "torch.fx._symbolic_trace.Tracer"
BARE_MODULE = "torch.nn.modules.module.Module"
CODEGEN = "__codegen__"
"""Where e3nn's `CodeGenMixin` keeps TorchScript archives, as bytes by the name of the submodule."""

PLAIN = (type(None), bool, int, float, str, bytes)


@dataclass(frozen=True)
class Name:
    """What the file names, as a label: nothing happens to whoever calls it or sets an attribute of it."""

    text: str
    target: Any = None


@dataclass(eq=False)
class Stand:
    """What stands for an object in the rehearsal: the name of its class or constructor, and the state it got."""

    kind: str
    state: dict[str, Any] = field(default_factory=dict)


def is_plain(value: object) -> bool:
    """Whether `value` is a number or a text, or containers of these."""
    if type(value) in (dict, OrderedDict):
        return all(is_plain(part) for item in value.items() for part in item)  # type: ignore[attr-defined]
    if type(value) in (tuple, list, set):
        return all(map(is_plain, value))  # type: ignore[call-overload]
    return type(value) in PLAIN


def resolve(text: str) -> Any:
    """What a file may name: a `Name` to construct with, or an activation function.

    Raises
    ------
    RefusedError
        For every other name.
    """
    module, _, name = text.rpartition(".")
    if text in CALLS or text in (TORCH_FUNCTIONS, TRACER):
        return Name(text)
    if text in TUPLES:
        return Name(text, getattr(importlib.import_module(module), name))
    if ACTIVATIONS.fullmatch(text) or (module == "torch" and name in _dtypes()):
        return getattr(importlib.import_module(module), name)
    if re.fullmatch(r"torch\.\w+Storage", text):
        return Name(text)  # torch resolves those it knows before it asks
    if MODULE.fullmatch(module) and name.isidentifier():
        return Name(text, _module_class(module, name))
    raise RefusedError(modern(text))


def _dtypes() -> set[str]:
    import torch

    return {name for name, value in vars(torch).items() if isinstance(value, torch.dtype)}


def _module_class(module: str, name: str) -> type:
    """A class of modules that is defined in `module` and can be made empty and given a state without running more.

    Importing `module` runs code of an installed package, never of the file. The classes are no tools for an
    attacker: NEWOBJ leaves `__init__` out, `__new__` is that of `object`, and what their methods read of the state
    is tensors, numbers and each other (a search for eval, exec, open, load and getattr by a stored name found none).
    """
    import torch
    from e3nn.util.codegen import CodeGenMixin

    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise RefusedError(f"{module}.{name} ({error})") from error
    if not (isinstance(found, type) and issubclass(found, torch.nn.Module) and found.__module__ == module):
        raise RefusedError(f"{module}.{name}")
    known = (torch.nn.Module.__setstate__, CodeGenMixin.__setstate__)
    if found.__new__ is not object.__new__ or found.__setstate__ not in known or hasattr(found, "__del__"):
        raise RefusedError(f"{module}.{name}, which makes itself in a way of its own")
    return found


def needs(condition: object, what: str) -> None:
    """Refuse `what` unless the condition holds, which it does in all that torch.save writes."""
    if not condition:
        raise RefusedError(f"{what} with arguments that torch.save does not write")


def _make_ordered_dict(*arguments: Any) -> Any:
    needs(arguments == (), "collections.OrderedDict")
    return OrderedDict()


def _make_set(*arguments: Any) -> Any:
    needs(len(arguments) == 1 and type(arguments[0]) is list and is_plain(arguments[0]), "set")
    return set(arguments[0])


def _make_bytes(*arguments: Any) -> Any:
    needs(arguments == () or (type(arguments[0]) is str and arguments[1:] == ("latin1",)), "bytes")
    return arguments[0].encode("latin1") if arguments else b""


def _make_slice(*arguments: Any) -> Any:
    needs(len(arguments) == 3 and all(type(part) in (int, type(None)) for part in arguments), "slice")
    return slice(*arguments)


def _make_device(*arguments: Any) -> Any:
    import torch

    needs(arguments and is_plain(arguments) and isinstance(arguments[0], str), "torch.device")
    return torch.device(*arguments)


def _make_size(*arguments: Any) -> Any:
    import torch

    needs(len(arguments) == 1 and type(arguments[0]) is tuple and is_plain(arguments), "torch.Size")
    return torch.Size(*arguments)


def _make_torch_function(*arguments: Any) -> Any:
    """Python's getattr, for the one object and the few names with which pickle writes `torch.tanh` and its like."""
    import torch

    if not (len(arguments) == 2 and arguments[0] == Name(TORCH_FUNCTIONS) and arguments[1] in TORCH_ACTIVATIONS):
        raise RefusedError(f"builtins.getattr of {arguments[1]!r}" if len(arguments) > 1 else "builtins.getattr")
    return getattr(torch, arguments[1])


def _check_tensor(storage: Any, *arguments: Any) -> None:
    *shape, hooks = arguments[:5]
    needs(len(arguments) in (5, 6) and is_plain(shape) and hooks == OrderedDict(), "a tensor")
    needs(len(arguments) == 5 or is_plain(arguments[5]), "a tensor")
    needs(type(storage).__name__ in ("TypedStorage", "Stand"), "a tensor")


def _make_tensor(*arguments: Any) -> Any:
    from torch._utils import _rebuild_tensor_v2

    return _rebuild_tensor_v2(*arguments)  # type: ignore[no-untyped-call]


def _check_parameter(*arguments: Any) -> None:
    needs(len(arguments) == 3 and type(arguments[0]).__name__ in ("Tensor", "Stand"), "a parameter")
    needs(type(arguments[1]) is bool and arguments[2] == OrderedDict(), "a parameter")


def _make_parameter(*arguments: Any) -> Any:
    from torch._utils import _rebuild_parameter

    return _rebuild_parameter(*arguments)  # type: ignore[no-untyped-call]


def _check_graph_module(*arguments: Any) -> None:
    """Hold a graph module to its own tensors, plain data, and code of plain tensor expressions."""
    needs(len(arguments) == 2 and type(arguments[0]) is dict and type(arguments[1]) is str, GRAPH_MODULE)
    body, imports = arguments
    tracer, extras = body.get("_tracer_cls"), body.get("_tracer_extras", {})
    needs(tracer in (None, Name(TRACER)) and type(extras) is dict and not extras, GRAPH_MODULE)
    needs(type(body.get("_code")) is str and body["_code"], GRAPH_MODULE)
    check_graph_code(imports + body["_code"], _tensors(body, ""))


def _tensors(state: dict[str, Any], path: str) -> set[str]:
    """The tensors in the state of a graph module and of the bare modules in it, as ``.weights.0``.

    A graph module is printed as source again and executed once it has been read, names of tensors included, so
    these are identifiers or numbers. Whatever else it holds must be plain data.
    """
    found = set()
    for key, value in state.items():
        needs(_is_attribute(key), f"{GRAPH_MODULE}: {key!r}")
        if key in ("_parameters", "_buffers", "_modules"):
            needs(type(value) in (dict, OrderedDict) and all(map(_is_member, value)), f"{GRAPH_MODULE}: {key}")
            for name, member in value.items():
                if key == "_modules":
                    found |= _tensors(_bare_state(member), f"{path}.{name}")
                else:
                    needs(type(member).__name__ in ("NoneType", "Tensor", "Parameter", "Stand"), GRAPH_MODULE)
                    found.add(f"{path}.{name}")
        else:
            needs(is_plain(value) or key == "_tracer_cls", f"{GRAPH_MODULE}: {key}")
    return found


def _bare_state(member: Any) -> Any:
    """The state of a submodule that is nothing but a holder of tensors."""
    import torch

    if isinstance(member, Stand):
        needs(member.kind == BARE_MODULE, f"{GRAPH_MODULE}: {member.kind}")
        return member.state
    needs(type(member) is torch.nn.Module, f"{GRAPH_MODULE}: {type(member).__name__}")
    return vars(member)


def _is_attribute(name: object) -> bool:
    """Whether `name` can stand behind a dot and shadows nothing of Python's own."""
    return type(name) is str and name.isascii() and name.isidentifier() and not name.startswith("__")


def _is_member(name: object) -> bool:
    """Whether `name` is an attribute or the number of an element."""
    return _is_attribute(name) or (type(name) is str and name.isascii() and name.isdigit())


def _make_graph_module(body: dict[str, Any], imports: str) -> Any:
    from torch.fx import Tracer
    from torch.fx.graph_module import reduce_graph_module

    if body.get("_tracer_cls") is not None:
        body["_tracer_cls"] = Tracer
    return reduce_graph_module(body, imports)


def unchecked(*_: Any) -> None:
    """For a constructor that checks its own arguments, being pure."""


CALLS: dict[str, tuple[Callable[..., None], Callable[..., Any]]] = {
    "collections.OrderedDict": (unchecked, _make_ordered_dict),
    "__builtin__.set": (unchecked, _make_set),
    "__builtin__.bytes": (unchecked, _make_bytes),
    "_codecs.encode": (unchecked, _make_bytes),
    "__builtin__.slice": (unchecked, _make_slice),
    "__builtin__.getattr": (unchecked, _make_torch_function),
    "torch.device": (unchecked, _make_device),
    "torch.Size": (unchecked, _make_size),
    "torch._utils._rebuild_tensor_v2": (_check_tensor, _make_tensor),
    "torch._utils._rebuild_parameter": (_check_parameter, _make_parameter),
    GRAPH_MODULE: (_check_graph_module, _make_graph_module),
}
"""By name: what checks the arguments, and what constructs from them (in a rehearsal only where there is no check)."""


def check_state(kind: Any, state: Any) -> None:
    """Refuse the state of a module that would do more than fill its `__dict__`."""
    from e3nn.util.codegen import CodeGenMixin

    what = f"the state of {kind.__module__}.{kind.__name__}"
    needs(type(state) is dict and all(_is_attribute(key) or key == CODEGEN for key in state), what)
    archives = state.get(CODEGEN, {})
    needs(type(archives) is dict and (not archives or issubclass(kind, CodeGenMixin)), what)
    for name, data in archives.items():
        needs(_is_attribute(name) and type(data) is bytes, what)
        check_torchscript(data)


def is_numbers(value: object) -> bool:
    """Whether `value` is plain, or one of e3nn's tuples made before."""
    if isinstance(value, tuple):
        return all(map(is_numbers, value))
    return is_plain(value)
