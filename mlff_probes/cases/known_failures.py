"""Failures that a user has accepted, each with a reason; an entry that no longer holds is an error."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlff_probes.core.case import BrokenCase, Case
from mlff_probes.core.errors import InputError
from mlff_probes.core.records import Record, State, Text, Verdict
from mlff_probes.core.toml import read_toml, validated


class KnownFailure(Record):
    """`[[known_failure]]`: one quantity of one case that fails, for one calculator or for all."""

    case: Text
    quantity: Text
    reason: Text
    calculator: Text | None = None
    verdict: Literal["failed", "error"] = "failed"


class KnownFailureFile(Record):
    """A whole file of known failures."""

    known_failure: tuple[KnownFailure, ...] = ()


@dataclass(frozen=True)
class KnownFailures:
    """The entries of one file."""

    file: Path
    entries: tuple[KnownFailure, ...]

    def of(self, labels: Collection[str | None], case: str, quantity: str) -> KnownFailure | None:
        """The entry for a quantity of a calculator with one of `labels`; it wins over an entry for all."""
        found = [
            entry
            for entry in self.entries
            if (entry.case, entry.quantity) == (case, quantity) and entry.calculator in (None, *labels)
        ]
        return max(found, key=lambda entry: entry.calculator is not None, default=None)

    def strangers(self, labels: Collection[str]) -> list[str]:
        """A sentence for each calculator that the file names and that is not of this run."""
        named = dict.fromkeys(entry.calculator for entry in self.entries if entry.calculator)
        return [
            f"{self.file} names a calculator '{name}' that is not in this run{_close(name, labels)}"
            for name in named
            if name not in labels
        ]

    def settle(self, entry: KnownFailure, verdict: Verdict) -> Verdict:
        """The verdict in the light of its entry: a known failure, a stale entry, or as it was."""
        if verdict.state == entry.verdict:
            why = f" ({verdict.reason})" if verdict.reason else ""
            return verdict.model_copy(update={"state": State.KNOWN_FAILURE, "reason": f"{entry.reason}{why}"})
        if verdict.state is State.PASSED:
            hint = "" if entry.calculator else ', or add calculator = "…" if it still fails for another'
            stale = f"stale entry: {self.file} lists it as a known failure, but it passes; remove the entry{hint}"
            return verdict.model_copy(update={"state": State.ERROR, "reason": stale})
        if verdict.state in (State.FAILED, State.ERROR):
            other = f"listed in {self.file}, but with the verdict '{entry.verdict}'"
            return verdict.model_copy(update={"reason": "; ".join(filter(None, (verdict.reason, other)))})
        return verdict


def load_known_failures(
    file: Path, cases: Iterable[Case | BrokenCase], *, left_out: Iterable[str] = ()
) -> KnownFailures:
    """Read a file of known failures.

    Parameters
    ----------
    file
        TOML with one ``[[known_failure]]`` table an entry.
    cases
        The cases of the run, whatever their tier.
    left_out
        Ids of cases that exist, but are not part of this run.

    Raises
    ------
    InputError
        If the file cannot be read, or an entry is stale: it names a case or quantity that does not exist or
        is not judged, or stands there twice.
    """
    entries = validated(KnownFailureFile, read_toml(file), file).known_failure
    known = {case.id: case for case in cases}
    for index, entry in enumerate(entries):
        where = f"{file}: known_failure {index + 1} ({entry.case}, {entry.quantity})"
        if _key(entry) in map(_key, entries[:index]):
            raise InputError(where, "stands there twice")
        if entry.case in left_out and entry.case not in known:
            continue
        case = known.get(entry.case)
        if case is None:
            raise InputError(where, f"stale entry, there is no such case{_close(entry.case, known)}")
        if isinstance(case, Case) and case.expectation(entry.quantity) is None:
            judged = [expectation.quantity for expectation in case.expectations]
            raise InputError(where, f"stale entry, the case judges no such quantity{_close(entry.quantity, judged)}")
    return KnownFailures(file, entries)


def _key(entry: KnownFailure) -> tuple[str, str, str | None]:
    return entry.case, entry.quantity, entry.calculator


def _close(name: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {found[0]}?)" if found else ""
