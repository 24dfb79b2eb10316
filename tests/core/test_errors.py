"""What an error says is put together from its parts, and the parts stay what they are."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest

from mlff_probes.core.errors import InputError, OptionError


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        (("--calculator=x", "there is no file x", "write a path"), "--calculator=x: there is no file x; write a path"),
        (("--calculator=x", "there is no file x"), "--calculator=x: there is no file x"),
        (("", "no model is named", "write model='chgnet'"), "no model is named; write model='chgnet'"),
        (("", "no model is named"), "no model is named"),
        ((Path("case.toml"), "holds no frame"), "case.toml: holds no frame"),
    ],
)
def test_the_message_is_made_of_the_parts_that_are_not_empty(parts, says):
    assert str(InputError(*parts)) == says


def test_the_parts_are_attributes():
    error = InputError(Path("case.toml"), "holds no frame: not one; none", "add one")
    assert (error.where, error.problem, error.remedy) == ("case.toml", "holds no frame: not one; none", "add one")
    assert InputError("", "holds no frame").remedy == ""


@pytest.mark.parametrize("kind", [InputError, OptionError])
def test_an_error_can_be_moved_to_another_place(kind):
    error = kind("--calculator=x", "there is no file x", "write a path")
    moved = error.at("--probe-baseline=x")
    assert type(moved) is kind
    assert str(moved) == "--probe-baseline=x: there is no file x; write a path"
    assert error.where == "--calculator=x", "the error itself stays where it is"


@pytest.mark.parametrize("kind", [InputError, OptionError])
def test_an_error_can_be_put_inside_another_place(kind):
    error = kind("calc.toml", "unknown key 'x'", "leave it out").within("--calculator=calc.toml")
    assert type(error) is kind
    assert (error.where, error.problem) == ("--calculator=calc.toml", "calc.toml: unknown key 'x'")
    assert str(error) == "--calculator=calc.toml: calc.toml: unknown key 'x'; leave it out"
    assert str(kind("", "no toy").within("--calculator=toy")) == "--calculator=toy: no toy"


@pytest.mark.parametrize("kind", [InputError, OptionError])
@pytest.mark.parametrize("copied", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy])
def test_an_error_crosses_processes(kind, copied):
    error = kind(Path("case.toml"), "holds no frame", "add one")
    other = copied(error)
    assert type(other) is kind
    assert (other.where, other.problem, other.remedy, str(other)) == (
        "case.toml",
        "holds no frame",
        "add one",
        "case.toml: holds no frame; add one",
    )
