"""What the rooms hand to each other: frozen records with units and a JSON round trip."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from mlff_probes.core.levels import Level, LevelName

Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Slug = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+]*$")]
"""A name that can stand in a pytest id; the hyphen is left out because it separates the parts there."""

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
NOT_STATED = "not stated"
"""What is shown of a thing that nobody stated; a reference whose level of theory it is binds any calculator."""

Checkpoint = Literal["plain weights", "checked", "unchecked"]
"""How a checkpoint file was loaded: as weights that no code can hide in; as a model after a check, which is no
sandbox; or, refused by the check, all the same, since `--probe-trust-checkpoint` was given."""

Tier = Literal["smoke", "quick", "standard", "full"]
TIERS: tuple[Tier, ...] = ("smoke", "quick", "standard", "full")


class Record(BaseModel):
    """Base of all records: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Origin = Literal["policy", "case", "override"]
"""Who set a limit: the package, the case, or the user for this run."""


class Tolerance(Record):
    """The largest absolute deviation that passes, with the reason it is that large.

    `float32` holds instead of `value` for a calculator of that precision.
    """

    value: Positive
    unit: Text
    reason: Text
    float32: Positive | None = None
    origin: Origin = "policy"

    def of_dtype(self, dtype: str | None) -> Tolerance:
        """The tolerance that binds a calculator of this precision."""
        if dtype != "float32" or self.float32 is None:
            return self
        return self.model_copy(update={"value": self.float32, "float32": None})


class MinimumShare(Record):
    """The part of its samples that a number must stand on to be judged, 0 to 1, with the reason it is that large."""

    value: Annotated[float, Field(ge=0, le=1)]
    reason: Text
    origin: Origin = "policy"


class Expectation(Record):
    """What one quantity is in DFT (or by an exact law), how well that is known, and who says so.

    `minimum_share` is None in scorecards that are older than it: no number is refused for what it left out.
    """

    quantity: Slug
    value: Finite
    unit: Text
    uncertainty: NonNegative
    level_of_theory: Level
    source: Text
    tolerance: Tolerance
    minimum_share: MinimumShare | None = None
    label: str = ""


class Context(Record):
    """A published value that is shown beside a result and never judged."""

    what: Text
    value: Finite
    unit: Text
    source: Text


class State(StrEnum):
    """The verdict states. Only `PASSED` is green; `REPORTED` and `KNOWN_FAILURE` are neither green nor red."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    NOT_APPLICABLE = "not applicable"
    NOT_COMPARABLE = "not comparable"
    REPORTED = "reported"
    KNOWN_FAILURE = "known failure"


JUDGED = (State.PASSED, State.FAILED, State.ERROR)


class Problem(Record):
    """Why a quantity has no value.

    `by_nature`: there is nothing to compare (a calculator of one precision with another), so that nothing is missing.
    `unresolved`: nothing went wrong, but the data hold too little for a number, which may be chance; of a quantity that
    is only reported this is no error.
    """

    state: Literal["error", "not applicable"]
    reason: Text
    by_nature: bool = False
    unresolved: bool = False


class Samples(Record):
    """What a number stands on: how many samples of how many, and why the others were left out.

    `what` are the samples, in the plural ("frames", "force components"); `left_out` counts them by reason; `remedy`
    says how to have them too, where there is a way. Reasons that are `by_nature` are no loss: what they leave out was
    no sample, and does not count in the `share`.
    """

    used: Annotated[int, Field(ge=0)]
    of: Annotated[int, Field(ge=1)]
    what: Text
    left_out: dict[Text, Annotated[int, Field(ge=1)]] = {}
    remedy: str = ""
    by_nature: tuple[Text, ...] = ()

    @model_validator(mode="after")
    def _accounts_for_all(self) -> Self:
        if self.used + sum(self.left_out.values()) != self.of:
            raise ValueError(f"{self.used} used and {sum(self.left_out.values())} left out are not {self.of}")
        return self

    @property
    def share(self) -> float:
        """The part of the samples that the number stands on, 0 to 1."""
        samples = self.of - sum(self.left_out.get(reason, 0) for reason in self.by_nature)
        return self.used / samples if samples else 0.0

    @property
    def complete(self) -> bool:
        """Whether nothing was left out."""
        return self.used == self.of

    @property
    def why(self) -> str:
        """Why samples were left out, and how many for each reason; empty where none was."""
        return ", ".join(f"{count} {reason}" for reason, count in self.left_out.items())

    def __str__(self) -> str:
        return f"{self.used} of {self.of} {self.what}" + (f"; {self.why}" if self.why else "")


class Value(Record):
    """One measured number, or the reason there is none.

    `uncertainty` is half the width of its 95 % interval, None for what is known exactly; it is Student's with so many
    `degrees_of_freedom`, where they are known. `upper_bound` says that the truth lies anywhere below `value`. `also`
    holds the same number in other units, for instance ``{"J/m^2": 0.125}``; `note` says what it was seen on. `samples`
    says what an aggregated number stands on; None for one that leaves nothing out. `caveat` is what nobody should read
    the number without. `spread` is the standard deviation of the numbers that the members of a committee give, each
    alone; None for any other model.
    """

    value: Finite | None
    unit: Text
    uncertainty: NonNegative | None = None
    degrees_of_freedom: Annotated[float, Field(ge=1)] | None = None
    upper_bound: bool = False
    also: dict[str, Finite] = {}
    spread: NonNegative | None = None
    note: str = ""
    caveat: str = ""
    samples: Samples | None = None
    problem: Problem | None = None


Asked = Literal["energy", "energy and forces", "energy, forces and stress"]
Through = Literal["ase", "batch"]
"""The two ways to a model: its ASE calculator, one structure a call, or its batched pass."""


class Timing(Record):
    """One thing that was timed: how often, on how many atoms, and how long each call took.

    `what` is what was asked of the model; `atoms` counts those of all `structures` of a call. `seconds` has one entry
    a timed call, in their order, after `warm_up_calls` that do not count; `steady` says whether these had ceased to
    become faster. `stages` are the mean seconds a call of its parts. The peaks are those of its own calls, in bytes;
    that of the device is None where it has no memory of its own.
    """

    name: Text
    what: Asked
    through: Through
    structures: Annotated[int, Field(ge=1)]
    atoms: Annotated[int, Field(ge=1)]
    seconds: tuple[NonNegative, ...]
    warm_up_calls: int
    steady: bool
    stages: dict[str, NonNegative] = {}
    host_peak_bytes: int
    device_peak_bytes: int | None = None


class Measurement(Record):
    """All that was measured for one calculator and one case, in one go.

    `recalled` says when it was measured, where that was in another run and it was taken from the store: what it took is
    what it took then. `store_note` says why it was not kept there, or not taken from there.
    """

    calculator: Text
    case: Text
    values: dict[str, Value] = {}
    arrays: dict[str, list[Any]] = {}
    diagnostics: dict[str, Any] = {}
    model_calls: int = 0
    batches: int = 0
    timings: tuple[Timing, ...] = ()
    model_s: NonNegative = 0.0
    wall_s: NonNegative = 0.0
    problem: Problem | None = None
    recalled: str = ""
    store_note: str = ""


class Verdict(Record):
    """The judgement of one quantity; `deviation` is measured minus reference."""

    state: State
    deviation: Finite | None = None
    reason: str = ""


class ProbeResult(Record):
    """One row of the scorecard: one calculator, one case, one quantity.

    `calculator_level` is the level of theory that a calculator of a mixture of levels (`MP`) has for the structures of
    the case; empty for any other calculator, and for a law, which binds all levels.
    """

    calculator: Text
    family: Text
    case: Text
    quantity: Text
    measured: Value | None
    expectation: Expectation | None
    verdict: Verdict
    look_first: str = ""
    calculator_level: str = ""

    def failing(self, *, strict: bool) -> bool:
        """Whether it makes a run fail; `strict`: also by what has no number, unless it is so by nature."""
        problem = self.measured.problem if self.measured else None
        if self.verdict.state is State.NOT_APPLICABLE or (self.verdict.state is State.REPORTED and problem):
            return strict and not (problem and problem.by_nature)
        return self.verdict.state in (State.FAILED, State.ERROR)


EAGER_FAMILIES = ("chgnet", "mace", "ase")
"""Families that compile nothing unless they are told to; what others do inside, nobody knows."""


class CalculatorIdentity(Record):
    """Who was measured, so that the result can be traced to one file, device and version.

    `sha256` is that of the file that was loaded, `sha256_of` what that is where it is no model, `files` holds those of
    files that the options name, `model_identity` what a factory's calculator says of itself, a text that changes with
    its numbers; `pinned` says that the user named it (`--probe-sha256`). `dispersion` is the part of
    the calculator which by its name adds dispersion, where nobody stated a level of theory. `dtype` to
    `threads`, `compile_mode` to `driver` and `versions` are the path that its numbers take: `compile_mode` None stands
    for eager, `kernels` names the library of its tensor products, `tf32` says whether float32 products are rounded to
    TF32; None for what the family does not have or state. `no_batches` says why the batches that its family has are not
    used. `left_behind` names what of the process its loading changed:
    the calculator has it so in its calls, and all else as it was before.
    """

    spec: Text
    label: Text
    family: Text
    version: str | None = None
    sha256: str | None = None
    sha256_of: Text | None = None
    files: dict[str, str] = {}
    model_identity: Text | None = None
    pinned: bool = False
    checkpoint: Checkpoint | None = None
    parameters: int | None = None
    elements: tuple[str, ...] | None = None
    level_of_theory: LevelName | None = None
    dispersion: Text | None = None
    dtype: Text
    device: Text
    device_name: Text
    threads: int
    batched: bool = False
    no_batches: Text | None = None
    compile_mode: str | None = None
    kernels: str | None = None
    tf32: bool | None = None
    cuda: str | None = None
    driver: str | None = None
    options: dict[str, Any] = {}
    versions: dict[str, str] = {}
    load_s: NonNegative = 0.0
    left_behind: tuple[Text, ...] = ()
    replicate_of: str | None = None


def as_lists(arrays: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Turn numpy arrays into the plain lists a record carries."""
    return {name: [float(x) for x in array] for name, array in arrays.items()}
