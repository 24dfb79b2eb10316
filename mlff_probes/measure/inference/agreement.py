"""Whether the fast path gives the right answer: the path in use against others that must agree with it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from ase import Atoms

from mlff_probes.calculators.base import Calculator
from mlff_probes.calculators.evaluation import evaluate
from mlff_probes.core.case import Case
from mlff_probes.core.errors import EvaluationError, InputError
from mlff_probes.core.evaluation import Calls, Evaluation
from mlff_probes.core.progress import Report
from mlff_probes.core.protocol import STRESS
from mlff_probes.core.records import EAGER_FAMILIES, NOT_STATED, CalculatorIdentity, Samples, Value
from mlff_probes.core.structures import derived, is_lattice
from mlff_probes.measure.inference.protocols import PathAgreement
from mlff_probes.measure.kind import QUIET, Conditions
from mlff_probes.measure.laws.examples import Worst, formula, no_structures
from mlff_probes.measure.laws.precision import (
    NO_PRECISION,
    OTHER,
    alike,
    false_precision,
    of_one_precision,
    says_so_falsely,
    seen_dtype,
)
from mlff_probes.measure.laws.twins import (
    Both,
    apart,
    loaded_again,
    nudged,
    one_by_one,
    split,
)
from mlff_probes.measure.results import Result

PLAIN_KERNELS = (None, "e3nn")
"""What `CalculatorIdentity.kernels` says where no library accelerates the tensor products."""

UNKNOWN = "with an element that the model does not know"
NO_LATTICE = "not periodic in all directions, so that they have no stress"
"""Why a structure is left out, neither of which is a loss: a specialist is asked on what it knows."""

BESIDE = 3
"""Frames before and after one that a script evaluates with it in a batch."""


def agreement(calculator: Calculator, case: Case[PathAgreement], conditions: Conditions = QUIET) -> Result:
    """Evaluate all frames of the case on the path in use and on those that must give the same.

    `…_energy` is the largest difference of the energy of a frame, meV/atom, `…_force` that of the force on an atom,
    meV/A, `…_stress` that of a component of the stress of a frame that is periodic in all directions, GPa, between
    the path in use (energies and forces batched where the calculator has such a pass, the stress through its ASE path)
    and

    - `plainest`: the plainest path that can be had: loaded again on the CPU, in float64, eager, without accelerated
      kernels, one structure a call;
    - `float32`: the same path in the other precision;
    - `compiled`: the same path, eager;
    - `kernels`: the same path with plain kernels, or with accelerated ones where those in use are plain;

    and between

    - `batch`: the batched pass and one structure a call;
    - `first_call`: the very first calls of a model that was loaded again, one structure a call, and later ones of the
      model in use.

    Every other path has answered once before it counts. One that fails costs its own quantities alone.
    """
    worst, calls = Worst(case.protocol.units(case.frames)), Calls()
    frames = [frame for frame in case.frames if not calculator.unknown_elements(frozenset(frame.symbols))]
    if not frames:
        return no_structures(worst, calculator, case)
    trial = Trial(calculator, frames, worst, calls, conditions.report)
    trial.batch()
    trial.first_call()
    trial.plainest()
    trial.float32()
    trial.compiled()
    trial.kernels()
    path = path_name(calculator.identity, batched=calculator.batch is not None)
    found = {"dtype": trial.dtype, "frames": len(frames), "path": path, "plainest_path": trial.plainest_path}
    found |= {"computed_in": "float32"} if trial.false else {}
    result = worst.result(calls, found)
    return replace(result, values={name: _counted(value, case.frames, frames) for name, value in result.values.items()})


def _counted(value: Value, asked: Sequence[Atoms], known: Sequence[Atoms]) -> Value:
    """A value with what it stands on: the `known` of the structures that were `asked` for, of stress the lattices."""
    if value.value is None:
        return value
    used = [frame for frame in known if value.unit != STRESS or is_lattice(frame)]
    counts = {UNKNOWN: len(asked) - len(known), NO_LATTICE: len(known) - len(used)}
    left_out = {why: count for why, count in counts.items() if count}
    samples = Samples(used=len(used), of=len(asked), what="structures", left_out=left_out, by_nature=tuple(left_out))
    return value.model_copy(update={"samples": samples})


def path_name(identity: CalculatorIdentity, *, batched: bool) -> str:
    """The path of a calculator in words, as far as it is stated: ``cpu, float64, eager, one structure a call``."""
    stated = [name for name in (identity.device, identity.dtype) if name != NOT_STATED]
    eager = ["eager"] if identity.family in EAGER_FAMILIES else []
    more = [f"compiled ({identity.compile_mode})"] if identity.compile_mode else eager
    more += [identity.kernels] if identity.kernels else []
    more += ["TF32"] if identity.tf32 else []
    return ", ".join([*stated, *more, "in batches" if batched else "one structure a call"])


@dataclass
class ModelPath:
    """A model on its way through the frames: what it says of them is computed once in each manner, when asked for."""

    model: Calculator
    frames: Sequence[Atoms]
    forces: bool
    stress: bool
    calls: Calls

    def warm_up(self) -> None:
        """Let it answer once in each manner, for a structure that is not among the frames."""
        other = nudged(self.frames[0])
        one_by_one(self.model, [other], forces=self.forces, calls=self.calls)
        if self.model.batch is not None:
            self.calls.add(evaluate(self.model, [other], forces=self.forces, name=lambda _: _called(other)))

    @cached_property
    def alone(self) -> list[Evaluation]:
        """One structure a call, through ASE, with the stress."""
        options = {"forces": self.forces, "stress": self.stress}
        return one_by_one(self.model, self.frames, calls=self.calls, name=_called, **options)

    @cached_property
    def batched(self) -> list[Evaluation]:
        """In batches; energies and forces alone."""
        found = evaluate(self.model, self.frames, forces=self.forces, name=lambda row: _called(self.frames[row]))
        return split(self.calls.add(found))

    @cached_property
    def used(self) -> list[Evaluation]:
        """Energies and forces in batches where there are any, the stress through ASE: the path that a user gets."""
        if self.model.batch is None:
            return self.alone
        if not self.stress:
            return self.batched
        return [replace(one, stresses=other.stresses) for one, other in zip(self.batched, self.alone, strict=True)]


class Trial:
    """The path in use, and all others with which it was compared."""

    def __init__(
        self, calculator: Calculator, frames: Sequence[Atoms], worst: Worst, calls: Calls, report: Report
    ) -> None:
        self.calculator, self.frames, self.worst, self.calls, self.report = calculator, frames, worst, calls, report
        self.forces = calculator.supplies("forces")
        report(f"{len(frames)} frames on the path in use")
        lack_of_stress = self._lack_of_stress()
        self.stress = not lack_of_stress
        if not self.forces:
            worst.without_forces()
        if lack_of_stress:
            worst.without_stress(lack_of_stress)
        self.in_use = self._path(calculator)
        self.in_use.warm_up()
        self.dtype = _dtype(calculator, self.in_use.alone)
        self.false = false_precision(calculator, frames, self.in_use.used, calls)
        self.plainest_path: str | None = None
        self._known: dict[tuple[str | None, ...], ModelPath] = {}

    def batch(self) -> None:
        """In batches and one structure a call."""
        if self.calculator.batch is None:
            self.worst.without_any(
                "batch", "the calculator takes one structure a call", applicable=False, by_nature=True
            )
            return

        def shown(index: int) -> list[Atoms]:
            beside = self.frames[max(index - BESIDE, 0) : index + BESIDE + 1]
            return [derived(frame) for frame in (self.frames[index], *beside)]

        both = Both("batch", "in a batch and alone", self.in_use.batched, self.in_use.alone, self.dtype, name=_called)
        both.add_to(self.worst, self.frames, shown)

    def first_call(self) -> None:
        """A model that never answered before, and the one in use."""
        self.report("loaded again")
        lacks, where = "cannot be loaded again", "in the first calls of a model loaded again"
        with apart(self.worst, "first_call", lacks=lacks, where=where):
            again = self._path(loaded_again(self.calculator))
            says = "in the first calls of a model and in later ones"
            both = Both("first_call", says, again.alone, self.in_use.alone, self.dtype, name=_called)
            both.add_to(self.worst, self.frames, lambda i: [derived(self.frames[i]), nudged(self.frames[i])])
            self._known[_key(self.calculator.identity)] = self._path(again.model)

    def plainest(self) -> None:
        """The plainest path that can be had."""
        if says_so_falsely(self.worst, "plainest", self.false):
            return
        self.report("on the plainest path")
        with apart(self.worst, "plainest", lacks="cannot be loaded again", where="on the plainest path"):
            path, changes = self._plainest()
            if self._is_of_one_precision("plainest", path, path.alone):
                return
            self.plainest_path = path_name(path.model.identity, batched=False)
            says = f"on the path in use and on the plainest ({self.plainest_path})"
            self._compare("plainest", says, path, path.alone, changes | {"batch": False})

    def _plainest(self) -> tuple[ModelPath, dict[str, Any]]:
        """The path, and by which changes it was had: what the calculator refuses is left as it is."""
        plain: dict[str, Any] = {"compile_mode": None, "kernels": None}
        # where nobody states the device, a twin that was asked for on the CPU may compute anywhere
        on_cpu = {} if self.calculator.identity.device == NOT_STATED else {"device": "cpu"}
        for more in ({**on_cpu, "dtype": "float64"}, on_cpu, {"dtype": "float64"}):
            with suppress(InputError):
                return self._changed(**plain, **more), plain | more
        return self._changed(**plain), plain

    def float32(self) -> None:
        """Compare with the same path in the other precision."""
        if says_so_falsely(self.worst, "float32", self.false):
            return
        other = OTHER.get(self.calculator.identity.dtype)
        if other is None:
            self.worst.without_any("float32", NO_PRECISION, applicable=False, by_nature=True)
            return
        lacks = f"cannot be had in {other}"
        self._against("float32", {"dtype": other}, f"in {other}", "in float32 and in float64", lacks, by_nature=True)

    def compiled(self) -> None:
        """Compiled and eager."""
        if self.calculator.identity.compile_mode is None:
            how = "; add ,compile=default" if self.calculator.can_compile else ""
            reason = f"the model is not compiled{how}"
            self.worst.without_any("compiled", reason, applicable=False, by_nature=True)
            return
        self._against("compiled", {"compile_mode": None}, "eager", "compiled and eager", "cannot be had eager")

    def kernels(self) -> None:
        """With an accelerated kernel library and with plain kernels, whichever of them is in use."""
        own = self.calculator.identity.kernels
        plain = own in PLAIN_KERNELS
        other = next(iter(self.calculator.other_kernels), None) if plain else None
        library = other if plain else own
        if library is None:
            reason = "no accelerated kernels are installed"
            self.worst.without_any("kernels", reason, applicable=False, by_nature=True)
            return
        where = f"with {other or 'plain'} kernels"
        says = f"with the kernels of {library} and with plain ones"
        self._against("kernels", {"kernels": other}, where, says, f"cannot be had {where}")

    def _against(
        self, what: str, changes: dict[str, Any], where: str, says: str, lacks: str, *, by_nature: bool = False
    ) -> None:
        """Compare the path in use with one of which one thing is changed."""
        self.report(where)
        with apart(self.worst, what, lacks=lacks, where=where, by_nature=by_nature):
            path = self._changed(**changes)
            if "dtype" not in changes or not self._is_of_one_precision(what, path, path.used):
                self._compare(what, says, path, path.used, changes)

    def _is_of_one_precision(self, what: str, path: ModelPath, theirs: list[Evaluation]) -> bool:
        """Whether nothing is compared, since one precision is not the one that is stated; it is then said."""
        two = {self.calculator.identity.dtype, path.model.identity.dtype} == set(OTHER)
        twin = false_precision(path.model, self.frames, theirs, self.calls)
        return of_one_precision(self.worst, what, twin, same=two and alike(self.in_use.used, theirs))

    def _compare(
        self, what: str, says: str, path: ModelPath, theirs: list[Evaluation], changes: dict[str, Any]
    ) -> None:
        coarser = "float32" if "float32" in (self.dtype, _dtype(path.model, theirs)) else self.dtype
        both = Both(what, says, self.in_use.used, theirs, coarser, changes, _called)
        both.add_to(self.worst, self.frames, lambda index: [derived(self.frames[index])])

    def _changed(self, **changes: Any) -> ModelPath:
        """The path on which these are changed; one that is known already is not loaded again."""
        key = _key(self.calculator.identity.model_copy(update=changes))
        if key not in self._known:
            path = self._path(loaded_again(self.calculator, **changes))
            path.warm_up()
            self._known[key] = path
        return self._known[key]

    def _path(self, model: Calculator) -> ModelPath:
        return ModelPath(model, self.frames, self.forces, self.stress, self.calls)

    def _lack_of_stress(self) -> str:
        """Why there is no stress; "" where there is."""
        lattice = next((frame for frame in self.frames if is_lattice(frame)), None)
        if lattice is None:
            return "it needs a structure that is periodic in all directions"
        reason = "the calculator implements no stress"
        if not self.calculator.supplies("stress"):
            return reason
        try:
            one_by_one(self.calculator, [nudged(lattice)], forces=False, stress=True, calls=self.calls, name=_called)
        except EvaluationError as error:
            if not isinstance(error.__cause__, NotImplementedError):
                raise
            return reason
        return ""


def _key(identity: CalculatorIdentity) -> tuple[str | None, ...]:
    """What makes two paths the same, but for batches."""
    kernels = None if identity.kernels in PLAIN_KERNELS else identity.kernels
    return identity.device, identity.dtype, identity.compile_mode, kernels


def _dtype(model: Calculator, found: Sequence[Evaluation]) -> str:
    """The precision that a model states or, where it states none, is seen to compute in."""
    forces = tuple(array for one in found for array in one.forces or ())
    return seen_dtype(model, Evaluation(np.concatenate([one.energies for one in found]), forces))


def _called(frame: Atoms) -> str:
    """A frame as messages call it: its formula, and where it lies."""
    place = frame.info.get("taken_from")
    return f"{formula(frame)} of {place}" if place else formula(frame)
