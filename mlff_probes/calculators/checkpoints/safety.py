"""Checkpoint files: read once, hashed, held to what a model of the family consists of, and only then loaded.

This is no sandbox. It narrows what a file can do to what torch, e3nn and mace do with numbers from it; a fault in
their own code that numbers can reach stays open. The one thing called trust is a hash that the user pinned.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlff_probes.calculators.base import CalculatorRequest
from mlff_probes.calculators.checkpoints.embedded_code import RefusedError
from mlff_probes.calculators.checkpoints.pickle_names import modern, named
from mlff_probes.calculators.checkpoints.torchscript import ZIP_START
from mlff_probes.calculators.committee import hashes
from mlff_probes.core.errors import InputError, OptionError
from mlff_probes.core.records import CalculatorIdentity, Checkpoint

_MEMBER = re.compile(
    r"data\.pkl|data/\d+|version|byteorder|\.format_version|\.storage_alignment|\.data/serialization_id"
)
"""The files in an archive of `torch.save`."""

_WEIGHTS = re.compile(
    r"torch\.(\w+Storage|device|Size|u?int\d+|float\d+|bool)|torch\._utils\._rebuild_\w+|torch\._tensor\._rebuild_\w+"
    r"|collections\.(OrderedDict|Counter)|_codecs\.encode|(__builtin__|builtins)\.(set|bytes|bytearray)"
)
"""Names that plain weights hold too: left out when it is said why torch refused a file."""


@dataclass(frozen=True)
class File:
    """A checkpoint file as it was read, once: what is hashed is what is checked and loaded."""

    request: CalculatorRequest
    path: Path
    data: bytes
    sha256: str


def read(request: CalculatorRequest, path: Path) -> File:
    """Read a file and hold its hash to those that are pinned.

    Raises
    ------
    InputError
        If hashes are pinned and the file has another one.
    """
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    hold_to_pins(request, path, found)
    return File(request, path, data, found)


def hold_to_pins(request: CalculatorRequest, path: Path, found: str) -> None:
    """Refuse a file whose hash is not among the pinned ones, if any are pinned."""
    if request.pins and found not in request.pins:
        raise InputError(
            f"--calculator={request.spec}",
            f"{path} has the SHA-256 {found}, which --probe-sha256 does not name",
            f"if this is the file you mean, add --probe-sha256={found}, else find out who changed it",
        )


def load_model(file: File) -> tuple[Any, Checkpoint]:
    """The model in a MACE checkpoint, and how it was loaded.

    Raises
    ------
    InputError
        If the file holds what a MACE model does not consist of, and `--probe-trust-checkpoint` was not given.
    Exception
        Whatever torch raises over a file that is broken.
    """
    import torch

    from mlff_probes.calculators.checkpoints import torchscript, unpickling

    torchscript.operators_with.cache_clear()
    try:
        unpickling.rehearse(_pickle(file.data))
        model = torch.load(
            io.BytesIO(file.data), map_location="cpu", weights_only=False, mmap=False, pickle_module=unpickling
        )
    except RefusedError as error:
        return _on_trust(file, str(error)), "unchecked"
    return model, "checked"


def load_weights(file: File) -> tuple[Any, Checkpoint]:
    """The plain weights in a file, read by torch's own restricted unpickler; see `load_model`."""
    import torch

    try:
        # said outright, since TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD turns the default around (importing mace sets it)
        return torch.load(io.BytesIO(file.data), map_location="cpu", weights_only=True), "plain weights"
    except pickle.UnpicklingError as error:
        beyond = [modern(name) for name in _names(file.data) if not _WEIGHTS.fullmatch(name)]
        if not beyond:
            raise
        return _on_trust(file, ", ".join(beyond), error), "unchecked"


def _on_trust(file: File, found: str, error: Exception | None = None) -> Any:
    """What a refused file holds, if the user overrides the refusal."""
    import torch

    if not file.request.trust_checkpoint:
        raise InputError(
            f"--calculator={file.request.spec}",
            f"{file.path} is refused, for loading it could run code that is in it (found: {found})",
            f"if you trust where it comes from, pin it with --probe-sha256={file.sha256} and add "
            "--probe-trust-checkpoint",
        ) from error
    return torch.load(io.BytesIO(file.data), map_location="cpu", weights_only=False)


def _pickle(data: bytes) -> bytes:
    """The pickle in an archive of `torch.save`, if the archive holds that and tensors and nothing else."""
    from torch._C import PyTorchFileReader  # the reader that torch.load uses, so that both see the same files

    if not data.startswith(ZIP_START):
        raise RefusedError("no zip archive, but a file of an older format of torch or of none")
    reader = PyTorchFileReader(io.BytesIO(data))
    unexpected = [repr(name) for name in reader.get_all_records() if not _MEMBER.fullmatch(name)]
    if unexpected:
        raise RefusedError(", ".join(unexpected) + " in the archive, which torch.save does not write")
    pickled: bytes = reader.get_record("data.pkl")
    return pickled


def _names(data: bytes) -> list[str]:
    try:
        return named(_pickle(data))
    except RefusedError as error:
        return [str(error)]


def checked_pins(given: Iterable[str], *, option: str) -> tuple[str, ...]:
    """The hashes after `option`, in lower case.

    Raises
    ------
    OptionError
        If one is not 64 hex digits.
    """
    pins = (given,) if isinstance(given, str) else tuple(given)
    for pin in pins:
        if not re.fullmatch(r"[0-9a-fA-F]{64}", str(pin)):
            raise OptionError(f"{option}={pin}", "a SHA-256 is 64 hex digits, as sha256sum FILE prints it")
    return tuple(pin.lower() for pin in pins)


def check_pins_used(pins: Iterable[str], identities: Iterable[CalculatorIdentity], *, option: str) -> None:
    """Refuse a pinned hash that no calculator has.

    Raises
    ------
    OptionError
        With the hashes that were found.
    """
    found = {sha256: identity.label for identity in identities for sha256 in hashes(identity)}
    for pin in pins:
        if pin not in found:
            has = ", ".join(f"{label} has {sha256}" for sha256, label in found.items()) or "none is read from a file"
            raise OptionError(
                f"{option}={pin}", f"no calculator has this SHA-256 ({has})", "correct it or leave it out"
            )


NO_WEIGHTS_ONLY = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
"""The environment variable by which importing mace makes every `torch.load` unpickle anything."""


@contextmanager
def weights_only_kept() -> Iterator[None]:
    """Restore the environment variable that importing mace sets."""
    before = os.environ.get(NO_WEIGHTS_ONLY)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(NO_WEIGHTS_ONLY, None)
        else:
            os.environ[NO_WEIGHTS_ONLY] = before


def as_imported_by_a_factory() -> None:
    """Set that variable as the import of mace in a factory would, had mace not been imported before.

    A factory answers for the files that it loads. It would else make a MACE once, and not when it is loaded again, or
    after another calculator that uses mace.
    """
    if "mace" in sys.modules:
        os.environ[NO_WEIGHTS_ONLY] = "1"
