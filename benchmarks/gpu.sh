#!/usr/bin/env bash
# Measure fine-tuned models on this machine's GPU in at most ten minutes: benchmarks/gpu.sh [--out FILE.jsonl] [--tiny]
set -euo pipefail
cd "$(dirname "$0")/.."
exec timeout --foreground 600 "${PYTHON:-python}" benchmarks/gpu.py "$@"
