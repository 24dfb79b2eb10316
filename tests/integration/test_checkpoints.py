"""A run with a checkpoint that attacks: refused with one sentence, or trusted, which the scorecard then says."""

from __future__ import annotations

import hashlib

import pytest
from hostile import Call, poisoned, source
from mace_models import random_mace


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A sound checkpoint, and one that leaves the file `marker` beside it."""
    directory = tmp_path_factory.mktemp("checkpoints")
    random_mace(directory / "sound.model")
    poisoned(directory / "sound.model", directory / "evil.model", Call(exec, source(directory / "marker")))
    return directory


@pytest.fixture
def marker(folder):
    file = folder / "marker"
    file.unlink(missing_ok=True)
    return file


def hash_of(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_hostile_checkpoint_is_refused(folder, marker, run_probes_in):
    (folder / "card.json").unlink(missing_ok=True)
    found = hash_of(folder / "evil.model")
    run = run_probes_in(folder, "--calculator=evil.model", f"--probe-sha256={found}")  # a pin is no pardon
    run.assert_usage_error(
        "--calculator=evil.model: evil.model is refused, for loading it could run code that is in it",
        "(found: builtins.exec)",
        f"pin it with --probe-sha256={found} and add --probe-trust-checkpoint",
    )
    assert not marker.exists()


def test_trust_is_shown_wherever_the_run_is(folder, marker, run_probes_in):
    """With workers, who must be told; a run without them is `test_a_sound_checkpoint_is_judged`."""
    found = hash_of(folder / "evil.model")
    run = run_probes_in(
        folder, "--calculator=evil.model", "--probe-trust-checkpoint", f"--probe-sha256={found}",
        "-k", "cr_sb2te3_in_gap",
        f"--probe-scorecard={folder}/card.md", "-n", "1",
    )  # fmt: skip
    assert marker.exists()
    unchecked = "checkpoint REFUSED by the check, loaded all the same (--probe-trust-checkpoint)"
    run.matches("calculator evil: evil.model", f"  sha256 {found} (pinned)", f"  {unchecked}")
    assert "note: the checkpoint of evil was refused by the check and loaded all the same" in run.text
    (identity,) = run.card.calculators
    assert (identity.checkpoint, identity.pinned, identity.sha256) == ("unchecked", True, found)
    assert run.card.options.trust_checkpoint
    written = (folder / "card.md").read_text()
    assert unchecked in written
    assert "- the checkpoint of evil was refused by the check" in written


def test_a_sound_checkpoint_is_judged(folder, run_probes_in):
    found = hash_of(folder / "sound.model")
    run = run_probes_in(folder, "--calculator=sound.model", f"--probe-sha256={found}", "-k", "cr_sb2te3_in_gap")
    run.matches(f"  sha256 {found} (pinned)", "  checkpoint checked before it was loaded, which is no sandbox")
    (identity,) = run.card.calculators
    assert (identity.checkpoint, identity.pinned) == ("checked", True)
    assert run.card.results
    assert "refused" not in run.text


PINS = {
    "of nothing": ("0" * 64, "no calculator has this SHA-256 (none is read from a file)"),
    "of no kind": ("12ab", "--probe-sha256=12ab: a SHA-256 is 64 hex digits"),
}


@pytest.mark.parametrize("name", PINS)
def test_a_pin_that_holds_nothing_is_an_error(folder, run_probes_in, name):
    pin, part = PINS[name]
    (folder / "card.json").unlink(missing_ok=True)
    run_probes_in(folder, "--calculator=ase:EMT", f"--probe-sha256={pin}").assert_usage_error(part)


def test_a_pin_holds_every_checkpoint_file(folder, run_probes_in, tmp_path):
    (folder / "card.json").unlink(missing_ok=True)
    other = random_mace(tmp_path / "other.model", seed=1)
    args = ["--calculator=sound.model", f"--calculator={other}", f"--probe-sha256={hash_of(folder / 'sound.model')}"]
    run_probes_in(folder, *args).assert_usage_error(
        f"--calculator={other}: {other} has the SHA-256 {hash_of(other)}, which --probe-sha256 does not name"
    )
