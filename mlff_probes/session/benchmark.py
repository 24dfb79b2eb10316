"""The suite without pytest: for a notebook or a script."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Iterable, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from ase import Atoms
from rich import get_console
from rich.progress import Progress

from mlff_probes.calculators.checkpoints.safety import checked_pins
from mlff_probes.calculators.limits import positive_seconds
from mlff_probes.core.errors import InputError
from mlff_probes.core.keeping import store_directory
from mlff_probes.core.records import TIERS, ProbeResult, Tier
from mlff_probes.measure import FAMILIES, KINDS
from mlff_probes.measure.kind import Kind
from mlff_probes.scorecard import files
from mlff_probes.scorecard.model import RunOptions, Scorecard
from mlff_probes.scorecard.reports import csv, notebook, terminal
from mlff_probes.scorecard.reports.figures import PICTURES, Picture, draw_cases
from mlff_probes.session.assemble import SuiteOptions, assemble
from mlff_probes.session.models import Loading, Models
from mlff_probes.session.selection import chosen_cases, stated_band, write_path
from mlff_probes.session.store.models import KnownModels


class Benchmark:
    """Measure and judge one or more force fields, as ``pytest --calculator=…`` does.

    Parameters
    ----------
    model
        What to judge: a SPEC as after `--calculator=`, a checkpoint file, an ASE calculator, a loaded
        `Calculator`; a list of these; or a dict of them by label.
    material
        Formula, for instance ``"Sb2Te3"``: only cases of this material. With a band of one's own it must
        be contained in the band's composition. None for all.
    migration_path
        A case id, a case file (TOML), or a band: a folder, a file that ASE reads, or a list of Atoms
        (`mlff_probes.cases.importers.path.read_band` says what a folder may hold). Then `run` measures this path alone.
        None for all cases of the material.
    reference
        Directories with cases of one's own, added to those of the package.
    tier, device, dtype, tolerances
        As the options `--probe-…` of the same names.
    any_level_of_theory
        Judge a model against references of another level of theory too.
    timeout
        The longest one measurement may take, in seconds; past it its quantities are errors. In a thread other than
        the main one a model call is not interrupted: the measurement then ends after it. None for no limit.
    trust_checkpoint
        Load a checkpoint that the check refuses all the same, with whatever code is in it.
    sha256
        Hashes of which every checkpoint file must have one, as after `--probe-sha256=`.
    store
        Directory where measurements and trajectories are kept and looked for, as after `--probe-store=`; made when
        the first is kept. None to keep none.
    level_of_theory, uncertainty_ev, migrating_atom
        Of a band given as `migration_path`: see `mlff_probes.cases.importers.path.band_case`.
    energy_key, forces_key
        Under which names that band stores energies (eV) and forces (eV/A); None for the usual ones.
    reorder_atoms
        Of that band: True to number the atoms of all images as in the first, each by the nearest place; False where
        atoms do change places between images; None to refuse a band in which they seem to.

    training_frames
        Files with frames that the model learned, as after `--probe-training-frames=`.

    Raises
    ------
    InputError
        If anything given is unusable, with how to mend it.
    """

    def __init__(
        self,
        *,
        model: Models,
        material: str | None = None,
        migration_path: str | os.PathLike[str] | Sequence[Atoms] | None = None,
        reference: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = (),
        tier: Tier = "quick",
        device: str | None = None,
        dtype: str | None = None,
        tolerances: str | os.PathLike[str] | None = None,
        any_level_of_theory: bool = False,
        timeout: float | None = None,
        trust_checkpoint: bool = False,
        sha256: str | Iterable[str] = (),
        store: str | os.PathLike[str] | None = None,
        level_of_theory: str | None = None,
        uncertainty_ev: float | None = None,
        migrating_atom: int | None = None,
        energy_key: str | None = None,
        forces_key: str | None = None,
        reorder_atoms: bool | None = None,
        training_frames: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = (),
    ) -> None:
        if tier not in TIERS:
            raise InputError("", f"tier={tier!r} must be one of {', '.join(TIERS)}")
        folders = [reference] if isinstance(reference, str | os.PathLike) else list(reference or ())
        learned = [training_frames] if isinstance(training_frames, str | os.PathLike) else list(training_frames)
        pins = checked_pins(sha256, option="sha256")
        self._options = RunOptions(
            tier=tier,
            strict=False,
            any_level_of_theory=any_level_of_theory,
            tolerances=str(tolerances) if tolerances else None,
            references=tuple(str(Path(folder).expanduser()) for folder in folders),
            timeout_s=positive_seconds(timeout, "timeout"),
            trust_checkpoint=trust_checkpoint,
            sha256=pins,
            training_frames=tuple(str(os.fspath(file)) for file in learned),
        )
        stated = stated_band(
            material, level_of_theory, uncertainty_ev, migrating_atom, energy_key=energy_key, forces_key=forces_key,
            reorder_atoms=reorder_atoms,
        )  # fmt: skip
        self._path, self._stated, kept = migration_path, stated, _directory(store)
        self._families = FAMILIES if migration_path is None else ("migration",)
        self._suite = assemble(
            SuiteOptions(
                run=self._options,
                models=model,
                loading=Loading(
                    device=device, dtype=dtype, trust_checkpoint=trust_checkpoint, sha256=pins, pin_option="sha256",
                    tell_apart="name them: model={'first': …, 'second': …}", known=KnownModels(kept) if kept else None,
                ),
                choose=partial(chosen_cases, stated=stated, migration_path=migration_path),
                store=kept,
            )
        )  # fmt: skip
        self._results: dict[str, ProbeResult] = {}
        self._asked: set[str] = set()
        self._interrupted = ""
        self._measured_s = 0.0

    def run(self, *families: str) -> Benchmark:
        """Measure and judge; what was measured before is kept.

        Parameters
        ----------
        families
            Names such as ``"migration"`` or ``"sliding"``; none for all (for the path alone, if one is given).

        Returns
        -------
        Benchmark
            Itself, which a notebook shows as the scorecard.
        """
        unknown = [family for family in families if family not in FAMILIES]
        if unknown:
            raise InputError("", f"there is no family {unknown[0]!r}", f"known are {', '.join(FAMILIES)}")
        self._measure([kind for kind in KINDS if kind.protocol.family in (families or self._families)])
        return self

    def _measure(self, kinds: Sequence[Kind]) -> None:
        requests = [request for kind in kinds for request in self._suite.requests(kind.name)]
        self._asked |= {request.id for request in requests}
        pending = [request for request in requests if request.id not in self._results]
        self._interrupted = "interrupted"  # until all is measured
        start = time.perf_counter()
        try:
            with Progress(transient=True, disable=not (pending and _somebody_looks())) as progress:
                for request in progress.track(pending, description="measuring"):
                    self._results[request.id] = self._suite.result(request)
        finally:
            self._measured_s += time.perf_counter() - start
        if self._asked <= self._results.keys():
            self._interrupted = ""

    @property
    def scorecard(self) -> Scorecard:
        """All that has been measured, as the record behind every report; runs first where nothing has."""
        if not self._asked:
            self.run()
        return Scorecard.build(
            calculators=[calculator.identity for calculator in self._suite.calculators],
            cases=self._suite.cases,
            results=self._results.values(),
            measurements=self._suite.measurements.values(),
            corrected=self._suite.corrected({row.case for row in self._results.values()}),
            options=self._options,
            selected=len(self._asked),
            measured_s=self._measured_s,
            interrupted=self._interrupted,
        )

    @property
    def verdict(self) -> str:
        """The verdict over all that was asked for: passed, failed, nothing judged, or incomplete if interrupted."""
        return self.scorecard.verdict

    def plot_energy_profile(self, path: str | os.PathLike[str] | None = None) -> Picture:
        """Energy along each migration path, reference in black; written to `path` if given.

        Fixed paths are measured now if they were not. What relaxes takes minutes: it is drawn where `run` measured it,
        or where it is the path that was given.
        """
        return self._picture("migration", path)

    def plot_sliding(self, path: str | os.PathLike[str] | None = None) -> Picture:
        """Sliding curves and E(gap), reference in black; measured now if they were not, written to `path` if given."""
        return self._picture("sliding", path)

    def plot_parity(self, path: str | os.PathLike[str] | None = None) -> Picture:
        """Energies and forces against their labels; measured now if they were not, written to `path` if given."""
        return self._picture("parity", path)

    def plot_representation(self, path: str | os.PathLike[str] | None = None) -> Picture:
        """Q and T^2 of paths below their energies, force errors against Q; measured now if they were not."""
        return self._picture("representation", path)

    def export_metrics(self, path: str | os.PathLike[str]) -> Path:
        """Write the scorecard; the suffix names the format: .csv, .json, or .md with figures beside it."""
        target = Path(path).expanduser()
        files.check_path(target, given="export_metrics")
        files.write(self.scorecard, target)
        return target

    def to_case(self, directory: str | os.PathLike[str], *, id: str | None = None, replace: bool = False) -> Path:
        """Write the band that was given as `migration_path` as a case, as ``mlff-probes import path`` does.

        Parameters
        ----------
        directory
            Reference directory, made if need be: the case is ``migration/ID.toml`` in it.
        id
            Of the case; None for the name of the band.
        replace
            Whether a case of that id may be overwritten.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        InputError
            If no band was given, an image has no energy, or neither `level_of_theory` nor the outputs say the level.
        """
        return write_path(self._path, Path(directory).expanduser(), self._stated, id=id, replace_it=replace)

    def to_dataframe(self) -> Any:
        """The scorecard as a pandas DataFrame, one row for each quantity (columns as in the CSV)."""
        return csv.as_dataframe(self.scorecard)

    def _picture(self, family: str, path: str | os.PathLike[str] | None) -> Picture:
        target = None if path is None else Path(path).expanduser()
        if target is not None:
            files.check_path(target, given="path", known=PICTURES)
        self._measure([kind for kind in KINDS if kind.protocol.family == family and self._drawn_unasked(kind)])
        measured = {row.case for row in self._results.values() if row.family == family}
        cases = [case for case in self.scorecard.cases if case.id in measured] if measured else []
        picture = draw_cases(self.scorecard, cases) if cases else None
        if picture is None:
            raise InputError("", self._nothing_to_draw(family))
        if target is not None:
            picture.savefig(target)
        return picture

    def _drawn_unasked(self, kind: Kind) -> bool:
        """Whether a picture may measure what it lacks: what a single call tells, or a path that was given."""
        return not kind.protocol.relaxes or self._families == (kind.protocol.family,)

    def _nothing_to_draw(self, family: str) -> str:
        rows = [row for row in self._results.values() if row.family == family]
        if not rows and any(case.family == family for case in self._suite.cases):
            return f"nothing of {family} was measured, and what relaxes takes minutes; call run({family!r}) first"
        reasons = sorted({row.verdict.reason for row in rows if row.verdict.reason})
        if not rows:
            return f"there is no {family} case of this material to draw"
        return f"there is nothing to draw of {family}: {'; '.join(reasons) or 'nothing was measured'}"

    def __repr__(self) -> str:
        """The scorecard as a table once something was measured."""
        if self._results:
            return terminal.render(self.scorecard)
        labels = ", ".join(calculator.label for calculator in self._suite.calculators)
        return f"<Benchmark of {labels} on {len(self._suite.cases)} cases: not run yet>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return notebook.table(self.scorecard) if self._results else f"<p>{escape(repr(self))}</p>"


def _directory(given: str | os.PathLike[str] | None) -> Path | None:
    """The directory `store`, wherever the work goes on later."""
    if given is None:
        return None
    if not isinstance(given, str | os.PathLike) or not os.fspath(given):
        raise InputError("", f"store={given!r} must be a directory, or None to keep nothing")
    return store_directory(given, f"store={os.fspath(given)!r}")


def _somebody_looks() -> bool:
    """Whether progress can be shown: on a terminal, or in a notebook that has the widgets for it."""
    console = get_console()
    return bool(importlib.util.find_spec("ipywidgets")) if console.is_jupyter else console.is_terminal
