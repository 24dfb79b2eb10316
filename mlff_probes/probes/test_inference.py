"""How fast is the model?"""

from __future__ import annotations

import pytest


@pytest.mark.mlff_probe("latency")
def test_latency(probe):
    """The time of one synchronised energy-and-forces call with moved atoms: reported, never judged.

    Look first at the device, the dtype and the number of threads in the header: a model on the wrong
    device is the usual reason for a latency that is ten times too high.
    """
    probe.check()
