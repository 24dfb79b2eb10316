#!/bin/sh
# One allocation of SLURM, a worker for each of its tasks: sbatch --ntasks=4 --gpus-per-task=1 --time=8:00:00 slurm.sh MODEL
set -eu
file="$PWD/scheduler-$SLURM_JOB_ID.json"
dask scheduler --no-dashboard --scheduler-file "$file" &
scheduler=$!
srun --ntasks="$SLURM_NTASKS" dask worker --no-dashboard --nthreads 1 --scheduler-file "$file" &
workers=$!
trap 'kill "$workers" "$scheduler"' EXIT
while [ ! -s "$file" ]; do sleep 1; done
pytest --pyargs mlff_probes.probes "--calculator=$1" "--probe-executor=dask:$file" \
  --probe-store=probe-store --probe-scorecard=scorecard.json
