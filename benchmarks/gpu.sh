#!/usr/bin/env bash
# All measurements that need a GPU, in one call of at most nine minutes, in the order of their worth: an epoch at the paper's
# size (plain, CUDA graphs, compiled; bf16 and float32), its theoretical minimum and breakdown, the table of IISAN (fft,
# adapter, lora, bitfit, top-2, side network, pooled: benchmarks/ladder.py) at batch 32, the gradient cache's memory, the
# store's gathers, batched captions, ranking a million items, the feed of covers, and every preset in bf16 compared with the
# CPU's metrics. Each part has its own time limit; OUT/gpu.json is rewritten after each, and OUT/gpu.log is written as it runs.
# Needs only the dependencies of Versa, not Versa itself. On a machine without a network, bring jsonargparse,
# docstring-parser and typeshed-client; `captions`, and `presets` without --dataset, also need duckdb and av.
#   bash benchmarks/gpu.sh [OUT] [OPTION …]     writes OUT/gpu.json (default: $OUT, else benchmarks/out); --toy rehearses
set -euo pipefail
cd "$(dirname "$0")/.."
out="${1:-${OUT:-benchmarks/out}}"
mkdir -p "$out"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
timeout --kill-after=5 540 "${PYTHON:-python3}" -m benchmarks.gpu --output "$out/gpu.json" "${@:2}" 2>&1 | tee "$out/gpu.log"
