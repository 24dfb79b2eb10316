"""The version of the package, which the git tag states."""

from __future__ import annotations

UNKNOWN_VERSION = "0+unknown"
"""`__version__` of a source tree that was put on the path without being installed."""


def installed_version() -> str:
    """The version that the git tag gave when this package was installed; an editable one keeps it until it is again."""
    from importlib import metadata

    try:
        return metadata.version("mlff-probes")
    except metadata.PackageNotFoundError:
        return UNKNOWN_VERSION
