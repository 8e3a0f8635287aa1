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
#   foley      100 foley steps: the same; evaluation and made sound: cuda against cpu, and the same twice
#   stream     samples of sound a second, of 1, 16 and 64 clips: 6 layers, width 512, window 512
#   resume     captioner and foley: the same run twice, and one that is killed again and again and resumed, bit for bit
#   memory     20,000 steps of a tiny captioner: what the process and the GPU hold from step 1,000 on
#   profile    what attention costs by pattern and length, with PyTorch's beside it where that is
#   peers      the same work in PyTorch on this GPU
#   attention  Evoke, PyTorch and Triton in turn on attention; Triton's is compared with f64 first
#   compare    Evoke and PyTorch in turn on the same work: captioner, foley, spectrogram
#   sanitize   compute-sanitizer, all four tools, over the small cases and two small steps; called again, it goes on
#              with what the time was too short for
#   ncu        Nsight Compute on the kernels that take most of a step: what bounds them; it leaves clocks as they are
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
parts="doctor selftest bench step train foley stream resume memory profile peers attention compare sanitize ncu"

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
# judge WHAT: tables.py makes the part's JSON of what its runs left. What ended a run says more than what is then missing.
judge() {
    local one=0
    "$python" tables.py "$1" "$results" || one=$?
    ((code != 0)) || code=$one
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

# The value of a field of an object in a file of evoke's, as its text.
field() { sed -n "s/^ *\"$2\": \(.*[^,]\),\{0,1\}\$/\1/p" "$1" | head -n 1; }

# train MODEL NAME DEVICE: a run of the part with the settings in `small`, evaluated and saved at its end alone unless they
# say otherwise.
train() {
    local model=$1 name=$2 on=$3 sets=()
    for one in train.evaluate_every=0 train.checkpoint_every=0 "${small[@]}"; do sets+=(--set "$one"); done
    evoke train "$model" --quiet --data "$work/$part-$model" --out "$work/$part-$name" --device "$on" "${sets[@]}" \
        --json >"$work/$part-$name.json" || code=$?
}
# What a kernel's run needs at least: heads of 32 channels.
tiny=(model.width=64 model.heads=2)
small_captioner=("${tiny[@]}" model.encoder_layers=1 model.decoder_layers=1 model.patch=8 model.max_words=16 train.batch=8)
small_foley=("${tiny[@]}" model.encoder_layers=1 model.decoder_layers=2 model.window=128 train.batch=2 train.evaluate_sounds=0)
pictures() {
    evoke prepare scenes --out "$work/$part-captioner" --size 32 --train 256 --val 32 --unseen 32 --overwrite >/dev/null || code=$?
}
# films N: N of them held out.
films() {
    evoke prepare scenes --video --out "$work/$part-foley" --size 32 --rate 8000 --seconds 0.5 --train 64 --val "$1" \
        --unseen 8 --overwrite >/dev/null || code=$?
}
# lines FILE: how many it has; 0 where there is none yet.
lines() { [[ -f $1 ]] && wc -l <"$1" || printf 0; }
# What a process holds of memory, in bytes, of the host and of the GPU; nothing where it is not told.
host_bytes() { sed -n 's/^VmRSS:[[:space:]]*\([0-9]*\) kB$/\1/p' "/proc/$1/status" 2>/dev/null | awk '{ print $1 * 1024 }'; }
# In a container the driver knows processes by other numbers: then it is what the whole GPU holds.
gpu_bytes() {
    [[ $device == cuda* ]] && command -v nvidia-smi >/dev/null || return 0
    local number=0
    [[ $device != cuda:* ]] || number=${device#cuda:}
    nvidia-smi --id="$number" --query-gpu=memory.used --format=csv,noheader,nounits 2>/dev/null |
        awk '/^[0-9]+$/ { print $1 * 1048576; exit }'
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
    # What was to be expected of it: the settings of `evoke bench step`.
    sets=(model.encoder_dropout=0 model.decoder_dropout=0)
    if [[ $device == cuda* ]]; then
        sets+=(model.width=512 model.heads=8 model.feed_forward=2048 model.encoder_layers=6 model.decoder_layers=6
            model.max_words=33 train.batch=256)
    else
        sets+=(model.max_words=21 train.batch=16)
    fi
    evoke plan captioner --size 224 --vocabulary 10000 --device "$device" --json "${sets[@]/#/--set=}" >"$work/plan.json" || code=$?
    printf '{"graph": %s, "plain": %s, "waited": %s, "plan": %s}\n' \
        "$(<"$work/graph.json")" "$(<"$work/plain.json")" "$(<"$work/waited.json")" "$(<"$work/plan.json")" >"$results/step.json"
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
    judge compare-runs
    ;;
foley)
    have_device
    [[ -n $python ]] || missing "python3, which compares the runs"
    rm -rf -- "$work"/foley-*
    small=("${small_foley[@]}" train.steps=100)
    films 8
    train foley one "$device"
    train foley two "$device"
    EVOKE_CUDA_GRAPH=0 train foley plain "$device"
    EVOKE_CUDA_SYNC=1 train foley waited "$device"
    train foley cpu cpu
    # The same weights on both devices, and twice on this one: what they make of held-out clips, and how fast.
    for one in "one $device" "two $device" "cpu cpu"; do
        evoke evaluate "$work/foley-one" --data "$work/foley-foley" --listen 4 --device "${one#* }" --json \
            >"$work/heard-${one% *}.json" || code=$?
    done
    judge compare-foley
    ;;
stream)
    have_device
    rm -rf -- "$work"/stream-*
    # What is generated with is untrained: that costs no less.
    shape=(512 8 6)
    [[ $device == cuda* ]] || shape=(64 2 2)
    small=(model.width="${shape[0]}" model.heads="${shape[1]}" model.decoder_layers="${shape[2]}" model.encoder_layers=1
        model.window=512 train.batch=1 train.steps=1 train.evaluate_pictures=1 train.evaluate_sounds=0)
    films 64
    train foley one "$device"
    rows=
    for clips in 1 16 64; do
        evoke evaluate "$work/stream-one" --data "$work/stream-foley" --pictures 1 --listen "$clips" --device "$device" --json \
            >"$work/stream-$clips.json" || code=$?
        speed=$(field "$work/stream-$clips.json" samples_per_second)
        rows+="${rows:+, }{\"clips\": $clips, \"samples_per_second\": ${speed:-null}}"
    done
    printf '{"ok": %s, "device": "%s", "model": "%s layers, width %s, window 512, frames", "rows": [%s]}\n' \
        "$( ((code == 0)) && printf true || printf false)" "$device" "${shape[2]}" "${shape[0]}" "$rows" >"$results/stream.json"
    ;;
resume)
    have_device
    [[ -n $python ]] || missing "python3, which compares the runs"
    rm -rf -- "$work"/resume-*
    pictures
    films 8
    for model in captioner foley; do
        kills=
        [[ $model == captioner ]] && small=("${small_captioner[@]}" model.word_dropout=0.1) || small=("${small_foley[@]}")
        # Long enough that a run is still on its way when it is to be killed: a GPU's steps take a millisecond.
        steps=$([[ $device == cuda* ]] && printf 600 || printf 60)
        small+=(train.steps="$steps" train.accumulate=2 optimizer.average=0.9 train.checkpoint_every=5)
        train "$model" "$model-one" "$device"
        train "$model" "$model-two" "$device"
        sets=()
        for one in train.evaluate_every=0 "${small[@]}"; do sets+=(--set "$one"); done
        run=$work/resume-$model-killed
        # Killed where it stands, three times; a run that was done sooner shows by how few kills there were.
        for stop in $((steps / 5)) $((steps / 2)) $((steps * 4 / 5)); do
            more=("${sets[@]}")
            [[ ! -e $run/config.toml ]] || more=(--resume)
            ./evoke train "$model" --quiet --data "$work/resume-$model" --out "$run" --device "$device" "${more[@]}" \
                >/dev/null 2>>"$work/resume.log" &
            pid=$!
            while kill -0 "$pid" 2>/dev/null && (($(lines "$run/metrics.jsonl") < stop)) && (($(left) > 1)); do sleep 0.02; done
            kill -KILL "$pid" 2>/dev/null && kills+="${kills:+, }$(lines "$run/metrics.jsonl")"
            wait "$pid" 2>/dev/null
        done
        evoke train "$model" --quiet --data "$work/resume-$model" --out "$run" --device "$device" --resume >/dev/null || code=$?
        printf '{"steps": %d, "kills": [%s]}\n' "$steps" "$kills" >"$work/resume-$model-kills.json"
    done
    judge compare-resume
    ;;
memory)
    have_device
    [[ -n $python ]] || missing "python3, which reads what was measured"
    rm -rf -- "$work"/memory-*
    pictures
    sets=()
    small=("${small_captioner[@]}" train.batch=2 train.steps="${STEPS:-20000}" train.evaluate_every=400 train.checkpoint_every=400)
    for one in "${small[@]}"; do sets+=(--set "$one"); done
    ./evoke train captioner --quiet --data "$work/memory-captioner" --out "$work/memory-run" --device "$device" \
        "${sets[@]}" --json >"$work/memory-train.json" 2>>"$work/memory.log" &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        host=$(host_bytes "$pid")
        [[ -z $host ]] || printf '%s %s %s\n' "$(lines "$work/memory-run/metrics.jsonl")" "$host" "$(gpu_bytes)" \
            >>"$work/memory-series.txt"
        (($(left) > 1)) || kill -TERM "$pid" 2>/dev/null # it saves, and says so with its exit code
        sleep 0.2
    done
    wait "$pid" || code=$?
    judge memory-series
    ;;
profile)
    have_device
    [[ -n $python ]] || missing "python3"
    rm -f -- "$work"/profile-*
    # The same setting on both sides, or the profile refuses what the peers measured.
    same=(--patterns full,causal,band:256,dilated:256:8,strided:sqrt --lengths "${LENGTHS:-1k..16k}")
    beside=()
    if "$python" -c 'import torch' 2>/dev/null; then
        ways=$([[ $device == cuda* ]] && printf sdpa,flex || printf sdpa)
        if timeout $(($(left) / 2)) "$python" peers/attention.py "${same[@]}" --device "${device%%:*}" --ways "$ways" \
            --seconds "${SECONDS_EACH:-200}" --out "$work/profile-peers.json" >/dev/null 2>>"$work/profile.log"; then
            beside=(--peers "$work/profile-peers.json")
        else
            printf 'profile: PyTorch was left out, see %s\n' "$work/profile.log" >&2
        fi
    else
        printf 'profile: PyTorch was left out: %s has none\n' "$python" >&2
    fi
    evoke profile attention "${same[@]}" --device "$device" --seconds "${SECONDS_EACH:-200}" "${beside[@]}" \
        --page "$results/profile.html" --json >"$results/profile.json" || code=$?
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
    # What was clean with this very program is not done again.
    mkdir -p -- "$work/sanitized"
    [[ $work/sanitized/of -nt ./evoke ]] || { rm -f -- "$work"/sanitized/*; : >"$work/sanitized/of"; }
    for tool in ${TOOLS:-memcheck racecheck initcheck synccheck}; do
        # One operation after another: what is over when the time is, counts.
        for op in add norm linear cross-entropy embedding patches positions store windows waveform "few rows" spectrogram \
            attention step foley-step; do
            sets=("${tiny[@]/#/--set=}" --set=model.decoder_layers=1)
            case $op in
            step) run=(bench step --steps 2 "${sets[@]}" --set=model.encoder_layers=1 --set=model.feed_forward=128 --set=train.batch=2) ;;
            foley-step) run=(bench foley-step --steps 2 --length 512 "${sets[@]}") ;;
            *) run=(selftest "$op") ;;
            esac
            one=124
            if [[ -e $work/sanitized/$tool-$op ]]; then
                one=0
            elif (($(left) > 5)); then
                one=0
                timeout "$(left)" "$sanitizer" --tool "$tool" --error-exitcode 9 ./evoke "${run[@]}" --device "$device" \
                    >>"$work/sanitize.log" 2>&1 || one=$?
                ((one != 0)) || : >"$work/sanitized/$tool-$op"
            fi
            ((one == 0 || code == 9)) || code=$one
            rows+="${rows:+, }{\"tool\": \"$tool\", \"op\": \"$op\", \"exit\": $one}"
        done
    done
    printf '{"ok": %s, "device": "%s", "runs": [%s]}\n' "$( ((code == 0)) && printf true || printf false)" "$device" "$rows" \
        >"$results/sanitize.json"
    ;;
ncu)
    have_device
    [[ -n $python ]] || missing "python3, which reads its report"
    ncu=$(command -v ncu || printf '')
    [[ -n $ncu ]] || for one in "${CUDA_HOME:-/usr/local/cuda}"/bin/ncu /opt/nvidia/nsight-compute/*/ncu; do
        [[ ! -x $one ]] || ncu=$one
    done
    [[ -n $ncu ]] || missing "ncu, which comes with NVIDIA's CUDA toolkit (Nsight Compute)"
    rm -f -- "$work"/ncu-*
    # Work, kernel, and how many launches come before those of the encoder, whose sequences are the longest: in the backward
    # pass the decoder's. Each for itself: what is over when the time is, counts.
    for one in "step attention_keys_bf16_64 13" "step attention_queries_bf16_64 13" "step linear_gradient_gelu_bf16 7" \
        "step attention_forward_bf16_64 2" "step norm_backward_512_bf16 20" "foley-step attention_keys_bf16_64 2" \
        "foley-step attention_queries_bf16_64 2" "foley-step attention_forward_bf16_64 2" \
        "foley-step linear_gradient_gelu_bf16 2" "foley-step norm_backward_512_bf16 2" "step linear_gelu_bf16 2" \
        "step optimizer_adamw 0"; do
        read -r what kernel skip <<<"$one"
        (($(left) > 20)) || { code=124; break; }
        at=$work/ncu-$what-$kernel
        # One launch after another, without a graph.
        EVOKE_CUDA_GRAPH=0 timeout "$(left)" "$ncu" --clock-control none --set full --kernel-name "$kernel" \
            --launch-skip "$skip" --launch-count 2 --force-overwrite --export "$at" ./evoke bench "$what" --steps 1 --device "$device" --json >>"$work/ncu.log" 2>&1 || code=$?
        "$ncu" --import "$at.ncu-rep" --csv --page raw >"$at.csv" 2>>"$work/ncu.log" || code=$?
    done
    judge read-ncu
    ;;
esac
finish "$code"
