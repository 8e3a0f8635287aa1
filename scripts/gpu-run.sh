#!/usr/bin/env bash
# Checks and times Evoke on this machine's GPU: selftest, then benchmarks. In a bundle of scripts/gpu-bundle.sh it is
# called run.sh. Results go to results/, one JSON document each; a table of them is printed.
#
#   ./run.sh [DEVICE]     default: cuda
#
# cuBLAS is looked for where the system has it, else in this Python's NVIDIA packages (nvidia-cublas), in which PyTorch
# for CUDA brings it too.
set -uo pipefail
cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")"
device=${1:-cuda}
results=results
mkdir -p -- "$results"

# Folders of shared libraries in the nvidia namespace package of the Python here, separated by colons.
python_libraries() {
    command -v python3 >/dev/null || return 0
    python3 - <<'PYTHON'
import glob, os
try:
    import nvidia
    roots = list(nvidia.__path__)
except ImportError:
    roots = []
found = {os.path.dirname(p) for root in roots for p in glob.glob(os.path.join(root, "**", "lib*.so*"), recursive=True)}
print(":".join(sorted(found)))
PYTHON
}
libraries=$(python_libraries)
[[ -z $libraries ]] || export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$libraries

failed=0
rows=()
# part NAME ARGUMENTS...: runs evoke, keeps its JSON, and notes how it went. The exit code decides; no part stops the rest.
part() {
    local name=$1 began=$SECONDS code=0
    shift
    printf '\n== evoke %s\n' "$*" >&2
    ./evoke "$@" --json >"$results/$name.json" 2> >(tee "$results/$name.log" >&2) || code=$?
    ((code == 0)) || failed=1
    rows+=("$(printf '%-12s %-8s %5d s   %s' "$name" "$([[ $code == 0 ]] && echo ok || echo "exit $code")" "$((SECONDS - began))" "$results/$name.json")")
}

command -v nvidia-smi >/dev/null && nvidia-smi >"$results/nvidia-smi.txt" 2>&1
./evoke doctor
part doctor doctor
part selftest selftest --device "$device"
if ((failed)); then
    printf '\nThe kernels are not right on this machine, so they are not timed; please report %s\n' "$results" >&2
else
    part bench bench --device "$device"
    part step bench step --device "$device"
fi

printf '\n'
printf '%s\n' "${rows[@]}"
if [[ -s $results/selftest.json ]] && command -v python3 >/dev/null; then
    python3 - "$results" <<'PYTHON'
import json, os, sys
def load(name):
    try:
        with open(os.path.join(sys.argv[1], name + ".json")) as file:
            return json.load(file)
    except (OSError, ValueError):
        return {}
check = load("selftest")
if check:
    print(f"\nselftest on {check['device']}: {check['passed']} passed, {check['failed']} failed")
    for case in check["cases"]:
        if not case["ok"]:
            print(f"  {case['op']} {case['name']}: {case.get('fault', '')}")
for op in load("bench").get("ops", []):
    print(f"{op['op']:<22} {op['pass']:<9} {op['median_s'] * 1e3:>10.3f} ms {op['flops'] / op['median_s'] * 1e-9:>9.0f} GFLOP/s  {op['case']}")
step = load("step").get("step")
if step:
    print(f"training step {step['median_ms']:.2f} ms, {step['samples_per_second']:.0f} pictures/s")
PYTHON
fi
exit "$failed"
