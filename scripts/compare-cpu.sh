#!/usr/bin/env bash
# Evoke against PyTorch and JAX on this machine's cores: the same work, in turn, several rounds; prints a table.
#
#   scripts/compare-cpu.sh [WORK...] [--rounds 3] [--out FILE] ...    works: attention, captioner, foley, spectrogram
#
# The peers come from the Python that PYTHON names, else from .tools/peers (benches/peers/README.md says how to make it).
# Nothing else should run on the machine meanwhile. What was built is used; EVOKE names another program.
set -euo pipefail
root=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." && pwd)

fail() {
    printf '%s: %s\n' "$(basename -- "$0")" "$*" >&2
    exit 1
}

evoke=${EVOKE:-$root/target/release/evoke}
[[ -x $evoke ]] || fail "$evoke is not built: cargo build --release"
python=${PYTHON:-$root/.tools/peers/bin/python}
command -v "$python" >/dev/null || fail "no $python: make it as benches/peers/README.md says, or set PYTHON"
exec "$python" "$root/benches/peers/compare.py" --evoke "$evoke" "$@"
