"""How fast is the model, and does its fast path give the right answer?"""

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


@pytest.mark.mlff_probe("path_agreement")
def test_path_agreement(probe):
    """The path in use gives what the plainest path gives, and so do the other precision, batches and the first call.

    A fast path that is wrong is fast for nothing, and every other number here was made with it.

    Look first at which comparison fails beside the plainest. Compiled: try ,compile= with another mode, or none.
    Kernels: the version of the kernel library. Float32: a sum that needs float64, an overflow, or TF32. Batch: padding,
    or an index that is not shifted. First call: compilation or tuning on the way. The plainest alone: the device.
    """
    probe.check()
