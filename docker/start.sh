#!/bin/sh
# Runs ood-monitor with the kernels that were compiled when the image was built. `--warm` compiles them.
set -eu
if [ "$(uname -m)" = x86_64 ]; then
  # One target for all: x86-64-v3. The code of the cache fits every node, and scores have the same bits on all of them.
  export NUMBA_CPU_NAME="${NUMBA_CPU_NAME:-x86-64-v3}"
  export NUMBA_CPU_FEATURES="${NUMBA_CPU_FEATURES:-+avx,+avx2,+bmi,+bmi2,+f16c,+fma,+lzcnt,+movbe,+popcnt,+sse3,+ssse3,+sse4.1,+sse4.2,+xsave}"
  if [ -r /proc/cpuinfo ] && ! grep -qw avx2 /proc/cpuinfo; then
    unset NUMBA_CPU_NAME NUMBA_CPU_FEATURES  # an older CPU: compile for what it is
  fi
fi
here=$(dirname "$0")
if [ "${1:-}" = --warm ]; then
  shift
  exec "$here/python" "$here/warm_kernels.py" "$@"
fi
kept="$here/../kernels"
if [ -d "$kept" ] && [ -n "${NUMBA_CACHE_DIR:-}" ] && [ ! -d "$NUMBA_CACHE_DIR" ]; then
  cp -R "$kept" "$NUMBA_CACHE_DIR" 2>/dev/null || echo "the kernels are compiled anew: $NUMBA_CACHE_DIR cannot be written" >&2
fi
exec "$here/ood-monitor" "$@"
