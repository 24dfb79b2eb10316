"""LAMMPS as a library, which begins again after an error."""

from __future__ import annotations

from typing import Any


def restarting(library: Any) -> Any:
    """The class `LAMMPSlib` of ASE, or what stands for it, whose objects stop LAMMPS where a calculation fails.

    One that lost atoms in a structure would otherwise fail in every later one, too.
    """

    class Restarting(library):  # type: ignore[misc]
        def calculate(self, *args: Any, **kwargs: Any) -> None:
            try:
                super().calculate(*args, **kwargs)
            except BaseException:
                self.clean()
                self.previous_atoms_numbers: list[int] = []  # as the next LAMMPS has; `clean` leaves it as it was
                raise

    return Restarting
