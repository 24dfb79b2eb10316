"""From a request to a loaded calculator: which family, and what to say where there is none."""

from __future__ import annotations

import contextlib
import difflib
import io
import logging
import os
import re
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from mlff_probes.calculators import committee
from mlff_probes.calculators.base import Calculator, CalculatorRequest
from mlff_probes.calculators.calc_file import SUFFIX
from mlff_probes.calculators.checkpoints.safety import checked_pins, hold_to_pins, weights_only_kept
from mlff_probes.calculators.dispersion import with_dispersion
from mlff_probes.calculators.families import families, pickled_in, recognised
from mlff_probes.calculators.identity import sha256 as sha256_of
from mlff_probes.calculators.installed import installed, load_installed
from mlff_probes.calculators.interruption import none_swallowed
from mlff_probes.calculators.process_state import ProcessState
from mlff_probes.calculators.spec import parse_request, with_keys
from mlff_probes.core.errors import InputError, describe
from mlff_probes.core.records import CalculatorIdentity

LOADERS = {
    "chgnet": "chgnet:load",
    "mace": "mace:load",
    "ase": "factory:load_ase",
    "py": "factory:load_py",
}
"""Where families with code of their own are loaded; `families.families` has those that a table describes whole,
`installed.installed` those of other packages, which win over the table."""

FILE_FAMILIES = ("mace", "chgnet")

ALL = "all"
"""What the key of a head says for each of them."""

SUPPORTED = (
    "supported are a MACE checkpoint file, a CHGNet checkpoint file, chgnet, chgnet:0.2.0, chgnet:r2scan, ase:EMT "
    "(any of ASE's own), and for everything else py:package.module:factory or py:./file.py:factory, where factory() "
    "returns any ASE calculator, or a calc.toml that names one, or several of these as committee=a.model+b.model; "
    "`mlff-probes models` lists further families"
)


def load_calculator(
    spec: str,
    *,
    device: str | None = None,
    dtype: str | None = None,
    gpu: int = 0,
    trust_checkpoint: bool = False,
    sha256: Iterable[str] = (),
    shelf: Shelf | None = None,
) -> Calculator:
    """Load the calculator that `spec` names.

    Parameters
    ----------
    spec
        ``SPEC[,key=value…]``; SPEC is, in this order, an existing file, a family with an optional
        version, or ``py:…:factory``.
    device, dtype
        Defaults for calculators whose spec does not say.
    gpu
        The CUDA device to compute on where the device is ``cuda`` or is not named; from 0.
    trust_checkpoint
        Load a checkpoint that the check refuses all the same, with whatever code is in it.
    sha256
        If any are given, a checkpoint file must have one of these hashes.
    shelf
        Models that may be shared with other calculators; None to load one that nobody else has.

    Raises
    ------
    InputError
        If there is no such file or family, the file cannot be read or is refused, or device or dtype cannot be had.
    """
    request = replace(
        parse_request(spec, device=device, dtype=dtype),
        gpu=gpu,
        trust_checkpoint=trust_checkpoint,
        pins=checked_pins(sha256, option="sha256"),
    )
    family = _family(request)
    if (key := _key_of_all_heads(request, family)) is not None:
        raise InputError(
            f"--calculator={spec}", f"{key}={ALL} stands for several calculators, and one is meant here", "name a head"
        )
    return _loaded(request, family, shelf)


def each_head(spec: str, *, trust_checkpoint: bool = False, sha256: Iterable[str] = ()) -> list[str]:
    """The SPECs that a SPEC stands for: itself, or with ``head=all`` one for each head of its model.

    A label that the user gave gets the name of the head behind it.

    Parameters
    ----------
    spec, trust_checkpoint, sha256
        As of `load_calculator`.

    Raises
    ------
    InputError
        As `load_calculator`, where all heads are meant.
    """
    request = parse_request(spec)
    if ALL not in request.options.values():
        return [spec]
    label = request.label
    if committee.is_committee(request.target):  # whose members all have the heads of the first
        request = committee.member_requests(request)[0]
    family = _family(request)
    if (key := _key_of_all_heads(request, family)) is None:
        return [spec]
    request = replace(request, trust_checkpoint=trust_checkpoint, pins=checked_pins(sha256, option="sha256"))
    with _loading(request, ProcessState()):
        heads = _heads(request, family)
    return [with_keys(spec, **{key: h}, **({"label": f"{label}-{_slug(h)}"} if label else {})) for h in heads]


def _heads(request: CalculatorRequest, family: str) -> list[str]:
    if family == "mace":
        from mlff_probes.calculators.loaders import mace

        return mace.heads(request)
    from mlff_probes.calculators.loaders import named

    return named.heads(request, family)


def _key_of_all_heads(request: CalculatorRequest, family: str) -> str | None:
    """The key by which a request asks for all heads; None where it does not, or its family has none."""
    if ALL not in request.options.values() or (family in installed() and family not in LOADERS):
        return None
    row = families().get(family)
    if row is None or row.head_option is None:
        return None
    return next((key for key in ("head", row.head_option) if request.options.get(key) == ALL), None)


@contextlib.contextmanager
def _loading(request: CalculatorRequest, state: ProcessState) -> Iterator[None]:
    """Around what reads a model."""
    # Spinning OpenMP threads slow a model down a hundredfold as soon as another process wants a core
    # (measured: 12 ms a call become 1,600). This must be said before torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with quiet(), weights_only_kept(), none_swallowed(), state.during():
        try:
            yield
        except (ImportError, OSError) as error:
            raise InputError(f"--calculator={request.spec}", f"cannot be loaded: {describe(error)}") from error


class Shelf:
    """The models that were loaded for one run: what is asked for twice is loaded once.

    What a factory or another package makes is not among them: whether two of it may be one is not known here.
    """

    def __init__(self) -> None:
        self._loaded: dict[str, tuple[Calculator, ProcessState]] = {}

    def get(
        self, request: CalculatorRequest, family: str, load: Callable[[], tuple[Calculator, ProcessState]]
    ) -> tuple[Calculator, ProcessState]:
        """What was loaded for a request of the same model, and what that changed of the process; else `load` it.

        The label and the foundation may be others.
        """
        if not is_ours(family):
            return load()
        path = request.path and request.path.resolve()
        target = "" if path else request.target
        # as text, in which 1 and true are not equal
        key = repr(replace(request, spec="", label=None, foundation=None, path=path, target=target))
        if key not in self._loaded:
            self._loaded[key] = load()
        return self._loaded[key]


def is_ours(family: str) -> bool:
    """Whether a family is loaded by code of this package, from a model that others made."""
    return family in FILE_FAMILIES or not (family in LOADERS or family in installed() or family == committee.FAMILY)


def _loaded(request: CalculatorRequest, family: str, shelf: Shelf | None) -> Calculator:
    """The calculator that was asked for: of what lies on the shelf where that will do, with a name of its own."""
    start = time.perf_counter()

    def load() -> tuple[Calculator, ProcessState]:
        state = ProcessState()
        with _loading(request, state):
            found = _load(request, family, shelf)
            # the members of a committee have the term each
            return (found if family == committee.FAMILY else with_dispersion(found, request)), state

    calculator, state = load() if shelf is None else shelf.get(request, family, load)
    foundation = _foundation(request, shelf)
    identity = calculator.identity
    read = committee.hashes(identity)
    identity = identity.model_copy(
        update={
            "spec": request.spec,
            "load_s": time.perf_counter() - start,
            "label": request.label or _slug(calculator.label),
            "pinned": bool(read) and set(read) <= set(request.pins),
            "left_behind": (*identity.left_behind, *state.changed),
            **_said_of(foundation, identity),
        }
    )
    calculator = replace(calculator, foundation=foundation)

    def fresh(**changes: Any) -> Calculator:
        same = read or request.pins  # not what the file may have become since
        # one that is loaded again is asked for its numbers, not for what it was before
        return _loaded(replace(request, pins=same, foundation=None, **changes), family, None)

    found = replace(calculator, identity=identity, labelled=request.label is not None, fresh=fresh, state=state)
    if family == committee.FAMILY:
        return found
    chosen_by_us = ("cuda", "auto", None) if is_ours(family) else ("cuda",)
    return replace(found, device_given_out=request.device in chosen_by_us)


def _foundation(request: CalculatorRequest, shelf: Shelf | None) -> Calculator | None:
    """What a calculator was fine-tuned from, on the same device; None where nobody says."""
    if request.foundation is None:
        return None
    where = f"--calculator={request.spec}"
    try:
        asked = parse_request(request.foundation, device=request.device)
        asked = replace(asked, gpu=request.gpu, trust_checkpoint=request.trust_checkpoint, pins=request.pins)
        return _loaded(asked, _family(asked), shelf)
    except InputError as error:
        raise InputError(where, f"its foundation {request.foundation}: {error.problem}", error.remedy) from error


def _said_of(foundation: Calculator | None, identity: CalculatorIdentity) -> dict[str, Any]:
    """What an identity says of the foundation: its label, and the hash of its file."""
    if foundation is None:
        return {}
    known, digest = foundation.identity, foundation.identity.sha256
    files = {f"foundation {known.label}": digest} if digest else {}
    return {"options": {**identity.options, "foundation": known.label}, "files": identity.files | files}


def _load(request: CalculatorRequest, family: str, shelf: Shelf | None) -> Calculator:
    if family == committee.FAMILY:
        return committee.load(request, lambda member: _loaded(member, _family(member), shelf))
    if family not in LOADERS and family in installed():
        if request.path is not None:
            hold_to_pins(request, request.path, sha256_of(request.path))
        return load_installed(request, family)
    if family not in LOADERS:
        from mlff_probes.calculators.loaders import named

        return named.load(request, family)
    module, _, function = LOADERS[family].partition(":")
    load: Callable[[CalculatorRequest], Calculator] = getattr(
        import_module(f"mlff_probes.calculators.loaders.{module}"), function
    )
    return load(request)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what model packages print, log and warn while they load out of the report.

    A user's ``filterwarnings = error`` must not turn a deprecation inside torch into a broken run.
    """
    disabled = logging.root.manager.disable
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(disabled)


def _slug(name: str) -> str:
    """A default label that can stand in a pytest id: ASCII letters, digits and _ . + -."""
    return re.sub(r"[^A-Za-z0-9_.+-]+", "_", name.removesuffix(".pth")).strip("_.-+") or "calculator"


def _family(request: CalculatorRequest) -> str:
    forced, name = request.family, request.target.partition(":")[0]
    if committee.is_committee(request.target):
        return committee.FAMILY
    if forced is not None and not _is_family(forced):
        raise InputError(f"--calculator={request.spec}", f"unknown family '{forced}'{_hint(forced)}", supported())
    if request.path is not None:
        return _file_family(request.path, request.spec, forced)
    if _is_family(name):
        if forced not in (None, name):
            raise InputError(
                f"--calculator={request.spec}", f"{request.target} is of the family '{name}', not '{forced}'"
            )
        return name
    if Path(request.target).is_dir():
        raise InputError(
            f"--calculator={request.spec}", f"{request.target} is a directory", "name the checkpoint file inside it"
        )
    if "/" in request.target or Path(request.target).suffix or "\\" in request.target:
        raise InputError(
            f"--calculator={request.spec}", f"there is no file {request.target} (looked from {Path.cwd()})"
        )
    raise InputError(
        f"--calculator={request.spec}",
        f"'{request.target}' is no file and no known family{_hint(name)}",
        supported(),
    )


def _is_family(name: str) -> bool:
    return name in LOADERS or name in installed() or name in families()


def _hint(name: str) -> str:
    close = difflib.get_close_matches(name, [*LOADERS, *installed(), *families()], n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def supported() -> str:
    """What `--calculator` may name, families of installed packages included."""
    added = sorted(set(installed()) - set(LOADERS))
    more = f"; installed packages add {', '.join(added)} (a file of theirs: ,family=…)" if added else ""
    return SUPPORTED + more


def _file_family(path: Path, spec: str, forced: str | None) -> str:
    if forced is not None and forced not in LOADERS:
        return forced
    if forced not in (None, *FILE_FAMILIES):
        raise InputError(f"--calculator={spec}", f"the family '{forced}' reads no file", "leave ,family= out")
    if path.suffix == SUFFIX:  # without a family it would have been read as a calculator file
        raise InputError(f"--calculator={spec}", f"{path} is no checkpoint but a calculator file", "leave ,family= out")
    if path.suffix == ".py":
        raise InputError(f"--calculator={spec}", f"{path} is Python source", f"write py:{path}:factory")
    if forced is None and (found := recognised(path, spec)):
        return found
    try:
        names = pickled_in(path)
    except InputError as error:
        raise InputError(f"--calculator={spec}", error.problem, error.remedy or supported()) from error
    if forced is not None:
        return forced
    if found := recognised(path, spec, pickled=names):
        return found
    raise InputError(f"--calculator={spec}", f"{path} is a torch file of no known family", supported())
