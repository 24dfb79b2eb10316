"""The objects that a calculator is made of, and what their names and attributes tell of it."""

from __future__ import annotations

import contextlib
import re
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.symbols import Symbols

from mlff_probes.core.levels import level_name

MOST_PARTS = 3000
"""Objects that are looked at, the nearest to the calculator first: a large network has a thousand modules."""

MOST_ENTRIES = 200
"""Entries of one list or dict that are looked at."""

DEEPEST = 3
"""Attributes of attributes in which elements are looked for: ``calculator.models[0].atomic_numbers``."""

HOLDERS = (
    "calc", "calcs", "calculator", "calculators", "base_calc", "base_calculator", "mixer", "model", "models",
    "potential", "potentials", "dft", "dftd3", "dftd4", "dispersion",
)  # fmt: skip
"""Attributes in which calculators keep others: looked at where they are properties, too."""

CLOSED = (
    str, bytes, int, float, complex, bool, type(None), np.ndarray, np.generic, np.dtype, type, ModuleType, FunctionType,
    BuiltinFunctionType, re.Pattern, Atoms,
)  # fmt: skip
"""Kinds of objects in which no calculator is."""

NOT_OURS = frozenset({"logging", "threading", "pathlib", "io", "collections", "functools", "inspect", "importlib"})
"""Modules of Python from whose objects one would come to the whole process."""

ENTRIES = (list, tuple, set, frozenset, deque)
"""Containers, besides tables, whose entries are looked at."""

DISPERSION = re.compile(
    r"""
    (?i: dft[-_]?d\d? | dispersion | vdw | van_?der_?waals | tkatchenko | vv10 )
    | (?<!\d) D[34] (?: bj | zero | op )? m? (?![0-9a-z])                      # SevenNetD3Calculator, MACED4, D3zero
    | (?<![A-Z]) (?: MBD | XDM ) (?: rsSCS | nl | ts )? (?![a-z])              # MyMBDCalculator, but no EMBDing
    | (?<![A-Z]) (?: XTB | TBLite | GFN ) | xTB | Xtb                          # MyXTBCalculator, but no NextBlock
    | (?i: (?<![a-z]) (?: mbd | xdm | [dg]?xtb | gfn ) )                       # pbe-mbd, GFN1-xTB
    | (?i: (?<![a-z]) d[234] (?: bj | zero | op )? m? (?![0-9a-z]) )           # pbe_d3bj, PBE+D4
    | (?i: [-+] (?: d[234] (?![0-9]) | (?: d | r?v | ts | 3c | nl | ddsc ) (?![0-9a-z]) ) )  # PBE-D3atm, PBE+TS
    | (?i: b97 [mx]? (?: d | r?v ) (?![0-9a-z]) )                              # wB97XD, B97D, B97MrV
    """,
    re.VERBOSE,
)
"""In the name of a class, a functional or a method that has dispersion, however it is spelt: `TorchDFTD3Calculator`,
`XTB`, `vdW-DF2`, `GFN2-xTB`."""

DISPERSION_PACKAGE = re.compile(
    r"(?:^|[._])(?:dftd\d?|s?_?d[34]|(?:py|lib)?mbd|xdm|[dg]?xtb|tblite|\w*dispersion\w*|vdw\w*)(?:$|[._])"
)
"""In the name of the module it comes from: `torch_dftd`, `tad_dftd3`, `dftd4.ase`, `ase.calculators.vdwcorrection`."""

DISPERSION_SWITCH = re.compile(
    r"_*(?:l?use_|l|with_|add_|has_|is_|enable_|apply_)?(?:dispersion|disp|dft_?d[234]?|d[34]|i?vdw)(?:_corr(?:ection)?)?"
)
"""An attribute, or a parameter, by which a calculator has it switched on."""

LEVEL_NAME = re.compile(r"_*(?:\w+_)?(?:xc|method|functional)")
"""An attribute, or a parameter, in which a calculator names its functional or its method."""

OFF = ("", "none", "off", "no", "false", ".false.", "0")

STATE_ELEMENTS = (
    "implemented_elements", "supported_elements", "supported_species", "chemical_symbols", "chemical_species",
    "species", "symbols", "element_types", "type_names", "type_map", "type_dict", "atom_types", "specorder",
    "atomic_numbers", "z_table", "zs", "elements",
)  # fmt: skip
"""Attributes and parameters in which calculators and their models say which elements they know."""

TYPES = ("species", "element_types", "type_names", "type_map", "type_dict", "atom_types", "specorder")
"""Those in which a plain 1, 2, … may number the types of atoms: no atomic numbers then."""

OF_A_STRUCTURE = ("symbols", "chemical_symbols")
"""Those in which a calculator may keep the atoms of a structure: one symbol tells nothing then."""


@dataclass(frozen=True)
class Part:
    """One object in a calculator, and where: ``mixer.calcs[1]``; the calculator itself is at the empty place."""

    place: str
    found: Any

    def __str__(self) -> str:
        name = type(self.found).__name__
        return f"{name} ({self.place})" if self.place else name


def parts(calculator: Any) -> list[Part]:
    """The calculator and the objects in it, each once, the nearest first, up to `MOST_PARTS`.

    What a function holds, and what lies in compiled code, is not seen.
    """
    queue, seen, found = deque([Part("", calculator)]), {id(calculator)}, list[Part]()
    while queue and len(found) < MOST_PARTS:
        part = queue.popleft()
        if not isinstance(part.found, (*ENTRIES, Mapping, MethodType)):
            found.append(part)
        for child in _children(part):
            if id(child.found) not in seen and not _closed(child.found):
                seen.add(id(child.found))
                queue.append(child)
    return found


def _closed(found: Any) -> bool:
    tensor = getattr(sys.modules.get("torch"), "Tensor", ())
    foreign = type(found).__module__ in NOT_OURS and not isinstance(found, (*ENTRIES, Mapping, partial))
    return isinstance(found, (CLOSED, tensor)) or foreign


def _children(part: Part) -> Iterator[Part]:
    """What a part holds in its attributes, or in its entries."""
    found, place = part.found, part.place
    with contextlib.suppress(Exception):  # whatever a foreign container or attribute may raise
        if isinstance(found, Mapping):
            yield from (Part(f"{place}[{key!r}]", value) for key, value in list(found.items())[:MOST_ENTRIES])
        elif isinstance(found, MethodType):
            yield Part(f"{place}.__self__", found.__self__)
        elif isinstance(found, ENTRIES):
            yield from (Part(f"{place}[{row}]", value) for row, value in enumerate(list(found)[:MOST_ENTRIES]))
        else:
            dot = f"{place}." if place else ""
            yield from (Part(f"{dot}{name}", value) for name, value in list(_attributes(found).items()))


def _attributes(found: Any) -> dict[str, Any]:
    """The attributes of an object, those in slots too, with the properties among `HOLDERS`."""
    own = dict(getattr(found, "__dict__", {}))
    for name in HOLDERS:
        if name not in own and isinstance(getattr(type(found), name, None), property):
            with contextlib.suppress(Exception):
                own[name] = getattr(found, name)
    for kind in type(found).__mro__:
        if "__slots__" in vars(kind) or kind is partial:
            slots = [(name, slot) for name, slot in vars(kind).items() if isinstance(slot, MemberDescriptorType)]
            for name, slot in slots:
                with contextlib.suppress(AttributeError):  # a slot that is empty
                    own.setdefault(name, slot.__get__(found))
    return own


def dispersion(found: list[Part]) -> Part | None:
    """The first part that by its name, or by that of its package, adds dispersion; or that has it switched on.

    Names tell no more than that: what is found so may add none, which its user must then say.
    """
    for part in found:
        classes = [kind for kind in type(part.found).__mro__ if kind.__module__ != "builtins"]
        if any(has_dispersion(kind.__name__) or _of_dispersion(kind.__module__) for kind in classes):
            return part
        if is_calculator(part.found) and (switch := _switched_on(part.found)):
            return Part(f"{part.place}.{switch}".lstrip("."), part.found)
    return None


def _of_dispersion(module: str) -> bool:
    return DISPERSION_PACKAGE.search(module.lower()) is not None


def is_calculator(found: Any) -> bool:
    """Whether an object is an ASE calculator."""
    return callable(getattr(found, "get_potential_energy", None))


def _switched_on(calculator: Any) -> str:
    """The name of the attribute or parameter that switches dispersion on, or names a level with it; or empty."""
    for name, value in _settings(_attributes(calculator)):
        if DISPERSION_SWITCH.fullmatch(name.lower()) and _is_on(value):
            return name
        if LEVEL_NAME.fullmatch(name.lower()) and isinstance(value, str) and has_dispersion(value):
            return name
    return ""


def _settings(table: Mapping[Any, Any], deepest: int = DEEPEST) -> Iterator[tuple[str, Any]]:
    """The named values of a table, and of the tables in it: ``parameters["input_data"]["system"]["vdw_corr"]``."""
    for name, value in list(table.items())[:MOST_ENTRIES]:
        if isinstance(name, str):
            yield name, value
        if isinstance(value, Mapping) and deepest:
            yield from _settings(value, deepest - 1)


def has_dispersion(said: str) -> bool:
    """Whether a class, a functional, a method or a level of theory that is called so has dispersion in it."""
    return DISPERSION.search(said) is not None


def _is_on(value: Any) -> bool:
    if isinstance(value, str):
        return value.lower() not in OFF
    with contextlib.suppress(Exception):  # such as an array of several entries: there is something
        return bool(value)
    return True


def level_of_theory(found: list[Part]) -> str | None:
    """The level of theory that the calculator states, or else all of its parts that state one; None if none does."""
    said = [(part.place, getattr(part.found, "level_of_theory", None)) for part in found if is_calculator(part.found)]
    levels = {level_name(level) for _, level in said if isinstance(level, str)}
    own = next((level for place, level in said if not place), None)
    return own or (levels.pop() if len(levels) == 1 else None)


def precision(found: list[Part]) -> str | None:
    """The precision of all parameters of the networks in a calculator; None where there are none, or several."""
    kinds = {str(each.dtype).removeprefix("torch.") for each in _parameters(found) if each.is_floating_point()}
    return kinds.pop() if len(kinds) == 1 else None


def whereabouts(found: list[Part]) -> str | None:
    """The device on which all parameters of the networks in a calculator lie; None where there are none, or several."""
    places = {str(each.device) for each in _parameters(found)}
    return places.pop() if len(places) == 1 else None


def _parameters(found: list[Part]) -> Iterator[Any]:
    """The parameters of the networks in a calculator."""
    torch = sys.modules.get("torch")
    if torch is not None:
        for part in found:
            if isinstance(part.found, torch.nn.Module):
                yield from part.found.parameters(recurse=False)


def packages_of(found: list[Part]) -> tuple[str, ...]:
    """The distributions that the classes of the parts come from, sorted."""
    modules = {kind.__module__.partition(".")[0] for part in found for kind in type(part.found).__mro__}
    named = {_distribution(name) for name in modules - sys.stdlib_module_names - {"builtins", "__main__"}}
    return tuple(sorted(name for name in named if name))


def _distribution(module: str) -> str:
    """The distribution that a module comes from; empty for one that was not installed."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        return str(metadata.metadata(module)["Name"])
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    if not {"site-packages", "dist-packages"} & set(Path(file).parts):
        return ""
    return next(iter(_distributions().get(module, [])), "")


@cache
def _distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()  # which takes half a second


def elements_of(calculator: Any, found: list[Part]) -> tuple[str, ...] | None:
    """The elements that a calculator, or else a part of it, says it knows; None if none says.

    Parts of a sum are all asked for every structure: of these, what all know that say it.
    """
    mixed = getattr(getattr(calculator, "mixer", None), "calcs", None)
    if isinstance(mixed, list | tuple):
        known = [set(each) for calc in mixed if (each := elements_of(calc, parts(calc))) is not None]
        common = set.intersection(*known) if known else set()
        return tuple(s for s in chemical_symbols if s in common) if known else None
    near = [part.found for part in found if part.place.count(".") < DEEPEST]
    return next((said for each in near if (said := _said_elements(each)) is not None), None)


def _said_elements(found: Any) -> tuple[str, ...] | None:
    given = getattr(found, "parameters", None)
    table = given if isinstance(given, Mapping) else {}
    for name in STATE_ELEMENTS:
        with contextlib.suppress(Exception):  # whatever a foreign property may raise
            for value in (getattr(found, name, None), table.get(name)):
                if (symbols := _symbols(value)) is not None and not _ambiguous(name, value, symbols):
                    return symbols
    emt = sys.modules.get("ase.calculators.emt")
    if emt is not None and isinstance(found, emt.EMT):
        return tuple(emt.parameters)
    scalar = len(table) == 1 and np.isscalar(next(iter(table.values())))  # {"K": 1.0}: a spring constant
    return None if scalar else _symbols_of_keys(table)  # as of Tersoff's in ASE


def _ambiguous(name: str, value: Any, symbols: tuple[str, ...]) -> bool:
    """Whether these may be the numbers of types, or the atoms of a structure, not the elements that are known."""
    if name in OF_A_STRUCTURE:
        return len(symbols) == 1 or isinstance(value, Symbols)
    entries = [*value, *value.values()] if isinstance(value, Mapping) else [value] if isinstance(value, str) else value
    named = any(isinstance(each, str) for each in entries)
    return name in TYPES and not named and set(symbols) == set(chemical_symbols[1 : len(symbols) + 1])


def _symbols_of_keys(table: Mapping[Any, Any]) -> tuple[str, ...] | None:
    """The symbols that are, or make up, the keys of a table."""
    flat = [each for key in table for each in (key if isinstance(key, tuple) else (key,))]
    return _symbols(list(dict.fromkeys(flat))) if all(isinstance(each, str) for each in flat) else None


def _symbols(value: Any) -> tuple[str, ...] | None:
    """Symbols of a list of symbols or atomic numbers, or of a table from or to them; None if `value` is no such thing.

    A list that names an element twice is the list of the atoms of a structure.
    """
    if isinstance(value, str):
        value = re.findall(r"[^\s,;-]+", value)  # "Cu Al"
    if isinstance(value, Mapping):
        numbered = sorted(value.values(), key=str) in [sorted(range(n, n + len(value)), key=str) for n in (0, 1)]
        return _symbols_of_keys(value) or _symbols(list(value if numbered else value.values()))
    value = getattr(value, "zs", value)  # MACE's table
    with contextlib.suppress(Exception):
        value = value.tolist() if hasattr(value, "tolist") else list(value)
    if not isinstance(value, list) or not value or len(value) != len({str(each) for each in value}):
        return None
    if all(isinstance(each, str) and each in chemical_symbols[1:] for each in value):
        return tuple(value)
    if all(_is_integer(each) and 0 < each < len(chemical_symbols) for each in value):
        return tuple(chemical_symbols[int(each)] for each in value)
    return None


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
