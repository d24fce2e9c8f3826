#!/usr/bin/env bash
# The smoke test of the mission's variants where a GPU is at hand: every preset trains a few epochs
# in bf16, losses must be finite, and the GPU's test metrics must equal the CPU's within tolerance.
# Needs no installation of Versa itself: only its dependencies (PyAV and jsonargparse among them).
#   bash benchmarks/gpu.sh [OUT]          writes OUT/gpu.json (default: $OUT, else benchmarks/out)
set -euo pipefail
cd "$(dirname "$0")/.."
out="${1:-${OUT:-benchmarks/out}}"
mkdir -p "$out"
exec "${PYTHON:-python3}" benchmarks/gpu.py --output "$out/gpu.json"
