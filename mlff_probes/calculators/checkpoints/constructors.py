"""What an object in a MACE checkpoint may be constructed with, and from which arguments."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mlff_probes.calculators.checkpoints.embedded_code import RefusedError, check_graph_code

TORCH_FUNCTIONS = "torch._C._VariableFunctionsClass"
TORCH_ACTIVATIONS = ("abs", "celu", "cos", "erf", "exp", "relu", "selu", "sigmoid", "sin", "sqrt", "square", "tanh")
"""The same of `torch` itself, which pickle writes as ``getattr(torch._C._VariableFunctionsClass, "tanh")``."""

GRAPH_MODULE = "torch.fx.graph_module.reduce_graph_module"
TRACER = "torch.fx._symbolic_trace.Tracer"
BARE_MODULE = "torch.nn.modules.module.Module"

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


def _make_dtype(*arguments: Any) -> Any:
    import numpy as np

    needs(
        len(arguments) == 3 and is_plain(arguments) and re.fullmatch("[fiu][248]|[iub]1", arguments[0]), "numpy.dtype"
    )
    return np.dtype(arguments[0])


def _make_scalar(*arguments: Any) -> Any:
    """A number of numpy's, from its type and its bytes."""
    import numpy as np

    needs(len(arguments) == 2 and isinstance(arguments[0], np.dtype) and type(arguments[1]) is bytes, "a numpy scalar")
    needs(len(arguments[1]) == arguments[0].itemsize, "a numpy scalar")
    return np.frombuffer(arguments[1], arguments[0])[0]


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
        needs(is_attribute(key), f"{GRAPH_MODULE}: {key!r}")
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


def is_attribute(name: object) -> bool:
    """Whether `name` can stand behind a dot and shadows nothing of Python's own."""
    return type(name) is str and name.isascii() and name.isidentifier() and not name.startswith("__")


def _is_member(name: object) -> bool:
    """Whether `name` is an attribute or the number of an element."""
    return is_attribute(name) or (type(name) is str and name.isascii() and name.isdigit())


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
    "numpy.dtype": (unchecked, _make_dtype),
    "numpy.core.multiarray.scalar": (unchecked, _make_scalar),
    "numpy._core.multiarray.scalar": (unchecked, _make_scalar),  # from numpy 2 on
    "torch._utils._rebuild_tensor_v2": (_check_tensor, _make_tensor),
    "torch._utils._rebuild_parameter": (_check_parameter, _make_parameter),
    GRAPH_MODULE: (_check_graph_module, _make_graph_module),
}
"""By name: what checks the arguments, and what constructs from them (in a rehearsal only where there is no check)."""


def is_numbers(value: object) -> bool:
    """Whether `value` is plain, or one of e3nn's tuples made before."""
    if isinstance(value, tuple):
        return all(map(is_numbers, value))
    return is_plain(value)
