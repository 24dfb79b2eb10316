"""How far do structures lie from what the model learned, in its own features?"""

from __future__ import annotations

import pytest


@pytest.mark.mlff_probe("extrapolation")
def test_extrapolation(probe):
    """Frames of paths against training frames, in the space of the model's features, or of SOAP where it shows none.

    Judged is whether these are features at all: the same however a structure is written, and others when atoms move.
    The distances are reported, and so is how much they tell of the errors of this model.

    Look first at the note: which descriptors, which training set. Then at `held_out_beyond`: far above 5 % the
    training set is too small for its limits. A path beyond the limit whose error is small was not known to be safe.
    """
    probe.check()


@pytest.mark.mlff_probe("forgetting")
def test_forgetting(probe):
    """Features of a fine-tuned model against those of its foundation (`,foundation=SPEC`): reported, never judged.

    Look first at the frames that are not of the material: a drift there is what training on other data cost.
    """
    probe.check()
