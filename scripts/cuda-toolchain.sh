#!/usr/bin/env bash
# Puts NVIDIA's CUDA compiler (nvcc 13.0, from its PyPI wheels) into a folder of its own: no root, no driver, no GPU
# needed. build.rs finds it there.
#
#   scripts/cuda-toolchain.sh [FOLDER]     default: .tools/cuda of this repository
#
# 109 MB are downloaded; 172 MB stay on disk. A second call does nothing; an interrupted one is made good. A C++ compiler
# (g++ or clang) must be there too: nvcc asks it to read the headers.
set -euo pipefail
root=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." && pwd)
list=$root/scripts/cuda-toolchain.txt
folder=${1:-$root/.tools/cuda}
stamp=$folder/evoke-toolchain

fail() {
    printf 'cuda-toolchain: %s\n' "$*" >&2
    exit 1
}

wanted=$(cksum <"$list")
if [[ -x $folder/bin/nvcc && $(cat "$stamp" 2>/dev/null) == "$wanted" ]]; then
    printf 'cuda-toolchain: %s is complete\n' "$folder" >&2
    exit 0
fi
# Only what this script made is ever replaced.
if [[ -e $folder && ! -e $stamp ]] && [[ ! -d $folder || -n $(ls -A "$folder") ]]; then
    fail "$folder holds something else; give another folder"
fi
[[ $(uname -s) == Linux ]] || fail "the wheels are for Linux; install CUDA 13.0 and set CUDA_HOME"
command -v python3 >/dev/null || fail "python3 is needed to fetch the wheels; install it, or install CUDA 13.0 and set CUDA_HOME"
python3 -m pip --version >/dev/null 2>&1 || fail "python3 has no pip (Debian: python3-pip); install it, or install CUDA 13.0 and set CUDA_HOME"

mkdir -p -- "$(dirname -- "$folder")" || fail "cannot make $(dirname -- "$folder")"
aside=$folder.new
rm -rf -- "$aside"
python3 -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: --no-compile --ignore-installed \
    --root-user-action ignore --require-hashes --requirement "$list" --target "$aside" >&2 ||
    fail "the wheels of $list could not be fetched (no network?)"
"$aside/nvidia/cu13/bin/nvcc" --version >/dev/null || fail "$aside/nvidia/cu13/bin/nvcc does not run on this machine"
printf '%s\n' "$wanted" >"$aside/nvidia/cu13/evoke-toolchain"
# What serves only to link host programs is more than a third of the whole.
rm -rf -- "$aside"/nvidia/cu13/{lib,.metadata,bin/nvlink,bin/bin2c}
# The move comes last, so that a folder that is there is complete; an older one is gone or whole at any instant.
rm -rf -- "$folder.old"
[[ ! -e $folder ]] || mv -- "$folder" "$folder.old"
mv -- "$aside/nvidia/cu13" "$folder"
rm -rf -- "$aside" "$folder.old"
# build.rs looks again.
touch -- "$root/build.rs"
printf 'cuda-toolchain: nvcc is %s\n' "$folder/bin/nvcc" >&2
[[ $folder -ef $root/.tools/cuda ]] || printf 'cuda-toolchain: to build with it: CUDA_HOME=%s cargo build --release\n' "$folder" >&2
