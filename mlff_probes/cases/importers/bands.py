"""From images on a disk to a band: in order, with its ends, of one level of theory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from ase import Atoms

from mlff_probes.cases.convergence import refuse_unconverged
from mlff_probes.cases.importers.codes.stated import Settings
from mlff_probes.cases.importers.image_order import by_geometry, order_problem
from mlff_probes.cases.importers.images import Band, Image, endpoint, read_images
from mlff_probes.cases.importers.settings import common_settings
from mlff_probes.core.errors import InputError
from mlff_probes.methods.bands.steps import step_between

SAME_END_A = 0.1
"""An endpoint that was computed elsewhere may differ by so much, A, from the first or last image: it was relaxed."""

ENDS = (("initial", "start", "is", "reactant"), ("final", "end", "fs", "product"))
"""Folders in which people compute the ends of a band, beside its images or the folder that holds them."""


@dataclass(frozen=True)
class Wanted:
    """What a user says of how a band is to be read.

    Attributes
    ----------
    initial, final
        Where the ends of the band were computed, if not with its images.
    order
        ``geometry`` to order images by which are nearest, ``names`` to take the order of their names although another
        one makes the path shorter.
    allow_mixed
        Why images that were computed with different settings may be compared all the same.
    """

    initial: Path | None = None
    final: Path | None = None
    order: str | None = None
    allow_mixed: str | None = None


@dataclass(frozen=True)
class WholeBand:
    """The images of a band in order, how all were computed, and what a reader must know."""

    frames: tuple[Atoms, ...]
    names: tuple[str, ...]
    settings: Settings = field(default_factory=Settings)
    nudged: bool = False
    notes: tuple[str, ...] = ()


def whole_band(sources: Sequence[Path], wanted: Wanted | None = None) -> WholeBand:
    """Read the images of a band, and put them in order.

    Raises
    ------
    InputError
        If there is nothing to read, an image is missing, they stand in another order than along the path, or were
        computed with different settings.
    """
    wanted = wanted or Wanted()
    where = sources[0] if len(sources) == 1 else sources[0].parent
    band = _with_ends(read_images(sources), sources, wanted)
    band = _ordered(band, where, wanted)
    names = [image.name for image in band.images]
    refuse_unconverged([image.atoms for image in band.images], where)
    said = {
        f"{image.name}{'' if names.count(image.name) == 1 else f' ({index})'}": image.settings
        for index, image in enumerate(band.images)
    }
    settings, table = common_settings(said, where, allow_mixed=wanted.allow_mixed is not None)
    mixed = (f"Settings differ among the images ({wanted.allow_mixed}): {_in_line(table)}.",) if table else ()
    frames = tuple(image.atoms for image in band.images)
    return WholeBand(frames, tuple(names), settings, band.nudged, (*band.notes, *mixed))


def _in_line(table: str) -> str:
    return "; ".join(" ".join(line.split()) for line in table.splitlines())


def _with_ends(band: Band, sources: Sequence[Path], wanted: Wanted) -> Band:
    """The band with its ends as they were computed elsewhere: those that are given, or found beside the images."""
    for which, given in (("first", wanted.initial), ("last", wanted.final)):
        for folder in [given] if given else _found_ends(band, sources, which):
            band = _with_end(band, folder, which, given=given is not None)
    if wanted.initial is None:
        _refuse_without_endpoint(band, sources[0])
    return band


def _refuse_without_endpoint(band: Band, where: Path) -> None:
    """Refuse numbered folders that begin after 00, which is where the tools of VASP put the first endpoint."""
    first = Path(band.images[0].name).parent.name
    if first.isdecimal() and int(first):
        number = "0" * len(first)
        raise InputError(
            where,
            f"begins with the folder {first}, and the endpoint {number} is missing",
            f"--initial=DIR says where it was computed; if {first} is the endpoint, name it {number}",
        )


def _found_ends(band: Band, sources: Sequence[Path], which: str) -> list[Path]:
    """Where an end of a band was computed: among its images, or beside their folder if the image has no energy."""
    if len(sources) > 1 or not sources[0].is_dir():
        return []
    names, here = ENDS[which == "last"], sources[0]
    lacks = not _has_energy(_end(band, which))
    places = [here, here.resolve().parent] if lacks else [here]
    folders = [folder for place in places for folder in sorted(place.iterdir()) if folder.is_dir()]
    return [folder for folder in folders if folder.name.lower() in names][:1]


def _end(band: Band, which: str) -> Image:
    return band.images[0 if which == "first" else -1]


def _with_end(band: Band, source: Path, which: str, *, given: bool) -> Band:
    """The band whose first or last image is that in `source`: put in its place, or before or behind the others."""
    found, image = endpoint(source), _end(band, which)
    end = replace(found, name=f"{source.name}/{Path(found.name).name}" if source.is_dir() else found.name)
    inner = [each for each in band.images if each is not image]
    if not _is_end(end.atoms, image.atoms):
        if not _has_energy(image):
            if given:
                raise InputError(source, f"is not the {which} image of the band: {_off(end, image)}")
            return band
        inner = list(band.images)
    images = [end, *inner] if which == "first" else [*inner, end]
    return replace(band, images=tuple(images), notes=(*band.notes, f"The {which} image is {end.name}."))


def _has_energy(image: Image) -> bool:
    return image.atoms.calc is not None and "energy" in image.atoms.calc.results


def _is_end(end: Atoms, image: Atoms) -> bool:
    if len(end) != len(image) or (end.numbers != image.numbers).any():
        return False
    return bool(np.abs(step_between(image, end)).max() < SAME_END_A)


def _off(end: Image, image: Image) -> str:
    if len(end.atoms) != len(image.atoms) or (end.atoms.numbers != image.atoms.numbers).any():
        return "it has other elements, or in another order"
    off = np.linalg.norm(step_between(image.atoms, end.atoms), axis=1)
    return f"atom {int(off.argmax())} lies {off.max():.2f} A off"


def _ordered(band: Band, where: Path, wanted: Wanted) -> Band:
    """The images in the order of the path."""
    images, names = band.images, [image.name for image in band.images]
    frames = [image.atoms for image in images]
    first = frames[0]
    alike = all(len(frame) == len(first) and (frame.numbers == first.numbers).all() for frame in frames)
    if len(frames) <= 2 or not alike:  # which whoever makes a path of them will say
        return band
    if not band.ordered or wanted.order == "geometry":
        chain = by_geometry(frames, names)
        note = f"Ordered by which images are nearest to each other: {', '.join(names[index] for index in chain)}."
        return replace(band, images=tuple(images[index] for index in chain), notes=(*band.notes, note))
    if wanted.order != "names" and (problem := order_problem(frames, names)):
        raise InputError(where, problem, "--order=geometry takes them so, --order=names as they are called")
    return band
