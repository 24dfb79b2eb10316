"""One hash over whatever numbers, structures and records something depends on."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np
from ase import Atoms
from pydantic import BaseModel


def digest(*parts: Any) -> str:
    """SHA-256 of `parts`, as 64 hex digits: the same for equal parts in any process, on any machine.

    Parts are None, truth values, numbers, texts, arrays, structures (with all that they carry), records, dataclasses,
    and mappings, sequences and sets of these. Numbers count to the last bit.

    Raises
    ------
    TypeError
        If a part is anything else, of which it is not known what makes two of them equal.
    """
    found = hashlib.sha256()
    _feed(found.update, parts)
    return found.hexdigest()


def of_text(text: str) -> str:
    """SHA-256 of a text alone, as `sha256sum` says of a file that holds it."""
    return hashlib.sha256(text.encode()).hexdigest()


def _feed(update: Callable[[bytes], None], part: Any) -> None:
    if part is None or isinstance(part, bool | int | float | complex | str | bytes | np.generic):
        update(f"{type(part).__name__} {part!r};".encode())
    elif isinstance(part, np.ndarray):
        if part.dtype.hasobject:
            _feed(update, part.tolist())
        else:
            update(f"array {part.dtype.str} {part.shape};".encode())
            update(np.ascontiguousarray(part).tobytes())
    elif isinstance(part, Atoms):
        _feed(update, _carried(part))
    elif isinstance(part, BaseModel):
        update(f"{type(part).__name__} {part.model_dump_json()};".encode())
    elif dataclasses.is_dataclass(part) and not isinstance(part, type):
        _feed(update, {field.name: getattr(part, field.name) for field in dataclasses.fields(part)})
    elif isinstance(part, Mapping):
        _feed_all(update, "mapping", [(str(name), part[name]) for name in sorted(part, key=str)])
    elif isinstance(part, Set):
        _feed_all(update, "set", sorted(part, key=repr))
    elif isinstance(part, Sequence):
        _feed_all(update, "sequence", part)
    else:
        raise TypeError(f"no hash of a {type(part).__name__} is known")


def _feed_all(update: Callable[[bytes], None], what: str, parts: Iterable[Any]) -> None:
    update(f"{what}(".encode())
    for part in parts:
        _feed(update, part)
    update(b")")


def _carried(atoms: Atoms) -> dict[str, Any]:
    """All that a structure is, and was computed for it."""
    results = atoms.calc.results if atoms.calc is not None else {}
    return {
        "arrays": atoms.arrays,
        "cell": atoms.cell.array,
        "pbc": atoms.pbc,
        "masses": atoms.get_masses(),
        "info": atoms.info,
        "constraints": [constraint.todict() for constraint in atoms.constraints],
        "results": results,
    }
