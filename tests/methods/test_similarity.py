"""Copies of a representation are alike, shuffled ones are not, and equal sets cannot be told apart."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ortho_group

from mlff_probes.methods.analysis.similarity import aligned, linear_cka, linear_cka_interval, silhouette

RNG = np.random.default_rng(0)
SAMPLES = RNG.normal(size=(120, 30)) * np.linspace(0.1, 3, 30)


def test_copies_are_alike_and_shuffled_ones_are_not():
    turned = 5 * SAMPLES @ ortho_group.rvs(30, random_state=1) + 2
    assert linear_cka(SAMPLES, SAMPLES) == pytest.approx(1, abs=1e-12)
    assert linear_cka(SAMPLES, turned) == pytest.approx(1, abs=1e-12)
    shuffled = [linear_cka(SAMPLES, RNG.permutation(SAMPLES)) for _ in range(60)]
    assert abs(np.mean(shuffled)) < 0.02
    assert np.abs(shuffled).max() < 0.15


def test_few_samples_of_many_features_do_not_seem_alike():
    """With the biased estimate two unrelated representations of this shape have 0.9."""
    found = [linear_cka(*RNG.normal(size=(2, 16, 300))) for _ in range(100)]
    assert abs(np.mean(found)) < 0.05


def test_it_is_what_the_definition_says():
    x, y = SAMPLES[:20], RNG.normal(size=(20, 4)) + SAMPLES[:20, :4]

    def hsic(a, b):
        k, m, one, n = a @ a.T, b @ b.T, np.ones(20), 20
        np.fill_diagonal(k, 0)
        np.fill_diagonal(m, 0)
        return np.trace(k @ m) + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * one @ k @ m @ one

    assert linear_cka(x, y) == pytest.approx(hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y)))


def test_the_interval_holds_the_truth_and_is_no_wider_than_it_scatters():
    groups = np.repeat(np.arange(30), 4)

    def pair():
        shared = RNG.normal(size=(120, 6))
        return [shared + 0.6 * RNG.normal(size=(120, 6)) for _ in range(2)]

    truth = np.mean([linear_cka(*pair()) for _ in range(200)])
    found = [linear_cka_interval(*pair(), groups) for _ in range(20)]
    assert sum(each.low < truth < each.high for each in found) >= 16
    widths = np.mean([each.high - each.low for each in found])
    assert widths == pytest.approx(4 * np.std([linear_cka(*pair()) for _ in range(200)]), rel=0.4)


def test_a_silhouette_tells_sets_apart_or_not():
    assert silhouette(SAMPLES, SAMPLES) == pytest.approx(-1 / 120, abs=1e-9)
    assert abs(silhouette(SAMPLES[:60], SAMPLES[60:])) < 0.02
    assert silhouette(SAMPLES, SAMPLES + 100) > 0.9


def test_bad_input_is_refused():
    for one, other, said in [
        (SAMPLES, SAMPLES[:9], "120 samples here and 9 there"),
        (SAMPLES[:3], SAMPLES[:3], "at least 4"),
        (SAMPLES, np.ones((120, 2)), "does not vary"),
        (SAMPLES, np.full((120, 2), np.nan), "finite"),
    ]:
        with pytest.raises(ValueError, match=said):
            linear_cka(one, other)
    with pytest.raises(ValueError, match="2 groups"):
        linear_cka_interval(SAMPLES, SAMPLES, np.arange(120) // 60)
    with pytest.raises(ValueError, match=r"\(120, 30\) and \(120, 2\)"):
        silhouette(SAMPLES, SAMPLES[:, :2])


def test_what_a_rotation_and_a_scale_undo_is_undone_and_what_they_cannot_is_left():
    turned = 0.2 * SAMPLES @ ortho_group.rvs(30, random_state=2) - 7
    assert aligned(turned, SAMPLES) == pytest.approx(SAMPLES, abs=1e-9)
    narrow = aligned(SAMPLES[:, -4:], SAMPLES)
    assert narrow.shape == (120, 30)
    assert np.linalg.norm(narrow - narrow.mean(axis=0)) == pytest.approx(np.linalg.norm(SAMPLES - SAMPLES.mean(axis=0)))
    wide = aligned(SAMPLES, SAMPLES[:, -4:])
    assert wide.shape == (120, 30)
    other = RNG.permutation(SAMPLES)
    assert np.linalg.norm(aligned(other, SAMPLES) - SAMPLES) > 0.5 * np.linalg.norm(SAMPLES)
