"""TOML tables, strictly: every complaint names the file and the key."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from mlff_probes.core.errors import InputError

Model = TypeVar("Model", bound=BaseModel)


def read_toml(file: Path) -> dict[str, Any]:
    """Content of a TOML file.

    Raises
    ------
    InputError
        If it cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        what = "is not valid TOML" if isinstance(error, tomllib.TOMLDecodeError) else "cannot be read"
        raise InputError(file, f"{what}: {error}") from error


def validated(
    model: type[Model],
    data: dict[str, Any],
    file: Path,
    *,
    prefix: str = "",
    kinds: Collection[str] = (),
    unwritten: Collection[str] = (),
) -> Model:
    """Check `data` against a record type.

    Parameters
    ----------
    model
        The record type.
    data
        What the file holds.
    file
        Named in what is raised.
    prefix
        Put before each key in what is raised: the table in which `data` stands.
    kinds
        The values of `kind` by which the record type tells its parts apart.
    unwritten
        Keys at the top of the record that group what the file writes without such a group; messages leave them out.

    Raises
    ------
    InputError
        That names the file and each key that is missing, unknown or unusable.
    """
    try:
        return model.model_validate_json(json.dumps(data, default=str))
    except ValidationError as error:
        raise InputError(
            file, f"{'; '.join(_problem(row, prefix, kinds, unwritten) for row in error.errors())}"
        ) from error


def _problem(row: Any, prefix: str, kinds: Collection[str], unwritten: Collection[str]) -> str:
    loc = [p for index, p in enumerate(row["loc"]) if not (index == 1 and p in kinds)]  # pydantic's union tag
    if len(loc) > 1 and loc[0] in unwritten:
        del loc[0]
    key = prefix + ".".join(str(p + 1) if isinstance(p, int) else str(p) for p in loc)
    if row["type"].startswith("union_tag"):
        found = row["input"].get("kind") if isinstance(row["input"], dict) else row["input"]
        return f"the key '{key}.kind' must be one of {', '.join(kinds)}, found {found!r}"
    if row["type"] == "missing":
        return f"the key '{key}' is missing"
    if row["type"] == "extra_forbidden":
        return f"unknown key '{key}'"
    return f"the key '{key}': {row['msg'].lower()}, found {row['input']!r}"
