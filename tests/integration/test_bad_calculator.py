"""A `--calculator` that cannot be had: exit 4 and one sentence that says what, where and how to mend it."""

from __future__ import annotations

import zipfile

import pytest
import torch

from mlff_probes.calculators.registry import load_calculator
from mlff_probes.core.errors import InputError

BAD = '''
"""Factories that fail."""


def broken():
    raise RuntimeError("the licence server is down")


def leaves():
    raise SystemExit("no weights, good bye")


def nothing():
    return None


def number():
    return 42


def plain():
    from ase.calculators.lj import LennardJones

    return LennardJones()


not_callable = 3
'''

WORKERS = [pytest.param((), id="one process"), pytest.param(("-n", "2"), id="-n 2")]
SUPPORTED = ("supported are a MACE checkpoint file", "chgnet", "ase:EMT", "py:package.module:factory", "py:./file.py")
LOOKED = "(looked from {cwd})"

REFUSED = {
    "missing checkpoint": (["nosuch.model"], ["there is no file nosuch.model", LOOKED]),
    "random bytes": (["random.model"], ["random.model is no readable checkpoint", "corrupt, cut short", *SUPPORTED]),
    "truncated zip": (["cut.model"], ["cut.model is no readable checkpoint", "corrupt, cut short", *SUPPORTED]),
    "directory": (["folder"], ["folder is a directory; name the checkpoint file inside it"]),
    "unknown family": (["gap"], ["'gap' is no file and no known family", *SUPPORTED]),
    "misspelt family": (["chgnt"], ["'chgnt' is no file and no known family (did you mean chgnet?)", *SUPPORTED]),
    "empty": ([""], ["no calculator is named; write for instance --calculator=chgnet"]),
    "no such module": (["py:nosuch.module:f"], ["ModuleNotFoundError: No module named 'nosuch'", LOOKED]),
    "no such source": (["py:./nosuch.py:f"], ["there is no file nosuch.py", LOOKED]),
    "no such attribute": (["py:./bad.py:f"], ["'f' does not exist in ./bad.py", "callable there: broken"]),
    "no such attribute in a module": (["py:math:f"], ["'f' does not exist in math", "callable there: acos"]),
    "syntax error": (["py:./syntax.py:f"], ["cannot be imported: SyntaxError", "syntax.py, line 2"]),
    "factory that raises": (
        ["py:./bad.py:broken"],
        ["cannot be built: RuntimeError: the licence server is down", "bad.py:6"],
    ),
    "factory that exits": (["py:./bad.py:leaves"], ["cannot be built: SystemExit: no weights, good bye", "bad.py:10"]),
    "factory that returns nothing": (["py:./bad.py:nothing"], ["nothing() returned None", "no ASE calculator"]),
    "float64 CHGNet": (["chgnet,dtype=float64"], ["CHGNet computes in float32 only", "leave the dtype out"]),
    "float32 EMT": (["ase:EMT,dtype=float32"], ["'ase:EMT' computes in float64 only, float32 was asked for"]),
    "unknown key": (
        ["chgnet,colour=red"],
        ["the family 'chgnet' has no option 'colour'; it takes label, device", "batch, dispersion (d3bj or d3zero)"],
    ),
    "one label twice": (["ase:EMT", "ase:EMT"], ["two calculators are called 'EMT'", ",label=…"]),
}
"""Judged by exit code and rendering, with and without workers."""

REFUSED_TOO = {
    "missing/best": ["there is no file missing/best", LOOKED],
    "empty.model": ["empty.model is no readable checkpoint: it is empty", *SUPPORTED],
    "other.zip": ["other.zip is a zip file, but no torch checkpoint", *SUPPORTED],
    "whole.model": ["whole.model is a torch file of no known family", *SUPPORTED],
    "bad.py": ["bad.py is Python source; write py:bad.py:factory"],
    "chgnet:9.9": ["there is no CHGNet '9.9' in its package", "0.3.0, 0.2.0, r2scan"],
    "mace": ["MACE needs a checkpoint file or the name of a model; write --calculator=path/to.model"],
    "ase:Nosuch": ["ASE has no calculator 'Nosuch'", "EMT, LennardJones"],
    "ase:EMT,device=cuda": ["'ase:EMT' runs on the CPU only, cuda was asked for"],
    "ase:EMT,colour=red": ["'ase:EMT' has no option 'colour'; it takes label, device"],
    "ase:LennardJones,sigm=2.5": ["'ase:LennardJones' has no option 'sigm'; it takes label", "sigma"],
    "ase:EMT,label=a,label=b": ["the key 'label' is given twice"],
    "ase:EMT,label=": ["the key 'label' has no value"],
    "ase:EMT,label=a[b]": ["a label is made of letters, digits", "found 'a[b]'"],
    "chgnet,dtype=float16": ["dtype must be float32 or float64, found 'float16'"],
    "random.model,family=gap": ["unknown family 'gap'", *SUPPORTED],
    ",label=x": ["no calculator is named; write for instance --calculator=chgnet"],
    "py:./bad.py": ["write py:package.module:factory or py:./file.py:factory"],
    "py:./bad.py:not_callable": ["'not_callable' is not callable in ./bad.py"],
    "py:./raises.py:f": ["cannot be imported: OSError: no weights", "raises.py:1"],
    "py:./exits.py:f": ["cannot be imported: SystemExit", "exits.py:1"],
    "py:./bad.py:number": ["number() returned int", "no ASE calculator"],
    "py:./bad.py:plain,cutoff=5": ["plain() takes no argument 'cutoff'; its arguments are: none"],
    "py:./bad.py:plain,dtype=float32": ["plain() takes no argument 'dtype'", "leave the dtype out"],
    "py:./bad.py:plain,device=cuda": ["plain() takes no argument 'device'", "leave the device out"],
}
"""Further refusals, told apart by their message alone: they leave by the same way as those above."""

ABSENT = "the device 'cuda' is not there: torch {torch} sees 0 CUDA devices; use --probe-device=cpu"
TORCH_DEVICES = {
    "CUDA for all": (["--calculator=chgnet", "--probe-device=cuda"], ABSENT),
    "CUDA for one": (["--calculator=chgnet,device=cuda", "--probe-device=cpu"], ABSENT),
    "nonsense": (["--calculator=chgnet", "--probe-device=gpu"], "unknown device 'gpu'; use cpu, cuda, cuda:N, mps"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with all that is spoilt in its own way."""
    directory = tmp_path_factory.mktemp("bad")
    (directory / "bad.py").write_text(BAD)
    (directory / "syntax.py").write_text("x = 1\ndef f(:\n    pass\n")
    (directory / "raises.py").write_text("raise OSError('no weights')\n")
    (directory / "exits.py").write_text("raise SystemExit(3)\n")
    (directory / "random.model").write_bytes(bytes((7 * i * i + 3) % 251 for i in range(4096)))
    (directory / "empty.model").write_bytes(b"")
    torch.save({"weights": torch.arange(1000)}, directory / "whole.model")
    whole = (directory / "whole.model").read_bytes()
    (directory / "cut.model").write_bytes(whole[: len(whole) // 2])
    with zipfile.ZipFile(directory / "other.zip", "w") as archive:
        archive.writestr("letter.txt", "Dear all")
    (directory / "folder").mkdir()
    return directory


@pytest.mark.parametrize(("name", "workers"), [*((name, ()) for name in REFUSED), ("random bytes", ("-n", "2"))])
def test_is_refused_in_one_sentence(name, workers, folder, run_probes_in):
    specs, parts = REFUSED[name]
    run = run_probes_in(folder, *(f"--calculator={spec}" for spec in specs), *workers)
    run.assert_usage_error(*(part.format(cwd=folder) for part in parts))
    if len(specs) == 1:
        assert run.stderr.startswith(f"ERROR: --calculator={specs[0]}: ")


@pytest.mark.parametrize("spec", REFUSED_TOO)
def test_message(spec, folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(InputError) as caught:
        load_calculator(spec)
    message = str(caught.value)
    assert message.startswith(f"--calculator={spec}: ")
    assert "\n" not in message
    for part in REFUSED_TOO[spec]:
        assert part.format(cwd=folder) in message


@pytest.mark.parametrize(("name", "workers"), [*((name, ()) for name in TORCH_DEVICES), ("CUDA for all", ("-n", "2"))])
def test_device_that_is_not_there(name, workers, folder, run_probes_in):
    """The inner runs see no CUDA device on any machine, see `environment`."""
    args, part = TORCH_DEVICES[name]
    run_probes_in(folder, *args, *workers).assert_usage_error(args[0], part.format(torch=torch.__version__))


@pytest.mark.parametrize("workers", WORKERS)
def test_space_instead_of_equals_sign(workers, folder, run_probes_in):
    run = run_probes_in(folder, *workers, "--calculator", "whole.model")
    run.assert_usage_error("write --calculator=whole.model with '='", "takes the path for a test path")


@pytest.mark.parametrize("workers", WORKERS)
def test_space_before_a_file_of_another_project(workers, folder, tmp_path, run_probes_in):
    """Pytest then reads the other project's configuration, which must not get in the way of the message."""
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -q --strict-markers\n")
    (tmp_path / "best.model").write_bytes(b"")
    run = run_probes_in(folder, *workers, "--calculator", f"{tmp_path}/best.model")
    run.assert_usage_error(f"write --calculator={tmp_path}/best.model with '='", "moves its root directory there")


def test_space_before_the_second_calculator(folder, run_probes_in):
    run = run_probes_in(folder, "--calculator=ase:EMT", "--calculator", "whole.model")
    run.assert_usage_error("write --calculator=whole.model with '='")
