"""Families of models by name: the table, what is loaded by it, and what is refused."""

from __future__ import annotations

import hashlib
import socket
import sys
import textwrap
import time

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.eam import EAM
from mace_models import random_mace

from mlff_probes import cli
from mlff_probes.calculators import families
from mlff_probes.calculators.checkpoints.safety import weights_only_kept
from mlff_probes.calculators.registry import LOADERS, each_head, load_calculator
from mlff_probes.core.errors import InputError
from mlff_probes.scorecard.reports.text import identity_lines
from mlff_probes.session.models import Loading, loaded_models

TOY = '''
"""A family whose models are Lennard-Jones, and its weights files with one number."""
import pickle
import socket
from pathlib import Path

from ase.calculators.lj import LennardJones

made, waited = [], []


class Toy(LennardJones):
    def __init__(self, model, device=None, softness=1.0):
        made.append({"model": model, "device": device, "softness": softness})
        super().__init__(sigma=2.0, epsilon=float(Path(model).read_text().split()[1]) * softness)


def weights(name):
    waited.append(socket.getdefaulttimeout())
    if name == "far":
        raise OSError("no route to host")
    return Path(__file__).parent / f"{name}.toy"
'''
ROW = """
[toy]
title = "Toys"
package = "ase"
install = "pip install toys"
factory = "toy_models:Toy"
argument = "model"
weights = "toy_models:weights"
dtype = "float64"
options = ["softness"]
files = "a toy"
suffixes = [".toy"]
licence = "none"
tried = "here"
default = "one"

[toy.models]
one = { level_of_theory = "PBE", in_package = true }
soft = { level_of_theory = "r2SCAN", arguments = { softness = 0.5 } }
far = { level_of_theory = "PBE" }
"""


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Put another table of families in the place of ours; a package `toy_models` with weights can be imported."""
    (tmp_path / "toy_models.py").write_text(TOY)
    for name, number in {"one": 0.1, "soft": 0.2, "mine": 0.3}.items():
        (tmp_path / f"{name}.toy").write_text(f"toy {number}")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "toy_models", raising=False)
    monkeypatch.chdir(tmp_path)

    def written(text=ROW):
        (tmp_path / "families.toml").write_text(textwrap.dedent(text))
        monkeypatch.setattr(families, "TABLE", tmp_path / "families.toml")
        families.families.cache_clear()
        return tmp_path

    yield written
    families.families.cache_clear()


def changed(old, new):
    assert old in ROW
    return ROW.replace(old, new)


def refusal(spec, **options):
    with pytest.raises(InputError) as refused:
        load_calculator(spec, **options)
    return str(refused.value)


# ----------------------------------------------------------------------------------------------------------- the table


def test_our_own_table_is_in_order_and_has_a_row_for_every_loader_of_models():
    ours = families.read_families(families.TABLE)
    assert {name for name, row in ours.items() if row.own_loader} == {"chgnet", "mace"} == set(ours) & set(LOADERS)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (changed('title = "Toys"', 'title = "Toys"\ncolour = "red"'), "toy.colour"),
        (changed('factory = "toy_models:Toy"\n', ""), "'factory' is missing"),
        (changed("toy_models:Toy", "toy_models.Toy"), "written package.module:callable"),
        (changed('licence = "none"\n', 'licence = "none"\nown_loader = true\n'), "a family with a loader of its own"),
        (changed('default = "one"', 'default = "two"'), "the default 'two' is none of its models"),
        (changed('licence = "none"', 'licence = "none"\nfirst_line = "["'), "not a regular expression"),
        (changed('dtype = "float64"', 'dtype = "float16"'), "toy.dtype"),
        (changed('one = { level_of_theory = "PBE", in_package = true }', "one = { in_package = true }"),
         "toy.models.one.level_of_theory"),
        (ROW.partition("[toy.models]")[0].replace('files = "a toy"\n', "").replace('default = "one"\n', ""),
         "neither models nor files"),
        ("[toy\n", "not valid TOML"),
    ],
)  # fmt: skip
def test_a_row_that_is_wrong_is_named(table, text, says):
    file = table(text) / "families.toml"
    with pytest.raises(InputError, match=r"families\.toml") as refused:
        families.read_families(file)
    assert says in str(refused.value)


# ------------------------------------------------------------------------------------------------------------- loading


@pytest.mark.parametrize(
    ("spec", "label", "level", "file", "given"),
    [
        ("toy", "toy-one", "PBE", "one.toy", {"softness": 1.0}),
        ("toy:one", "toy-one", "PBE", "one.toy", {"softness": 1.0}),
        ("toy:soft", "toy-soft", "r2SCAN", "soft.toy", {"softness": 0.5}),
        ("toy:soft,softness=0.5", "toy-soft", "r2SCAN", "soft.toy", {"softness": 0.5}),
        ("toy:soft,softness=0.25", "toy-soft", None, "soft.toy", {"softness": 0.25}),  # as another modality would be
        ("toy:soft,softness=0.25,level=PBEsol,label=mine", "mine", "PBEsol", "soft.toy", {"softness": 0.25}),
        ("toy:mine.toy", "mine", None, "mine.toy", {"softness": 1.0}),
        ("toy:./mine.toy", "mine", None, "mine.toy", {"softness": 1.0}),
        ("mine.toy", "mine", None, "mine.toy", {"softness": 1.0}),
        ("mine.toy,family=toy", "mine", None, "mine.toy", {"softness": 1.0}),
    ],
)
def test_a_model_or_a_file_is_loaded_with_its_identity(table, spec, label, level, file, given):
    folder = table()
    calculator = load_calculator(spec)
    identity = calculator.identity
    assert (identity.label, identity.family, identity.level_of_theory) == (label, "toy", level)
    assert identity.sha256 == hashlib.sha256((folder / file).read_bytes()).hexdigest()
    assert (identity.dtype, identity.device) == ("float64", "cpu")
    (made,) = sys.modules["toy_models"].made
    assert (folder / made["model"]).resolve() == (folder / file).resolve()
    assert {"softness": made["softness"]} == given
    number = float((folder / file).read_text().split()[1])
    assert calculator.ase.parameters.epsilon == pytest.approx(number * given["softness"])


def test_the_same_model_can_be_had_once_more(table):
    table()
    assert load_calculator("toy:soft").fresh().identity.label == "toy-soft"


def test_a_model_that_is_asked_for_twice_is_loaded_once_and_a_law_gets_its_own(table):
    folder = table()
    asked = ["one.toy", f"{folder}/one.toy,label=same", "committee=./one.toy+mine.toy", "toy:soft"]
    factory = "py:toy_models:Toy,model=one.toy"
    others = ["one.toy,batch=off,label=loop", factory, f"{factory},label=again"]
    found = loaded_models([*asked, *others], Loading(), baseline="toy:soft,label=old")
    one, same, both, soft, unbatched, made, again, old = found
    assert one.ase is same.ase is both.members[0].ase is not unbatched.ase
    assert soft.ase is old.ase
    assert made.ase is not again.ase  # what a factory does is its own business
    assert len(sys.modules["toy_models"].made) == 6
    assert [each.label for each in (one, same, both, old)] == ["one", "same", "one+mine", "old"]
    assert [each.identity.spec for each in (same, old)] == [asked[1], "toy:soft,label=old"]
    assert same.fresh().ase is not one.ase
    assert load_calculator("one.toy").ase is not one.ase


@pytest.mark.parametrize(
    ("spec", "options", "says"),
    [
        ("toy:none", {}, "has no model 'none'; its models are one, soft, far; it reads a toy (looked from"),
        ("tow:one", {}, "did you mean toy?"),
        ("toy:one,hardness=2", {}, "the family 'toy' has no option 'hardness'"),
        ("toy:one", {"dtype": "float32"}, "the family 'toy' computes in float64 only, float32 was asked for"),
        ("toy:one", {"device": "cuda"}, "the family 'toy' runs on the CPU only, cuda was asked for"),
        ("toy:one,compile=default", {}, "compile=default was asked for, but Toys is loaded without either"),
        ("toy:far", {}, "the weights of 'far' cannot be had: OSError: no route to host"),
        ("toy:mine.toy", {"sha256": ["0" * 64]}, "which --probe-sha256 does not name"),
        ("toy:soft", {"sha256": ["0" * 64]}, "which --probe-sha256 does not name"),
    ],
)  # fmt: skip
def test_what_cannot_be_had_is_refused_in_one_line(table, spec, options, says):
    table()
    said = refusal(spec, **options)
    assert said.startswith(f"--calculator={spec}: ")
    assert says in said
    assert "\n" not in said


def test_a_download_does_not_wait_for_ever_and_leaves_the_process_as_it_was(table):
    table()
    before = socket.getdefaulttimeout()
    refusal("toy:far")
    assert sys.modules["toy_models"].waited == [20.0]
    assert socket.getdefaulttimeout() == before


@pytest.fixture
def silent_server(monkeypatch):
    """The address of a server that takes connections and answers nothing."""
    monkeypatch.setenv("NO_PROXY", "*")
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("fetch", ["requests.get(URL)", "urllib.request.urlopen(URL)"])
def test_a_server_that_does_not_answer_is_given_up(table, monkeypatch, silent_server, fetch):
    pytest.importorskip(fetch.rpartition(".")[0])
    code = TOY.replace('raise OSError("no route to host")', fetch.replace("URL", repr(silent_server)))
    (table() / "toy_models.py").write_text(f"import {fetch.rpartition('.')[0]}\n{code}")
    monkeypatch.setattr("mlff_probes.calculators.loaders.named.NO_ANSWER_S", 0.1)
    start, settimeout = time.monotonic(), socket.socket.settimeout
    assert "the weights of 'far' cannot be had: " in refusal("toy:far")
    assert time.monotonic() - start < 2
    assert socket.socket.settimeout is settimeout


def test_a_package_that_is_not_there_is_named_with_the_command_that_installs_it(table):
    table(changed('package = "ase"', 'package = "toys-of-nobody"\nown_environment = "it needs ASE 2"'))
    said = refusal("toy:one")
    assert "the package 'toys-of-nobody' is not installed" in said
    assert "pip install toys (in an environment of its own: it needs ASE 2)" in said
    assert "toy_models" not in sys.modules


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            'factory = "toy_models:Toy"',
            'factory = "toy_models:Gone"',
            "has no toy_models.Gone, by which its models are",
        ),
        ('factory = "toy_models:Toy"', 'factory = "no_such_module:Toy"', "the package 'ase' cannot be imported"),
        ('argument = "model"', 'argument = "path"', "Toy() of this version takes no argument 'path'"),
    ],
)
def test_a_package_of_another_version_is_said_to_be_one(table, old, new, says):
    table(changed(old, new))
    assert says in refusal("toy:one")


def test_a_file_that_holds_code_is_loaded_on_trust_or_by_its_hash(table):
    folder = table(changed('licence = "none"', 'licence = "none"\nunpickles = true'))
    own = hashlib.sha256((folder / "mine.toy").read_bytes()).hexdigest()
    said = refusal("mine.toy")
    assert "runs whatever code is in" in said
    assert f"--probe-sha256={own}" in said
    assert not sys.modules["toy_models"].made
    pinned = load_calculator("mine.toy", sha256=[own]).identity
    trusted = load_calculator("mine.toy", trust_checkpoint=True).identity
    assert (pinned.pinned, pinned.checkpoint) == (True, "unchecked")
    assert (trusted.pinned, trusted.checkpoint) == (False, "unchecked")
    assert load_calculator("toy:one").identity.checkpoint is None
    assert load_calculator(
        "toy:one", sha256=["0" * 64]
    ).identity.sha256  # what the package brings is as trusted as the package


def test_a_file_of_two_families_must_be_told_which(table):
    table(ROW + ROW.replace("toy]", "joy]").replace("toy.models", "joy.models"))
    assert "mine.toy may be a file of toy or joy; say which: ,family=toy" in refusal("mine.toy")
    assert load_calculator("mine.toy,family=joy").identity.family == "joy"


@pytest.mark.parametrize(
    ("begin", "known"), [("toy5 3 H C O\n", True), ("toys\n", False), ("\xff\xfe", False), ("", False)]
)
def test_a_file_is_known_by_its_first_line(table, begin, known):
    folder = table(changed('suffixes = [".toy"]', r'first_line = "toy\\d "'))
    file = folder / "nep.txt"
    file.write_text(begin, encoding="latin-1")
    assert families.recognised(file, "nep.txt") == ("toy" if known else None)


def test_a_torch_file_is_known_by_the_strings_in_its_pickle(table):
    folder = table(changed('suffixes = [".toy"]', 'pickled = ["toys", "joys"]'))
    assert families.recognised(folder / "x.pt", "x.pt", pickled={"toys", "joys", "torch"}) == "toy"
    assert families.recognised(folder / "x.pt", "x.pt", pickled={"toys", "torch"}) is None
    assert families.recognised(folder / "x.pt", "x.pt", pickled=set()) is None


# -------------------------------------------------------------------------------------------------------- our own rows


def test_an_eam_table_gives_the_numbers_of_ase(tmp_path):
    r, rho = 0.01 * np.arange(600), 0.05 * np.arange(400)
    taper = np.where(r < 5.5, (1 - (r / 5.5) ** 2) ** 3, 0.0)
    columns = [-np.sqrt(rho), 3 * np.exp(-r) * taper, r * np.exp(-2 * (r - 2.5)) * taper]
    head = "made\nby\nhand\n1 Cu\n400 0.05 600 0.01 5.5\n29 63.546 3.6 fcc\n"
    (tmp_path / "cu.eam.alloy").write_text(head + "\n".join(f"{x:.16e}" for column in columns for x in column))
    atoms = bulk("Cu", a=3.6, cubic=True)
    atoms.rattle(0.05, seed=0)
    plain = EAM(potential=str(tmp_path / "cu.eam.alloy"))
    for spec in (f"{tmp_path}/cu.eam.alloy", f"eam:{tmp_path}/cu.eam.alloy"):
        calculator = load_calculator(spec)
        assert (calculator.identity.family, calculator.identity.elements) == ("eam", ("Cu",))
        assert calculator.identity.label == "cu.eam"
        assert calculator.ase.get_potential_energy(atoms) == plain.get_potential_energy(atoms)
        np.testing.assert_array_equal(calculator.ase.get_forces(atoms), plain.get_forces(atoms))


@pytest.mark.parametrize(("name", "level"), [("medium-mpa-0", "MP"), ("mace-matpes-r2scan-0", "r2SCAN")])
def test_a_foundation_mace_comes_through_its_own_cache_and_our_check(tmp_path, monkeypatch, name, level):
    with weights_only_kept():
        from mace.calculators import foundations_models

    file, asked = random_mace(tmp_path / "cached.model"), []
    monkeypatch.setattr(foundations_models, "download_mace_mp_checkpoint", lambda model: asked.append(model) or file)
    identity = load_calculator(f"mace:{name}").identity
    assert asked == [name]
    assert (identity.label, identity.level_of_theory) == (f"mace-{name}", level)
    assert identity.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert identity.checkpoint == "checked"
    assert load_calculator(f"mace:{name},level=PBEsol").identity.level_of_theory == "PBEsol"
    assert "which --probe-sha256 does not name" in refusal(f"mace:{name}", sha256=["0" * 64])


def test_the_names_of_mace_are_those_of_its_package():
    with weights_only_kept():
        from mace.calculators.foundations_models import mace_mp_urls

    assert set(families.families()["mace"].models) <= set(mace_mp_urls)


def test_a_mace_that_is_none_of_its_names_gets_the_names():
    said = refusal("mace:medium-mpa")
    assert "there is no MACE model 'medium-mpa'" in said
    assert "medium-mpa-0" in said
    assert "MACE needs a checkpoint file or the name of a model" in refusal("mace")


# ---------------------------------------------------------------------------------------------------------- the command


def test_the_command_lists_what_is_installed_and_what_is_not(table, capsys):
    table(ROW + ROW.replace("toy]", "joy]").replace("toy.models", "joy.models").replace('"ase"', '"joys-of-nobody"'))
    assert cli.main(["models"]) == 0
    toy, joy = capsys.readouterr().out.split("\njoy\n")
    assert "Toys, ase 3." in toy
    assert "toy:one (default), PBE, in the package; toy:soft, r2SCAN, downloaded" in toy
    assert "toy:FILE or FILE, a toy" in toy
    assert "not installed: pip install toys" in joy
    assert cli.main(["models", "joy"]) == 0
    assert capsys.readouterr().out.startswith("joy\n")
    assert cli.main(["models", "coy"]) == 4
    assert "there is no family 'coy'; there are toy, joy" in capsys.readouterr().err


def test_every_line_of_the_list_fits_a_terminal(capsys):
    cli.main(["models"])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 100


# --------------------------------------------------------------------------------------------------------------- heads

HEADS = changed('options = ["softness"]', 'options = ["softness", "task"]\nhead_option = "task"').replace(
    'soft = { level_of_theory = "r2SCAN", arguments = { softness = 0.5 } }',
    'soft = { level_of_theory = "PBE", arguments = { softness = 0.5, task = "mp" }, heads.mp = "PBE", '
    'heads.sc = "r2SCAN" }\nmany = { level_of_theory = "PBE", heads.mp = "PBE", heads.sc = "r2SCAN" }',
)
TASKS = TOY.replace("softness=1.0):", 'softness=1.0, task="one task"):').replace(
    '"softness": softness}', '"softness": softness, "task": task}'
)


@pytest.fixture
def with_heads(table):
    folder = table(HEADS)
    (folder / "toy_models.py").write_text(TASKS)
    (folder / "many.toy").write_text("toy 0.4")
    return folder


@pytest.mark.parametrize(
    ("spec", "label", "level", "task"),
    [
        ("toy:soft", "toy-soft-mp", "PBE", "mp"),  # the default, which is said
        ("toy:soft,task=sc", "toy-soft-sc", "r2SCAN", "sc"),
        ("toy:soft,head=sc", "toy-soft-sc", "r2SCAN", "sc"),
        ("toy:soft,head=sc,softness=0.1", "toy-soft-sc", None, "sc"),
        ("toy:many,head=mp", "toy-many-mp", "PBE", "mp"),
        ("toy:mine.toy,head=sc", "mine-sc", None, "sc"),
        ("toy:one", "toy-one", "PBE", "one task"),
    ],
)
@pytest.mark.usefixtures("with_heads")
def test_the_head_is_handed_over_and_named_with_its_level(spec, label, level, task):
    identity = load_calculator(spec).identity
    assert (identity.label, identity.level_of_theory) == (label, level)
    assert sys.modules["toy_models"].made[-1]["task"] == task
    if task != "one task":
        assert identity.options["task"] == task
        assert f", task {task}" in identity_lines(identity)[1]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("toy:many", "the model has several heads, and none was chosen; add ,task=… with one of: mp, sc"),
        ("toy:many,head=x", "the model has no head 'x'; add ,task=… with one of: mp, sc"),
        ("toy:many,head=mp,task=mp", "the head is given twice, by 'head' and by 'task'"),
        ("toy:one,head=mp", "the model has one head; leave its choice out"),
        ("toy:many,task=all", "task=all stands for several calculators, and one is meant here; name a head"),
    ],
)
@pytest.mark.usefixtures("with_heads")
def test_a_head_that_cannot_be_had_is_refused_with_those_that_can(spec, says):
    assert refusal(spec) == f"--calculator={spec}: {says}"
    assert "toy_models" not in sys.modules


@pytest.mark.usefixtures("with_heads")
def test_all_heads_are_calculators_of_their_own():
    found = loaded_models(["toy:many,head=all", "toy:one"], Loading())
    assert [each.label for each in found] == ["toy-many-mp", "toy-many-sc", "toy-one"]
    assert [each.identity.level_of_theory for each in found] == ["PBE", "r2SCAN", "PBE"]
    named = loaded_models({"mine": "toy:many,task=all"}, Loading())
    assert [each.label for each in named] == ["mine-mp", "mine-sc"]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("toy:one,head=all", "the model has one head"),
        ("mine.toy,head=all", "which heads mine.toy has is not known here; name one: ,task=…"),
    ],
)
@pytest.mark.usefixtures("with_heads")
def test_all_heads_of_a_model_whose_heads_nobody_knows_are_refused(spec, says):
    with pytest.raises(InputError, match=says):
        loaded_models(spec, Loading())


def test_all_heads_of_a_file_are_those_that_its_package_reads_in_it(with_heads, table):
    asked = 'head_option = "task"\nheads = "toy_models:heads_of"\nunpickles = true'
    folder = table(HEADS.replace('head_option = "task"', asked))
    code = TASKS + "\n\ndef heads_of(file): return Path(file).read_text().split()[2:]\n"
    (folder / "toy_models.py").write_text(code)
    (folder / "two.toy").write_text("toy 0.4 mp sc")
    with pytest.raises(InputError, match=r"runs whatever code is in two\.toy"):
        each_head("two.toy,head=all")
    assert each_head("two.toy,head=all", trust_checkpoint=True) == ["two.toy,head=mp", "two.toy,head=sc"]
    with pytest.raises(InputError, match="the model has one head"):
        each_head("toy:mine.toy,head=all", trust_checkpoint=True)


def test_tasks_of_uma_are_heads():
    assert [each.rpartition("=")[2] for each in each_head("uma:uma-s-1p1,head=all")] == [
        "omat", "omol", "oc20", "odac", "omc",
    ]  # fmt: skip


def test_a_baseline_is_one_head(with_heads):
    with pytest.raises(InputError, match=r"--probe-baseline=toy:many,head=all: head=all stands for several"):
        loaded_models("toy:one", Loading(), baseline="toy:many,head=all")


def test_what_means_all_to_somebody_else_is_handed_over(table):
    (table() / "own.py").write_text(
        "from ase.calculators.lj import LennardJones\n"
        "def make(head):\n"
        "    assert head == 'all'\n"
        "    return LennardJones()\n"
    )
    assert each_head("py:./own.py:make,head=all") == ["py:./own.py:make,head=all"]
    (found,) = loaded_models("py:./own.py:make,head=all", Loading())
    assert found.identity.options == {"head": "all"}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('head_option = "task"', 'head_option = "modal"', "the head_option 'modal' is none of its options"),
        ('head_option = "task"\n', "", "'soft' has heads, and no head_option says how one is chosen"),
    ],
)
def test_a_row_whose_heads_cannot_be_chosen_is_refused(table, old, new, says):
    with pytest.raises(InputError, match=says):
        families.read_families(table(HEADS.replace(old, new)) / "families.toml")


@pytest.mark.usefixtures("with_heads")
def test_the_command_lists_the_heads(capsys):
    assert cli.main(["models", "toy"]) == 0
    assert "toy:soft, head mp: PBE, head sc: r2SCAN, downloaded" in " ".join(capsys.readouterr().out.split())
