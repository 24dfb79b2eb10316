#!/usr/bin/env bash
# Judge a new checkpoint against the one in production, and keep its scorecard.
#
#     ./pre-release.sh CHECKPOINT [PRODUCTION.json [FOLDER [PYTEST OPTION...]]]
#
# The exit code is pytest's: 0 the checkpoint may go out, 1 it may not, 4 something given cannot be used. With 0 the
# scorecard in FOLDER becomes the next PRODUCTION.json once the checkpoint is out. A FOLDER with a scorecard is refused:
# it would be lost, or be taken for that of a run which wrote none.
set -euo pipefail

if (($# < 1)); then
  echo "usage: $0 CHECKPOINT [PRODUCTION.json [FOLDER [PYTEST OPTION...]]]" >&2
  exit 4
fi
checkpoint=$1
production=${2:-production.json}
folder=${3:-scorecards/$(date -u +%Y-%m-%dT%H%M%SZ)}

if [[ ! -f $production ]]; then
  echo "$production: there is no scorecard of production; make it once with" >&2
  echo "  pytest --pyargs mlff_probes.probes --calculator=CHECKPOINT --probe-scorecard=$production" >&2
  exit 4
fi

for earlier in "$folder"/scorecard.{json,md,html}; do
  if [[ -e $earlier ]]; then
    echo "$earlier: there is a scorecard of an earlier run; name another FOLDER, or move it away" >&2
    exit 4
  fi
done

status=0
pytest --pyargs mlff_probes.probes "--calculator=$checkpoint" --tb=no \
  "--probe-baseline=$production" --probe-fail-on=both \
  "--probe-scorecard=$folder/scorecard.json" "--probe-scorecard=$folder/scorecard.md" \
  "--probe-scorecard=$folder/scorecard.html" "${@:4}" || status=$?

if [[ ! -f $folder/scorecard.json ]]; then
  echo "nothing was judged (exit code $status)" >&2
  status=$((status ? status : 1)) # as of --collect-only
elif ((status == 0)); then
  echo "green: once $checkpoint is in production, cp $folder/scorecard.json $production"
else
  echo "not green (exit code $status): see $folder/scorecard.md" >&2
fi
exit "$status"
