"""Evoke and its peers on the same work, in turn, on one machine: what scripts/compare-cpu.sh and compare-gpu.sh run.

    compare.py --evoke PROGRAM [--device cpu|cuda] [--rounds 3] [--threads 2] [--seconds 10] [--out FILE]
               [attention] [captioner] [foley] [spectrogram]

Each round runs Evoke and then every peer, each in a process of its own, so that a machine that grows slower or faster
meanwhile does so for all of them. A figure is the median of the rounds' medians; the spread is from the least to the
greatest of them. `times` is the fastest peer's time over Evoke's. A peer that is not installed, or fails, is named with
the reason and left out.

- attention: full and causal, 1k to 8k tokens (on a GPU to 16k), 4 heads of 64, forward and backward
- captioner: a training step (captioner_cpu.py; on a GPU captioner_gpu.py, which brings its own attention too)
- foley: a training step on 16,000 samples in bands of 256 (on a GPU 64,000 samples, 8 layers, width 512, bands of 512)
- spectrogram: the loss with its gradient, 16 clips of 16,000 samples (on a GPU 64 clips)

Needs what the peers need; nothing but Python's own library itself.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
EVOKE = "Evoke"
WORKS = ("attention", "captioner", "foley", "spectrogram")


class Failed(Exception):
    pass


def run(command):
    """The standard output of a command; its last line of error where it fails."""
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise Failed((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:200])
    return done.stdout


def last_json(text):
    return json.loads(text.strip().splitlines()[-1])


class Bench:
    """How each program is asked for its times. A time is (case, seconds, peak bytes or None)."""

    def __init__(self, options):
        self.options, self.gpu = options, options.device.startswith("cuda")

    def evoke(self, *words):
        return json.loads(run([self.options.evoke, *words, "--device", self.options.device, "--json"]))

    def peer(self, script, *words):
        return run([sys.executable, HERE / script, *words])

    def attention(self):
        wanted = ["--patterns", "full,causal", "--lengths", "1k..16k" if self.gpu else "1k..8k"]
        limit = 8 * self.options.seconds

        def points(report):
            return [(f"{p['pattern']} {p['pass']} {p['length']}", p["median_s"], None) for p in report["points"]
                    if p["median_s"]]

        def peer(script, *words):
            with tempfile.TemporaryDirectory() as folder:
                out = os.path.join(folder, "peer.json")
                self.peer(script, *words, *wanted, "--seconds", limit, "--point-seconds", self.options.seconds / 10, "--out", out)
                with open(out) as file:
                    return points(json.load(file))

        def torch(way):
            return lambda: peer("attention.py", self.options.threads, "--ways", way, "--device", self.options.device)

        peers = {f"PyTorch {way}": torch(way) for way in (("sdpa", "flex", "cudnn") if self.gpu else ("sdpa",))}
        if self.gpu:
            peers["Triton"] = lambda: peer("attention_triton.py", "--ways", "triton")
            peers["Triton TMA"] = lambda: peer("attention_triton.py", "--ways", "triton-tma")
        else:
            peers["JAX"] = lambda: peer("attention_jax.py", "--threads", self.options.threads)
        return {EVOKE: lambda: points(self.evoke("profile", "attention", *wanted, "--seconds", limit)), **peers}

    def steps(self):
        return max(3, round(self.options.seconds))

    def captioner(self):
        def evoke():
            step = self.evoke("bench", "step", "--steps", self.steps())["step"]
            return [("step", step["median_ms"] / 1e3, step["peak_bytes"])]

        def on_the_cpu(name):
            found = last_json(self.peer("captioner_cpu.py", "--peer", name, "--steps", self.steps(),
                                        "--threads", self.options.threads, "--json"))
            return [("step", found["median_ms"] / 1e3, round(found["peak_rss_mb"] * 1e6))]

        def on_the_gpu(name):
            rows = json.loads(self.peer("captioner_gpu.py", "--only", name, "--json"))["rows"]
            if "error" in rows[0]:
                raise Failed(rows[0]["error"])
            return [("step", rows[0]["median_ms"] / 1e3, None)]

        one, names = (on_the_gpu, ("eager", "compile")) if self.gpu else (on_the_cpu, ("eager", "compile", "jax"))
        title = {"eager": "PyTorch eager", "compile": "PyTorch compiled", "jax": "JAX"}
        return {EVOKE: evoke, **{title[name]: lambda name=name: one(name) for name in names}}

    def foley(self):
        sizes = ["--length", 64_000, "--layers", 8, "--width", 512, "--heads", 8, "--band", 512] if self.gpu else []

        def evoke():
            step = self.evoke("bench", "foley-step", "--steps", self.steps())["foley_step"]
            return [("step", step["median_ms"] / 1e3, step["peak_bytes"])]

        def peer(script, *words):
            found = last_json(self.peer(script, "--seconds", self.options.seconds, *sizes, *words))
            return [("step", found["step_ms"]["median"] / 1e3, found["peak_bytes"])]

        threads = ["--threads", self.options.threads]
        if self.gpu:
            return {EVOKE: evoke, "PyTorch flex": lambda: peer("banded.py", "--device", "cuda", "--compile")}
        return {
            EVOKE: evoke,
            "PyTorch eager": lambda: peer("banded.py", *threads),
            "PyTorch compiled": lambda: peer("banded.py", "--compile", *threads),
            "JAX": lambda: peer("banded_jax.py", *threads),
        }

    def spectrogram(self):
        def evoke():
            ops = self.evoke("bench", "spectrogram", "--warm", "--seconds", self.options.seconds / 10)["ops"]
            return [("magnitude 512", op["median_s"], None) for op in ops if f"{self.clips()} x 16000, magnitude" in op["case"]]

        def peer():
            found = last_json(self.peer("spectrogram.py", self.options.threads, "--clips", self.clips(),
                                        "--device", self.options.device, "--json"))
            return [("magnitude 512", found["magnitude"]["median_ms"] / 1e3, None)]

        return {EVOKE: evoke, "PyTorch stft": peer}

    def clips(self):
        return 64 if self.gpu else 16


def measured(bench, works, rounds):
    """{(work, case): {program: [(seconds, bytes) of each round]}}, and why programs are missing."""
    found, missing = {}, {}
    for number in range(rounds):
        for work in works:
            for program, times in getattr(bench, work)().items():
                if (work, program) in missing:
                    continue
                print(f"round {number + 1} of {rounds}: {work}, {program}", file=sys.stderr, flush=True)
                try:
                    for case, seconds, size in times():
                        found.setdefault((work, case), {}).setdefault(program, []).append((seconds, size))
                except (Failed, KeyError, ValueError, IndexError) as error:
                    if program == EVOKE:
                        raise Failed(f"{work}: {error}") from None
                    missing[work, program] = f"{error}"
                    print(f"  left out: {error}", file=sys.stderr, flush=True)
    return found, missing


def figures(rounds):
    seconds = [one for one, _ in rounds]
    sizes = [size for _, size in rounds if size]
    return {"median_s": statistics.median(seconds), "least_s": min(seconds), "greatest_s": max(seconds),
            "peak_bytes": max(sizes, default=None)}


def rows(found):
    out = []
    for (work, case), programs in found.items():
        ours = figures(programs[EVOKE]) if EVOKE in programs else None
        peers = {name: figures(times) for name, times in programs.items() if name != EVOKE}
        if ours is None or not peers:
            continue
        best = min(peers, key=lambda name: peers[name]["median_s"])
        out.append({"work": work, "case": case, "evoke": ours, "peers": peers, "fastest_peer": best,
                    "times": peers[best]["median_s"] / ours["median_s"]})
    return out


def table(rows):
    print(f"{'work':<12}{'case':<22}{'Evoke ms':>10}{'spread':>16}  {'peer ms':>9}{'spread':>16}  {'times':>6}  fastest peer")
    for row in rows:
        ours, theirs = row["evoke"], row["peers"][row["fastest_peer"]]
        ms = lambda one: (f"{one['median_s'] * 1e3:.2f}", f"{one['least_s'] * 1e3:.2f}..{one['greatest_s'] * 1e3:.2f}")
        memory = [f", {one['peak_bytes'] / 1e6:.0f} MB" if one["peak_bytes"] else "" for one in (ours, theirs)]
        beside = f"{memory[0]} against {memory[1][2:]}" if all(memory) else ""
        print(f"{row['work']:<12}{row['case']:<22}{ms(ours)[0]:>10}{ms(ours)[1]:>16}  {ms(theirs)[0]:>9}{ms(theirs)[1]:>16}"
              f"  {row['times']:>6.2f}  {row['fastest_peer']}{beside}")


def versions(modules):
    script = "import importlib.metadata as m, json, sys\nprint(json.dumps({n: m.version(n) for n in sys.argv[1:] if n in " \
             "{d.metadata['Name'].lower() for d in m.distributions()}}))"
    return json.loads(run([sys.executable, "-c", script, *modules]))


def commit():
    try:
        return run(["git", "-C", HERE, "describe", "--always", "--dirty"]).strip()
    except (Failed, OSError):
        return None  # in a bundle: made-from.txt tells


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("works", nargs="*", metavar="WORK", help=", ".join(WORKS) + "; all if none is named")
    parser.add_argument("--evoke", required=True, help="the built program")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seconds", type=float, default=10.0, help="for one program's step, about")
    parser.add_argument("--out", help="write the figures as JSON")
    options = parser.parse_args()
    unknown = [work for work in options.works if work not in WORKS]
    if unknown:
        parser.error(f"{unknown[0]}: no such work; there are {', '.join(WORKS)}")
    if options.rounds < 1 or options.threads < 1 or options.seconds <= 0:
        parser.error("--rounds, --threads and --seconds must be above 0")
    # Read by the thread pools of all programs when they load.
    for name in ("RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(options.threads)
    try:
        found, missing = measured(Bench(options), options.works or WORKS, options.rounds)
        doctor = json.loads(run([options.evoke, "doctor", "--json"]))
        machine = {name: doctor[name] for name in ("version", "cores", "vector", "driver")}
        machine["gpus"] = [gpu["name"] for gpu in doctor["gpus"]]
    except (Failed, OSError) as error:
        sys.exit(f"compare.py: {error}")
    result = {"device": options.device, "rounds": options.rounds, "threads": options.threads, "machine": machine,
              "commit": commit(),
              "versions": versions(("torch", "jax", "jaxlib", "numpy", "triton")), "rows": rows(found),
              "missing": [{"work": work, "peer": program, "reason": why} for (work, program), why in missing.items()]}
    if options.out:
        with open(options.out, "w") as file:
            json.dump(result, file, indent=1)
            file.write("\n")
    table(result["rows"])
    for one in result["missing"]:
        print(f"{one['work']}: {one['peer']} left out: {one['reason']}")
    if not result["rows"]:
        sys.exit("compare.py: no peer ran, so there is nothing to compare; benches/peers/README.md says what they need")


main()
