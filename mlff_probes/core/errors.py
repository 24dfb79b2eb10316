"""The errors a user can mend: what was found, where, and how to mend it."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Self


class InputError(ValueError):
    """Unusable input: an option, a calculator or a file.

    The text of the error is ``where: problem; remedy``, without the parts that are empty. Whoever needs one part takes
    the attribute; no code reads the text.

    Parameters
    ----------
    where
        The option, file or entry that is at fault, for instance ``--calculator=chgnet``; empty where the problem
        itself names it.
    problem
        What was found, and what was expected.
    remedy
        How to mend it, or what there is instead; empty where the problem says so already.
    """

    def __init__(self, where: str | Path, problem: str, remedy: str = "") -> None:
        self.where, self.problem, self.remedy = str(where), problem, remedy
        super().__init__(self.where, problem, remedy)  # what pickle makes a copy from

    def __str__(self) -> str:
        said = f"{self.problem}; {self.remedy}" if self.remedy else self.problem
        return f"{self.where}: {said}" if self.where else said

    def at(self, where: str | Path) -> Self:
        """The same error at another place, for instance behind the option by which the user named the calculator."""
        return type(self)(where, self.problem, self.remedy)

    def within(self, where: str | Path) -> Self:
        """The same error inside `where`: the place that it had so far becomes the beginning of the problem."""
        return type(self)(where, f"{self.where}: {self.problem}" if self.where else self.problem, self.remedy)


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
