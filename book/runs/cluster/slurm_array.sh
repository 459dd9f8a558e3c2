#!/bin/bash
# A sweep on Slurm without Dask: an array job, a task a point.
#   bash slurm_array.sh recipes.yaml out/recipes
# First the script is made for this sweep (look at it: memory, time, partition), then submitted; a second job, which
# waits for the first, makes the table and the page of all points. Submitted again, it computes what is missing.
set -euo pipefail

file=${1:?the sweep file}
out=${2:?the folder of the sweep, on a disk that all nodes see}

mkdir -p "$out"
fgq sweep "$file" --out "$out" --retries 1 --export-slurm "$out/array.sh"
job=$(sbatch --parsable --partition=gpu --gres=gpu:1 --cpus-per-task=8 --mem=64G --time=12:00:00 "$out/array.sh")
sbatch --dependency="afterany:${job%%;*}" --job-name=fgq-table --time=00:10:00 --output="$out/logs/table-%j.txt" \
  --wrap="fgq sweep '$file' --out '$out' --status"
