"""The errors a user can mend, each a sentence of its own: what was found, where, how to mend it."""

from __future__ import annotations

import traceback


class InputError(ValueError):
    """Unusable input: an option, a calculator or a file. The message is the whole report."""


class OptionError(InputError):
    """Unusable input that is an option's own fault, so that it ends the run rather than one case."""


class EvaluationError(RuntimeError):
    """The calculator could not give usable numbers for a frame (it raised, or NaN, or wrong shape)."""


class OutOfMemoryError(EvaluationError):
    """The calculator needs more memory for a frame than there is."""


class NonFiniteError(EvaluationError):
    """The calculator returned NaN or an infinity."""


def describe(error: BaseException) -> str:
    """One line for an exception of foreign code: type, message, and the line that raised it."""
    frames = [row for row in traceback.extract_tb(error.__traceback__) if not row.filename.startswith("<")]
    at = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    text = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {text}{at}"
