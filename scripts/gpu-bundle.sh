#!/usr/bin/env bash
# Makes a folder for a GPU machine that has no Rust: the program with its kernels, the scripts that time other libraries,
# and run.sh, which checks and times everything there, part by part.
#
#   scripts/gpu-bundle.sh [FOLDER]     default: gpu-bundle
#
# The machine it is made on needs neither GPU nor driver; its C library must not be newer than the other's.
# EVOKE_CUDA_ARCHS chooses the GPUs (default here: all).
set -euo pipefail
root=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." && pwd)
folder=${1:-gpu-bundle}
limit=$((64 << 20)) # what travels well: mails, small object stores

fail() {
    printf 'gpu-bundle: %s\n' "$*" >&2
    exit 1
}

# Only what this script made is ever replaced.
[[ ! -e $folder || -e $folder/run.sh ]] || fail "$folder holds something else; give another folder"
[[ ! -e $folder || -n $(find "$folder" -maxdepth 1 -name evoke -type f) ]] || fail "$folder holds something else; give another folder"
[[ ${EVOKE_CUDA_ARCHS:-} != none ]] || fail "EVOKE_CUDA_ARCHS is none; unset it, or name the GPUs, such as 80,90a"
export EVOKE_CUDA_ARCHS=${EVOKE_CUDA_ARCHS:-all}

target=${CARGO_TARGET_DIR:-$root/target}
(cd -- "$root" && cargo build --release --locked --bin evoke) || fail "the program could not be built, see above"
kernels=$("$target/release/evoke" doctor --json | sed -n 's/^ *"count": \([0-9]*\).*/\1/p')
[[ ${kernels:-0} -gt 0 ]] || fail "the program holds no kernels; run scripts/cuda-toolchain.sh first"

aside=$folder.new
rm -rf -- "$aside"
mkdir -p -- "$aside/peers"
cp -- "$target/release/evoke" "$aside/evoke"
# Line tables are most of its size.
strip --strip-debug "$aside/evoke" 2>/dev/null || printf 'gpu-bundle: no strip here (Debian: binutils); the program stays large\n' >&2
cp -- "$root"/benches/peers/*.py "$root"/benches/peers/*.txt "$root/benches/peers/README.md" "$aside/peers/"
cp -- "$root/scripts/gpu-run.sh" "$aside/run.sh"
cp -- "$root/scripts/gpu-tables.py" "$aside/tables.py"
chmod +x -- "$aside/run.sh"
{
    printf 'commit %s\n' "$(git -C "$root" describe --always --dirty 2>/dev/null || printf unknown)"
    "$aside/evoke" doctor | grep -v '^ '
} >"$aside/made-from.txt"

bytes=$(du -s --apparent-size --block-size=1 -- "$aside" | cut -f1)
((bytes <= limit)) || fail "$aside takes $((bytes >> 20)) MiB, over $((limit >> 20)); name fewer GPUs in EVOKE_CUDA_ARCHS"
rm -rf -- "$folder"
mv -- "$aside" "$folder"
printf 'gpu-bundle: %s (%s kernels, %s MiB); there: ./run.sh PART, such as ./run.sh selftest\n' "$folder" "$kernels" "$((bytes >> 20))" >&2
