"""JAX's attention on the same work as Evoke's: jax.nn.dot_product_attention, jitted, over the patterns and lengths of
`evoke profile attention`, on the CPU or a GPU; writes the JSON that its --peers takes, as attention.py does.

    attention_jax.py --out FILE [--threads 2] [--patterns full,causal] [--lengths 1k..8k] [--passes forward,backward]
                     [--batch 1] [--heads 4] [--head-size 64] [--type f32|bf16] [--seconds 240] [--point-seconds 1]

The backward pass is jax.vjp's, compiled together with the forward pass whose inside it needs, and the forward pass's own median
is taken off: XLA gives no backward pass alone. What does not fit the time or memory is left out, with a line that says why.
Needs jax."""

import argparse
import json
import os
import statistics
import sys
import time

SCORE_BYTES = 4 << 30  # a larger matrix of scores is not tried


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--patterns", default="full,causal")
    parser.add_argument("--lengths", default="1k..8k")
    parser.add_argument("--passes", default="forward,backward")
    for name, value in (("threads", 2), ("batch", 1), ("heads", 4), ("head-size", 64), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--type", choices=("f32", "bf16"), default="f32")
    parser.add_argument("--seconds", type=float, default=240.0, help="that all points together may take, about")
    parser.add_argument("--point-seconds", type=float, default=1.0, help="for each point")
    return parser.parse_args()


def timed(run, seconds):
    """Seconds of each run, after one that compiles."""
    run()
    times, begin = [], time.perf_counter()
    while not times or time.perf_counter() - begin + 0.5 * times[-1] < seconds:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return times


def main():
    o = options()
    # Read by XLA when it loads.
    os.environ.setdefault("XLA_FLAGS", f"--xla_cpu_multi_thread_eigen={str(o.threads > 1).lower()}")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: o.threads])
    import jax
    import jax.numpy as jnp

    from shapes import lengths, pairs, patterns, visible

    note = lambda line: print(line, file=sys.stderr, flush=True)
    kind = {"f32": jnp.float32, "bf16": jnp.bfloat16}[o.type]
    points, began = [], time.perf_counter()
    for length in lengths(o.lengths):
        for pattern in patterns(o.patterns):
            seen = visible(pattern, length)
            scores = o.batch * o.heads * length * length * 4
            if seen is None or scores > SCORE_BYTES:
                note(f"{pattern} at {length}: " + ("this script does not know it" if seen is None else f"{scores / 1e9:.1f} GB"))
                continue
            shape = (o.batch, length, o.heads, o.head_size)
            q, k, v, dout = (jax.random.normal(key, shape, kind) for key in jax.random.split(jax.random.key(o.seed), 4))
            mask = None
            if pattern not in ("full", "causal"):
                i = jnp.arange(length)
                mask = seen(i[:, None], i[None, :])[None, None]

            def attend(q, k, v):
                return jax.nn.dot_product_attention(q, k, v, mask=mask, is_causal=pattern == "causal")

            forward = jax.jit(attend)
            both = jax.jit(lambda q, k, v, dout: jax.vjp(attend, q, k, v)[1](dout))
            runs = {
                "forward": lambda: forward(q, k, v).block_until_ready(),
                "backward": lambda: jax.block_until_ready(both(q, k, v, dout)),
            }
            count, alone = o.batch * o.heads * pairs(seen, length), 0.0
            for name in ("forward", "backward"):
                if time.perf_counter() - began > o.seconds:
                    note(f"{pattern} {name} at {length}: not in {o.seconds:.0f} s")
                    break
                times = [seconds - alone for seconds in timed(runs[name], o.point_seconds)]
                median = statistics.median(times)
                alone = median if name == "forward" else 0.0
                if name not in o.passes.split(","):
                    continue
                flops = (10 if name == "backward" else 4) * o.head_size * count
                quantile = lambda share: sorted(times)[round((len(times) - 1) * share)]
                points.append({
                    "pattern": pattern, "pass": name, "length": length, "way": "dot_product_attention", "median_s": median,
                    "p10_s": quantile(0.1), "p90_s": quantile(0.9), "runs": len(times), "peak_bytes": None,
                    "visible_pairs": count, "flop_per_s": flops / median,
                })
                note(f"{pattern} {name} at {length}: {median * 1e3:.3f} ms")
    device = jax.devices()[0]
    machine = {"program": f"JAX {jax.__version__}", "device": device.platform, "name": device.device_kind,
               "units": o.threads, "storage": o.type}
    setting = {name: getattr(o, name) for name in ("batch", "heads", "head_size", "seed")}
    with open(o.out, "w") as file:
        json.dump({"machine": machine, "setting": setting, "points": points}, file, indent=1)
    note(f"{len(points)} points: {o.out}")


main()
