"""From what somebody asks for, in pytest, a notebook or on the command line, to the suite that is run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlff_probes.calculators.base import Calculator
from mlff_probes.cases.frames import training_frames
from mlff_probes.cases.importers.images import is_bare_band
from mlff_probes.cases.known_failures import KnownFailures, load_known_failures
from mlff_probes.cases.load import AnyCase, load_cases
from mlff_probes.cases.tolerances import Policy, load_policy
from mlff_probes.core.case import Case
from mlff_probes.core.data import DIRECTORY
from mlff_probes.core.errors import InputError
from mlff_probes.measure import FAMILIES
from mlff_probes.scorecard.model import RunOptions
from mlff_probes.session.models import Loading, Models, loaded_models
from mlff_probes.session.selection import bare_band_case
from mlff_probes.session.suite import Suite


def all_of_them(cases: list[AnyCase], policy: Policy) -> list[AnyCase]:
    """All cases, without a choice among them."""
    return cases


@dataclass(frozen=True, kw_only=True)
class SuiteOptions:
    """What a suite is made of, whoever asks for it.

    Attributes
    ----------
    run
        The options that change what is judged and how, as the scorecard records them.
    models
        What to judge: SPECs, files, ASE calculators, loaded calculators, or a dict of these by label.
    loading
        How they are loaded.
    baseline
        The SPEC of a calculator that is measured too, so that the others can be compared with it.
    packaged_cases
        Whether the cases of the package are among those that are run.
    choose
        Picks, of all cases, those that are meant; it is given the tolerances in force as well.
    store
        The directory where measurements and trajectories are kept; None to keep none.
    """

    run: RunOptions
    models: Models
    loading: Loading
    baseline: str | None = None
    packaged_cases: bool = True
    choose: Callable[[list[AnyCase], Policy], list[AnyCase]] = all_of_them
    store: Path | None = None


def assemble(options: SuiteOptions, calculators: Sequence[Calculator] | None = None) -> Suite:
    """Read the tolerances and the cases, load the calculators, and put them together.

    The baseline, if there is one, is the last of the suite's calculators. `calculators` are all of these where they are
    known already.

    Raises
    ------
    InputError
        If anything that the user gave is unusable.
    """
    run = options.run
    policy = load_policy(Path(run.tolerances).expanduser() if run.tolerances else None)
    own = [Path(folder) for folder in run.references]
    folders = directories(own, packaged=options.packaged_cases, option="--probe-reference-only")
    cases = trained_on(options.choose(all_cases(folders, policy), policy), run.training_frames)
    known_failures = _known_failures(run.known_failures, cases)
    if calculators is None:
        calculators = loaded_models(options.models, options.loading, baseline=options.baseline)
    return Suite(
        calculators,
        cases,
        tier=run.tier,
        any_level_of_theory=run.any_level_of_theory,
        known_failures=known_failures,
        timeout=run.timeout_s,
        store=options.store,
        seed=run.seed,
    )


def all_cases(folders: list[Path], policy: Policy) -> list[AnyCase]:
    """All cases of reference directories; a folder that holds a bare band is a case of its own.

    Raises
    ------
    InputError
        If a directory does not exist or holds no cases, or a bare band cannot be used.
    """
    bands = [folder for folder in folders if is_bare_band(folder)]
    cases = load_cases([folder for folder in folders if folder not in bands], policy=policy)
    for folder in bands:
        case = bare_band_case(folder, policy)
        if case.id in {other.id for other in cases}:
            raise InputError(folder, f"the id '{case.id}' of this band is that of another case", "rename the folder")
        cases.append(case)
    return sorted(cases, key=lambda case: (FAMILIES.index(case.family), case.id))


def directories(folders: list[Path], *, packaged: bool, option: str) -> list[Path]:
    """The reference directories of a run, the package's own first.

    Raises
    ------
    InputError
        If none is left; `option` is what left out that of the package.
    """
    if not packaged and not folders:
        raise InputError("", f"{option} leaves no case", f"add {option.removesuffix('-only')}=DIR")
    return [*([DIRECTORY] if packaged else []), *folders]


def trained_on(cases: list[AnyCase], files: Sequence[str]) -> list[AnyCase]:
    """The cases, with the structures of some files as training frames where these are asked for; as they are without.

    Raises
    ------
    InputError
        If a file is missing, empty or cannot be read.
    """
    if not files:
        return cases
    try:
        frames = tuple(training_frames([Path(file).expanduser() for file in files]))
    except InputError as error:
        raise error.within("--probe-training-frames") from error
    return [
        replace(case, training=frames, protocol=protocol)
        if isinstance(case, Case) and (protocol := case.protocol.with_training_given()) is not None
        else case
        for case in cases
    ]


def _known_failures(file: str | None, cases: list[AnyCase]) -> KnownFailures | None:
    if file is None:
        return None
    packaged = {case.stem for case in DIRECTORY.glob("*/*.toml")}
    return load_known_failures(Path(file).expanduser(), cases, left_out=packaged)
