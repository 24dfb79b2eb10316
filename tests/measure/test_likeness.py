"""Models that see atoms alike are found alike, from the little that is kept of their features."""

from __future__ import annotations

from dataclasses import replace

import ase.io
import numpy as np
import pytest
from faults import load
from scipy.stats import ortho_group

from mlff_probes.calculators.base import Features
from mlff_probes.calculators.descriptors import descriptors
from mlff_probes.core.data import DIRECTORY
from mlff_probes.measure.representation.likeness import embedding, likenesses, matrix
from mlff_probes.measure.representation.maps import ATOMS_OF_ELEMENT, AtomSample, Map, principal
from mlff_probes.methods.analysis.similarity import linear_cka, within_groups

FRAMES = [
    frame
    for name in ("migration/cr_sb2te3_deep", "sliding/sb2te3_fixed_gap_0.0")
    for frame in ase.io.read(DIRECTORY / f"{name}.extxyz", ":")
]
TURN = ortho_group.rvs(20, random_state=0)


def mapped(how=lambda x: {"shells": x}, frames=FRAMES, parts=1):
    """The map of the sound calculator whose features went through a function, described in parts."""
    own = load()
    model = replace(own, features=lambda some: [Features(how(f.layers["shells"])) for f in own.features(some)])
    drawn = AtomSample(frames, seed=0)
    for part in np.array_split(np.arange(len(frames)), parts):
        drawn.take(descriptors(model, [frames[i] for i in part]))
    return drawn.map()


def test_a_map_holds_some_atoms_of_each_element_and_survives_a_file():
    found = mapped()
    assert {e: int((found.elements == e).sum()) for e in ("Cr", "Sb", "Te")} == {
        "Cr": 9, "Sb": ATOMS_OF_ELEMENT, "Te": ATOMS_OF_ELEMENT
    }  # fmt: skip
    row, atom = map(int, found.atoms[-1].split(":"))
    assert FRAMES[row].symbols[atom] == found.elements[-1]
    assert found.frames[-1] == row
    read = Map.of_arrays(found.arrays())
    assert read.atoms == found.atoms
    scores = found.layers["shells"]
    assert read.layers["shells"] == pytest.approx(scores, abs=1e-4 * np.abs(scores).max())
    assert Map.of_arrays({"energy": [1.0]}) is None


def test_a_map_is_the_same_in_whatever_parts_frames_were_described():
    one, other = mapped(), mapped(parts=5)
    assert np.array_equal(one.layers["shells"], other.layers["shells"])
    assert one.atoms == other.atoms


def test_distances_within_a_group_are_those_of_the_features():
    rng = np.random.default_rng(0)
    groups = np.repeat(["a", "b", "c"], 40)
    features = rng.normal(size=(120, 8)) @ rng.normal(size=(8, 50)) + 30 * rng.normal(size=(3, 50)).repeat(40, axis=0)
    scores = principal(features, groups)
    assert scores.shape == (120, 12)
    for pair in ((0, 1), (50, 60), (90, 110)):
        there, here = (np.linalg.norm(rows[pair[0]] - rows[pair[1]]) for rows in (features, scores))
        assert here == pytest.approx(there)
    assert scores[groups == "b"].mean(axis=0) == pytest.approx(0, abs=1e-9)
    assert linear_cka(scores, within_groups(features, groups)) == pytest.approx(1)
    assert not principal(5 + 1e-9 * features, groups).any(), "rounding alone"


def test_copies_are_alike_however_they_are_turned_and_shuffled_features_are_not():
    rng = np.random.default_rng(0)
    maps = {
        "own": mapped(),
        "copy": mapped(),
        "turned": mapped(lambda x: {"shells": 7 * x @ TURN}),
        "shuffled": mapped(lambda x: {"shells": rng.permutation(x.ravel()).reshape(x.shape)}),
    }
    found = {(each.one, each.other): each for each in likenesses(maps)}
    assert len(found) == 6
    for other in ("copy", "turned"):
        alike = found["own, shells", f"{other}, shells"]
        assert alike.cka.value == pytest.approx(1, abs=1e-6)
        assert alike.silhouette == pytest.approx(-1 / alike.atoms, abs=0.01)
    apart = found["own, shells", "shuffled, shells"]
    assert abs(apart.cka.value) < 0.2
    assert apart.cka.low < 0.1
    assert str(apart).startswith("features of own, shells and of shuffled, shells: linear CKA ")


def test_layers_are_compared_with_each_other_and_drawn_together():
    maps = {"one": mapped(lambda x: {"first": x, "second": x**3}), "other": mapped(lambda x: {"only": x @ TURN})}
    names, alike = matrix(maps)
    assert names == ["one, first", "one, second", "other, only"]
    assert all(alike[i][i].value == pytest.approx(1) for i in range(3))
    assert alike[0][2] == alike[2][0]
    assert alike[0][2].value == pytest.approx(1, abs=1e-6)
    assert alike[1][2].low < alike[1][2].value < 0.99
    points, elements = embedding(list(maps.values()))
    assert points.shape == (2, 169, 2)
    assert sorted(set(elements)) == ["Cr", "Sb", "Te"]
    again, _ = embedding(list(maps.values()))
    assert np.array_equal(points, again)


def test_too_little_in_common_is_said():
    maps = {"one": mapped(), "other": mapped(frames=FRAMES[:1])}
    (found,) = likenesses(maps)
    assert (found.cka, found.silhouette) == (None, None)
    assert str(found).endswith("not compared, both know 21 of the atoms, 32 are needed") or found.atoms < 32
    assert embedding(list(maps.values())) is None
    flat = {"one": mapped(), "flat": mapped(lambda x: {"shells": np.ones_like(x)})}
    assert likenesses(flat)[0].why_not == "a representation does not vary"
    assert matrix(flat)[1][0][1] is None
    assert matrix(maps)[1][0][0] is None, "of few atoms nothing is said in the picture either"
