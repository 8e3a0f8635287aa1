"""Short tables of what run.sh leaves under results/: tables.py PART RESULTS. `compare-runs` compares the runs of the part
`train` and writes its JSON; `gather RESULTS PART WORK...` puts what was compared into one. In a bundle it is called tables.py;
nothing but Python's own library is needed."""

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


def weights(folder):
    checkpoints = os.path.join(folder, "checkpoints")
    for name in sorted(os.listdir(checkpoints), reverse=True) if os.path.isdir(checkpoints) else []:
        path = os.path.join(checkpoints, name, "weights.safetensors")
        if os.path.isfile(path):
            with open(path, "rb") as file:
                return file.read()
    return None


def compare_runs(results):
    """cuda against the CPU within 1 % at each step; every cuda run equal to the first, bit for bit."""
    runs = {name: os.path.join(results, "work", "run-" + name) for name in ("one", "two", "plain", "waited", "cpu")}
    curves = {name: lines(folder) for name, folder in runs.items()}
    first, exact = curves["one"], curves["cpu"]
    whole = len(first) == len(exact) == 200
    # A NaN must not pass: `not (x <= y)` where a comparison decides.
    far = [abs(a[0] / b[0] - 1.0) for a, b in zip(first, exact) if a[0] is not None and b[0]]
    worst = max(far, default=float("inf"))
    close = whole and len(far) == 200 and all(value <= 0.01 for value in far)
    equal = {}
    for name in ("two", "plain", "waited"):
        same = weights(runs[name]) is not None and weights(runs[name]) == weights(runs["one"])
        equal[name] = bool(first) and curves[name] == first and same
    ok = close and all(equal.values())
    report = {"ok": ok, "steps": len(first), "steps_compared": len(far), "largest_difference": worst if worst != float("inf") else None,
              "equal": equal, "first_loss": first[0][0] if first else None, "last_loss": first[-1][0] if first else None}
    with open(os.path.join(results, "train.json"), "w") as file:
        json.dump(report, file, indent=2)
        file.write("\n")
    return 0 if ok else 1


def gather(results, part, *works):
    """The rows of all works that came to an end."""
    found = [load(results, "work", f"compare-{work}.json") for work in works]
    whole = [one for one in found if one]
    merged = {**(whole[0] if whole else {}), "ok": len(whole) == len(found), "rows": [row for one in whole for row in one["rows"]],
              "left_out": [row for one in whole for row in one["missing"]]}
    merged.pop("missing", None)  # in this folder's JSON: why a part cannot run
    with open(os.path.join(results, part + ".json"), "w") as file:
        json.dump(merged, file, indent=2)
        file.write("\n")
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
    for name, found in report.items():
        found = found["step"]
        print(f"{name:<8} {found['median_ms']:>9.2f} ms, {found['samples_per_second']:>9.0f} pictures/s, "
              f"loss {found['first_loss']:.4f} -> {found['last_loss']:.4f}")


def train(report):
    largest = report["largest_difference"]
    print(f"{report['steps']} steps, loss {report['first_loss']} -> {report['last_loss']}")
    print(f"largest difference from the cpu: {'none found' if largest is None else f'{100 * largest:.3f} %'}; in "
          f"{report['steps_compared']} steps; at most 1 % in 200")
    for name, same in report["equal"].items():
        print(f"run {name}: {'equal bit for bit' if same else 'DIFFERS'}")


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
        print(f"{row['tool']:<10} {row['op']:<14} {'clean' if row['exit'] == 0 else 'exit ' + str(row['exit'])}")


def main():
    part, results, *rest = sys.argv[1:]
    if part == "compare-runs":
        sys.exit(compare_runs(results))
    if part == "gather":
        sys.exit(gather(results, *rest))
    report = load(results, part + ".json")
    if report.get("missing") and part != "doctor":
        print("missing:", report["missing"])
        return
    try:
        {"doctor": doctor, "selftest": selftest, "bench": bench, "step": step, "train": train, "peers": peers,
         "attention": compare, "compare": compare, "sanitize": sanitize}[part](report)
    except (KeyError, TypeError):
        print(f"{part}: left no whole result; see {os.path.join(results, 'work', part + '.log')}")


main()
