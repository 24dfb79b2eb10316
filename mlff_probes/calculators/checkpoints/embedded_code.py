"""Python source inside a checkpoint: graph modules of `torch.fx`, held to plain tensor arithmetic.

`torch.fx.graph_module.reduce_graph_module`, of which every MACE checkpoint has several, passes it to `exec`.
"""

from __future__ import annotations

import ast
from collections.abc import Collection
from pickle import UnpicklingError


class RefusedError(UnpicklingError):
    """What was found in a checkpoint that the check does not let pass; the message names it."""


TENSOR_OPERATIONS = frozenset({
    "abs", "acos", "add", "arange", "asin", "atan2", "baddbmm", "bmm", "broadcast_tensors", "broadcast_to", "cat",
    "ceil", "chunk", "clamp", "clone", "contiguous", "cos", "cosh", "cross", "cumsum", "detach", "diagonal", "dim",
    "div", "dot", "einsum", "empty", "erf", "exp", "expand", "expand_as", "eye", "flatten", "float", "floor",
    "full", "index_add", "index_select", "linear", "linspace", "log", "matmul", "max", "mean", "min", "mm", "mul",
    "narrow", "neg", "new_empty", "new_full", "new_ones", "new_zeros", "norm", "numel", "ones", "ones_like",
    "permute", "pow", "prod", "reciprocal", "relu", "repeat", "reshape", "rsqrt", "scatter_add", "select",
    "sigmoid", "sign", "silu", "sin", "sinh", "size", "softplus", "split", "sqrt", "square", "squeeze", "stack",
    "sub", "sum", "t", "tan", "tanh", "tensordot", "to", "transpose", "tril", "triu", "type_as", "unbind",
    "unflatten", "unsqueeze", "view", "view_as", "where", "zeros", "zeros_like"
})  # fmt: skip
"""Functions and methods that compute a tensor from tensors, or say its size: none reads or writes anything else."""

IMPORTS = frozenset(
    {
        "NoneType = type(None)",
        "from builtins import getattr as getattr",
        "from math import inf",
        "from math import nan",
        "from torch import device",
        "import torch",
        "import torch.fx._pytree as fx_pytree",
        "import torch.utils._pytree as pytree",
    }
)
"""What `torch.fx` writes above a graph module, whether it is used or not (`torch.fx.graph._custom_builtins`)."""

MODULES = frozenset({"torch", "torch.functional", "torch.nn.functional"})
"""From where a graph module may call `TENSOR_OPERATIONS`."""

TYPES = frozenset({"torch.Tensor", "torch.float16", "torch.float32", "torch.float64", "torch.int32", "torch.int64",
                   "torch.bool", "torch.strided"})  # fmt: skip
ATTRIBUTES = frozenset({"shape", "dtype", "device", "ndim", "T", "mT"})
"""What a graph module may read of a tensor."""

ARITHMETIC = (
    ast.Tuple, ast.List, ast.BinOp, ast.UnaryOp, ast.Compare, ast.Subscript, ast.Slice, ast.operator,
    ast.unaryop, ast.cmpop, ast.expr_context,
)  # fmt: skip
"""Nodes that are harmless if their parts are."""


def check_graph_code(source: str, tensors: Collection[str]) -> None:
    """Refuse the source of a graph module unless it is one `forward` of plain tensor expressions.

    Parameters
    ----------
    source
        Exactly the text that would be executed: the imports and the code.
    tensors
        The module's own, as ``.weight`` or ``.contractions.0.weight``: what may be read of `self`.

    Raises
    ------
    RefusedError
        With the first line that is something else.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise RefusedError(f"a torch.fx graph module whose code cannot be read ({error})") from error
    functions = [node for node in tree.body if ast.unparse(node) not in IMPORTS]
    if len(functions) != 1 or not isinstance(functions[0], ast.FunctionDef) or functions[0].name != "forward":
        wrong = [node for node in functions if not (isinstance(node, ast.FunctionDef) and node.name == "forward")]
        raise RefusedError(
            f"a torch.fx graph module with the line '{_line(wrong[0])}'" if wrong else "an odd graph module"
        )
    _GraphCode(functions[0], tensors).check()


class _GraphCode:
    """The check of one `forward`."""

    def __init__(self, function: ast.FunctionDef, tensors: Collection[str]) -> None:
        self.function, self.tensors = function, tensors
        arguments = function.args
        self.names = {argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}

    def check(self) -> None:
        """Refuse the first node that is not in the lists."""
        function, arguments = self.function, self.function.args
        parts = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
        for decorator in function.decorator_list:
            self._refuse(decorator)
        if arguments.vararg or arguments.kwarg or getattr(function, "type_params", None):
            self._refuse(function)
        for annotation in (*(part.annotation for part in parts), function.returns):
            self._type(annotation)
        for default in (*arguments.defaults, *arguments.kw_defaults):
            if default is not None:
                self._expression(default)
        for statement in function.body:
            self._statement(statement)

    def _statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Assign):
            self._expression(node.value)
            for target in node.targets:
                self._target(target)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            self._type(node.annotation)
            self._expression(node.value)
            self._target(node.target)
        elif isinstance(node, ast.Return) and node.value is not None:
            self._expression(node.value)
        else:
            self._refuse(node)

    def _type(self, node: ast.expr | None) -> None:
        if node is not None and _dotted(node) not in TYPES:
            self._refuse(node)

    def _target(self, node: ast.expr) -> None:
        if isinstance(node, ast.Tuple):
            for element in node.elts:
                self._target(element)
        elif isinstance(node, ast.Name) and not node.id.startswith("__") and node.id not in ("self", "torch"):
            self.names.add(node.id)
        else:
            self._refuse(node)

    def _expression(self, node: ast.AST) -> None:
        if (path := _path(node)) is not None:
            if path not in self.tensors:
                self._refuse(node)
        elif isinstance(node, ast.Call):
            self._call(node)
        elif isinstance(node, ast.Attribute):
            self._attribute(node)
        elif isinstance(node, ast.Name):
            if node.id not in self.names | {"inf", "nan", "Ellipsis"}:
                self._refuse(node)
        elif isinstance(node, ARITHMETIC):
            for part in ast.iter_child_nodes(node):
                self._expression(part)
        elif not isinstance(node, ast.Constant):
            self._refuse(node)

    def _call(self, node: ast.Call) -> None:
        function = node.func
        name = _dotted(function)
        if not (isinstance(function, ast.Attribute) and function.attr in TENSOR_OPERATIONS):
            if name not in ("torch.device", "device", "slice"):
                self._refuse(node)
        elif name is None or name.rpartition(".")[0] not in MODULES:
            self._expression(function.value)  # a method of a tensor
        for keyword in node.keywords:
            if keyword.arg is None:
                self._refuse(node)
        for part in (*node.args, *(keyword.value for keyword in node.keywords)):
            self._expression(part)

    def _attribute(self, node: ast.Attribute) -> None:
        if _dotted(node) in TYPES:
            return
        if node.attr not in ATTRIBUTES:
            self._refuse(node)
        else:
            self._expression(node.value)

    def _refuse(self, node: ast.AST) -> None:
        raise RefusedError(f"a torch.fx graph module with the line '{_line(node)}'")


def _dotted(node: ast.AST) -> str | None:
    """`torch.functional.einsum` of its node; None for what is no dotted name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := _dotted(node.value)) is not None:
        return f"{before}.{node.attr}"
    return None


def _path(node: ast.AST) -> str | None:
    """`.weights.0` of ``self.weights`` and ``getattr(self.weights, "0")``, as `torch.fx` writes it; else None."""
    if isinstance(node, ast.Name):
        return "" if node.id == "self" else None
    if isinstance(node, ast.Attribute):
        before, name = _path(node.value), node.attr
    elif isinstance(node, ast.Call) and _dotted(node.func) == "getattr" and len(node.args) == 2 and not node.keywords:
        before, name = _path(node.args[0]), str(getattr(node.args[1], "value", None))
    else:
        return None
    return None if before is None else f"{before}.{name}"


def _line(node: ast.AST) -> str:
    """The source of a node, for a message: one line, not too long."""
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 80 else f"{text[:79]}…"
