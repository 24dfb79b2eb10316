"""TorchScript that e3nn keeps as bytes in its modules and gives to `torch.jit.load`: held to tensor operations.

The language has operators that touch the disk (`aten::save`, `aten::from_file`) or other machines (`rpc_sync`).
"""

from __future__ import annotations

import io
import re
import sys
from functools import lru_cache

from mlff_probes.calculators.checkpoints.embedded_code import TENSOR_OPERATIONS, RefusedError
from mlff_probes.calculators.checkpoints.pickle_names import named

ZIP_START = b"PK\x03\x04"
"""How a file begins that torch reads as a zip archive; everything else it gives to readers of older formats."""

TORCHSCRIPT_WORDS = TENSOR_OPERATIONS | frozenset({
    "RaiseException", "__getitem__", "__is__", "__isnot__", "__not__", "__contains__", "annotate", "bool", "cpu",
    "cuda", "device", "dtype", "float", "format", "int", "items", "keys", "layout", "len", "list", "range",
    "set", "slice", "str", "unchecked_cast", "values"
})  # fmt: skip
"""Further names of TorchScript operators that e3nn's code holds, and those of its types, containers and messages."""

TORCHSCRIPT_REFUSED = frozenset(
    {"awaitable", "classes", "fork", "getattr", "hasattr", "rpc_async", "rpc_remote", "rpc_sync", "setattr"}
)
"""What is no operator and yet reaches further: C++ classes of torch, other threads, names put together from pieces."""

_ARCHIVE_MEMBER = re.compile(
    r"(data|constants)\.pkl|(data|constants)/\d+|code/[\w/]+\.py(\.debug_pkl)?"
    r"|version|byteorder|\.format_version|\.storage_alignment|\.data/serialization_id"
)
_ARCHIVE_GLOBAL = re.compile(
    r"__torch__(\.\w+)+|torch\.jit\._pickle\.(build_\w+list|restore_type_tag)|torch\._utils\._rebuild_tensor_v2"
    r"|torch\.\w+Storage|torch\.device|collections\.OrderedDict"
)
"""What the pickles in a TorchScript archive name: their own classes, and torch's constructors of plain data."""


def check_torchscript(data: bytes) -> None:
    """Refuse a TorchScript archive that does more than plain tensor operations.

    Raises
    ------
    RefusedError
        With the operator, the file in the archive, or the class that is not in the lists.
    """
    from torch._C import PyTorchFileReader  # the reader that `torch.jit.load` uses itself

    if not data.startswith(ZIP_START):
        raise RefusedError("TorchScript that is no zip archive")
    try:
        reader = PyTorchFileReader(io.BytesIO(data))
        members = {name: reader.get_record(name) for name in reader.get_all_records()}
    except RuntimeError as error:
        raise RefusedError(f"TorchScript that cannot be read ({str(error).splitlines()[0]})") from error
    operators = operators_with(len(sys.modules))
    for name, content in members.items():
        if not _ARCHIVE_MEMBER.fullmatch(name):
            raise RefusedError(f"the file {name!r} in a TorchScript archive")
        if name.endswith(".py"):
            _check_torchscript_code(content, operators)
        elif name.endswith("pkl"):
            for found in named(content):
                if not _ARCHIVE_GLOBAL.fullmatch(found) or ".classes" in found:
                    raise RefusedError(f"{found} in a TorchScript archive")


def _check_torchscript_code(content: bytes, operators: frozenset[str]) -> None:
    """Hold TorchScript source to `TORCHSCRIPT_WORDS`, word by word, comments and texts included.

    No parser stands between this check and TorchScript's own that could read the text in another way: an operator
    can only be called where its name is written, or pieced together, for which escapes and `getattr` are refused.
    """
    if b"\\" in content or not content.isascii():
        raise RefusedError("TorchScript with escapes or characters beyond ASCII")
    words = set(re.findall(r"[A-Za-z_]\w*", content.decode("ascii")))
    beyond = (words & TORCHSCRIPT_REFUSED) | ((words & operators) - TORCHSCRIPT_WORDS)
    if beyond:
        raise RefusedError(f"TorchScript that calls {', '.join(sorted(beyond))}")


@lru_cache(maxsize=1)
def operators_with(modules: int) -> frozenset[str]:
    """The names of all operators that TorchScript can call in this process, without their namespace.

    A package may add some when it is imported, so that they are asked for again with each number of `modules` that are
    loaded, and, by `cache_clear`, for each file.
    """
    import torch

    return frozenset(schema.name.rpartition("::")[2] for schema in torch._C._jit_get_all_schemas())
