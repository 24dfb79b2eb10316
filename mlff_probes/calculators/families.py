"""Families of models that are known by name, as `families.toml` has them."""

from __future__ import annotations

import contextlib
import pickletools
import re
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from mlff_probes.calculators.identity import versions
from mlff_probes.core.errors import InputError, describe
from mlff_probes.core.levels import Level
from mlff_probes.core.records import Record, Text
from mlff_probes.core.toml import read_toml, validated

TABLE = Path(__file__).parent / "families.toml"

LOOKED_AT_BYTES = 256
"""Of a file that may be text: enough for its first word."""

TEXT_BYTES = 4096
"""Of a file that is no checkpoint: enough to tell text from anything else."""

OF_THE_MODEL = "of the model"
"""As `dtype`: a model computes in the precision in which it was made, and says so itself or not at all."""


PICKLED_BY_CHGNET = ("model_args", "atom_fea_dim", "bond_fea_dim")


def _callable(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", text):
        raise PydanticCustomError("callable", "what is called is written package.module:callable")
    return text


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise PydanticCustomError("pattern", f"not a regular expression ({error})") from error
    return text


Called = Annotated[Text, AfterValidator(_callable)]
Pattern = Annotated[Text, AfterValidator(_pattern)]


class Model(Record):
    """One released model of a family.

    Attributes
    ----------
    level_of_theory
        That of the data it was trained on.
    in_package
        Whether its weights, or parameters, are part of the package, so that nothing is downloaded.
    dtype
        The precision in which it computes, where that is not its family's.
    arguments
        What the factory is given beside the name; an option of the user's wins, and then the level is not known, but
        for that of a head.
    heads
        Its heads (modalities, tasks), each with the level of theory of the data that it was trained on. The argument
        `head_option` of the family names the one that is in use where nobody chooses.
    """

    level_of_theory: Level
    in_package: bool = False
    dtype: Literal["float32", "float64"] | None = None
    arguments: dict[str, str | bool | int | float] = Field(default={})
    heads: dict[Text, Level] = Field(default={})

    @property
    def levels(self) -> str:
        """The level of theory in words, with heads that of each."""
        return ", ".join(f"head {head}: {level}" for head, level in self.heads.items()) or self.level_of_theory

    def level_with(self, options: Mapping[str, Any], head_option: str | None) -> str | None:
        """The level of theory of the head that the user's options choose by `head_option`, or of a model without heads.

        None where other options change which of several levels a model computes on.
        """
        fixed = {key: value for key, value in self.arguments.items() if not (self.heads and key == head_option)}
        head = (self.arguments | dict(options)).get(head_option or "")
        own = all(options.get(key, value) == value for key, value in fixed.items())
        return self.heads.get(str(head), self.level_of_theory) if own else None


class Released(NamedTuple):
    """A released model as lists of models show it: by what it is named, its level of theory, where its weights are."""

    spec: str
    level: str
    weights: str


class Family(Record):
    """A row of `families.toml`.

    Attributes
    ----------
    title
        What people call it.
    package
        The distribution that it needs; its version is noted in the scorecard.
    install
        The command that installs it.
    own_environment
        Why it cannot stand beside the other families; None where it can.
    own_loader
        Whether a family has code of its own in `mlff_probes.calculators.loaders`, and so no `factory`, `argument` or
        `dtype`.
    factory
        What makes the ASE calculator, ``package.module:callable``.
    argument
        Its argument that takes the name of a model, or the path of a file.
    weights
        What gives the file of a model by its name, downloading it where it has to: then the scorecard has its hash.
    by_name
        Whether the factory is given the name of a model all the same, and not that file.
    device_argument
        Its argument that takes the device; None for a family that computes on the CPU alone.
    dtype
        The precision in which it computes; where `dtype_argument` is set, unless another is asked for.
    dtype_argument
        Its argument that takes the precision; None for a family that computes in one alone.
    options
        Further arguments that a user may give.
    head_option
        That of them which chooses one of several heads of a model (a modality, a task); it may be written as
        ``head=`` too.
    heads
        What gives the heads of a file by its path; None where the package is not asked. It reads the file, as loading
        it does.
    files
        What kind of file it reads, in words; None for a family that reads none.
    suffixes, first_line, members, pickled
        How a file is recognised without ``,family=``: by the end of its name, by a regular expression that its first
        line begins with, by the end of the name of an entry of a zip archive, or by strings all of which the pickle of
        a torch file holds.
    names_files
        Whether words in a file that are the names of files beside it name parts of the model, whose hashes are noted.
    unpickles
        Whether reading a file runs whatever code is in it.
    batch
        What makes a batched pass (a `BatchFunction`) of the ASE calculator, ``package.module:callable``; None where
        there is none.
    features, features_name
        What makes a `FeatureFunction` of the ASE calculator, likewise, and what the features are, in words.
    one_a_size
        Whether a calculator reads its model again for another number of atoms, so that there is one for each.
    licence
        Of the code.
    tried
        On what this row was tried.
    default
        The model that the name of the family alone means; None where one must be named.
    models
        The released models.
    """

    title: Text
    package: Text
    install: Text
    licence: Text
    tried: Text
    own_environment: Text | None = None
    own_loader: bool = False
    factory: Called | None = None
    argument: Text | None = None
    weights: Called | None = None
    by_name: bool = False
    device_argument: Text | None = None
    dtype: Literal["float32", "float64", "of the model"] | None = None
    dtype_argument: Text | None = None
    options: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    head_option: Text | None = None
    heads: Called | None = None
    files: Text | None = None
    suffixes: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    first_line: Pattern | None = None
    members: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    pickled: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    names_files: bool = False
    unpickles: bool = False
    batch: Called | None = None
    features: Called | None = None
    features_name: Text = "features"
    one_a_size: bool = False
    default: Text | None = None
    models: dict[str, Model] = Field(default={})

    @model_validator(mode="after")
    def _whole(self) -> Family:
        how = {"factory": self.factory, "argument": self.argument, "dtype": self.dtype}
        lacking = [key for key, value in how.items() if value is None]
        if not self.own_loader and lacking:
            raise PydanticCustomError("lacking", f"'{lacking[0]}' is missing, which a family without a loader needs")
        if self.own_loader and len(lacking) < len(how):
            raise PydanticCustomError("both", "a family with a loader of its own has no factory, argument or dtype")
        if self.default is not None and self.default not in self.models:
            raise PydanticCustomError("default", f"the default '{self.default}' is none of its models")
        if self.head_option is not None and self.head_option not in self.options:
            raise PydanticCustomError("head", f"the head_option '{self.head_option}' is none of its options")
        if self.heads is not None and self.head_option is None:
            raise PydanticCustomError("heads", "heads of files are given, and no head_option says how one is chosen")
        headless = [name for name, model in self.models.items() if model.heads and self.head_option is None]
        if headless:
            raise PydanticCustomError("heads", f"'{headless[0]}' has heads, and no head_option says how one is chosen")
        if not self.models and self.files is None:
            raise PydanticCustomError("nothing", "it has neither models nor files")
        return self

    @property
    def version(self) -> str | None:
        """The installed version of its package; None where that is not installed."""
        return versions(self.package).get(self.package)

    def released(self, name: str) -> list[Released]:
        """The released models of a family of this name, the default marked as such."""
        return [
            Released(
                f"`{name}:{model}`" + (" (default)" if model == self.default else ""),
                each.levels,
                "in the package" if each.in_package else "downloaded",
            )
            for model, each in self.models.items()
        ]

    def about(self, name: str) -> list[tuple[str, str]]:
        """What else is to be said of a family of this name, each with what it is about."""
        files = "`FILE`" if self.own_loader else f"`{name}:FILE` or `FILE`"
        device = "any of torch's" if self.device_argument else "CPU"
        said = [
            ("a file", f"{files}, {self.files}" if self.files else ""),
            ("keys", ", ".join(f"`{option}`" for option in self.options)),
            ("precision", (self.dtype or "") + (", or the one asked for" if self.dtype_argument else "")),
            ("device", "" if self.own_loader else device),
            ("licence", self.licence),
            ("tried on", self.tried),
        ]
        return [(what, text) for what, text in said if text]

    @property
    def how_to_install(self) -> str:
        """The command, and where an environment of its own is needed, why."""
        return self.install + (
            f" (in an environment of its own: {self.own_environment})" if self.own_environment else ""
        )

    def is_its_own(self, path: Path) -> bool:
        """Whether a file is one of this family's, by its name, its first line or the entries of an archive."""
        if path.name.lower().endswith(self.suffixes):
            return True
        if self.members and any(entry.endswith(self.members) for entry in _entries(path)):
            return True
        if self.first_line is None:
            return False
        try:
            with path.open("rb") as handle:
                begin = handle.read(LOOKED_AT_BYTES).decode("utf-8")
        except (OSError, UnicodeDecodeError):
            return False
        return re.match(self.first_line, begin) is not None


def _entries(path: Path) -> list[str]:
    """The names in a zip archive; none where a file is no such thing."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return []


def _strings_in(pickled: bytes) -> set[str]:
    """The strings in a pickle; a ValueError if it is none."""
    return {word for _, arg, _ in pickletools.genops(pickled) if isinstance(arg, str) for word in arg.split(" ")[:1]}


def pickled_in(path: Path) -> set[str]:
    """The strings in the pickle of a torch zip file, module names among them; nothing is unpickled.

    Raises
    ------
    InputError
        If a file is no checkpoint of torch, with what it is.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if any(name.endswith("/constants.pkl") for name in names):
                problem = f"{path} is a TorchScript archive, which cannot be asked for forces of an ASE structure"
                raise InputError("", problem, "name the checkpoint it was exported from")
            first = next((name for name in names if name.endswith("data.pkl")), None)
            if first is None:
                raise InputError("", f"{path} is a zip file, but no torch checkpoint")
            return _strings_in(archive.read(first))
    except InputError:
        raise
    except (zipfile.BadZipFile, OSError, ValueError, EOFError) as error:
        what = _as_text(path) or f"corrupt, cut short, or of a family that is not known here ({describe(error)})"
        raise InputError("", f"{path} is no readable checkpoint: it is {what}") from error


def _as_text(path: Path) -> str:
    """What a file is that holds no checkpoint, where it is empty or text: how it begins tells what kind; else empty."""
    try:
        with path.open("rb") as handle:
            begin = handle.read(TEXT_BYTES)
        lines = begin.decode("utf-8", errors="strict" if len(begin) < TEXT_BYTES else "ignore").splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    if not begin:
        return "empty: cut short, or never written"
    first = next((line.strip() for line in lines if line.strip()), "")
    plain = all(each.isprintable() or each.isspace() for line in lines for each in line)
    return f"a text file, which begins with '{first[:60]}'; a calculator that reads it is named by py:" if plain else ""


def read_families(file: Path) -> dict[str, Family]:
    """The rows of a table of families, by their names.

    Raises
    ------
    InputError
        If it cannot be read, or a row is not what `Family` says; with the row and the key.
    """
    rows: dict[str, Any] = read_toml(file)
    return {name: validated(Family, row, file, prefix=f"{name}.") for name, row in rows.items()}


@cache
def families() -> dict[str, Family]:
    """The families of the package."""
    return read_families(TABLE)


def made_by_row() -> dict[str, Family]:
    """Those of them that have no loader of their own."""
    return {name: row for name, row in families().items() if not row.own_loader}


def _by_text(path: Path) -> list[str]:
    return [name for name, row in made_by_row().items() if row.is_its_own(path)]


def _by_pickle(names: set[str]) -> list[str]:
    if any(name == "mace" or name.startswith("mace.") for name in names):
        return ["mace"]
    if names.issuperset(PICKLED_BY_CHGNET):
        return ["chgnet"]
    return [name for name, row in made_by_row().items() if row.pickled and names.issuperset(row.pickled)]


def refuse_foreign(path: Path, name: str, spec: str) -> None:
    """Refuse a file that is recognised as one of another family than `name`.

    Raises
    ------
    InputError
        With the family that reads it.
    """
    found = _by_text(path)
    if not found:
        with contextlib.suppress(InputError):  # no checkpoint of torch, which may be right for this family
            found = _by_pickle(pickled_in(path))
    if found and name not in found:
        whose = f"{path} is a file of {' or '.join(found)}, not of {name}"
        raise InputError(f"--calculator={spec}", whose, f"write --calculator={path}")


def recognised(path: Path, spec: str, *, pickled: set[str] | None = None) -> str | None:
    """The family whose file `path` is; None for none.

    Parameters
    ----------
    path
        The file.
    spec
        The `--calculator` value, for the message.
    pickled
        The strings in the pickle of a torch file; None for any other file.

    Raises
    ------
    InputError
        If several families recognise it.
    """
    found = _by_pickle(pickled) if pickled is not None else _by_text(path)
    if len(found) > 1:
        raise InputError(
            f"--calculator={spec}", f"{path} may be a file of {' or '.join(found)}", f"say which: ,family={found[0]}"
        )
    return found[0] if found else None
