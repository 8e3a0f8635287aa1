"""Short tables of what run.sh leaves under results/: tables.py PART RESULTS. `compare-runs`, `compare-foley` and
`compare-resume` compare the runs of the parts `train`, `foley` and `resume` and write their JSON; `gather RESULTS PART
WORK...` puts what was compared into one, `memory-series` the memory of the part `memory`, `read-ncu` what ncu reports. In a
bundle it is called tables.py; nothing but Python's own library is needed."""

import csv
import glob
import json
import os
import sys


def load(*path):
    try:
        with open(os.path.join(*path)) as file:
            return json.load(file)
    except (OSError, ValueError):
        return {}


def lines(folder):
    """The steps of a run: loss, norm and whether it was skipped."""
    try:
        with open(os.path.join(folder, "metrics.jsonl")) as file:
            rows = [json.loads(line) for line in file]
    except (OSError, ValueError):
        return []
    return [(row["loss"], row.get("gradient_norm"), row.get("skipped")) for row in rows]


def saved(folder, names=("weights",)):
    """The bytes of files of a run's last checkpoint that has weights; None where one is missing."""
    checkpoints = os.path.join(folder, "checkpoints")
    for name in sorted(os.listdir(checkpoints), reverse=True) if os.path.isdir(checkpoints) else []:
        paths = [os.path.join(checkpoints, name, one + ".safetensors") for one in names]
        if os.path.isfile(paths[0]):
            if not all(os.path.isfile(path) for path in paths):
                return None
            found = []
            for path in paths:
                with open(path, "rb") as file:
                    found.append(file.read())
            return found
    return None


def same_runs(one, other, names=("weights",)):
    """Whether two runs have the same steps and the same last checkpoint, bit for bit."""
    first = saved(one, names)
    return bool(lines(one)) and lines(one) == lines(other) and first is not None and first == saved(other, names)


def write(results, part, report):
    with open(os.path.join(results, part + ".json"), "w") as file:
        json.dump(report, file, indent=2)
        file.write("\n")
    return 0 if report["ok"] else 1


def runs_compared(runs, steps):
    """cuda against the CPU within 1 % at each step; every cuda run equal to the first, bit for bit."""
    first, exact = lines(runs["one"]), lines(runs["cpu"])
    whole = len(first) == len(exact) == steps
    # A NaN must not pass: `not (x <= y)` where a comparison decides.
    far = [abs(a[0] / b[0] - 1.0) for a, b in zip(first, exact) if a[0] is not None and b[0]]
    worst = max(far, default=float("inf"))
    close = whole and len(far) == steps and all(value <= 0.01 for value in far)
    equal = {name: same_runs(runs["one"], runs[name]) for name in ("two", "plain", "waited")}
    return {"ok": close and all(equal.values()), "steps": len(first), "steps_compared": len(far), "steps_wanted": steps,
            "largest_difference": worst if worst != float("inf") else None, "equal": equal,
            "first_loss": first[0][0] if first else None, "last_loss": first[-1][0] if first else None}


def compare_runs(results):
    runs = {name: os.path.join(results, "work", "run-" + name) for name in ("one", "two", "plain", "waited", "cpu")}
    return write(results, "train", runs_compared(runs, 200))


def compare_foley(results):
    """Also what evaluation finds: bits a sample on both devices within 1 %, and everything the same twice on one."""
    runs = {name: os.path.join(results, "work", "foley-" + name) for name in ("one", "two", "plain", "waited", "cpu")}
    report = runs_compared(runs, 100)
    heard = {name: load(results, "work", f"heard-{name}.json") for name in ("one", "two", "cpu")}
    speeds = {name: one.get("heard", {}).pop("samples_per_second", None) for name, one in heard.items()}
    bits = {name: one.get("bits_per_sample", {}).get("true") for name, one in heard.items()}
    distance = {name: one.get("heard", {}).get("spectral_distance", {}).get("mean") for name, one in heard.items()}
    near = bits["one"] is not None and bits["cpu"] and abs(bits["one"] / bits["cpu"] - 1.0) <= 0.01
    repeats = bool(heard["one"]) and heard["one"] == heard["two"]
    report.update({"ok": bool(report["ok"] and near and repeats), "bits_per_sample": bits, "heard_repeats": repeats,
                   "spectral_distance": distance, "samples_per_second": speeds})
    return write(results, "foley", report)


def compare_resume(results):
    """Of each model: the same run twice, and the one that was killed, against the first."""
    names = ("weights", "moments", "average")
    models = {}
    for model in ("captioner", "foley"):
        run = {name: os.path.join(results, "work", f"resume-{model}-{name}") for name in ("one", "two", "killed")}
        made = load(results, "work", f"resume-{model}-kills.json")
        models[model] = {"steps": len(lines(run["one"])), "steps_wanted": made.get("steps"),
                         "kills_after_steps": made.get("kills", []), "repeats": same_runs(run["one"], run["two"], names),
                         "resumes": same_runs(run["one"], run["killed"], names)}
    ok = all(one["steps"] == one["steps_wanted"] and bool(one["kills_after_steps"]) and one["repeats"] and one["resumes"]
             for one in models.values())
    return write(results, "resume", {"ok": ok, "models": models})


# What may come to a process's memory from step 1,000 on, and in the second half of all steps: pages that the allocator
# has not given back yet.
GROWTH, LATE_GROWTH = 4 << 20, 1 << 20
SETTLED = 1000


def memory_series(results):
    """From lines of (step, bytes of the process, bytes of the GPU where it tells) what grew after step 1,000."""
    rows = []
    try:
        with open(os.path.join(results, "work", "memory-series.txt")) as file:
            for line in file:
                step, host, *gpu = (int(float(one)) for one in line.split())
                rows.append((step, host, gpu[0] if gpu else None))
    except (OSError, ValueError):
        pass
    settled = [row for row in rows if row[0] >= SETTLED]
    steps = len(lines(os.path.join(results, "work", "memory-run")))
    report = {"ok": False, "steps": steps, "measured": len(rows), "marks": []}
    if settled:
        # The first row at or after each mark, and the last one.
        marks = [next((row for row in settled if row[0] >= mark), None) for mark in (1000, 5000, 10000, 15000)]
        marks = [row for row in marks if row] + [settled[-1]]
        report["marks"] = [{"step": step, "host_bytes": host, "gpu_bytes": gpu} for step, host, gpu in marks]
        half = next(row for row in settled if 2 * row[0] >= settled[-1][0])
        told = [place for place in (1, 2) if all(row[place] is not None for row in settled)]
        grew = {place: (settled[-1][place] - settled[0][place], settled[-1][place] - half[place]) for place in told}
        for number, field in enumerate(("growth_bytes", "late_growth_bytes")):
            report[field] = {name: grew[place][number] if place in grew else None for place, name in ((1, "host"), (2, "gpu"))}
        small = all(whole <= GROWTH and late <= LATE_GROWTH for whole, late in grew.values())
        report["ok"] = settled[-1][0] > 2 * settled[0][0] and small
    return write(results, "memory", report)


# What is kept of ncu's report, by the beginnings of its names, in the order of the table.
NCU = {
    "duration": ["gpu__time_duration.sum"],
    "dram_bytes_read": ["dram__bytes_read.sum"],
    "dram_bytes_written": ["dram__bytes_write.sum"],
    "dram": ["gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed", "dram__throughput.avg.pct_of_peak_sustained_elapsed"],
    "l2": ["lts__throughput.avg.pct_of_peak_sustained_elapsed", "lts__t_sectors.avg.pct_of_peak_sustained_elapsed"],
    "l1": ["l1tex__throughput.avg.pct_of_peak_sustained_active", "l1tex__throughput.avg.pct_of_peak_sustained_elapsed"],
    "shared": ["l1tex__data_pipe_lsu_wavefronts.avg.pct_of_peak_sustained_elapsed",
               "l1tex__data_pipe_lsu_wavefronts_mem_shared.avg.pct_of_peak_sustained_elapsed"],
    "multiprocessor": ["sm__throughput.avg.pct_of_peak_sustained_elapsed"],
    "tensor": ["sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active", "sm__pipe_tensor_op_hmma_cycles_active.avg.pct",
               "sm__inst_executed_pipe_tensor.avg.pct", "sm__inst_executed_pipe_tensor_op_hmma.avg.pct"],
    "alu": ["sm__inst_executed_pipe_alu.avg.pct_of_peak_sustained_active", "sm__pipe_alu_cycles_active.avg.pct"],
    "fma": ["sm__pipe_fma_cycles_active.avg.pct_of_peak_sustained_active", "sm__inst_executed_pipe_fma.avg.pct"],
    "mufu": ["sm__inst_executed_pipe_xu.avg.pct_of_peak_sustained_active"],
    "issue": ["smsp__issue_active.avg.pct_of_peak_sustained_active", "sm__inst_issued.avg.pct_of_peak_sustained_active",
              "sm__instruction_throughput.avg.pct_of_peak_sustained_active"],
    "warps": ["sm__warps_active.avg.pct_of_peak_sustained_active"],
    "registers": ["launch__registers_per_thread"],
}
SCALES = {"ns": 1e-9, "nsecond": 1e-9, "us": 1e-6, "usecond": 1e-6, "ms": 1e-3, "msecond": 1e-3, "s": 1.0, "second": 1.0,
          "byte": 1.0, "Kbyte": 1e3, "Mbyte": 1e6, "Gbyte": 1e9}


def read_ncu(results):
    """From ncu's raw pages, a file a kernel: the median launch of each, in seconds, bytes and shares."""
    rows = []
    for path in sorted(glob.glob(os.path.join(results, "work", "ncu-*.csv"))):
        work, kernel = os.path.basename(path)[len("ncu-"):-len(".csv")].rsplit("-", 1)
        with open(path, newline="") as file:
            # Lines of ncu's own begin with ==.
            table = list(csv.DictReader(line for line in file if not line.startswith("==")))
        if len(table) < 2:  # the first row holds the units
            rows.append({"work": work, "kernel": kernel, "launches": 0})
            continue
        units, launches = table[0], table[1:]
        row = {"work": work, "kernel": kernel, "launches": len(launches)}
        for name, wanted in NCU.items():
            column = next((one for want in wanted for one in units if one.startswith(want)), None)
            if column is None:
                row[name] = None
                continue
            scale = 0.01 if units[column] == "%" else SCALES.get(units[column], 1.0)
            try:
                values = sorted(float(launch[column].replace(",", "")) * scale for launch in launches)
                row[name] = values[len(values) // 2]
            except ValueError:
                row[name] = None
        rows.append(row)
    return write(results, "ncu", {"ok": bool(rows) and all(row["launches"] for row in rows), "rows": rows})


def gather(results, part, *works):
    """The rows of all works that came to an end."""
    found = [load(results, "work", f"compare-{work}.json") for work in works]
    whole = [one for one in found if one]
    merged = {**(whole[0] if whole else {}), "ok": len(whole) == len(found), "rows": [row for one in whole for row in one["rows"]],
              "left_out": [row for one in whole for row in one["missing"]]}
    merged.pop("missing", None)  # in this folder's JSON: why a part cannot run
    write(results, part, merged)
    return 0 if whole else 1


def doctor(report):
    for gpu in report.get("gpus", []):
        print(f"{gpu['device']:<10} {gpu['name']}, compute capability {gpu['compute_capability']}")
    for name in ("driver", "cublas", "device_auto", "missing"):
        print(f"{name:<12} {report.get(name)}")
    kernels = report.get("kernels", {})
    print(f"kernels      {kernels.get('count')} for {', '.join(kernels.get('archs', []))}")


def selftest(report):
    print(f"selftest on {report['device']}: {report['passed']} passed, {report['failed']} failed")
    for case in report["cases"]:
        if not case["ok"]:
            print(f"  {case['op']} {case['name']}: {case.get('fault', '')}")


def bench(report):
    for op in report["ops"]:
        print(f"{op['op']:<20} {op['pass']:<9} {op['median_s'] * 1e3:>10.3f} ms {op['flops'] / op['median_s'] * 1e-9:>9.0f} GFLOP/s  {op['case']}")


def step(report):
    predicted = report.pop("plan", {}).get("time")
    if predicted:
        print(f"{'plan':<8} {1e3 * predicted['step_s']:>9.2f} ms, predicted ({predicted['basis']})")
    for name, found in report.items():
        found = found["step"]
        print(f"{name:<8} {found['median_ms']:>9.2f} ms, {found['samples_per_second']:>9.0f} pictures/s, "
              f"loss {found['first_loss']:.4f} -> {found['last_loss']:.4f}")


def train(report):
    largest = report["largest_difference"]
    print(f"{report['steps']} steps, loss {report['first_loss']} -> {report['last_loss']}")
    print(f"largest difference from the cpu: {'none found' if largest is None else f'{100 * largest:.3f} %'}; in "
          f"{report['steps_compared']} steps; at most 1 % in {report['steps_wanted']}")
    for name, same in report["equal"].items():
        print(f"run {name}: {'equal bit for bit' if same else 'DIFFERS'}")


def foley(report):
    train(report)
    for name, what in (("one", "this device"), ("cpu", "the cpu")):
        numbers = [report[field][name] for field in ("bits_per_sample", "spectral_distance", "samples_per_second")]
        bits, distance, speed = ("none" if number is None else f"{number:.4g}" for number in numbers)
        print(f"held-out clips on {what}: {bits} bits a sample, spectral distance {distance}, {speed} samples/s made")
    print(f"made twice: {'the same' if report['heard_repeats'] else 'DIFFERS'}")


def stream(report):
    print(report["model"])
    for row in report["rows"]:
        speed = row["samples_per_second"]
        print(f"{row['clips']:>3} clips: {'none' if speed is None else format(speed, '.0f')} samples/s together")


def resume(report):
    for name, one in report["models"].items():
        twice, resumed = ("equal bit for bit" if one[field] else "DIFFERENT" for field in ("repeats", "resumes"))
        kills = ", ".join(map(str, one["kills_after_steps"])) or "none"
        print(f"{name}: {one['steps']} steps, twice: {twice}; killed after {kills}, and resumed: {resumed}")


def memory(report):
    print(f"{report['steps']} steps")
    if report["marks"]:
        for name in ("host", "gpu"):
            whole, late = (report[field][name] for field in ("growth_bytes", "late_growth_bytes"))
            print(f"{name}: " + ("not told" if whole is None else f"{whole / 1e6:.2f} MB more since step 1,000, "
                                 f"{late / 1e6:.2f} of them in the second half"))
    for mark in report["marks"]:
        gpu = "" if mark["gpu_bytes"] is None else f", GPU {mark['gpu_bytes'] / 1e6:.1f} MB"
        print(f"step {mark['step']:>6}: process {mark['host_bytes'] / 1e6:.2f} MB{gpu}")


def profile(report):
    beside = {}
    for peer in report.get("peers") or []:
        for one in peer["points"]:
            if one.get("median_s"):
                key = (one["pattern"], one["length"], one["pass"])
                beside[key] = min(beside.get(key, (float("inf"), "")), (one["median_s"], one.get("way") or "peer"))
    for one in report["points"]:
        peer = beside.get((one["pattern"], one["length"], one["pass"]))
        more = f", {peer[0] * 1e3:.3f} ms {peer[1]}" if peer else ""
        if one.get("median_s"):
            print(f"{one['pattern']:<16} {one['length']:>6} {one['pass']:<9} {one['median_s'] * 1e3:>10.3f} ms{more}")


def ncu(report):
    shares = ("dram", "l2", "shared", "tensor", "alu", "fma", "mufu", "issue", "warps")
    print(f"{'':<11} {'kernel':<28} {'us':>9} " + " ".join(f"{name:>6}" for name in shares))
    for row in report["rows"]:
        numbers = " ".join(f"{'-' if row.get(name) is None else format(100 * row[name], '.0f'):>6}" for name in shares)
        time = row.get("duration")
        print(f"{row['work']:<11} {row['kernel']:<28} {'-' if time is None else format(time * 1e6, '.1f'):>9} {numbers}")


def peers(report):
    for row in report.get("rows", []):
        if "error" in row:
            print(f"{row['what']:<44} {row['error']}")
        else:
            print(f"{row['what']:<44} {row['median_ms']:>9.3f} ms")


def compare(report):
    for row in report["rows"]:
        peer = row["fastest_peer"]
        print(f"{row['work']:<12} {row['case']:<22} {row['evoke']['median_s'] * 1e3:>10.3f} ms against "
              f"{row['peers'][peer]['median_s'] * 1e3:>10.3f} ms of {peer}: {row['times']:.2f} x")
    for one in report["left_out"]:
        print(f"{one['work']}: {one['peer']} left out: {one['reason']}")


def sanitize(report):
    for row in report["runs"]:
        said = {0: "clean", 124: "not reached; run the part again"}.get(row["exit"], "exit " + str(row["exit"]))
        print(f"{row['tool']:<10} {row['op']:<14} {said}")


def main():
    part, results, *rest = sys.argv[1:]
    works = {"compare-runs": compare_runs, "compare-foley": compare_foley, "compare-resume": compare_resume,
             "gather": gather, "memory-series": memory_series, "read-ncu": read_ncu}
    if part in works:
        sys.exit(works[part](results, *rest))
    report = load(results, part + ".json")
    if report.get("missing") and part != "doctor":
        print("missing:", report["missing"])
        return
    try:
        {"doctor": doctor, "selftest": selftest, "bench": bench, "step": step, "train": train, "peers": peers,
         "attention": compare, "compare": compare, "sanitize": sanitize, "foley": foley, "stream": stream,
         "resume": resume, "memory": memory, "profile": profile, "ncu": ncu}[part](report)
    except (KeyError, TypeError):
        print(f"{part}: left no whole result; see {os.path.join(results, 'work', part + '.log')}")


main()
