#!/usr/bin/env bash
# All that only a GPU can tell, in one call of at most ten minutes: an epoch at the paper's size (plain, compiled,
# recorded, float32 and bf16), where its time goes, its floor, the store's gathers, the efficiency table live and
# stored, captions in batches, and every preset in bf16 against the CPU's metrics.
# Needs no installation of Versa itself: only its dependencies. Where nothing can be downloaded, carry jsonargparse,
# docstring-parser and typeshed-client; `captions`, and `presets` without --dataset, want duckdb and av besides.
#   bash benchmarks/gpu.sh [OUT] [OPTION …]     writes OUT/gpu.json (default: $OUT, else benchmarks/out)
set -euo pipefail
cd "$(dirname "$0")/.."
out="${1:-${OUT:-benchmarks/out}}"
mkdir -p "$out"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python3}" -m benchmarks.gpu --output "$out/gpu.json" "${@:2}"
