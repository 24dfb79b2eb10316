"""A calculator written down in a file, `calc.toml`, with all that its spec would have to repeat."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from ase.data import chemical_symbols
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from mlff_probes.calculators.base import CalculatorRequest
from mlff_probes.core.errors import InputError
from mlff_probes.core.levels import Level
from mlff_probes.core.records import Record, Text
from mlff_probes.core.toml import read_toml, validated

SUFFIX = ".toml"
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
LABEL_RULE = "a label is made of letters, digits and _ . + -"
ADDED = ("d3bj", "d3zero")
"""Terms of dispersion that are added to what a calculator computes."""

HERE = "{here}"
"""Stands for the folder of the file in any text of `[arguments]`."""


def _factory(text: str) -> str:
    if not all(part.strip() for part in text.rpartition(":")):
        raise PydanticCustomError("factory", "a factory is written ./file.py:callable or package.module:callable")
    return text


def _label(text: str) -> str:
    if not LABEL.fullmatch(text):
        raise PydanticCustomError("label", LABEL_RULE)
    return text


def _symbol(text: str) -> str:
    if text not in chemical_symbols[1:]:
        raise PydanticCustomError("symbol", "not the symbol of an element")
    return text


def _arguments(table: dict[str, Any]) -> dict[str, Any]:
    ours = sorted({"device", "dtype", "compile", "kernels"} & set(table))
    if ours:
        raise PydanticCustomError("arguments", f"{ours[0]} belongs above [arguments], where options can override it")
    return table


class CalculatorFile(Record):
    """What `calc.toml` may say. The keys of the spec win over it, and it wins over the calculator's attributes."""

    factory: Annotated[Text, AfterValidator(_factory)]
    label: Annotated[str, AfterValidator(_label)] | None = None
    level_of_theory: Level | None = None
    elements: Annotated[tuple[Annotated[str, AfterValidator(_symbol)], ...], Field(min_length=1)] | None = None
    device: Text | None = None
    dtype: Literal["float32", "float64"] | None = None
    compile: Text | None = None
    kernels: Text | None = None
    dispersion: Literal["d3bj", "d3zero"] | None = None
    arguments: Annotated[dict[str, Any], AfterValidator(_arguments)] = Field(default_factory=dict)


def described(request: CalculatorRequest, file: Path) -> CalculatorRequest:
    """The request for the factory that `file` names, where `request` only names the file.

    Raises
    ------
    InputError
        If the file cannot be read, or a key is missing, unknown or unusable.
    """
    try:
        said = validated(CalculatorFile, read_toml(file), file)
    except InputError as error:
        raise error.within(f"--calculator={request.spec}") from error
    request = replace(request, target=f"py:{said.factory}", path=None, table=file)
    return replace(
        request,
        label=request.label or said.label,
        level_of_theory=request.level_of_theory or said.level_of_theory,
        elements=said.elements,
        device=request.device or said.device,
        dtype=request.dtype or said.dtype,
        compile_mode=request.compile_mode or said.compile,
        kernels=request.kernels or said.kernels,
        dispersion=request.dispersion or said.dispersion,
        options=_placed(said.arguments, str(request.folder)) | request.options,
    )


def _placed(value: Any, folder: str) -> Any:
    """`value` with the folder of the file in place of `{here}`, however deep."""
    if isinstance(value, str):
        return value.replace(HERE, folder)
    if isinstance(value, list):
        return [_placed(entry, folder) for entry in value]
    if isinstance(value, dict):
        return {key: _placed(entry, folder) for key, entry in value.items()}
    return value
