"""Q and T^2 of a known subspace are what theory says, and scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from mlff_probes.methods.analysis import subspace as module
from mlff_probes.methods.analysis.subspace import NoSubspaceError, Subspace, Training

FEATURES, INNER, SAMPLES = 20, 3, 1000
SEEDS = 40


def drawn(seed: int, number: int = SAMPLES, world: int = 0) -> np.ndarray:
    """Samples in a subspace of three dimensions, with noise of several sizes around it; some features are large."""
    fixed = np.random.default_rng(world)
    axes, noise = fixed.normal(size=(INNER, FEATURES)), fixed.uniform(0.1, 0.4, FEATURES)
    units, rng = 10.0 ** fixed.uniform(-2, 2, FEATURES), np.random.default_rng([world, seed, 1])
    return (rng.normal(size=(number, INNER)) @ axes + noise * rng.normal(size=(number, FEATURES)) + 7) * units


def fitted(*parts: np.ndarray, explained: float = 0.95) -> Subspace:
    training = Training()
    for part in parts:
        training.add(part)
    return training.subspace(explained)


def test_of_samples_like_the_training_set_as_many_lie_beyond_the_limits_as_stated():
    beyond = []
    for world in range(SEEDS):
        space = fitted(drawn(0, world=world), explained=0.9)
        q, t2 = space.distances(drawn(1, world=world))
        beyond.append([(q > space.q_limit()).mean(), (t2 > space.t2_limit()).mean()])
    assert (np.mean(beyond, axis=0) > 0.03).all()
    assert (np.mean(beyond, axis=0) < 0.07).all()
    strict = [(q > space.q_limit(0.99)).mean(), (t2 > space.t2_limit(0.99)).mean()]
    assert max(strict) < 0.025


@pytest.mark.parametrize(("samples", "rows"), [(SAMPLES, 100), (15, 100)])
def test_scikit_learn_agrees_whatever_the_parts(samples, rows, monkeypatch):
    monkeypatch.setattr(module, "ROWS", rows)
    train, query = drawn(0, samples), drawn(1, 50)
    space = fitted(*np.array_split(train, 7))
    scaler = StandardScaler().fit(train)
    pca = PCA(n_components=space.components).fit(scaler.transform(train))
    z = scaler.transform(query)
    t = pca.transform(z)
    q, t2 = space.distances(query)
    factor = (samples - 1) / samples  # the scaler divides squares by n, and not by n - 1
    assert q == pytest.approx(((z - pca.inverse_transform(t)) ** 2).sum(axis=1) * factor, rel=1e-8)
    assert t2 == pytest.approx((t**2 / pca.explained_variance_).sum(axis=1), rel=1e-8)
    assert space.explained == pytest.approx(pca.explained_variance_ratio_.sum())
    assert space.explained >= 0.95 > pca.explained_variance_ratio_[:-1].sum()


def test_a_sample_along_an_axis_has_t2_alone_and_one_across_it_q_alone():
    space = fitted(drawn(0), explained=0.9)
    along = space.mean + space.scale * space.axes[:, 0] * 3 * np.sqrt(space.variances[0])
    across = np.linalg.svd(space.axes)[0][:, -1]
    q, t2 = space.distances([along, space.mean + 2 * space.scale * across])
    assert q == pytest.approx([0, 4], abs=1e-9)
    assert t2 == pytest.approx([9, 0], abs=1e-9)


def test_a_feature_that_did_not_vary_in_training_and_begins_to_is_far_outside():
    still = drawn(0)
    still[:, 4] = 3 + 1e-7 * still[:, 5] / still[:, 5].std()  # rounding of a float32
    space = fitted(still)
    moved = still[:1].copy()
    moved[0, 4] += 10 * np.median(still.std(axis=0))
    assert space.distances(still[:1])[0] < 3 * space.q_limit()
    assert space.distances(moved)[0] > 10 * space.q_limit()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (drawn(0, 9), "9 training atoms, at least 10"),
        (np.ones((30, 5)), "do not vary"),
        (np.full((30, 5), 1e5) + 1e-4 * drawn(0, 30)[:, :5] / np.ptp(drawn(0, 30)[:, :5], axis=0), "do not vary"),
        (drawn(0, 30)[:, :1], "nothing is outside"),
    ],
)
def test_what_spans_no_subspace_says_why(rows, said):
    with pytest.raises(NoSubspaceError, match=said):
        fitted(rows)


def test_what_is_no_sample_is_refused():
    space, bad = fitted(drawn(0)), drawn(1, 4)
    bad[2, 3] = np.nan
    for use in (space.distances, Training().add):
        with pytest.raises(ValueError, match="1 of 4 samples are not finite"):
            use(bad)
    with pytest.raises(ValueError, match="5 features, those of the training set 20"):
        space.distances(drawn(1)[:, :5])
    with pytest.raises(ValueError, match=r"expected \(n_samples, n_features\)"):
        space.distances(np.zeros(20))


def test_many_components_have_a_limit_of_q_too():
    """Where the power of Jackson and Mudholkar vanishes, or its base is negative, Box's limit holds instead."""
    eigenvalues = np.array([8.0] + [1.0] * 40)
    for values in (eigenvalues, eigenvalues[:1], np.array([50.0] + [1e-3] * 500)):
        sums = tuple(float((values**p).sum()) for p in (1, 2, 3))
        space = Subspace(np.zeros(1), np.ones(1), np.ones((1, 1)), np.ones(1), sums, 100)
        draws = (np.random.default_rng(0).normal(size=(4000, len(values))) ** 2) @ values
        assert (draws > space.q_limit()).mean() == pytest.approx(0.05, abs=0.02)
