"""Reference cases and tolerances that cannot be used: one message that names file and key, and no case hidden."""

from __future__ import annotations

import shutil

import pytest
from support import STORED

from mlff_probes.cases.load import load_cases
from mlff_probes.core.data import DIRECTORY
from mlff_probes.core.errors import InputError

CALCULATOR = "--calculator=py:./calc.py:make"
GOOD = DIRECTORY / "migration" / "cr_sb2te3_in_gap.toml"
FINE = '{ value = 0.01, unit = "eV", reason = "as fine as can be" }'


def replaced(text, old, new, *, count=1):
    """`text` with `old` replaced, and no silent pass where there is no `old`."""
    assert old in text
    return text.replace(old, new, count)


def without_line(text, start):
    """`text` without the first line that begins with `start`."""
    lines = text.splitlines(keepends=True)
    lines.remove(next(line for line in lines if line.startswith(start)))
    return "".join(lines)


def in_frame(text, index, old, new):
    """`text` of an extxyz file with `old` replaced in frame `index` alone."""
    lines = text.splitlines(keepends=True)
    size = int(lines[0]) + 2
    frame = "".join(lines[index * size : (index + 1) * size])
    return "".join([*lines[: index * size], replaced(frame, old, new), *lines[(index + 1) * size :]])


def without_an_atom(text, index):
    """`text` of an extxyz file with the last atom of frame `index` gone, and counted right."""
    lines = text.splitlines(keepends=True)
    size = int(lines[0]) + 2
    lines[index * size] = f"{size - 3}\n"
    del lines[(index + 1) * size - 1]
    return "".join(lines)


IN_TOML = {
    "unknown_key": (lambda t: 'colour = "red"\n' + t, ["unknown key 'colour'"]),
    "unknown_key_below": (
        lambda t: replaced(t, "uncertainty = 0.08", "uncertainty = 0.08\nsigma = 1.0"),
        ["unknown key 'expectation.1.sigma'"],
    ),
    "invalid_toml": (lambda t: replaced(t, "tier = ", "tier : "), ["is not valid TOML", "line 4"]),
    "missing_unit": (lambda t: without_line(t, "unit = "), ["the key 'expectation.1.unit' is missing"]),
    "missing_source": (lambda t: without_line(t, "source = "), ["the key 'reference.source' is missing"]),
    "missing_protocol_key": (
        lambda t: without_line(t, "migrating_atom = "),
        ["the key 'protocol.", "migrating_atom' is missing"],
    ),
    "unknown_tier": (lambda t: replaced(t, '"smoke"', '"fast"'), ["the key 'tier'", "'smoke'", "found 'fast'"]),
    "unknown_kind": (
        lambda t: replaced(t, '"fixed_path"', '"fixd_path"'),
        ["'protocol.kind'", "fixed_path", "fixd_path"],
    ),
    "newer_schema": (lambda t: replaced(t, "schema_version = 1", "schema_version = 2"), ["'schema_version'", "2"]),
    "tolerance_below_uncertainty": (
        lambda t: replaced(t, "uncertainty = 0.08", f"uncertainty = 0.08\ntolerance = {FINE}"),
        ["expectation 1 (barrier)", "the tolerance 0.01 eV (case) is below the uncertainty 0.08 eV"],
    ),
    "unknown_quantity": (
        lambda t: replaced(t, '"barrier"', '"barier"'),
        ["'fixed_path' measures no 'barier'; it measures barrier, "],
    ),
    "wrong_unit": (
        lambda t: replaced(t, 'unit = "eV"', 'unit = "meV"'),
        ["expectation 1 (barrier): the unit must be 'eV', found 'meV'"],
    ),
    "quantity_twice": (
        lambda t: replaced(t, '"reverse_barrier"', '"barrier"'),
        ["the quantity 'barrier' is asked for twice"],
    ),
    "text_for_a_number": (
        lambda t: replaced(t, "uncertainty = 0.08", 'uncertainty = "0.08"'),
        ["the key 'expectation.1.uncertainty'", "found '0.08'"],
    ),
    "negative_uncertainty": (
        lambda t: replaced(t, "uncertainty = 0.08", "uncertainty = -0.08"),
        ["the key 'expectation.1.uncertainty'", "found -0.08"],
    ),
    "atom_out_of_range": (
        lambda t: replaced(t, "migrating_atom = 20", "migrating_atom = -1"),
        ["the key 'protocol.", "migrating_atom'", "found -1"],
    ),
}
"""Name of a case file, what is done to it, and what the message says after the name of the file."""

IN_FRAMES = {
    "other_number_of_atoms": (lambda x: without_an_atom(x, 2), ["frame 2 has 20 atoms, frame 0 has 21"]),
    "count_too_high": (lambda x: in_frame(x, 4, "21\n", "22\n"), ["cannot be read as extxyz"]),
    "count_too_low": (lambda x: in_frame(x, 1, "21\n", "20\n"), ["cannot be read as extxyz"]),
    "nan_energy": (lambda x: in_frame(x, 3, "energy=-", "energy=NaN old="), ["energy", "frame 3", "not finite"]),
    "no_energy": (lambda x: in_frame(x, 3, " energy=", " old="), ["frame 3 has no energy, but others have one"]),
    "image_missing": (lambda x: in_frame(x, 2, "image=2", "picture=2"), ["frame 2 has no 'image'"]),
    "image_twice": (lambda x: in_frame(x, 2, "image=2", "image=3"), ["'image' must number the frames 0, 1, 2"]),
    "other_cell": (lambda x: in_frame(x, 1, '"8.528', '"8.529'), ["all images of a path must have the same cell"]),
    "no_frames": (lambda _: "", ["no_frames.extxyz"]),
}
"""The same for the frames beside a sound case file."""

ELSEWHERE = {
    "missing_frames": ["missing_frames.extxyz: there is no such file of frames"],
    "atom_not_there": ["migrating_atom = 21, but a frame has 21 atoms", "atom_not_there.toml"],
    "wrong_folder": ["sliding/wrong_folder.toml: the protocol 'fixed_path' belongs in a folder 'migration'"],
    "cr_sb2te3_in_gap": ["duplicate id 'cr_sb2te3_in_gap', already taken by"],
}

ALL = {
    **{name: [f"migration/{name}.toml: ", *parts] for name, (_, parts) in IN_TOML.items()},
    **{name: [f"migration/{name}.extxyz: ", *parts] for name, (_, parts) in IN_FRAMES.items()},
    **ELSEWHERE,
}


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """A reference directory with one good case and many spoilt ones."""
    directory = tmp_path_factory.mktemp("reference")
    migration, sliding = directory / "migration", directory / "sliding"
    migration.mkdir()
    sliding.mkdir()
    toml, frames = GOOD.read_text(), GOOD.with_suffix(".extxyz").read_text()

    def write(file, toml_text, frames_text):
        file.write_text(toml_text)
        if frames_text is not None:
            file.with_suffix(".extxyz").write_text(frames_text)

    write(migration / "good.toml", toml, frames)
    for name, (spoil, _) in IN_TOML.items():
        write(migration / f"{name}.toml", spoil(toml), frames)
    for name, (spoil, _) in IN_FRAMES.items():
        write(migration / f"{name}.toml", toml, spoil(frames))
    write(migration / "missing_frames.toml", toml, None)
    write(migration / "atom_not_there.toml", replaced(toml, "migrating_atom = 20", "migrating_atom = 21"), frames)
    write(sliding / "wrong_folder.toml", toml, frames)
    write(migration / GOOD.name, toml, frames)
    return directory


@pytest.fixture(scope="module", params=[(), ("-n", "1")], ids=["one process", "-n 1"])
def run(request, tmp_path_factory, reference, run_probes_in, sound):
    """One run over the package's cases and that directory."""
    directory = tmp_path_factory.mktemp("run")
    (directory / "calc.py").write_text(sound)
    return run_probes_in(directory, CALCULATOR, f"--probe-reference={reference}", *request.param)


@pytest.mark.parametrize("name", ALL)
def test_is_one_error_with_file_and_key(name, run, reference):
    found = [row for row in run.card.results if row.case == f"{name}.toml"]
    (row,) = found
    assert row.verdict.state == "error"
    message = row.verdict.reason
    assert message.startswith(f"{reference}/")
    assert "\n" not in message
    for part in ALL[name]:
        assert part in message
    assert f"case_file: error: {' '.join(message.split())}" in run.text


def test_hides_no_other_case(run, reference):
    card = run.card
    assert run.code == pytest.ExitCode.TESTS_FAILED
    assert card.complete
    assert card.verdict == "failed"
    judged = {row.case for row in card.results if row.verdict.state in ("passed", "failed")}
    shipped = {case.id for case in STORED}
    assert judged == shipped | {"good"}
    errors = [row.case for row in card.results if row.quantity == "case_file"]
    assert sorted(errors) == sorted(f"{name}.toml" for name in ALL)
    good = [row for row in card.results if row.case == "good"]
    same = [row for row in card.results if row.case == "cr_sb2te3_in_gap"]
    assert [(r.quantity, r.measured.value) for r in good] == [(r.quantity, r.measured.value) for r in same]


BARRIER = '[migration.barrier]\nvalue = {value}\nunit = "eV"\nreason = "because"\n'
BAD_TOLERANCES = {
    "unknown quantity": (
        '[migration.barier]\nvalue = 1.0\nunit = "eV"\nreason = "because"\n',
        ["there is no tolerance 'migration.barier'; known: migration.barrier, "],
    ),
    "unknown family": (
        '[migrations.barrier]\nvalue = 1.0\nunit = "eV"\nreason = "because"\n',
        ["unknown family 'migrations'; write [family.quantity] with one of migration, sliding"],
    ),
    "wrong unit": (
        '[migration.barrier]\nvalue = 100.0\nunit = "meV"\nreason = "because"\n',
        ["migration.barrier must be in eV, found meV"],
    ),
    "missing reason": (
        '[migration.barrier]\nvalue = 0.2\nunit = "eV"\n',
        ["the key 'migration.barrier.reason' is missing"],
    ),
    "negative": (BARRIER.format(value=-0.2), ["the key 'migration.barrier.value'", "found -0.2"]),
    "no table": ("[migration]\nbarrier = 0.2\n", ["[migration.barrier] must be a table with value, unit and reason"]),
    "invalid TOML": ("[migration.barrier\n", ["is not valid TOML", "line 1"]),
    "no such file": (None, ["cannot be read", "No such file or directory"]),
}


@pytest.mark.parametrize("name", BAD_TOLERANCES)
def test_tolerances_that_cannot_be_read(name, tmp_path, run_probes):
    text, parts = BAD_TOLERANCES[name]
    if text is not None:
        (tmp_path / "mine.toml").write_text(text)
    run_probes("--calculator=ase:EMT", "--probe-tolerances=mine.toml").assert_usage_error("mine.toml: ", *parts)


def test_tolerance_below_the_uncertainty(tmp_path, run_probes):
    (tmp_path / "mine.toml").write_text(BARRIER.format(value=0.01))
    run_probes("--calculator=ase:EMT", "--probe-tolerances=mine.toml").assert_usage_error(
        "the tolerances of mine.toml: ",
        "cr_sb2te3_in_gap.toml: expectation 1 (barrier): the tolerance 0.01 eV (override)",
        "is below the uncertainty 0.08 eV of the reference; nothing can be judged that finely",
    )


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["one process", "-n 1"])
def test_override_is_shown(workers, tmp_path, run_probes, sound):
    (tmp_path / "calc.py").write_text(sound)
    (tmp_path / "mine.toml").write_text(
        BARRIER.format(value=20.0).replace("barrier", "force_mae").replace("eV", "eV/A")
    )
    run = run_probes(
        CALCULATOR, "--probe-tolerances=mine.toml", "-k", "cr_sb2te3 and not octahedral_hop and not dynamics", *workers
    )
    rows = {(row.case, row.quantity): row for row in run.card.results}
    force = rows["cr_sb2te3_in_gap", "force_mae"]
    assert force.expectation.tolerance.model_dump() == {
        "value": 20.0, "unit": "eV/A", "reason": "because", "float32": None, "origin": "override",
    }  # fmt: skip
    assert force.verdict.state == "passed"
    assert abs(force.verdict.deviation) > 0.1
    others = {
        row.expectation.tolerance.origin for key, row in rows.items() if key[1] != "force_mae" and row.expectation
    }
    assert "override" not in others
    assert run.card.options.tolerances == "mine.toml"
    run.matches(
        "*force_mae * 20† *eV/A *passed*",
        "note: tolerances overridden by mine.toml: migration.force_mae 20 eV/A",
    )


def test_override_of_all_images(tmp_path, run_probes, sound):
    """`energy_image` stands for every image of a path, over the case's own tolerance too."""
    (tmp_path / "calc.py").write_text(sound)
    (tmp_path / "mine.toml").write_text(BARRIER.format(value=2.0).replace("barrier", "energy_image"))
    run = run_probes(CALCULATOR, "--probe-tolerances=mine.toml", "-k", "cr_sb2te3_deep")
    images = [row for row in run.card.results if row.quantity.startswith("energy_image_") and row.expectation]
    assert len(images) == 7  # the first image is reported, not judged
    assert {row.expectation.tolerance.origin for row in images} == {"override"}
    assert {row.expectation.tolerance.value for row in images} == {2.0}


def test_no_such_reference_directory(tmp_path, run_probes):
    run = run_probes("--calculator=ase:EMT", "--probe-reference=nosuch")
    run.assert_usage_error("nosuch: there is no such reference directory", f"(looked from {tmp_path})")


def test_no_case_at_all(run_probes):
    run = run_probes("--calculator=ase:EMT", "--probe-reference-only")
    run.assert_usage_error("--probe-reference-only leaves no case; add --probe-reference=DIR")


@pytest.mark.parametrize(
    ("where", "parts"),
    [
        ("", ["a case belongs in a family folder (migration, sliding"]),
        ("migrations", ["unknown family 'migrations'; known are migration, sliding"]),
        (None, ["holds no case; expected files such as migration/my_case.toml"]),
    ],
    ids=["no folder", "unknown folder", "empty"],
)
def test_directory_that_is_none(where, parts, tmp_path):
    if where is not None:
        (tmp_path / where).mkdir(exist_ok=True)
        for file in (GOOD, GOOD.with_suffix(".extxyz")):
            shutil.copy(file, tmp_path / where)
    with pytest.raises(InputError) as caught:
        load_cases([tmp_path])
    for part in (str(tmp_path), *parts):
        assert part in str(caught.value)
