"""One run of the suite: which quantities are probed, each measurement made once, each verdict recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from mlff_probes.calculators.base import Calculator
from mlff_probes.calculators.identity import same_model
from mlff_probes.calculators.journal import Journal
from mlff_probes.calculators.memory import release
from mlff_probes.cases.dispersion import with_dispersion
from mlff_probes.cases.known_failures import KnownFailures
from mlff_probes.core.case import BrokenCase, Case
from mlff_probes.core.errors import InputError
from mlff_probes.core.judge import judge
from mlff_probes.core.levels import agree, is_mixed, of_structures, parts_of
from mlff_probes.core.progress import Report, silent
from mlff_probes.core.records import (
    NOT_STATED,
    TIERS,
    CalculatorIdentity,
    Expectation,
    Measurement,
    ProbeResult,
    Problem,
    Tier,
    Value,
    Verdict,
)
from mlff_probes.measure import BY_KIND, KINDS
from mlff_probes.measure.measurement import measure_case
from mlff_probes.session.store.entries import MeasurementStore
from mlff_probes.session.store.keys import Key, key_of, same_numbers, why_not_kept

CASE_FILE = "case_file"
"""The quantity under which a case file that cannot be read is reported."""

MIXED_CASE = "a case with structures of both is judged whole, by a reference of MP or not at all"
"""Said of a case for whose structures a mixture of levels is one here and another there."""

Once = Callable[[str, str, Callable[[], Measurement]], Measurement]
"""Make the measurement of a calculator and a case, or have it from another process."""


def made_here(calculator: str, case: str, make: Callable[[], Measurement]) -> Measurement:
    """Make the measurement in this process."""
    return make()


@dataclass(frozen=True)
class ProbeRequest:
    """One pytest item: a calculator, a case, a quantity."""

    calculator: str
    case: str
    quantity: str

    @property
    def id(self) -> str:
        """The id in brackets of the pytest item; the last hyphen separates the quantity."""
        return f"{self.calculator}-{self.case}-{self.quantity}"


Untimed = Callable[[CalculatorIdentity], str]
"""Why the time of a calculator would not be its own in this process; empty where it is."""


def timed(identity: CalculatorIdentity) -> str:
    """Empty: nothing else computes in this process."""
    return ""


Progress = Callable[[str, str], AbstractContextManager[Report]]
"""(calculator, case) -> a context that gives what is told of each step."""


def no_progress(calculator: str, case: str) -> AbstractContextManager[Report]:
    """Show no progress."""
    return nullcontext(silent)


Foretell = Callable[[str, str, float], None]
"""Told, of a calculator without batches and a simulation of it, what a model call takes there, in seconds."""


def foretell_nothing(calculator: str, case: str, call_s: float) -> None:
    """Nobody asks how long simulations will take."""


@dataclass
class Suite:
    """The calculators and cases of a run, and the measurements made so far."""

    calculators: Sequence[Calculator]
    cases: Sequence[Case | BrokenCase]
    tier: Tier = "quick"
    any_level_of_theory: bool = False
    known_failures: KnownFailures | None = None
    timeout: float | None = None
    store: Path | None = None
    """The directory where measurements and trajectories are kept; None to keep none."""
    progress: Progress = no_progress
    measurements: dict[tuple[str, str], Measurement] = field(default_factory=dict)
    once: Once = made_here
    untimed: Untimed = timed
    foretell: Foretell = foretell_nothing
    seed: int = 0

    def __post_init__(self) -> None:
        """Tell the calculators apart, and leave out what is not of this tier."""
        self.calculators = number_replicates(self.calculators)
        included = TIERS[: TIERS.index(self.tier) + 1]
        self.cases = [c for c in self.cases if isinstance(c, BrokenCase) or c.tier in included]
        self._case = {case.id: case for case in self.cases}
        self._units: dict[str, dict[str, str]] = {}
        self._corrected: dict[tuple[str, str], tuple[Case, dict[str, str]]] = {}
        self._calculator = {calculator.label: calculator for calculator in self.calculators}
        self.loading_s = 0.0
        """What was spent in loading models since somebody last asked, s."""
        self._kept = MeasurementStore(self.store) if self.store else None
        self._keys: dict[tuple[str, str], Key] = {}
        self._members = {each.label: [member.identity for member in each.members] for each in self.calculators}
        self._not_kept = {calculator.label: why_not_kept(calculator) for calculator in self.calculators}

    def requests(self, kind: str) -> list[ProbeRequest]:
        """All items of the probe that measures protocol `kind`, in the order of the scorecard.

        Broken case files go to the first protocol of their family, so that each is reported once.
        """
        protocol = BY_KIND[kind].protocol
        first = next(each.protocol for each in KINDS if each.protocol.family == protocol.family)
        found = []
        for calculator in self.calculators:
            for case in self.cases:
                quantities: tuple[str, ...]
                if isinstance(case, BrokenCase):
                    quantities = (CASE_FILE,) if case.family == protocol.family and protocol is first else ()
                else:
                    quantities = case.quantities if isinstance(case.protocol, protocol) else ()
                    if protocol.asks_foundation and calculator.foundation is None:
                        quantities = quantities[:1]
                found += [ProbeRequest(calculator.label, case.id, quantity) for quantity in quantities]
        return found

    def case(self, id: str) -> Case | BrokenCase:
        """A case by its name."""
        return self._case[id]

    def measurable(self, case: str) -> bool:
        """Whether the file of a case could be read."""
        return isinstance(self._case[case], Case)

    def measure(self, calculator: str, case: str) -> Measurement:
        """The measurement behind some items: made on first use and then shared."""
        key = (calculator, case)
        if key not in self.measurements:
            self.measurements[key] = self.once(calculator, case, partial(self._recalled_or_made, calculator, case))
        return self.measurements[key]

    def _recalled_or_made(self, label: str, case: str) -> Measurement:
        """A measurement from the store, if it is there; else made now, and kept there."""
        found, _ = self._case_for(label, case)
        assert isinstance(found, Case)
        shared = self.untimed(self._calculator[label].identity)
        with self.progress(label, case) as report:
            make = partial(self._made, label, found, shared, report)
            if self._kept is None:
                return make(None)
            if why_not := self._why_not_kept(label, found):
                return make(None).model_copy(update={"store_note": why_not})
            try:
                key = self._key(label, found)
            except TypeError as error:
                return make(None).model_copy(update={"store_note": f"not kept: in {case}, {error}"})
            found_or_made = self._kept.measurement(key, make, report, timeout=self.timeout)
            return found_or_made.model_copy(update={"calculator": label})

    def _made(self, label: str, case: Case, shared: str, report: Report, journal: Journal | None) -> Measurement:
        try:
            model = self._loaded(label)
        except InputError as error:  # of a model that was known, and is loaded only now
            problem = Problem(state="error", reason=str(error))
            return Measurement(calculator=label, case=case.id, problem=problem)
        if case.protocol.relaxes and not model.members:  # of whom the mean is not all that is asked
            model = replace(model, journal=journal)
        return measure_case(
            model, case, report=report, timeout=self.timeout, store=self.store, shared=shared,
            seed=self.seed, paced=partial(self.foretell, label, case.id),
        )  # fmt: skip

    def is_kept(self, label: str, case: str) -> bool:
        """Whether the measurement of a calculator and a case is in the store."""
        found, _ = self._case_for(label, case)
        if self._kept is None or not isinstance(found, Case) or self._why_not_kept(label, found):
            return False
        try:
            return self._kept.file(self._key(label, found)).exists()
        except TypeError:
            return False

    def _why_not_kept(self, label: str, case: Case) -> str:
        """Why a measurement cannot be known again; empty where it can."""
        return self._not_kept[label] or (
            why_not_kept(self._calculator[label], case) if case.protocol.asks_foundation else ""
        )

    def _key(self, label: str, case: Case) -> Key:
        """Under what a measurement is kept.

        Raises
        ------
        TypeError
            If the case holds what no hash is known of.
        """
        if (label, case.id) not in self._keys:
            calculator = self._calculator[label]
            shared = bool(self.untimed(calculator.identity))
            self._keys[label, case.id] = key_of(
                calculator, case, seed=self.seed, shared=shared, members=self._members[label]
            )
        return self._keys[label, case.id]

    def give_back(self, calculators: Collection[str]) -> None:
        """Give back the memory of models that can be loaded again, as they are if they are asked for after all."""
        for label in calculators:  # without a name for the model, which would keep it
            if self._calculator[label].fresh is not None:
                self._hold(self._calculator[label].unloaded)
        release()

    def _loaded(self, calculator: str) -> Calculator:
        """A calculator with its model."""
        found = self._calculator[calculator]
        if found.ase is None and found.fresh is not None:
            start = time.perf_counter()
            fresh = found.fresh()
            if not same_numbers(fresh.identity, found.identity):
                raise InputError(
                    f"--calculator={found.identity.spec}",
                    "what was loaded is not what was known of it (another file, device, precision or package)",
                    "run it again; with --probe-no-store nothing is taken for known",
                )
            self.loading_s += time.perf_counter() - start
            identity = found.identity.model_copy(update={"load_s": found.identity.load_s or fresh.identity.load_s})
            found = replace(fresh, identity=identity, foundation=found.foundation)
            self._hold(found)
        return found

    def _hold(self, calculator: Calculator) -> None:
        """Have this calculator in the place of the one of its name."""
        self._calculator[calculator.label] = calculator
        self.calculators = list(self._calculator.values())

    def result(self, request: ProbeRequest, *, look_first: str = "") -> ProbeResult:
        """Measure (or recall) and judge one quantity."""
        measured = self._measured(request)
        expectation = self.expectation(request)
        case, why_not = self._case_for(request.calculator, request.case)
        not_comparable = self._not_comparable(request.calculator, case, expectation, why_not.get(request.quantity, ""))
        why = case.blind.get(request.quantity, "") if isinstance(case, Case) else ""
        verdict = judge(measured, expectation, not_comparable=not_comparable, why_reported=why)
        if self.known_failures is not None:
            labels = (request.calculator, self._calculator[request.calculator].identity.replicate_of)
            entry = self.known_failures.of(labels, request.case, request.quantity)
            verdict = self.known_failures.settle(entry, verdict) if entry else verdict
        return self._row(request, measured, verdict, look_first=look_first)

    def _row(
        self, request: ProbeRequest, measured: Value | None, verdict: Verdict, *, look_first: str = ""
    ) -> ProbeResult:
        return ProbeResult(
            calculator=request.calculator,
            family=self._case[request.case].family,
            case=request.case,
            quantity=request.quantity,
            measured=measured,
            expectation=self.expectation(request),
            verdict=verdict,
            look_first=look_first,
            calculator_level=self._level_in(request),
        )

    def expectation(self, request: ProbeRequest) -> Expectation | None:
        """What is expected, with the tolerance of the precision in which the calculator was seen to compute, if it was.

        None for a quantity that is only reported.
        """
        case, _ = self._case_for(request.calculator, request.case)
        expectation = case.expectation(request.quantity) if isinstance(case, Case) else None
        measurement = self.measurements.get((request.calculator, request.case))
        if expectation is None or measurement is None:
            return expectation
        tolerance = expectation.tolerance.of_dtype(measurement.diagnostics.get("dtype"))
        return expectation.model_copy(update={"tolerance": tolerance})

    def _measured(self, request: ProbeRequest) -> Value:
        case = self._case[request.case]
        if isinstance(case, BrokenCase):
            return Value(value=None, unit="-", problem=Problem(state="error", reason=case.message))
        measurement = self.measure(request.calculator, request.case)
        if request.quantity in measurement.values:
            return measurement.values[request.quantity]
        unit = self._unit(case, request.quantity)
        reason = f"the measurement gave no '{request.quantity}'"
        return Value(value=None, unit=unit, problem=measurement.problem or Problem(state="error", reason=reason))

    def _unit(self, case: Case, quantity: str) -> str:
        """Unit of a quantity that has no value."""
        if case.id not in self._units:
            self._units[case.id] = case.protocol.units(case.frames)
        return self._units[case.id].get(quantity, "-")

    def _case_for(self, calculator: str, case: str) -> tuple[Case | BrokenCase, dict[str, str]]:
        """The case as a calculator is judged by it, and by quantity why its reference is not of the same level.

        A reference without dispersion becomes one with the term that the calculator states, where that can be added.
        """
        found, level = self._case[case], self._calculator[calculator].identity.level_of_theory
        if isinstance(found, BrokenCase) or level is None or self.any_level_of_theory:
            return found, {}
        wanted = parts_of(of_structures(level, found.compositions))
        if wanted is None or not wanted.dispersion:
            return found, {}
        if not agree(str(wanted._replace(dispersion="")), found.level_of_theory, found.compositions):
            return found, {}
        key = (case, str(wanted))
        if key not in self._corrected:
            try:
                self._corrected[key] = with_dispersion(found, str(wanted))
            except InputError as error:
                self._corrected[key] = found, dict.fromkeys(found.quantities, str(error))
        return self._corrected[key]

    def corrected(self, cases: Collection[str]) -> dict[str, list[Measurement]]:
        """The references that calculators are judged by beside those of some cases, by case: each under its level."""
        found: dict[str, list[Measurement]] = {}
        for calculator in self._calculator:
            for id in cases:
                case, _ = self._case_for(calculator, id)
                if case is not self._case[id] and isinstance(case, Case) and case.reference is not None:
                    known = found.setdefault(id, [])
                    known += [case.reference] if case.reference not in known else []
        return found

    def _level_in(self, request: ProbeRequest) -> str:
        """The level of a calculator of a mixture of levels for the structures of a case; empty where none is meant."""
        level, case = self._calculator[request.calculator].identity.level_of_theory, self._case[request.case]
        expectation = self.expectation(request)
        if level is None or expectation is None or _binds_all(expectation.level_of_theory) or not is_mixed(level):
            return ""
        assert isinstance(case, Case)
        return of_structures(level, case.compositions)

    def _not_comparable(
        self, calculator: str, case: Case | BrokenCase, expectation: Expectation | None, why_not: str
    ) -> str | None:
        """Why the reference of a quantity does not bind a calculator; None where it does."""
        identity = self._calculator[calculator].identity
        level = identity.level_of_theory
        if isinstance(case, BrokenCase) or level is None or self.any_level_of_theory:
            return None
        wanted = expectation.level_of_theory if expectation else case.level_of_theory
        if _binds_all(wanted) or agree(level, wanted, case.compositions):
            return None
        learned, asked = _here(level, case), _here(wanted, case)
        reasons = [*([why_not] if why_not else []), *([MIXED_CASE] if " and " in asked + learned else [])]
        named = (
            f" (named by {identity.dispersion}; if it adds none, say so with ,level=…)" if identity.dispersion else ""
        )
        return (
            f"the reference is {wanted}{asked}, {calculator} learned {level}{learned}{named}; "
            + "".join(f"{reason}; " for reason in reasons)
            + "it is judged all the same with --probe-level-of-theory=any (any_level_of_theory=True)"
        )


def _here(level: str, case: Case) -> str:
    """What a mixture of levels is for the structures of a case; empty for any other level."""
    return f" ({of_structures(level, case.compositions)} here)" if is_mixed(level) else ""


def _binds_all(level: str) -> bool:
    """Whether a reference of this level binds calculators of any: a law, or one whose level nobody stated."""
    return level.casefold() in ("exact", NOT_STATED)


def number_replicates(calculators: Sequence[Calculator]) -> list[Calculator]:
    """Give calculators that share a `label=` the names label.1, label.2, …: replicates, summarised together.

    Raises
    ------
    InputError
        If two calculators share a name that nobody gave them, or two replicates are the same.
    """
    labels = [calculator.label for calculator in calculators]
    found, seen = [], dict.fromkeys(labels, 0)
    for calculator in calculators:
        label, identity = calculator.label, calculator.identity
        if labels.count(label) > 1:
            if not all(c.labelled for c in calculators if c.label == label):
                raise InputError("", f"two calculators are called '{label}'", "add ,label=… to tell them apart")
            twins = [c.identity for c in calculators if c.label == label and c is not calculator]
            if any(same_model(twin, identity) for twin in twins):
                raise InputError("", f"two replicates called '{label}' are the same: --calculator={identity.spec}")
            seen[label] += 1
            name = f"{label}.{seen[label]}"
            if name in labels:
                raise InputError(
                    "", f"a replicate would be called '{name}', but another calculator is called so already"
                )
            identity = identity.model_copy(update={"label": name, "replicate_of": label})
        found.append(replace(calculator, identity=identity))
    return found
