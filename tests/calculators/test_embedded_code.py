"""Code inside checkpoints: what `torch.fx` and e3nn write is let through, what reaches further is not."""

from __future__ import annotations

import io
import zipfile

import pytest
import torch
from hostile import HAND_WRITTEN

from mlff_probes.calculators.checkpoints.embedded_code import (
    IMPORTS,
    TENSOR_OPERATIONS,
    RefusedError,
    check_graph_code,
)
from mlff_probes.calculators.checkpoints.pickle_names import modern, named
from mlff_probes.calculators.checkpoints.torchscript import check_torchscript

FORWARD = "def forward(self, x, y = 1.5):\n    "

ALLOWED = [
    "return x",
    "a, b = x.shape;  return a",
    "z = torch.functional.einsum('ab,bc->ac', x, self.weight);  x = None\n    return z",
    "return torch.functional.tensordot(x, self.weight, dims = ((1,), (0,)), out = None)",
    'return getattr(self.inner, "0").weight * 2 ** -x',
    "return torch.nn.functional.silu(x, inplace = False)[slice(None, None, None)][0:2]",
    "return torch.empty((), dtype = torch.float64, device = device(type='cpu'))",
    "return torch.cat([x[(Ellipsis, 0)], x.new_zeros(x.shape[0], 3)], dim = -1).view(-1, 3)",
    "mul : torch.Tensor = x.mul(inf);  return mul",
]  # fmt: skip

REFUSED = [
    "return open('a')",
    "return self",
    "return self.other",
    "return self.weight.data_ptr()",
    "return self.weight.__class__",
    "return self.train()",
    'return getattr(self.inner, "1").weight',
    'return getattr(x, "__class__")',
    "return getattr(x, 'shape', 3)",
    "return torch.save(x, 'a')",
    "return torch.load('a')",
    "return torch.ops.load_library('a')",
    "return torch.functional.os.system('a')",
    "return torch.from_file('a')",
    "return torch.sum.__globals__",
    "return x.numpy().tofile('a')",
    "return x.sum.__self__",
    "return (lambda: 1)()",
    "return [z for z in x]",
    "return f'{x}'",
    "return {x: 1}",
    "return (z := x)",
    "return __import__('os')",
    "return torch",
    "return fx_pytree",
    "return z",
    "import os\n    return x",
    "global x\n    return x",
    "yield x",
    "del x",
    "x.weight = 1\n    return x",
    "x[0] = 1\n    return x",
    "self = x\n    return x",
    "torch = x\n    return x",
    "__builtins__ = x\n    return x",
    "assert x\n    return x",
    "x += 1\n    return x",
    "x : print = 1\n    return x",
    "return torch.cat(*x)",
    "return torch.cat(**x)",
    "return x if open('a') else x",
    "return x.to(print)",
]

TENSORS = (".weight", ".inner.0.weight")


@pytest.mark.parametrize("code", ALLOWED)
def test_plain_tensor_expressions_are_let_through(code):
    check_graph_code("\n".join(sorted(IMPORTS)) + "\n\n" + FORWARD + code, TENSORS)


@pytest.mark.parametrize("code", REFUSED)
def test_everything_else_in_forward_is_refused(code):
    with pytest.raises(RefusedError, match="graph module"):
        check_graph_code("import torch\n" + FORWARD + code + "\n", TENSORS)


@pytest.mark.parametrize(
    "source",
    [
        "import os\ndef forward(self, x):\n    return x",
        "from torch import load as device\ndef forward(self, x):\n    return x",
        "from builtins import exec as getattr\ndef forward(self, x):\n    return x",
        "import torch",
        "import torch\nasync def forward(self, x):\n    return x",
        "import torch\nclass forward:\n    pass",
        "import torch\ndef forward(self, x):\n    return x\ndef forward(self, x):\n    return x",
        "import torch\ndef forward(self, *x):\n    return x",
        "import torch\ndef forward(self, **x):\n    return x",
        "import torch\ndef forward(self, x=print()):\n    return x",
        "import torch\ndef forward(self, *, x=print()):\n    return x",
        "import torch\ndef forward(self, x: 'print()'):\n    return x",
        "import torch\ndef forward(self, x) -> print():\n    return x",
        "import torch\n@print\ndef forward(self, x):\n    return x",
        "import torch; print()\ndef forward(self, x):\n    return x",
        "import torch\ndef forward(self, x):\n  return",
        "import torch\n\0",
        "def forward(self, x:",
        "(" * 10_000,
    ],
)
def test_everything_around_forward_is_refused(source):
    with pytest.raises(RefusedError, match="graph module"):
        check_graph_code(source, ())


def test_the_line_is_shown():
    with pytest.raises(RefusedError, match=r"line 'torch.load\('a'\)'$"):
        check_graph_code(FORWARD + "return x + torch.load(\n        'a')", ())


def test_a_tensor_operation_is_one():
    """Each name is a function of torch or a method of a tensor, and none writes, reads or calls back."""
    for name in TENSOR_OPERATIONS:
        assert any(hasattr(place, name) for place in (torch, torch.Tensor, torch.nn.functional)), name
    beyond = {
        "save",
        "load",
        "from_file",
        "apply",
        "map",
        "apply_",
        "map_",
        "numpy",
        "tolist",
        "item",
        "compile",
        "vmap",
    }
    assert not TENSOR_OPERATIONS & beyond


# TorchScript


@pytest.fixture(scope="module")
def archive():
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), buffer)
    return buffer.getvalue()


def with_code(archive, line, name=None):
    """The archive with another line in its code, or with another file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(buffer, "w") as new:
        for member in old.namelist():
            content = old.read(member)
            first = member.endswith(".py") and name is None
            new.writestr(member, content + line.encode() if first else content)
        if name is not None:
            new.writestr(f"{old.namelist()[0].partition('/')[0]}/{name}", line)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("  torch.save(x, 'a')", "calls save"),
        ("  torch.from_file('a', True, 8)", "calls from_file"),
        ("  ops.aten.save(x, 'a')", "calls save"),
        ("  # torch.save", "calls save"),
        ("  getattr(torch, 'sa' 've')(x, 'a')", "calls getattr"),
        ("  'sa\\x76e'", "escapes"),
        ("  torch.säve(x)", "escapes or characters beyond ASCII"),
        ("  x : __torch__.torch.classes.profiling._RecordFunction", "calls classes"),
        ("  fork(x)", "calls fork"),
        ("  rpc_sync(x)", "calls rpc_sync"),
        ("  torch.as_strided(x, [9], [1], 0)", "calls as_strided"),
    ],
)
def test_torchscript_that_reaches_further_is_refused(archive, line, found):
    with pytest.raises(RefusedError, match=found):
        check_torchscript(with_code(archive, f"\n{line}\n"))


def test_odd_torchscript_archives_are_refused(archive):
    with pytest.raises(RefusedError, match="no zip archive"):
        check_torchscript(b"PTMF" + archive)
    with pytest.raises(RefusedError, match="cannot be read"):
        check_torchscript(archive[:100])
    with pytest.raises(RefusedError, match=r"the file 'extra/a.zip'"):
        check_torchscript(with_code(archive, "a", "extra/a.zip"))
    with pytest.raises(RefusedError, match=r"posix.system in a TorchScript archive"):
        check_torchscript(with_code(archive, "cposix\nsystem\n.", "code/a.py.debug_pkl"))
    with pytest.raises(RefusedError, match=r"__torch__.torch.classes.A.B in a TorchScript archive"):
        check_torchscript(with_code(archive, "c__torch__.torch.classes.A\nB\n.", "code/a.py.debug_pkl"))


# names


@pytest.mark.parametrize("name", HAND_WRITTEN)
def test_names_are_found_however_they_are_written(name):
    make, found = HAND_WRITTEN[name]
    assert found in named(make("marker"))


def test_a_name_that_cannot_be_resolved_is_said_to_be_one():
    assert named(b"\x80\x04N\x93.") == ["a name that cannot be resolved"]


def test_names_are_shown_as_python_3_has_them():
    assert modern("__builtin__.exec") == "builtins.exec"
    assert modern("commands.Popen") == "subprocess.Popen"
    assert modern("mace.modules.models.MACE") == "mace.modules.models.MACE"
