"""`pytest_probes_scorecard`: when it is called, with what, and what an implementation that fails costs."""

from __future__ import annotations

import http.server
import json
import re
import shlex
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from cards import card_of, lookup

from mlff_probes.plugin import Hooks
from mlff_probes.scorecard.model import Scorecard
from mlff_probes.session.sending import send

DOCS = (Path(__file__).parents[2] / "docs" / "hooks.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"\*\*`(\w+\.py)`\*\*\n\n```python\n(.*?)```", DOCS, re.DOTALL))
COMMANDS = re.findall(r"```sh\n(.*?)\n```", DOCS, re.DOTALL)
NOTES = """
def pytest_probes_scorecard(scorecard, config):
    with open("calls.txt", "a") as calls:
        print(scorecard.model_dump_json(), file=calls)
"""
RAISES = """
def pytest_probes_scorecard():
    {}
"""
STOPS = """
def pytest_runtest_setup():
    raise KeyboardInterrupt("enough")
"""
CALC = "--calculator=py:./calc.py:make,label=sound,level=PBE"


@pytest.fixture
def gate(tmp_path, run_probes, sound, supercells):
    """A quick run that is green, in a folder whose conftest is given."""

    def run(conftest, *args, **modules):
        (tmp_path / "calc.py").write_text(sound)
        (tmp_path / "conftest.py").write_text(conftest)
        for name, source in modules.items():
            (tmp_path / f"{name}.py").write_text(source)
        return run_probes(CALC, "--probe-reference-only", f"--probe-reference={supercells}", *args)

    return run


def calls(run):
    """The scorecards that the hook was called with."""
    file = run.directory / "calls.txt"
    return [Scorecard.model_validate_json(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_the_hook_gets_the_scorecard_once_after_its_files(gate):
    says_so = NOTES + "    assert open(config.getoption('--probe-scorecard')[0]).read()\n"
    run = gate(says_so)
    assert run.code == 0, run.output
    assert calls(run) == [run.card]


def test_with_workers_it_is_called_in_the_controller_alone(gate):
    run = gate(NOTES, "-n", "2")
    assert run.code == 0, run.output
    assert calls(run) == [run.card]


@pytest.mark.parametrize("option", ["--collect-only", "--probe-dtype=float32"])
def test_a_run_that_measures_nothing_calls_nobody(gate, option):
    run = gate(NOTES, option)
    assert run.code == (4 if "dtype" in option else 0), run.output
    assert calls(run) == []


def test_a_run_cut_short_says_so(gate):
    run = gate('pytest_plugins = ["stops"]' + NOTES, stops=STOPS)
    (card,) = calls(run)
    assert run.code == 2
    assert not card.complete
    assert card.interrupted == "enough"


RAISED = {
    "raise RuntimeError('no\\nserver')": "RuntimeError: no server",
    "raise SystemExit(0)": "SystemExit: 0",
    "raise KeyboardInterrupt": "KeyboardInterrupt: no message",
    "import pytest; pytest.exit('bye', 0)": "Exit: bye",
    "import pytest; pytest.skip('bye')": "Skipped: bye",
}


def test_implementations_that_raise_are_seen_and_cost_nothing_else(gate):
    raising = {f"raises_{index}": RAISES.format(statement) for index, statement in enumerate(RAISED)}
    run = gate(f"pytest_plugins = {['sends', *raising]}", sends=NOTES, **raising)
    assert run.code == 1, run.output
    assert "verdict: PASSED" in run.stdout
    for module, says in zip(raising, RAISED.values(), strict=True):
        assert f"pytest_probes_scorecard in {run.directory / module}.py: {says}" in run.stdout
    assert calls(run) == [run.card]
    assert run.card.verdict == "passed"


def test_what_an_implementation_changes_reaches_nobody_else():
    seen = []

    class Clears:
        def pytest_probes_scorecard(self, scorecard):
            seen.append(scorecard.model_dump_json())
            scorecard.cases[0].protocol.clear()
            scorecard.measurements[0].diagnostics.clear()
            scorecard.measurements[0].arrays["energy"].clear()

    manager = pytest.PytestPluginManager()
    manager.add_hookspecs(Hooks)
    manager.register(Clears())
    manager.register(Clears())
    card = card_of([lookup()], kinds=("fixed_path",))
    before = card.model_dump_json()
    assert send(card, SimpleNamespace(hook=manager.hook, pluginmanager=manager)) == []
    assert seen == [before, before]
    assert card.model_dump_json() == before


def test_it_leaves_another_exit_code_alone(gate):
    run = gate('pytest_plugins = ["stops"]' + RAISES.format("raise OSError"), stops=STOPS)
    assert run.code == 2
    assert "pytest_probes_scorecard in" in run.stdout


def test_without_a_calculator_the_hook_is_known_and_not_called(tmp_path, inner_pytest):
    (tmp_path / "conftest.py").write_text(NOTES)
    (tmp_path / "test_own.py").write_text("def test_own():\n    assert True\n")
    run = inner_pytest(tmp_path, "--strict-config", "-p", "no:randomly")
    assert run.code == 0, run.output
    assert calls(run) == []


STUBS = {
    "mlflow": """
import contextlib

@contextlib.contextmanager
def start_run(run_name):
    print("run", run_name)
    yield

set_tags = lambda tags: print("tags", tags)
log_metric = lambda name, value: print("metric", name, value)
log_artifact = lambda path: print("artifact", path)
""",
    "wandb": """
import contextlib

class Run:
    summary = {}
    log = lambda self, data: print("log", data, self.summary)

@contextlib.contextmanager
def init(project, job_type):
    yield Run()

def Table(columns, data):
    assert all(len(row) == len(columns) for row in data)
    return f"{len(data)} rows"
""",
}
"""As much of the two packages as the documentation uses."""


@pytest.fixture
def documented(tmp_path, inner_environment):
    """Run a documented command in a folder with one of the documented files, and the stubs beside it."""

    def run(file, number, **environment):
        (tmp_path / file).write_text(FILES[file])
        for name, source in STUBS.items():
            (tmp_path / f"{name}.py").write_text(source)
        program, *arguments = shlex.split(COMMANDS[number])
        done = subprocess.run(
            [sys.executable, "-m", program, *arguments], cwd=tmp_path, text=True, capture_output=True, check=False,
            env=inner_environment | environment,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture
def server():
    """A local HTTP server: its address, and the bodies posted to it."""
    bodies = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}/", bodies
        listening.shutdown()
        thread.join()


def test_the_documented_conftest_writes_a_line_and_posts(documented, server, tmp_path):
    url, bodies = server
    documented("conftest.py", 0, SCORECARD_URL=url)
    (body,) = bodies
    card = Scorecard.model_validate_json(body)
    assert card.verdict == json.loads(body)["verdict"] == "passed"
    assert (tmp_path / "history.txt").read_text() == f"{card.created} passed 0 failed\n"


def test_the_documented_senders_use_what_their_packages_have(documented):
    said = documented("to_mlflow.py", 1)
    assert "run EMT" in said
    assert "metric reproducibility/repeat_energy/deviation 0.0" in said
    assert "artifact card.json" in said
    assert "log {'probes': '1 rows'} {'verdict': 'passed'}" in documented("to_wandb.py", 2)


def test_all_documented_files_are_run():
    assert list(FILES) == ["conftest.py", "to_mlflow.py", "to_wandb.py"]
    assert len(COMMANDS) == len(FILES)
    (optional,) = [text for text in re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL) if text not in FILES.values()]
    names = {}
    exec(optional, names)
    assert names["pytest_probes_scorecard"].pytest_impl["optionalhook"]
