"""The recipes for a CI: the workflow is read and its steps are run as GitHub runs them, the release script as it is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dask_jobqueue import SLURMCluster

from mlff_probes.core.toml import read_toml, validated
from mlff_probes.scorecard import files
from mlff_probes.session.cluster.connection import JobFile

RECIPES = Path(__file__).parents[2] / "docs" / "recipes"
WORKFLOW = yaml.safe_load((RECIPES / "github-actions.yml").read_text(encoding="utf-8"))
JOB = WORKFLOW["jobs"]["probes"]
STEPS = {step["name"]: step for step in JOB["steps"] if "name" in step}
RELEASE = RECIPES / "pre-release.sh"
SRUN = """#!/bin/sh
shift
exec "$@" --host 127.0.0.1
"""
MIB = 2**20
CALCULATOR = "py:./calc.py:{},label=new,level=PBE"
WEAK = """

def weak():
    found = Sound()
    found.parameters["epsilon"] *= 3
    return found
"""


@pytest.fixture
def project(tmp_path, sound, supercells, inner_environment):
    """A folder with a sound and a weak model, in which a script can be run as GitHub runs one."""
    (tmp_path / "calc.py").write_text(sound + WEAK)
    options = f"--probe-reference-only --probe-reference={supercells} -p no:randomly -p no:playwright -p no:benchmark"
    environment = inner_environment | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTEST_ADDOPTS": options,
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
    }

    def run(*command, **more):
        done = subprocess.run(
            command, cwd=tmp_path, env=environment | more, text=True, capture_output=True, check=False, timeout=120
        )
        assert "Traceback" not in done.stdout + done.stderr
        return done

    return tmp_path, run


def step(run, name, model="make"):
    """Run a step of the workflow with one row of its matrix."""
    row = {"name": "small", "calculator": CALCULATOR.format(model)}
    environment = {key: re.sub(r"\$\{\{ matrix\.(\w+) \}\}", lambda m: row[m[1]], value)
                   for key, value in JOB["env"].items()}  # fmt: skip
    return run("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", STEPS[name]["run"], **environment)


def test_the_workflow_is_what_github_reads():
    assert WORKFLOW[True].keys() == {"push", "pull_request", "workflow_dispatch"}  # YAML reads `on` as true
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert list(STEPS) == ["install", "judge", "summary", "keep"]
    assert all(key in row for row in JOB["strategy"]["matrix"]["include"] for key in ("name", "calculator"))
    assert STEPS["keep"]["if"] == "always()"
    assert "!cancelled()" in STEPS["summary"]["if"]
    for found in JOB["steps"]:
        assert ("uses" in found) != ("run" in found)
        # an expression in a script is put there as text, and could be a command
        assert "${{" not in found.get("run", "")
        assert re.fullmatch(r"actions/[\w-]+@v\d+", found.get("uses", "actions/none@v0"))
    assert {name for name, found in STEPS.items() if found.get("shell") == "bash"} == {"judge", "summary"}


def test_a_first_run_is_judged_by_tolerances_and_summed_up(project):
    folder, run = project
    judged = step(run, "judge")
    assert judged.returncode == 0, judged.stdout + judged.stderr
    written = {path.suffix for path in (folder / "scorecard").iterdir() if path.is_file()}
    assert written == {".json", ".md", ".html"}
    assert files.read(folder / "scorecard" / "scorecard.json").options.baseline is None
    summed = step(run, "summary")
    assert (summed.returncode, summed.stdout) == (0, "")
    shown, whole = (folder / "summary.md").read_text(), (folder / "scorecard" / "scorecard.md").read_text()
    assert shown.startswith("# Scorecard\n\n**verdict: PASSED")
    assert shown.splitlines() == [line for line in whole.splitlines() if not line.startswith("![")]
    assert len(shown) < len(whole)


def test_a_model_that_becomes_worse_fails_against_the_committed_baseline(project):
    folder, run = project
    assert step(run, "judge").returncode == 0
    (folder / "baselines").mkdir()
    shutil.copy(folder / "scorecard" / "scorecard.json", folder / "baselines" / "small.json")
    again = step(run, "judge")
    assert again.returncode == 0, again.stdout
    assert files.read(folder / "scorecard" / "scorecard.json").options.baseline == "baselines/small.json"
    worse = step(run, "judge", "weak")
    assert worse.returncode == 1, worse.stdout
    summed = step(run, "summary", "weak")
    assert summed.returncode == 0
    verdict, change, *_ = summed.stdout.splitlines()
    assert verdict.startswith("::error title=force field%3A failed::verdict: FAILED")
    assert change.startswith("::error title=new%2C sb2te3_20_atoms%3A energy_mae::newly failing")


def test_a_summary_stays_within_what_github_takes(project):
    folder, run = project
    (folder / "scorecard").mkdir()
    line = "| sb2te3 | energy_mae | 1.0±0.1 | – | ✗ failed |\n"
    (folder / "scorecard" / "scorecard.md").write_text("# Scorecard\n" + line * (3 * MIB // len(line)))
    script = STEPS["summary"]["run"].replace("mlff-probes annotate", "true")
    assert run("bash", "-eo", "pipefail", "-c", script).returncode == 0
    kept = (folder / "summary.md").read_bytes()
    assert 0.9 * MIB < len(kept) < MIB
    assert kept.decode().splitlines()[-1] == line.strip()


def release(run, *arguments):
    return run("bash", str(RELEASE), *arguments)


def test_the_release_script_lets_the_same_pass_and_stops_a_worse_one(project):
    folder, run = project
    new = CALCULATOR.format("make")
    made = run("pytest", "--pyargs", "mlff_probes.probes", f"--calculator={new}", "--probe-scorecard=production.json")
    assert made.returncode == 0, made.stdout
    same = release(run, new)
    assert same.returncode == 0, same.stdout + same.stderr
    (card,) = folder.glob("scorecards/*/scorecard.json")
    assert f"cp {card.relative_to(folder)} production.json" in same.stdout
    assert files.read(card).options.fail_on == "both"
    worse = release(run, CALCULATOR.format("weak"), "production.json", "kept", "-q")
    assert worse.returncode == 1
    assert "not green (exit code 1): see kept/scorecard.md" in worse.stderr
    assert files.read(folder / "kept" / "scorecard.json").verdict == "failed"
    assert (folder / "kept" / "scorecard.html").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [((), "usage: "), (("new.model",), "production.json: there is no scorecard of production"),
     ((CALCULATOR.format("make"), "empty.json"), "empty.json: no scorecard"),
     ((CALCULATOR.format("make"), "empty.json"), "nothing was judged (exit code 4)")],
)  # fmt: skip
def test_the_release_script_refuses_what_it_cannot_use(project, arguments, says):
    folder, run = project
    (folder / "empty.json").write_text("{}")
    done = release(run, *arguments)
    assert done.returncode == 4, done.stdout + done.stderr
    assert says in done.stderr


@pytest.mark.parametrize(
    ("code", "earlier", "ends", "says"),
    [(0, "", 1, "nothing was judged (exit code 0)"),  # as of --collect-only
     (4, "", 4, "nothing was judged (exit code 4)"),
     (0, "scorecard.json", 4, "kept/scorecard.json: there is a scorecard of an earlier run; name another FOLDER"),
     (4, "scorecard.md", 4, "kept/scorecard.md: there is a scorecard of an earlier run; name another FOLDER")],
)  # fmt: skip
def test_the_release_script_takes_no_earlier_scorecard_for_its_own(tmp_path, code, earlier, ends, says):
    (tmp_path / "pytest").write_text(f"#!/bin/sh\nexit {code}\n")
    (tmp_path / "pytest").chmod(0o755)
    (tmp_path / "production.json").touch()
    if earlier:
        (tmp_path / "kept").mkdir()
        (tmp_path / "kept" / earlier).write_text("of an earlier run")
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", str(RELEASE), "new.model", "production.json", "kept"],
        cwd=tmp_path, env=environment, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == ends
    assert says in done.stderr
    assert "green" not in done.stdout + done.stderr
    assert not earlier or (tmp_path / "kept" / earlier).read_text() == "of an earlier run"


def test_the_release_script_is_sound_bash():
    assert os.access(RELEASE, os.X_OK)
    subprocess.run(["bash", "-n", RELEASE], check=True)


def test_an_allocation_of_slurm_measures_with_its_tasks(project):
    """With a stand-in for srun, which runs one task here."""
    folder, run = project
    (folder / "bin").mkdir()
    (folder / "bin" / "srun").write_text(SRUN)
    (folder / "bin" / "srun").chmod(0o755)
    path = f"{folder / 'bin'}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    slurm = {"PATH": path, "SLURM_JOB_ID": "7", "SLURM_NTASKS": "1", "DASK_SCHEDULER__HOST": "127.0.0.1"}
    done = run("sh", RECIPES / "slurm.sh", CALCULATOR.format("make"), **slurm)
    assert done.returncode == 0, done.stdout + done.stderr
    assert files.read(folder / "scorecard.json").verdict == "passed"
    assert f"measured by the workers of --probe-executor=dask:{folder}/scheduler-7.json" in done.stdout


def test_a_file_of_slurm_jobs_is_what_dask_jobqueue_takes():
    """The script that it would submit; nothing is."""
    asked = validated(JobFile, read_toml(RECIPES / "slurm.toml"), RECIPES / "slurm.toml")
    with SLURMCluster(**asked.job | {"worker_extra_args": ["--nthreads", "1"]}) as cluster:
        script = cluster.job_script()
    assert "#SBATCH --gres=gpu:1" in script
    assert "#SBATCH -p gpu" in script
    assert "PRE_SPAWN_ENVIRON__OMP_NUM_THREADS=8" in script
    assert script.rstrip().endswith("--nthreads 1")
