"""The JSON Schema of the scorecard: ``python -m mlff_probes.scorecard.schema``."""

from __future__ import annotations

import json
from typing import Any

from mlff_probes.scorecard.model import SCHEMA_VERSION, Scorecard


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of what `--probe-scorecard=FILE.json` writes."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"mlff-probes scorecard, schema version {SCHEMA_VERSION}",
        **Scorecard.model_json_schema(mode="serialization"),
    }


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=1))
