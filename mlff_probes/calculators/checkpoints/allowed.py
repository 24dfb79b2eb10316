"""What a MACE checkpoint may name, and which state a module in it may get."""

from __future__ import annotations

import importlib
import re
from typing import Any

from mlff_probes.calculators.checkpoints.constructors import CALLS, TORCH_FUNCTIONS, TRACER, Name, is_attribute, needs
from mlff_probes.calculators.checkpoints.embedded_code import RefusedError
from mlff_probes.calculators.checkpoints.pickle_names import modern
from mlff_probes.calculators.checkpoints.torchscript import check_torchscript

ACTIVATIONS = re.compile(
    r"torch\.nn\.functional\.(celu|elu|gelu|hardtanh|leaky_relu|mish|relu|selu|sigmoid|silu|softplus|softsign|tanh)"
    r"|torch\._C\._nn\.(elu|gelu|leaky_relu|mish|silu|softplus)"
)
"""Functions that a model keeps as its nonlinearities; calling them computes a tensor."""

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

CODEGEN = "__codegen__"
"""Where e3nn's `CodeGenMixin` keeps TorchScript archives, as bytes by the name of the submodule."""


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


def check_state(kind: Any, state: Any) -> None:
    """Refuse the state of a module that would do more than fill its `__dict__`."""
    from e3nn.util.codegen import CodeGenMixin

    what = f"the state of {kind.__module__}.{kind.__name__}"
    needs(type(state) is dict and all(is_attribute(key) or key == CODEGEN for key in state), what)
    archives = state.get(CODEGEN, {})
    needs(type(archives) is dict and (not archives or issubclass(kind, CodeGenMixin)), what)
    for name, data in archives.items():
        needs(is_attribute(name) and type(data) is bytes, what)
        check_torchscript(data)
