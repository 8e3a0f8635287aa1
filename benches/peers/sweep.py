"""What the scripts that time attention share: options, the clock, how operations are counted, and the JSON that
`evoke profile attention --peers` takes. What the patterns and lengths mean stands in shapes.py."""

import argparse
import json
import statistics
import sys
import time

from shapes import lengths, pairs, patterns, visible

MOST_RUNS = 200
OPERATIONS = {"forward": 4, "backward": 10, "decode": 4}  # a visible pair and channel


def note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def arguments(doc: str, wanted: str, types: tuple[str, ...], usual: str) -> argparse.ArgumentParser:
    """The options that all scripts have; `wanted` are the patterns without --patterns, `usual` says the type without
    --type."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", metavar="FILE", help="the JSON file to write")
    parser.add_argument("--patterns", default=wanted)
    parser.add_argument("--lengths", default="1k..8k")
    parser.add_argument("--passes", default="forward,backward")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--head-size", type=int, default=64)
    parser.add_argument("--type", choices=types, help=f"{usual} if left out")
    parser.add_argument("--seconds", type=float, default=240.0, help="that all points together may take, about")
    parser.add_argument("--point-seconds", type=float, default=1.0, help="for each point")
    parser.add_argument("--seed", type=int, default=1)
    return parser


def timed(run, seconds: float, wait=lambda: None) -> list[float]:
    """Seconds of each run, the first one left out unless there is no time for another. `wait` returns when all is
    done."""
    times, start = [], time.perf_counter()
    while True:
        wait()
        t0 = time.perf_counter()
        run()
        wait()
        times.append(time.perf_counter() - t0)
        if len(times) > MOST_RUNS or time.perf_counter() - start + 0.5 * times[-1] > seconds:
            break
    return times[1:] if len(times) > 1 else times


def sweep(options, ways: list[str], work) -> list[dict]:
    """Every point that fits the time. `work(pattern, length, seen)` makes the tensors; its `times(way, name)` gives the
    seconds of each run of a pass and the peak of memory or None, its `decoded()` the pairs of one head in a decoding
    step, its `aside` the seconds that tuning took, which are not taken from the time."""
    points, began = [], time.perf_counter()
    slow: dict = {}  # what the next length would take at least, by pattern, way and pass
    for length in lengths(options.lengths):
        for pattern in patterns(options.patterns):
            seen = visible(pattern, length)
            if seen is None:
                note(f"{pattern}: this script does not know it")
                continue
            try:
                one = work(pattern, length, seen)
            except (MemoryError, NotImplementedError) as error:
                note(f"{pattern} at {length}: {error}")
                continue
            square = pairs(seen, length)
            for way in ways:
                for name in options.passes.split(","):
                    key, left = (pattern, way, name), options.seconds - (time.perf_counter() - began)
                    if slow.get(key, 0.0) > left / 4:
                        note(f"{pattern} {way} {name} at {length}: not in {left:.0f} s")
                        continue
                    try:
                        times, peak = one.times(way, name)
                        began, one.aside = began + one.aside, 0.0
                    except Exception as error:  # a way that a version or a device lacks
                        first = (str(error) or type(error).__name__).splitlines()[0][:120]
                        note(f"{pattern} {way} {name} at {length}: {type(error).__name__}: {first}")
                        continue
                    count = options.batch * options.heads * (one.decoded() if name == "decode" else square)
                    median = statistics.median(times)
                    slow[key] = 8 * median
                    quantile = lambda share: sorted(times)[round((len(times) - 1) * share)]
                    points.append({
                        "pattern": pattern,
                        "pass": name,
                        "length": length,
                        "way": way,
                        "median_s": median,
                        "p10_s": quantile(0.1),
                        "p90_s": quantile(0.9),
                        "runs": len(times),
                        "peak_bytes": peak,
                        "visible_pairs": count,
                        "flop_per_s": OPERATIONS[name] * options.head_size * count / median,
                    })
                    note(f"{pattern} {way} {name} at {length}: {median * 1e3:.3f} ms")
    return points


def write(options, machine: dict, points: list[dict]) -> None:
    """`machine`: program, device, name, units, storage."""
    setting = {name: getattr(options, name) for name in ("batch", "heads", "head_size", "seed")}
    with open(options.out, "w") as file:
        json.dump({"machine": machine, "setting": setting, "points": points}, file, indent=1)
    note(f"{len(points)} points: {options.out}")
