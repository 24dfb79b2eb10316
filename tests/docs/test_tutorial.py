"""The tutorial is run as it is printed: files are written, commands end as they say, and say what is shown."""

from __future__ import annotations

from printed import run_page


def test_the_tutorial_runs_and_says_what_it_shows(tmp_path):
    said = run_page("docs/tutorial.md", tmp_path)
    assert (tmp_path / "results" / "profile.png").read_bytes().startswith(b"\x89PNG")
    assert "al_vacancy,barrier" in (tmp_path / "results" / "barrier.csv").read_text()
    assert len(said) == 6
    for shown, printed in said:
        assert shown.strip() in printed
