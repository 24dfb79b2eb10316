"""How fast is the model, and can its clock and its device be trusted?"""

from __future__ import annotations

import pytest


@pytest.mark.mlff_probe("speed")
def test_speed(probe):
    """Time of synchronised calls with moved atoms, from small to large and in batches: reported, never judged.

    Look first at the device, the dtype and the number of threads in the header: a model on the wrong
    device is the usual reason for a latency that is ten times too high. `on_device` fails where the device
    that is named did nothing, `unsynchronised` where the clock was read before it had finished.
    """
    probe.check()
