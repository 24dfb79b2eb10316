"""Extrapolation from training frames in a space of descriptors, and what fine-tuning moved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field

from mlff_probes.core.protocol import ATOM_ENERGY, PURE, SMALL_FORCE, BaseProtocol, FramesFrom, LabelKeys
from mlff_probes.core.records import Record, Slug, Text

if TYPE_CHECKING:
    from ase import Atoms

SHARE = "%"

DISTANCES = {"q_beyond": SHARE, "t2_beyond": SHARE, "q_ratio": PURE}
"""How far frames lie from training frames."""

OF_ORIGIN = {**DISTANCES, "q_error_correlation": PURE}
"""What is measured of the frames of each origin, and of all."""


class TrainingSet(Record):
    """Training frames, and the principal subspace of their atoms against which other frames are held.

    `--probe-training-frames` replaces the frames.

    Attributes
    ----------
    training
        Paths or patterns of files with training frames, relative to the case file.
    rattled
        How many copies of each training frame are taken besides it, with random displacements; none of those that
        `--probe-training-frames` names.
    rattle_a
        Standard deviation of a component of these displacements, A.
    seed
        Of the random numbers.
    explained
        Share of the standardised variance that the components explain, at least.
    confidence
        Share of frames like those of training that lie within a limit.
    descriptors
        What describes an atom: "model" for the features of the model (SOAP where it shows none), "soap", "physical".
    """

    training: Annotated[tuple[Text, ...], Field(min_length=1)]
    rattled: Annotated[int, Field(ge=0, le=10_000)] = 60
    rattle_a: Annotated[float, Field(gt=0, le=1)] = 0.1
    seed: Annotated[int, Field(ge=0)] = 0
    explained: Annotated[float, Field(gt=0, lt=1)] = 0.95
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    descriptors: Literal["model", "soap", "physical"] = "model"


class Extrapolation(TrainingSet, BaseProtocol, LabelKeys):
    """Q residual and Hotelling's T^2 of frames in the principal subspace of training frames, for each element.

    The frames lie beside the case and name their `origin` themselves, or `origins` names the files; those with energies
    and forces also say whether errors grow with the distance. Training frames are those of a `TrainingSet`.

    Attributes
    ----------
    origins
        Origin -> path or pattern of files with frames, relative to the case file.
    """

    kind: Literal["extrapolation"]
    origins: dict[Slug, Text] = Field(default_factory=dict)

    family: ClassVar[str] = "representation"
    frames_from: ClassVar[FramesFrom] = "frames and training frames"
    quantities: ClassVar[dict[str, str]] = {
        "invariance": PURE,
        "blind_elements": PURE,
        **OF_ORIGIN,
        "held_out_beyond": SHARE,
    }

    def units(self, frames: Sequence[Atoms]) -> dict[str, str]:
        """All that this protocol measures on `frames`: quantity -> unit."""
        origins = dict.fromkeys(str(frame.info["origin"]) for frame in frames)
        return self.quantities | {f"{name}_of_{origin}": unit for origin in origins for name, unit in OF_ORIGIN.items()}

    def with_training_given(self) -> Self:
        """A copy for training frames that the user names, which are taken as they are."""
        return self.model_copy(update={"rattled": 0})

    def policy_name(self, quantity: str) -> str:
        """The name under which the tolerance policy knows `quantity`: parts share the tolerance of the whole."""
        return quantity.partition("_of_")[0]

    def reseeded(self, seed: int) -> Self:
        """A copy with other random numbers; seed 0 changes nothing."""
        return self.model_copy(update={"seed": self.seed + seed})


OTHERS = "others"
"""The elements that few frames hold, taken together."""

FEWEST_FRAMES = 16
"""Frames that an element is in, at least, to be looked at by itself: of fewer, an interval says little."""


def parts_of(frames: Sequence[Atoms]) -> dict[str, str]:
    """Each element of some frames -> itself, or `OTHERS` where it is in fewer than `FEWEST_FRAMES`; sorted."""
    held = Counter(symbol for frame in frames for symbol in set(frame.symbols))
    return {symbol: symbol if held[symbol] >= FEWEST_FRAMES else OTHERS for symbol in sorted(held)}


class Forgetting(BaseProtocol):
    """How far a fine-tuned model drifted from its foundation: features, element by element, energies and forces.

    The foundation is named with the model: ``--calculator=tuned.model,foundation=SPEC``. Only structures are read;
    those with an element that either does not know are left out.

    Attributes
    ----------
    origins
        Origin -> path or pattern of files with frames, relative to the case file.
    rattle_a
        Standard deviation of the random displacements that every frame gets, A: atoms that symmetry makes equal say
        nothing of each other.
    seed
        Of the random numbers.
    """

    kind: Literal["forgetting"]
    origins: dict[Slug, Text] = Field(default_factory=dict)
    rattle_a: Annotated[float, Field(gt=0, le=1)] = 0.1
    seed: Annotated[int, Field(ge=0)] = 0

    family: ClassVar[str] = "representation"
    asks_foundation: ClassVar[bool] = True
    frames_from: ClassVar[FramesFrom] = "any frames"
    chooses_elements: ClassVar[bool] = True
    quantities: ClassVar[dict[str, str]] = {
        "cka": PURE,
        "drift": PURE,
        "energy_change": ATOM_ENERGY,
        "force_change": SMALL_FORCE,
    }

    def units(self, frames: Sequence[Atoms]) -> dict[str, str]:
        """All that this protocol measures on `frames`: quantity -> unit."""
        origins = dict.fromkeys(str(frame.info["origin"]) for frame in frames)
        elements = dict.fromkeys(parts_of(frames).values())
        of_elements = {
            f"{q}_{e}": unit for e in elements for q, unit in self.quantities.items() if q != "energy_change"
        }
        of_origins = {f"{q}_of_{origin}": unit for origin in origins for q, unit in self.quantities.items()}
        return self.quantities | of_elements | of_origins

    def reseeded(self, seed: int) -> Self:
        """A copy with other random numbers; seed 0 changes nothing."""
        return self.model_copy(update={"seed": self.seed + seed})
