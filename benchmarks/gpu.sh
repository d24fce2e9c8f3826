#!/usr/bin/env bash
# All measurements that need a GPU, in one call of at most ten minutes: an epoch at the paper's size (plain, compiled, CUDA
# graphs, float32 and bf16), its breakdown and theoretical minimum, the table of IISAN (fft, adapter, lora, bitfit, top-2, side
# network, pooled: benchmarks/ladder.py), the store's gathers, batched captions, and every preset in bf16 compared with the CPU's metrics.
# Needs only the dependencies of Versa, not Versa itself. On a machine without a network, bring jsonargparse,
# docstring-parser and typeshed-client; `captions`, and `presets` without --dataset, also need duckdb and av.
#   bash benchmarks/gpu.sh [OUT] [OPTION …]     writes OUT/gpu.json (default: $OUT, else benchmarks/out)
set -euo pipefail
cd "$(dirname "$0")/.."
out="${1:-${OUT:-benchmarks/out}}"
mkdir -p "$out"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python3}" -m benchmarks.gpu --output "$out/gpu.json" "${@:2}"
