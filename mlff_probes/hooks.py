"""The hook that mlff-probes calls: a conftest or a plugin implements it to send a scorecard on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

    from mlff_probes.scorecard.model import Scorecard


def pytest_probes_scorecard(scorecard: Scorecard, config: pytest.Config) -> None:
    """Called once at the end of a run with `--calculator`, when the scorecard and its files are complete.

    It is called in the controller of a run with workers, never in these, and also at the end of a run that was cut
    short (`scorecard.complete` is then False). Each implementation is called, whatever becomes of the others; one
    that raises costs neither verdicts nor files, is named under the scorecard, and turns the exit code 0 into 1.

    Parameters
    ----------
    scorecard
        What the run found out, as ``--probe-scorecard=FILE.json`` holds it; ``model_dump(mode="json")`` makes plain
        data of it.
    config
        The configuration of the run.
    """
