#!/usr/bin/env bash
# Checks and times Evoke on this machine's GPU, in parts that take under ten minutes each. In a bundle of
# scripts/gpu-bundle.sh it is called run.sh.
#
#   ./run.sh PART [DEVICE]     default device: cuda
#
#   doctor     what is here, and what is missing
#   selftest   every operation's cases against double precision
#   bench      times of every operation
#   step       a training step of the captioner: one graph, the same without a graph, and waiting for each launch
#   train      200 captioner steps: cuda against cpu, two cuda runs and one without a graph bit for bit
#   peers      the same work in PyTorch on this GPU
#   attention  Evoke, PyTorch and Triton in turn on attention; Triton's is compared with f64 first
#   compare    Evoke and PyTorch in turn on the same work: captioner, foley, spectrogram
#   sanitize   compute-sanitizer, memcheck and racecheck, over the small cases
#   all        all of them, one after the other
#
# Each part ends with a short table and leaves one results/PART.json. Neither Rust nor a network is needed: the driver must
# run CUDA 13.0, and cuBLAS is looked for where the system has it, else in this Python's NVIDIA packages (nvidia-cublas),
# in which PyTorch for CUDA brings it too.
set -uo pipefail
cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" || exit 1
part=${1:-}
device=${2:-cuda}
results=results
work=$results/work
limit=540 # seconds of a part: a run that is stopped still saves, and ten minutes is what a queue may give
parts="doctor selftest bench step train peers attention compare sanitize"

usage() {
    sed -n '2,/^set /p' "${BASH_SOURCE[0]}" | sed -n 's/^# \{0,1\}//p' >&2
    exit 2
}
case " $parts all " in *" $part "*) ;; *) usage ;; esac
[[ -n $part && -x ./evoke ]] || { printf 'run.sh: no ./evoke here; make a bundle with scripts/gpu-bundle.sh\n' >&2; exit 1; }
mkdir -p -- "$results" "$work"

if [[ $part == all ]]; then
    failed=0
    for one in $parts; do "./$(basename -- "$0")" "$one" "$device" || failed=1; done
    exit "$failed"
fi

python=${PYTHON:-python3}
command -v "$python" >/dev/null || python=
# Folders of shared libraries in the nvidia namespace package of the Python here, separated by colons.
python_libraries() {
    [[ -n $python ]] || return 0
    "$python" - <<'PYTHON'
import glob, os
try:
    import nvidia
    roots = list(nvidia.__path__)
except ImportError:
    roots = []
print(":".join(sorted({d for root in roots for d in glob.glob(os.path.join(root, "*", "lib"))})))
PYTHON
}
libraries=$(python_libraries)
[[ -z $libraries ]] || export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$libraries

began=$SECONDS
# Why the part cannot run here, in results/PART.json too.
missing() {
    printf '{"part": "%s", "ok": false, "missing": "%s"}\n' "$part" "${1//\"/\'}" >"$results/$part.json"
    printf '%s: MISSING: %s\n' "$part" "$1" >&2
    exit 1
}
left() { printf '%d' $((limit - (SECONDS - began) > 1 ? limit - (SECONDS - began) : 1)); }
# evoke within what is left of the part's time; its words go to a log beside the results.
evoke() { timeout "$(left)" ./evoke "$@" 2> >(tee -a "$work/$part.log" >&2); }
# table FILE: the short table of a part's JSON, by the script that follows it.
table() { [[ -z $python ]] && printf '%s: see %s\n' "$part" "$results/$part.json" || "$python" tables.py "$part" "$results"; }
finish() {
    local code=$1
    printf '\n'
    table
    printf '%s: %s in %d s, %s\n' "$part" "$([[ $code == 0 ]] && printf ok || { [[ $code == 124 ]] && printf 'out of time' || printf 'FAILED (exit %s)' "$code"; })" \
        $((SECONDS - began)) "$results/$part.json"
    exit "$code"
}
# The device must be there before anything is tried on it.
have_device() {
    [[ $device == cuda* ]] || return 0
    local why
    why=$(./evoke doctor --json | sed -n 's/^ *"missing": "\(.*\)",\{0,1\}$/\1/p')
    [[ -z $why ]] || missing "$why"
}
# PyTorch, for what is compared with it.
have_torch() {
    [[ -n $python ]] || missing "python3"
    "$python" -c 'import torch' 2>/dev/null || missing "PyTorch for $python (pip install -r peers/requirements-gpu.txt)"
}
# compared WORK...: Evoke and its peers, one work after the other: what is over when the time is, counts.
compared() {
    local one
    for one in "$@"; do
        rm -f -- "$work/compare-$one.json"
        timeout "$(left)" "$python" peers/compare.py "$one" --evoke ./evoke --device "$device" --rounds 2 --seconds 5 \
            --out "$work/compare-$one.json" >/dev/null 2> >(tee -a "$work/$part.log" >&2) || code=$?
    done
    "$python" tables.py gather "$results" "$part" "$@" || code=$?
}

code=0
: >"$work/$part.log"
case $part in
doctor)
    command -v nvidia-smi >/dev/null && nvidia-smi >"$work/nvidia-smi.txt" 2>&1
    evoke doctor --json >"$results/doctor.json" || code=$?
    [[ ! -f made-from.txt ]] || cat made-from.txt
    ;;
selftest)
    have_device
    evoke selftest --device "$device" --json >"$results/selftest.json" || code=$?
    ;;
bench)
    have_device
    evoke bench --device "$device" --json >"$results/bench.json" || code=$?
    ;;
step)
    have_device
    evoke bench step --steps 50 --device "$device" --json >"$work/graph.json" || code=$?
    EVOKE_CUDA_GRAPH=0 evoke bench step --steps 50 --device "$device" --json >"$work/plain.json" || code=$?
    EVOKE_CUDA_SYNC=1 evoke bench step --steps 20 --device "$device" --json >"$work/waited.json" || code=$?
    printf '{"graph": %s, "plain": %s, "waited": %s}\n' \
        "$(<"$work/graph.json")" "$(<"$work/plain.json")" "$(<"$work/waited.json")" >"$results/step.json"
    ;;
train)
    have_device
    [[ -n $python ]] || missing "python3, which compares the runs"
    rm -rf -- "$work/data" "$work"/run-*
    evoke prepare scenes --out "$work/data" --size 64 --train 2000 --val 200 >/dev/null || code=$?
    # run NAME DEVICE: 200 steps, evaluated and saved at the end alone.
    run() {
        evoke train captioner --quiet --data "$work/data" --out "$work/run-$1" --device "$2" \
            --set train.steps=200 --set train.batch=32 --set train.evaluate_every=0 --set train.checkpoint_every=0 \
            --set model.width=128 --set model.encoder_layers=2 --set model.decoder_layers=2 --json >"$work/train-$1.json" || code=$?
    }
    run one "$device"
    run two "$device"
    EVOKE_CUDA_GRAPH=0 run plain "$device"
    EVOKE_CUDA_SYNC=1 run waited "$device"
    run cpu cpu
    one=0
    "$python" tables.py compare-runs "$results" || one=$?
    # What ended a run says more than that its curve is short.
    ((code != 0)) || code=$one
    ;;
peers)
    have_torch
    "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || missing "a GPU that PyTorch can use"
    timeout "$(left)" "$python" peers/captioner_gpu.py --json >"$results/peers.json" 2> >(tee -a "$work/peers.log" >&2) || code=$?
    ;;
attention)
    have_device
    have_torch
    # A peer that computes something else is none. compare.py names it where it is not installed.
    if "$python" -c 'import triton' 2>/dev/null; then
        timeout "$(left)" "$python" peers/attention_triton.py --check 2>&1 | tee -a "$work/$part.log" >&2 || code=$?
    fi
    compared attention
    ;;
compare)
    have_device
    have_torch
    compared captioner foley spectrogram
    ;;
sanitize)
    have_device
    sanitizer=$(command -v compute-sanitizer || printf '')
    [[ -n $sanitizer ]] || for one in "${CUDA_HOME:-/usr/local/cuda}/bin/compute-sanitizer"; do [[ -x $one ]] && sanitizer=$one; done
    [[ -n $sanitizer ]] || missing "compute-sanitizer, which comes with NVIDIA's CUDA toolkit"
    rows=
    for tool in memcheck racecheck; do
        # One operation after another: what is over when the time is, counts.
        for op in add cross-entropy norm linear gradient embedding patches positions attention; do
            one=0
            timeout "$(left)" "$sanitizer" --tool "$tool" --error-exitcode 9 ./evoke selftest "$op" --device "$device" \
                >>"$work/sanitize.log" 2>&1 || one=$?
            ((one == 0)) || code=$one
            rows+="${rows:+, }{\"tool\": \"$tool\", \"op\": \"$op\", \"exit\": $one}"
        done
    done
    printf '{"device": "%s", "runs": [%s]}\n' "$device" "$rows" >"$results/sanitize.json"
    ;;
esac
finish "$code"
