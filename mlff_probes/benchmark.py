"""The suite without pytest: for a notebook or a script."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.formula import Formula
from rich import get_console
from rich.progress import Progress

from mlff_probes.band import band_case, read_band
from mlff_probes.calculators.base import Calculator, CalculatorRequest
from mlff_probes.calculators.registry import load_calculator
from mlff_probes.calculators.wrapping import known_elements, wrapped
from mlff_probes.errors import InputError
from mlff_probes.protocols import BY_KIND, FAMILIES
from mlff_probes.records import NOT_STATED, BrokenCase, Case, ProbeResult, Tier
from mlff_probes.reference import DIRECTORY, load_case, load_cases
from mlff_probes.scorecard import files, html, rows, terminal
from mlff_probes.scorecard.figures import Picture, draw_cases
from mlff_probes.scorecard.model import CaseSummary, RunOptions, Scorecard
from mlff_probes.suite import Suite
from mlff_probes.tolerances import Policy, load_policy

Model = str | os.PathLike[str] | Calculator | Any
"""What names a calculator: a SPEC as after `--calculator=`, a file, an ASE calculator, or a loaded one."""


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
        (`mlff_probes.band.read_band` says what a folder may hold). Then `run` measures this path alone.
        None for all cases of the material.
    reference
        Directories with cases of one's own, added to those of the package.
    tier, device, dtype, tolerances
        As the options `--probe-…` of the same names.
    any_level_of_theory
        Judge a model against references of another level of theory too.
    level_of_theory, uncertainty_ev, migrating_atom
        Of a band given as `migration_path`: see `mlff_probes.band.band_case`.

    Raises
    ------
    InputError
        If anything given is unusable, with how to mend it.
    """

    def __init__(
        self,
        *,
        model: Model | Sequence[Model] | Mapping[str, Model],
        material: str | None = None,
        migration_path: str | os.PathLike[str] | Sequence[Atoms] | None = None,
        reference: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = (),
        tier: Tier = "quick",
        device: str | None = None,
        dtype: str | None = None,
        tolerances: str | os.PathLike[str] | None = None,
        any_level_of_theory: bool = False,
        level_of_theory: str | None = None,
        uncertainty_ev: float | None = None,
        migrating_atom: int | None = None,
    ) -> None:
        policy = load_policy(Path(tolerances) if tolerances else None)
        own = [Path(reference)] if isinstance(reference, str | os.PathLike) else [Path(path) for path in reference]
        cases = _of_material(_readable(load_cases([DIRECTORY, *own], policy=policy)), material, migration_path)
        path = None
        if migration_path is not None:
            stated = {"level_of_theory": level_of_theory, "uncertainty_ev": uncertainty_ev}
            path = _path(migration_path, cases, policy, material=material, migrating_atom=migrating_atom, **stated)
            cases = [*(case for case in cases if case.family != "migration"), path]
        self._families = FAMILIES if path is None else ("migration",)
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in `mlff_probes.run`
        self._suite = Suite(
            [_calculator(label, each, device, dtype) for label, each in _models(model)],
            sorted(cases, key=lambda case: (FAMILIES.index(case.family), case.id)),
            tier=tier,
            any_level_of_theory=any_level_of_theory,
        )
        self._options = RunOptions(
            tier=tier,
            strict=False,
            any_level_of_theory=any_level_of_theory,
            tolerances=str(tolerances) if tolerances else None,
            references=tuple(map(str, own)),
        )
        self._results: dict[str, ProbeResult] = {}
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
        unknown = sorted(set(families) - set(FAMILIES))
        if unknown:
            raise InputError(f"there is no family '{unknown[0]}'; known are {', '.join(FAMILIES)}")
        chosen = families or self._families
        kinds = [kind for kind, protocol in BY_KIND.items() if protocol.family in chosen]
        requests = [request for kind in kinds for request in self._suite.requests(kind)]
        start = time.perf_counter()
        shown = get_console().is_terminal or get_console().is_jupyter
        with Progress(transient=True, disable=not shown) as progress:
            for request in progress.track(requests, description="measuring"):
                if request.id not in self._results:
                    self._results[request.id] = self._suite.result(request)
        self._measured_s += time.perf_counter() - start
        return self

    @property
    def scorecard(self) -> Scorecard:
        """All that has been measured, as the record behind every report; runs first where nothing has."""
        if not self._results:
            self.run()
        return Scorecard.build(
            calculators=[calculator.identity for calculator in self._suite.calculators],
            cases=self._suite.cases,
            results=self._results.values(),
            measurements=self._suite.measurements.values(),
            options=self._options,
            selected=len(self._results),
            measured_s=self._measured_s,
        )

    @property
    def verdict(self) -> str:
        """The verdict over all that has been measured: passed, failed or nothing judged."""
        return self.scorecard.verdict

    def plot_energy_profile(self, path: str | os.PathLike[str] | None = None) -> Picture:
        """Energy along each migration path, reference in black; written to `path` if given."""
        return self._picture("migration", path)

    def plot_sliding(self, path: str | os.PathLike[str] | None = None) -> Picture:
        """Sliding curves and E(gap), reference in black; measured now if they were not, written to `path` if given."""
        return self._picture("sliding", path)

    def plot_parity(self, path: str | os.PathLike[str] | None = None) -> Picture:
        """Energies and forces against their labels; measured now if they were not, written to `path` if given."""
        return self._picture("parity", path)

    def export_metrics(self, path: str | os.PathLike[str]) -> Path:
        """Write the scorecard; the suffix names the format: .csv, .json, or .md with figures beside it."""
        target = Path(path).expanduser()
        files.check_path(target, given="export_metrics")
        files.write(self.scorecard, target)
        return target

    def to_dataframe(self) -> Any:
        """The scorecard as a pandas DataFrame, one row a quantity (columns as in the CSV)."""
        return rows.as_dataframe(self.scorecard)

    def _picture(self, family: str, path: str | os.PathLike[str] | None) -> Picture:
        self.run(family)
        summaries = [case for case in self.scorecard.cases if case.family == family]
        picture = draw_cases(self.scorecard, summaries)
        if picture is None:
            raise InputError(_nothing_to_draw(family, summaries, self.scorecard))
        if path is not None:
            target = Path(path).expanduser()
            target.parent.mkdir(parents=True, exist_ok=True)
            picture.savefig(target)
        return picture

    def __repr__(self) -> str:
        """The scorecard as a table once something was measured."""
        if self._results:
            return terminal.render(self.scorecard)
        labels = ", ".join(calculator.label for calculator in self._suite.calculators)
        return f"<Benchmark of {labels} on {len(self._suite.cases)} cases: not run yet>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return html.table(self.scorecard) if self._results else f"<p>{escape(repr(self))}</p>"


def _models(model: Model | Sequence[Model] | Mapping[str, Model]) -> list[tuple[str | None, Model]]:
    named: list[tuple[str | None, Model]]
    if isinstance(model, Mapping):
        named = list(model.items())
    elif isinstance(model, list | tuple):
        named = [(None, each) for each in model]
    else:
        named = [(None, model)]
    if not named:
        raise InputError("no model is named; write for instance model='chgnet' or model='path/to.model'")
    return named


def _calculator(label: str | None, model: Model, device: str | None, dtype: str | None) -> Calculator:
    if isinstance(model, str | os.PathLike):
        spec = os.fspath(model)
        return load_calculator(f"{spec},label={label}" if label else spec, device=device, dtype=dtype)
    if not isinstance(model, Calculator):
        return _bare(label, model)
    identity = model.identity.model_copy(update={"label": label or model.label})
    return replace(model, identity=identity, labelled=model.labelled or label is not None)


def _bare(label: str | None, model: Any) -> Calculator:
    """An ASE calculator that somebody made, with what it says of itself."""
    if not callable(getattr(model, "get_potential_energy", None)):
        raise InputError(
            f"model={model!r} is neither a SPEC, a file nor an ASE calculator (it has no get_potential_energy)"
        )
    name = type(model).__name__
    request = CalculatorRequest(spec=name, target=name)
    elements = known_elements(model, request)
    found = wrapped(request, model, label=label or name, family="ase", elements=elements, device=NOT_STATED,
                    dtype=NOT_STATED)  # fmt: skip
    return replace(found, labelled=label is not None)


def _readable(cases: Iterable[Case | BrokenCase]) -> list[Case]:
    found = []
    for case in cases:
        if isinstance(case, BrokenCase):
            raise InputError(case.message)
        found.append(case)
    return found


def _of_material(cases: list[Case], material: str | None, migration_path: object) -> list[Case]:
    if material is None:
        return cases
    wanted = _formula(material)
    known = sorted({case.material for case in cases if case.material})
    found = [case for case in cases if case.material and _formula(case.material) == wanted]
    if not found and migration_path is None:
        raise InputError(
            f"there is no case of the material '{material}'; there are cases of {', '.join(known)}; "
            "add your own with migration_path= or reference="
        )
    return found


def _formula(text: str) -> dict[str, int]:
    try:
        count: dict[str, int] = Formula(text, strict=True).count()
    except ValueError as error:
        raise InputError(f"material='{text}' is no chemical formula: {error}") from error
    return count


def _path(given: Any, cases: list[Case], policy: Policy, *, material: str | None, **stated: Any) -> Case:
    """The case behind `migration_path`."""
    ids = {case.id: case for case in cases if case.family == "migration"}
    if isinstance(given, str) and given in ids:
        return ids[given]
    if isinstance(given, list | tuple):
        images, where = list(given), Path("band")
    else:
        where = Path(given).expanduser()
        if where.suffix == ".toml" and where.is_file():
            return _only_migration(load_case(where, policy=policy), where)
        if not where.exists():
            raise InputError(
                f"migration_path='{given}' is neither a case ({', '.join(ids) or 'there is none of this material'}) "
                f"nor a file or folder (looked from {Path.cwd()})"
            )
        images = read_band(where)
    case = band_case(images, where.stem, where=where, material=material, policy=policy, **stated)
    absent = set(_formula(material)) - case.elements if material else set()
    if absent:
        raise InputError(f"{where}: material='{material}', but the images hold no {', '.join(sorted(absent))}")
    return case


def _only_migration(case: Case, where: Path) -> Case:
    if case.family != "migration":
        raise InputError(f"migration_path='{where}' is a case of the family '{case.family}', not of migration")
    return case


def _nothing_to_draw(family: str, cases: list[CaseSummary], card: Scorecard) -> str:
    if not cases:
        return f"there is no {family} case of this material to draw"
    reasons = {row.verdict.reason for row in card.results if row.family == family and row.verdict.reason}
    return f"there is nothing to draw of {family}: {'; '.join(sorted(reasons)) or 'nothing was measured'}"
