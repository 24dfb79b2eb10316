"""The cost of a call against the number of atoms, on times whose law is known."""

from __future__ import annotations

import time

import numpy as np
import pytest

from mlff_probes.methods.analysis.cost import Unresolved, cost_model

SIX = np.array([20.0, 40.0, 100.0, 200.0, 500.0, 1000.0])
FOUR = np.array([20.0, 100.0, 500.0, 1000.0])


def law(atoms, overhead, slope, exponent):
    return overhead + slope * atoms * (atoms / 1000) ** (exponent - 1)


def numbers(model):
    return model.overhead_s.value, model.slope_s_per_atom.value, model.exponent.value


@pytest.mark.parametrize("sizes", [SIX, FOUR, np.array([1000.0, 3000.0, 10000.0, 1e5])])
@pytest.mark.parametrize(
    "truth", [(0.01, 5e-5, 1.2), (0.0, 5e-5, 1.0), (0.0, 2e-6, 2.0), (0.003, 1e-4, 2.0), (0.02, 1e-5, 0.873)]
)
def test_an_exact_law_is_found_again(sizes, truth):
    found = cost_model(sizes, [[t, t, t] for t in law(sizes, *truth)])
    assert numbers(found) == pytest.approx(truth, rel=1e-4, abs=1e-7)
    assert found.scatter == pytest.approx(0, abs=1e-6)
    for bounded in (found.overhead_s, found.slope_s_per_atom, found.exponent):
        assert bounded.low == pytest.approx(bounded.value, rel=0.01, abs=2e-4)
        assert bounded.high == pytest.approx(bounded.value, rel=0.01, abs=2e-4)
        assert bounded.low <= bounded.value <= bounded.high


def test_the_slope_is_that_of_a_thousand_atoms():
    """10 ms, and 50 us an atom at 1,000 atoms: 60 ms there, and 10 + 500 * 10^0.2 ms at 10,000."""
    found = cost_model(SIX, [[t] for t in law(SIX, 0.01, 5e-5, 1.2)])
    predicted, low, high = found.predict([1000, 10_000])
    assert predicted == pytest.approx([0.06, 0.01 + 0.5 * 10**0.2], rel=1e-4)
    assert low == pytest.approx(predicted, rel=0.01)
    assert high == pytest.approx(predicted, rel=0.01)


@pytest.mark.parametrize(("sizes", "noise"), [(SIX, 0.03), (SIX, 0.1), (FOUR, 0.03), (FOUR, 0.1)])
def test_intervals_hold_the_truth_as_often_as_they_say(sizes, noise):
    rng, trials = np.random.default_rng(31), 150
    truth = (0.01, 5e-5, 1.2)
    hits = np.zeros(4)
    for _ in range(trials):
        found = cost_model(sizes, [[t * (1 + noise * rng.normal())] for t in law(sizes, *truth)])
        _, low, high = found.predict(10_000)
        hits += [
            found.exponent.low <= 1.2 <= found.exponent.high,
            found.overhead_s.low <= 0.01 <= found.overhead_s.high,
            found.slope_s_per_atom.low <= 5e-5 <= found.slope_s_per_atom.high,
            low <= law(10_000, *truth) <= high,
        ]
    print(hits / trials)
    assert (hits >= 0.9 * trials).all()
    assert (hits <= 0.99 * trials).all()


def test_an_overhead_of_nothing_is_mostly_within_its_interval():
    rng = np.random.default_rng(32)
    lows = []
    for _ in range(60):
        found = cost_model(SIX, [[t * (1 + 0.03 * rng.normal())] for t in law(SIX, 0, 5e-5, 1.0)])
        assert 0 <= found.overhead_s.low <= found.overhead_s.value
        lows.append(found.overhead_s.low)
    assert lows.count(0.0) >= 0.9 * len(lows)


def test_fewer_sizes_give_wider_intervals():
    rng = np.random.default_rng(34)

    def width(sizes):
        found = cost_model(sizes, [[t * (1 + 0.03 * rng.normal())] for t in law(sizes, 0.01, 5e-5, 1.2)])
        return found.exponent.high - found.exponent.low

    assert np.median([width(FOUR) for _ in range(30)]) > 2 * np.median([width(SIX) for _ in range(30)])


def test_the_noise_of_the_calls_widens_a_fit_that_is_good_by_luck():
    """Medians on the law to the last digit, of calls that scatter by 10 %."""
    spread = np.array([0.9, 0.95, 1.0, 1.05, 1.1])
    exact = cost_model(SIX, [[t] for t in law(SIX, 0.01, 5e-5, 1.2)])
    noisy = cost_model(SIX, [t * spread for t in law(SIX, 0.01, 5e-5, 1.2)])
    assert numbers(noisy) == pytest.approx(numbers(exact))
    assert noisy.exponent.high - noisy.exponent.low > 0.1
    # 5 % median absolute deviation: 1.2533 * 1.4826 * 5 % / sqrt(5) = 4.15 % of each median, in the middle of the sizes
    time, low, high = noisy.predict(150)
    assert 0.5 * 0.0415 * 1.96 < (high - low) / 2 / time < 0.0415 * 1.96


def test_a_slow_call_hardly_moves_it():
    rng = np.random.default_rng(33)
    calls = [t * (1 + 0.01 * rng.normal(size=15)) for t in law(SIX, 0.01, 5e-5, 1.2)]
    plain = cost_model(SIX, calls)
    for of_size in calls:
        of_size[7] *= 50
    slow = cost_model(SIX, calls)
    assert slow.exponent.value == pytest.approx(plain.exponent.value, abs=0.05)
    assert slow.predict(10_000)[0] == pytest.approx(plain.predict(10_000)[0], rel=0.1)
    assert slow.exponent.high - slow.exponent.low < 2 * (plain.exponent.high - plain.exponent.low)


def test_the_order_of_the_sizes_and_the_moment_do_not_matter():
    calls = [[t] for t in law(SIX, 0.01, 5e-5, 1.2) * (1 + 0.03 * np.resize([1, -1, -1, 1], 6))]
    found = cost_model(SIX, calls)
    assert found == cost_model(SIX, calls)
    assert numbers(cost_model(SIX[::-1], calls[::-1])) == pytest.approx(numbers(found))


def test_a_band_has_the_shape_of_its_sizes_and_holds_its_line():
    found = cost_model(SIX, [[t] for t in law(SIX, 0.01, 5e-5, 1.2) * (1 + 0.03 * np.resize([1, -1, -1, 1], 6))])
    grid = np.geomspace(10, 1e5, 12).reshape(3, 4)
    middle, low, high = found.predict(grid)
    assert middle.shape == low.shape == high.shape == (3, 4)
    assert (low <= middle).all()
    assert (middle <= high).all()
    assert (np.diff(middle.ravel()) > 0).all()
    width = (np.log(high) - np.log(low)).ravel()
    assert width[-1] > 3 * width.min()
    with pytest.raises(ValueError, match="positive numbers of atoms"):
        found.predict([100, 0])


def test_too_little_is_unresolved_and_says_why():
    with pytest.raises(Unresolved, match=r"^3 sizes, at least 4 are needed$"):
        cost_model([10, 100, 1000], [[1.0]] * 3)
    with pytest.raises(Unresolved, match=r"^3 sizes, at least 4 are needed$"):
        cost_model([10, 100, 100, 1000], [[1.0]] * 4)
    with pytest.raises(Unresolved, match=r"^sizes from 100 to 250 atoms; the largest must be at least 3 times"):
        cost_model([100, 150, 200, 250], [[1.0], [1.5], [2.0], [2.5]])
    with pytest.raises(Unresolved, match=r"^the time does not grow from 20 to 1000 atoms; larger systems are needed$"):
        cost_model(FOUR, [[1.0], [0.9], [0.8], [0.7]])


@pytest.mark.parametrize(
    ("atoms", "seconds", "message"),
    [
        (FOUR, [[1.0], [2.0], [np.nan, 3.0], [4.0]], "500 atoms: a time is not a positive"),
        (FOUR, [[1.0], [0.0], [3.0], [4.0]], "100 atoms: a time is not a positive"),
        (FOUR, [[1.0], [2.0], [3.0], [np.inf]], "1000 atoms: a time is not a positive"),
        (FOUR, [[1.0], [], [3.0], [4.0]], "100 atoms: calls of shape"),
        (FOUR, [[1.0], [2.0], [3.0]], "calls of 3 sizes"),
        ([0, 10, 100, 1000], [[1.0]] * 4, "a size is not a positive"),
        ([10, np.nan, 100, 1000], [[1.0]] * 4, "a size is not a positive"),
    ],
)
def test_numbers_that_are_no_times_are_refused(atoms, seconds, message):
    with pytest.raises(ValueError, match=message) as found:
        cost_model(atoms, seconds)
    assert not isinstance(found.value, Unresolved)


def test_a_fit_is_quick():
    calls = [t * np.linspace(0.98, 1.02, 30) for t in law(SIX, 0.01, 5e-5, 1.2)]
    spent = []
    for _ in range(5):
        start = time.perf_counter()
        cost_model(SIX, calls)
        spent.append(time.perf_counter() - start)
    assert min(spent) < 0.05
