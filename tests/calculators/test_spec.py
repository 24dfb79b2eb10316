"""The grammar of --calculator, and which family a target belongs to."""

from __future__ import annotations

import zipfile
from dataclasses import replace

import pytest

from mlff_probes.calculators.registry import LOADERS, load_calculator
from mlff_probes.calculators.spec import literal, parse_request
from mlff_probes.core.errors import InputError


def test_target_and_options():
    request = parse_request("py:a.b:make,label=mine,sigma=2.5,n=3,name=x,on=true", device="cpu", dtype="float32")
    assert request.target == "py:a.b:make"
    assert request.label == "mine"
    assert request.options == {"sigma": 2.5, "n": 3, "name": "x", "on": True}
    assert (request.device, request.dtype, request.batch, request.path) == ("cpu", "float32", True, None)


def test_a_key_of_the_spec_wins_over_the_option():
    request = parse_request("chgnet,device=cuda:1,dtype=float64,batch=off,level=PBE", device="cpu", dtype="float32")
    assert (request.device, request.dtype) == ("cuda:1", "float64")
    assert (request.batch, request.level_of_theory) == (False, "PBE")


def test_keys_of_the_path():
    request = parse_request("x.model,compile=default,kernels=cuequivariance,head=pbe")
    assert (request.compile_mode, request.kernels, request.options) == ("default", "cuequivariance", {"head": "pbe"})
    plain = parse_request("x.model")
    assert (plain.compile_mode, plain.kernels, plain.gpu) == (None, None, 0)


@pytest.mark.parametrize(
    ("device", "gpu", "numbered"),
    [("cuda", 0, "cuda"), ("cuda", 2, "cuda:2"), ("cuda:1", 2, "cuda:1"), ("cpu", 2, "cpu"), (None, 2, None)],
)
def test_the_number_of_a_device(device, gpu, numbered):
    assert replace(parse_request("x", device=device), gpu=gpu).numbered_device == numbered


def test_an_existing_file_comes_first_and_may_hold_commas(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chgnet").write_text("")
    (tmp_path / "run 1,best.model").write_text("")
    assert parse_request("chgnet").path is not None
    assert str(parse_request("run 1,best.model,head=pbe").path) == "run 1,best.model"


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("", "no calculator is named"),
        (",label=x", "no calculator is named"),
        ("chgnet,label=a,label=b", "'label' is given twice"),
        ("chgnet,label=", "'label' has no value"),
        ("chgnet,label=a b", "a label is made of"),
        ("chgnet,dtype=float16", "dtype must be float32 or float64, found 'float16'"),
        ("chgnet,batch=no", "batch must be auto or off"),
    ],
)
def test_bad_specs(spec, says):
    with pytest.raises(InputError) as caught:
        parse_request(spec)
    assert says in str(caught.value)
    assert f"--calculator={spec}" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"), [("3", 3), ("3.5", 3.5), ("1e-3", 1e-3), ("True", True), ("none", None), ("0.2.0", "0.2.0")]
)
def test_literals(text, value):
    assert literal(text) == value
    assert type(literal(text)) is type(value)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("chgnett", "did you mean chgnet?"),
        ("gap", "py:package.module:factory"),
        ("path/to.model", "there is no file path/to.model"),
        ("missing.pt", "there is no file missing.pt"),
        ("chgnet:9.9", "it holds 0.3.0, 0.2.0, r2scan"),
        ("mace", "MACE needs a checkpoint file"),
        ("chgnet,family=gap", "unknown family 'gap'"),
        ("chgnet,family=chgnt", "unknown family 'chgnt' (did you mean chgnet?)"),
        ("chgnet,family=mace", "chgnet is of the family 'chgnet', not 'mace'"),
        ("ase:NoSuch", "ASE has no calculator 'NoSuch'"),
        ("ase:EMT,dtype=float32", "computes in float64 only, float32 was asked for"),
        ("ase:EMT,device=cuda", "runs on the CPU only, cuda was asked for"),
        ("ase:EMT,compile=default", "compile=default was asked for, but ASE's own calculators have neither"),
        ("ase:EMT,kernels=e3nn", "kernels=e3nn was asked for, but ASE's own calculators have neither"),
        ("chgnet,compile=default", "CHGNet has neither compiled models nor other kernels"),
        ("chgnet,kernels=cuequivariance", "CHGNet has neither compiled models nor other kernels"),
        ("chgnet,kernels=", "'kernels' has no value"),
        ("ase:LennardJones,sigmaa=1", "sigmaa"),
        ("py:factory", "write py:package.module:factory"),
        ("py:no_such_module_here:make", "No module named 'no_such_module_here'"),
        ("py:./absent.py:make", "there is no file absent.py"),
        ("py:json:nothing", "'nothing' does not exist in json; callable there"),
        ("py:math:pi", "'pi' is not callable"),
        ("py:collections:OrderedDict", "returned OrderedDict, which is no ASE calculator"),
    ],
)
def test_what_cannot_be_loaded(spec, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        load_calculator(spec)
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"--calculator={spec}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (
            "noise.model",
            b"\x00\x01" * 500,
            "no readable checkpoint: it is corrupt, cut short, or of a family that is not",
        ),
        ("empty.model", b"", "no readable checkpoint: it is empty"),
        (
            "nep.txt",
            b"\nnep4_zbl 2 Te Pb\n" + b"1.0e-3 " * 2000,
            "it is a text file, which begins with 'nep4_zbl 2 Te Pb'",
        ),
        ("in.sw", "Sb Te … 2.1".encode(), "a calculator that reads it is named by py:"),
        ("half.pt", b"PK\x03\x04" + bytes(range(256)), "no readable checkpoint: it is corrupt"),
        ("calc.py", b"x = 1", "write py:"),
    ],
)
def test_files_that_are_no_checkpoint(name, content, says, tmp_path):
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(InputError, match=says):
        load_calculator(str(file))
    with pytest.raises(InputError, match="the family 'ase' reads no file; leave ,family= out"):
        load_calculator(f"{file},family=ase")


@pytest.mark.parametrize(("spec", "version"), [("toy", None), ("toy:", None), ("toy:2", "2"), ("toy:a:b,n=1", "a:b")])
def test_the_version_is_what_follows_the_colon(spec, version):
    assert parse_request(spec).version == version


def test_zip_files_of_no_known_family(tmp_path):
    for inside, says in (("a.txt", "but no torch checkpoint"), ("x/constants.pkl", "TorchScript")):
        file = tmp_path / "file.pt"
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(inside, b"")
        with pytest.raises(InputError, match=says):
            load_calculator(str(file))
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02}q\x00.")  # an empty dict
    with pytest.raises(InputError, match="no known family"):
        load_calculator(str(file))
    with pytest.raises(InputError, match="is a directory"):
        load_calculator(str(tmp_path))


def test_a_folder_named_like_a_family_does_not_hide_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ase:EMT").mkdir()
    assert load_calculator("ase:EMT").identity.family == "ase"


def test_every_family_has_a_loader_that_exists():
    from importlib import import_module

    for place in LOADERS.values():
        module, _, function = place.partition(":")
        assert callable(getattr(import_module(f"mlff_probes.calculators.loaders.{module}"), function))
