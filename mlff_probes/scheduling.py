"""Which worker of pytest-xdist runs what."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling


class MeasurementScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Load scheduling that keeps all quantities of one measurement together, so that it is made once."""

    def _split_scope(self, nodeid: str) -> str:
        """The scope of `…[calculator-case-quantity]` is all before the last hyphen; of any other test, itself."""
        name, bracket, _ = nodeid.rpartition("-")
        return name if bracket and "mlff_probes/probes/" in nodeid else nodeid
