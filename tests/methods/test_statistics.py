"""Intervals that hold the truth as often as they say, on series whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter
from support import autoregressive

from mlff_probes.methods.analysis.statistics import (
    MINIMUM_SAMPLES,
    KnownScatter,
    Unresolved,
    drift,
    jackknife,
    mean,
    statistical_inefficiency,
)


def covered(estimate, trials=100):
    """How many of the estimates (value, truth) hold their truth, and how many were resolved."""
    hits = resolved = 0
    for _ in range(trials):
        try:
            found, truth = estimate()
        except Unresolved:
            continue
        resolved += 1
        hits += abs(found.value - truth) <= found.uncertainty
    print(hits, resolved)
    return hits, resolved


SERIES = [(1, 400, 0), (1, 500, 5), (4, 300, 5), (1, 5000, 20), (3, 2000, 50), (20, 40, 2)]


@pytest.mark.parametrize(("replicas", "samples", "correlation"), SERIES)
def test_intervals_of_a_mean_are_honest(replicas, samples, correlation):
    rng = np.random.default_rng(11)
    hits, resolved = covered(lambda: (mean(7 + 2 * autoregressive(rng, replicas, samples, correlation)), 7))
    assert resolved == 100
    assert 90 <= hits <= 99


@pytest.mark.parametrize(("replicas", "samples", "correlation"), SERIES)
def test_intervals_of_a_drift_are_honest(replicas, samples, correlation):
    rng = np.random.default_rng(12)
    time = 5 + 0.1 * np.arange(samples)
    offsets = rng.normal(scale=10, size=(replicas, 1))

    def one():
        return drift(time, 0.3 * time + offsets + autoregressive(rng, replicas, samples, correlation)), 0.3

    hits, resolved = covered(one)
    assert resolved >= 90
    assert hits >= 0.9 * resolved
    assert hits <= 99


@pytest.mark.parametrize(("replicas", "samples", "correlation"), [(1, 150, 5), (3, 100, 10), (1, 15, 0)])
def test_short_series_are_refused_or_honest(replicas, samples, correlation):
    """Some 15 independent samples: too few for many a trial, and where not, not overconfident."""
    rng = np.random.default_rng(13)
    hits, resolved = covered(lambda: (mean(autoregressive(rng, replicas, samples, correlation)), 0), trials=300)
    assert resolved >= 30
    assert hits >= 0.9 * resolved


def test_a_slow_tail_under_an_oscillation_is_not_missed():
    rng = np.random.default_rng(14)
    damping, turn = np.exp(-1 / 30), 0.5

    def one():
        noise = rng.normal(size=(1, 4500))
        fast = lfilter([1], [1, -2 * damping * np.cos(turn), damping**2], noise, axis=1)[:, 500:]
        return mean(fast / fast.std() + 0.3 * autoregressive(rng, 1, 4000, 60)), 0

    hits, _ = covered(one)
    assert 90 <= hits <= 99


@pytest.mark.parametrize("correlation", [2, 10, 50])
def test_the_inefficiency_is_that_of_the_process(correlation):
    factor = np.exp(-1 / correlation)
    series = autoregressive(np.random.default_rng(15), 4, 50000, correlation)
    assert statistical_inefficiency(series) == pytest.approx((1 + factor) / (1 - factor), rel=0.15)
    assert mean(series).samples == pytest.approx(200000 * (1 - factor) / (1 + factor), rel=0.15)


def test_white_noise_and_alternation_are_never_better_than_independent():
    assert statistical_inefficiency(np.random.default_rng(16).normal(size=(2, 20000))) == pytest.approx(1, abs=0.05)
    assert statistical_inefficiency([[1.0, -1.0] * 50]) == pytest.approx(1)


def test_replicas_that_stay_apart_count_as_one_sample_each():
    series = np.arange(6)[:, None] + 0.01 * np.random.default_rng(17).normal(size=(6, 500))
    assert statistical_inefficiency(series) == pytest.approx(500, rel=0.2)
    with pytest.raises(Unresolved, match=r"^[5-7](\.\d)? independent samples, at least 10 are needed$"):
        mean(series)


def test_replicas_say_what_one_that_wanders_cannot():
    """Each replica has some three independent samples; four of them still give an honest slope."""
    rng, time = np.random.default_rng(5), np.arange(200.0)

    def slope():
        return drift(time, autoregressive(rng, 4, 200, 60.0) + 0.02 * time), 0.02

    hits, resolved = covered(slope)
    assert resolved == 100
    assert 90 <= hits <= 99
    with pytest.raises(Unresolved):
        drift(time, autoregressive(rng, 2, 200, 60.0))


def test_drift_is_exact_without_noise_and_per_unit_of_time():
    time = np.arange(20) * 0.5
    found = drift(time, [3 + 2 * time, -1 + 2 * time])
    assert found.value == pytest.approx(2)
    assert found.uncertainty < 1e-9
    assert found.samples == 39


def test_constant_series_have_no_uncertainty():
    found = mean(np.full((2, 7), 0.1))
    assert (found.value, found.uncertainty, found.samples) == (pytest.approx(0.1), 0, 14)
    found = drift(np.arange(12.0), np.full((1, 12), 300.3))
    assert (found.value, found.uncertainty, found.samples) == (pytest.approx(0, abs=1e-12), 0, 12)


@pytest.mark.parametrize("shape", [(1, 0), (1, 1), (1, 2), (3, 3), (1, MINIMUM_SAMPLES - 1)])
def test_too_few_samples_are_unresolved(shape):
    for series in (np.ones(shape), np.random.default_rng(18).normal(size=shape)):
        with pytest.raises(Unresolved):
            mean(series)
        with pytest.raises(Unresolved):
            drift(np.arange(shape[1]), series)
    with pytest.raises(Unresolved, match=r"^6 independent samples, at least 10 are needed$"):
        mean(np.ones((2, 3)))


def test_series_that_are_none_are_refused():
    with pytest.raises(ValueError, match="shape"):
        mean(np.ones(50))
    with pytest.raises(ValueError, match="not finite"):
        mean(np.full((1, 50), np.nan))
    with pytest.raises(ValueError, match="3 times for 50 samples"):
        drift(np.arange(3), np.ones((1, 50)))


def test_the_jackknife_of_the_mean_is_the_standard_error():
    blocks = np.resize([1.0, -1.0, 2.0, -2.0], 24)
    found = jackknife(float, blocks)
    assert found.value == pytest.approx(blocks.mean())
    assert found.samples == 24
    assert found.uncertainty == pytest.approx(2.20099 * blocks.std(ddof=1) / np.sqrt(24), rel=0.05)  # t of 11.5
    assert jackknife(float, np.full(24, 0.1)).uncertainty == 0
    with pytest.raises(Unresolved, match="9 independent samples"):
        jackknife(float, blocks[:9])


def test_intervals_of_the_jackknife_are_honest():
    rng = np.random.default_rng(20)

    def ratio(means):
        return float(means[0] / means[1])

    hits, resolved = covered(lambda: (jackknife(ratio, rng.normal([2, 5], 0.5, size=(48, 2))), 0.4))
    assert resolved >= 95
    assert hits >= 0.9 * resolved
    hits, resolved = covered(lambda: (jackknife(ratio, rng.normal([2, 5], 0.5, size=(12, 2))), 0.4), trials=300)
    assert resolved >= 90  # so few cannot be told from correlated ones for sure
    assert hits >= 0.9 * resolved


@pytest.mark.parametrize(
    ("replicas", "samples", "correlation"), [(1, 300, 10), (4, 150, 10), (4, 75, 10), (10, 100, 3)]
)
def test_blocks_that_are_correlated_count_less(replicas, samples, correlation):
    """48 blocks of series of 15 to 170 independent samples."""
    rng, each = np.random.default_rng(21), -(-48 // replicas)

    def exponential():
        series = autoregressive(rng, replicas, samples, correlation)
        blocks = [part.mean() for replica in series for part in np.array_split(replica, each)]
        return jackknife(lambda x: float(np.exp(x / 2)), blocks, replicas=replicas), 1

    hits, resolved = covered(exponential, trials=200)
    assert resolved >= 120
    assert 0.9 * resolved <= hits


def test_a_few_slow_swings_are_mostly_refused():
    rng = np.random.default_rng(22)

    def one():
        blocks = autoregressive(rng, 1, 300, 50)[0].reshape(50, 6).mean(axis=1)
        return jackknife(float, blocks), 0

    assert covered(one, trials=300)[1] <= 60
    ramps = np.arange(12.0) + 0.01 * rng.normal(size=12)
    for blocks in (ramps, np.tile(ramps, 3)):
        with pytest.raises(Unresolved, match=r"^\d\.\d independent samples, at least 10 are needed$"):
            jackknife(float, blocks, replicas=len(blocks) // 12)


def test_a_witness_tells_of_slow_swings_under_noise():
    rng = np.random.default_rng(23)
    slow = np.sin(2 * np.pi * np.arange(48) / 48)
    blocks = slow + 4 * rng.normal(size=48)
    assert jackknife(float, blocks).samples > 20
    with pytest.raises(Unresolved):
        jackknife(float, blocks, witnesses=[slow])
    plain, watched = jackknife(float, blocks), jackknife(float, blocks, witnesses=[np.tile([1, 2, 2, 1.0], 12)])
    assert watched.samples <= plain.samples
    assert watched.uncertainty >= plain.uncertainty
    with pytest.raises(ValueError, match="48 blocks of 5 replicas"):
        jackknife(float, blocks, replicas=5)


def test_where_blocks_say_too_little_a_known_scatter_does():
    blocks, known = np.repeat(np.arange(4.0), 10), KnownScatter(error=0.5, samples=21)
    with pytest.raises(Unresolved):
        jackknife(float, blocks)
    found = jackknife(float, blocks, otherwise=known)
    assert (found.value, found.samples, found.degrees) == (1.5, 21, 10)
    assert found.uncertainty == pytest.approx(0.5 * 2.228, rel=1e-3)
    with pytest.raises(Unresolved, match="9 independent samples"):
        jackknife(float, blocks, otherwise=KnownScatter(error=0.5, samples=9))
    enough = np.random.default_rng(0).normal(size=60)
    assert jackknife(float, enough, otherwise=known) == jackknife(float, enough)
