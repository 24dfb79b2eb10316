"""What a number stands on."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from mlff_probes.core.records import Samples


def test_says_what_was_left_out_and_why() -> None:
    samples = Samples(used=2, of=42, what="frames", left_out={"alone in their composition": 30, "unlabelled": 10})
    assert str(samples) == "2 of 42 frames; 30 alone in their composition, 10 unlabelled"
    assert samples.share == pytest.approx(2 / 42)
    assert str(Samples(used=7, of=7, what="force components")) == "7 of 7 force components"


def test_every_sample_is_accounted_for() -> None:
    with pytest.raises(ValidationError, match="2 used and 39 left out are not 42"):
        Samples(used=2, of=42, what="frames", left_out={"alone in their composition": 39})


def test_what_never_was_a_sample_is_counted_but_no_loss():
    samples = Samples(used=18, of=40, what="atoms", left_out={"held": 20, "lost": 2}, by_nature=("held",))
    assert samples.share == 0.9
    assert str(samples) == "18 of 40 atoms; 20 held, 2 lost"
    assert Samples(used=0, of=3, what="atoms", left_out={"held": 3}, by_nature=("held",)).share == 0.0
