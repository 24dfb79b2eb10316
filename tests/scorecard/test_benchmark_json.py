"""Timings as pytest-benchmark writes them: its own code says whether each field is right."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from pytest_benchmark.stats import Stats

from mlff_probes.core.errors import InputError
from mlff_probes.core.records import CalculatorIdentity, Measurement, Timing
from mlff_probes.scorecard import files
from mlff_probes.scorecard.model import CaseSummary, RunOptions, Scorecard, TimeSummary
from mlff_probes.scorecard.reports.benchmark_json import benchmark_json, statistics_of, write

SECONDS = (0.030, 0.020, 0.024, 0.021, 0.090)


def timing(atoms=500, **changes):
    return Timing(
        **{
            "name": f"{atoms} atoms",
            "what": "energy and forces",
            "through": "ase",
            "structures": 1,
            "atoms": atoms,
            "seconds": SECONDS,
            "warm_up_calls": 3,
            "steady": True,
            "stages": {"neighbours": 0.004, "model": 0.018},
            "host_peak_bytes": 2**28,
            **changes,
        }
    )


def card_of(*timings, label="chgnet-0.3.0", timestep_fs=1.0):
    identity = CalculatorIdentity(
        spec="chgnet", label=label, family="chgnet", version="0.3.0", sha256="ab" * 32, dtype="float32",
        device="cuda:0", device_name="H200", threads=2, tf32=False, cuda="12.6", driver="570.1",
        versions={"torch": "2.13.0"}, load_s=1.7,
    )  # fmt: skip
    case = CaseSummary(
        id="sb2te3_speed", family="inference", title="Speed", kind="speed", level_of_theory="none", source="here",
        elements=("Sb", "Te"), protocol={"kind": "speed", "timestep_fs": timestep_fs},
    )  # fmt: skip
    measurements = [Measurement(calculator=label, case=case.id, timings=timings)] if timings else []
    return Scorecard(
        created="2026-11-21T02:43:50+00:00",
        verdict="passed",
        selected=0,
        options=RunOptions(tier="quick", strict=False, any_level_of_theory=False),
        calculators=(identity,),
        cases=(case,),
        results=(),
        measurements=tuple(measurements),
        time=TimeSummary(load_s=0, measured_s=0, model_s=0, model_calls=0, batches=0),
    )


def test_statistics_are_those_of_pytest_benchmark_to_the_last_digit():
    rng = np.random.default_rng(41)
    series = [list(rng.lognormal(-4, 0.5, size=size)) for size in range(1, 42)]
    series += [list(rng.integers(1, 5, size=size) * 1e-3) for size in range(1, 22)]  # ties
    series += [[0.1] * size for size in range(1, 9)]
    series += [list(SECONDS), [0.0], [0.0, 0.0], [0.5] + 7 * [1.0]]  # the last one: calls on their own fence
    for seconds in series:
        theirs = Stats()
        for one in seconds:
            theirs.update(one)
        ours = statistics_of(seconds)
        assert {field: ours[field] for field in Stats.fields} == theirs.as_dict(), seconds
        assert set(ours) == {*Stats.fields, "data", "iterations"}
        assert ours["data"] == seconds
        assert ours["iterations"] == 1


def test_a_timing_has_every_number():
    """Calls of 20, 21, 24, 30 and 90 ms: the quartiles are 1/4 20 + 3/4 21 and 3/4 30 + 1/4 90."""
    (found,) = benchmark_json(card_of(timing(device_peak_bytes=2**30), timestep_fs=2.0))["benchmarks"]
    name = "sb2te3_speed[chgnet-0.3.0-energy and forces-500 atoms]"
    assert found["name"] == found["fullname"] == name
    assert found["group"] == "sb2te3_speed"
    assert found["param"] == "chgnet-0.3.0-energy and forces-500 atoms"
    assert found["params"] == {
        "calculator": "chgnet-0.3.0",
        "what": "energy and forces",
        "through": "ase",
        "structures": 1,
        "atoms": 500,
    }
    extra = found["extra_info"]
    assert extra["us_per_atom"] == pytest.approx(48)
    assert extra["steps_per_s"] == pytest.approx(41.6667, rel=1e-5)
    assert extra["ns_per_day"] == pytest.approx(7.2)  # 3.6e6 steps of 2 fs
    assert extra["timestep_fs"] == 2
    assert (extra["atoms"], extra["structures"], extra["warm_up_calls"], extra["steady"]) == (500, 1, 3, True)
    assert (extra["host_peak_bytes"], extra["device_peak_bytes"]) == (2**28, 2**30)
    assert extra["stages_s"] == {"neighbours": 0.004, "model": 0.018}
    path = extra["path"]
    assert (path["device_name"], path["driver"], path["cuda"], path["dtype"]) == ("H200", "570.1", "12.6", "float32")
    assert (path["tf32"], path["threads"], path["compile_mode"], path["kernels"]) == (False, 2, None, None)
    assert path["versions"] == {"torch": "2.13.0"}
    assert not {"load_s", "spec"} & set(path)
    stats = found["stats"]
    assert (stats["min"], stats["median"], stats["max"], stats["rounds"]) == (0.020, 0.024, 0.090, 5)
    assert stats["mean"] == pytest.approx(0.037)
    assert (stats["q1"], stats["q3"]) == (pytest.approx(0.02075), pytest.approx(0.045))
    assert stats["outliers"] == "1;1"
    assert found["options"]["disable_gc"] is True
    assert found["options"]["warmup"] is True


def test_a_batch_counts_the_steps_of_all_its_structures():
    alone = timing(100, seconds=(0.01,) * 3)
    batch = timing(800, seconds=(0.02,) * 3, through="batch", structures=8)
    first, second = benchmark_json(card_of(alone, batch))["benchmarks"]
    assert second["name"] == "sb2te3_speed[chgnet-0.3.0-energy and forces-800 atoms-batch of 8]"
    assert first["extra_info"]["steps_per_s"] == pytest.approx(100)
    assert second["extra_info"]["steps_per_s"] == pytest.approx(400)
    assert second["extra_info"]["ns_per_day"] == pytest.approx(34.56)
    assert second["extra_info"]["us_per_atom"] == pytest.approx(25)


def test_no_two_timings_share_a_name():
    timings = [
        timing(500),
        timing(500, what="energy"),
        timing(500, through="batch"),
        timing(1000),
        timing(1000, name="1000 atoms, a slab"),
    ]
    names = [found["fullname"] for found in benchmark_json(card_of(*timings))["benchmarks"]]
    assert len(set(names)) == len(timings)
    assert names[-1] == "sb2te3_speed[chgnet-0.3.0-energy and forces-1000 atoms-1000 atoms, a slab]"


def test_the_head_is_that_of_pytest_benchmark(tmp_path):
    """Its keys in its order, from a run of its own; the identity of the path beside them."""
    (tmp_path / "test_sum.py").write_text("def test_sum(benchmark):\n    benchmark(sum, [1, 2])\n")
    run(tmp_path, "pytest", "-q", "-p", "no:randomly", "-p", "no:xdist", "-p", "no:mlff_probes", "test_sum.py",
        "--benchmark-json=theirs.json", "--benchmark-max-time=0.01")  # fmt: skip
    theirs, ours = json.loads((tmp_path / "theirs.json").read_text()), benchmark_json(card_of(timing()))
    assert list(ours) == list(theirs)
    assert list(ours["machine_info"]) == [*theirs["machine_info"], "calculators"]
    same = set(theirs["machine_info"]) - {"cpu"}
    assert {key: ours["machine_info"][key] for key in same} == {key: theirs["machine_info"][key] for key in same}
    assert ours["machine_info"]["cpu"]["count"] >= 1
    assert ours["machine_info"]["cpu"]["brand_raw"]
    assert ours["machine_info"]["calculators"]["chgnet-0.3.0"]["device_name"] == "H200"
    assert list(ours["commit_info"]) == list(theirs["commit_info"])
    assert ours["commit_info"] == theirs["commit_info"] | {"project": "mlff-probes"}
    assert ours["version"] == theirs["version"]
    assert ours["datetime"] == "2026-11-21T02:43:50+00:00"
    (mine,), (other,) = ours["benchmarks"], theirs["benchmarks"]
    for part in (None, "options", "stats"):
        assert set(mine[part] if part else mine) == set(other[part] if part else other)


def test_its_tools_read_two_of_our_files(tmp_path):
    slow = tuple(2 * one for one in SECONDS)
    write(card_of(timing(500), timing(20, seconds=(0.004, 0.005, 0.006))), tmp_path / "before.json")
    write(card_of(timing(500, seconds=slow), timing(20, seconds=(0.004, 0.005, 0.006))), tmp_path / "after.json")
    name = "sb2te3_speed[chgnet-0.3.0-energy and forces-500 atoms]"

    text = compare(tmp_path, "before.json", "after.json", "--sort=name", "--csv=table", "--histogram=speed")
    assert "benchmark 'sb2te3_speed': 4 tests" in text
    for source, median in (("before", "24.0000"), ("after", "48.0000")):
        row = next(line for line in text.splitlines() if line.startswith(f"{name} ({source}"))
        assert median in row
    with (tmp_path / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    medians = [float(row["median"]) for row in rows if row["name"] == name]
    assert sorted(medians) == [0.024, 0.048]
    assert {row["param:atoms"] for row in rows} == {"500", "20"}
    svg = (tmp_path / "speed-sb2te3_speed.svg").read_text()
    assert f"{name} - 5 rounds" in svg
    assert "Median: 48.0000" in svg

    text = compare(tmp_path, "before.json", "after.json", "--between=median", "--time-unit=ms")
    row = next(line for line in text.splitlines() if line.startswith(name))
    assert row.removeprefix(name).split() in (["24.0000", "48.0000", "+100.0%"], ["48.0000", "24.0000", "-50.0%"])
    text = compare(tmp_path, "before.json", "after.json", "--group-by=param:atoms")
    assert "benchmark 'atoms=20': 2 tests" in text
    assert "benchmark 'atoms=500': 2 tests" in text


def test_names_of_two_runs_are_the_same():
    first = card_of(timing(500), timing(20))
    second = card_of(timing(500, seconds=(0.5,)), timing(20, seconds=(0.1, 0.2), warm_up_calls=9, name="20 atoms"))
    for card in (first, second):
        names = [found["fullname"] for found in benchmark_json(card)["benchmarks"]]
        assert names == [f"sb2te3_speed[chgnet-0.3.0-energy and forces-{atoms} atoms]" for atoms in (500, 20)]


def test_a_card_without_timings_is_an_empty_file_of_the_format(tmp_path):
    for card in (card_of(), card_of(timing(seconds=()))):
        (path,) = write(card, tmp_path / "new" / "none.json")
        found = json.loads(path.read_text())
        assert found["benchmarks"] == []
        assert found["version"] == "5.3.1"
    assert not re.search("fail|error", compare(tmp_path / "new", "none.json"), re.IGNORECASE)


def test_a_timing_without_identity_is_left_out():
    card = card_of(timing())
    assert benchmark_json(card.model_copy(update={"calculators": ()}))["benchmarks"] == []


def test_a_clock_that_stood_still_gives_no_rate():
    (found,) = json.loads(json.dumps(benchmark_json(card_of(timing(seconds=(0.0, 0.0)))), allow_nan=False))[
        "benchmarks"
    ]
    assert found["extra_info"]["steps_per_s"] is None
    assert found["extra_info"]["ns_per_day"] is None
    assert found["stats"]["ops"] == 0


def test_a_card_read_back_writes_the_same_benchmarks(tmp_path):
    card = card_of(timing(500), timing(20))
    (path,) = files.write(card, tmp_path / "card.json")
    assert benchmark_json(files.read(path)) == benchmark_json(card)


def test_a_path_that_cannot_be_written_is_one_clear_error(tmp_path):
    card = card_of(timing())
    (tmp_path / "file").write_text("")
    for path, message in (
        (tmp_path, "is a directory; name a file in it"),
        (tmp_path / "speed.csv", "unknown format '.csv'; known are .json"),
        (tmp_path / "file" / "speed.json", "cannot be written"),
    ):
        with pytest.raises(InputError, match=message) as found:
            write(card, path)
        assert str(found.value).startswith(f"--probe-benchmark-json={path}: ")


def compare(folder, *arguments):
    return run(folder, "pytest_benchmark", "compare", *arguments)


def run(folder, *module):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    found = subprocess.run(
        [sys.executable, "-m", *module], cwd=folder, env=clean, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout
