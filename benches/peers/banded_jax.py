"""The training step of `banded.py` in JAX, jitted as one program with donated buffers: the same model, the same chunks.

    banded_jax.py [--length 16000] [--band 256] [--layers 4] [--width 128] [--heads 4] [--threads 2] [--seconds 10]

Prints one JSON line: the least and median milliseconds, losses, and the process's peak resident memory, which includes
the compiler's. Needs jax. AdamW is written out, so that nothing else is needed.
"""

import argparse
import json
import math
import os
import re
import statistics
import time

CLASSES, RATE, DECAY, BETA1, BETA2, EPSILON = 256, 1e-3, 0.01, 0.9, 0.999, 1e-8


def arguments():
    parser = argparse.ArgumentParser()
    for name, value in (("length", 16_000), ("band", 256), ("layers", 4), ("width", 128), ("heads", 4), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--seconds", type=float, default=10.0)
    return parser.parse_args()


def main():
    a = arguments()
    # XLA takes as many threads as it may run on.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: a.threads])
    import jax
    import jax.numpy as np

    chunks, size = -(-a.length // a.band), a.width // a.heads
    query, key = np.arange(a.band)[:, None], np.arange(2 * a.band)[None, :]
    seen = (key >= query) & (key <= query + a.band)
    mask = np.broadcast_to(seen, (chunks, 1, a.band, 2 * a.band)) & (
        (np.arange(chunks)[:, None, None, None] > 0) | (key >= a.band)
    )

    def banded(q, k, v):
        """(length, heads, size) each."""
        def chunked(x):
            padded = np.pad(x, ((0, chunks * a.band - a.length), (0, 0), (0, 0)))
            return padded.reshape(chunks, a.band, a.heads, size)

        def with_previous(x):
            x = chunked(x)
            return np.concatenate((np.pad(x[:-1], ((1, 0), (0, 0), (0, 0), (0, 0))), x), 1)

        scores = np.einsum("cqhd,ckhd->chqk", chunked(q), with_previous(k)) / math.sqrt(size)
        weights = jax.nn.softmax(np.where(mask, scores, -np.inf))
        out = np.einsum("chqk,ckhd->cqhd", weights, with_previous(v))
        return out.reshape(-1, a.width)[: a.length]

    def linear(key, inputs, outputs):
        bound = math.sqrt(6 / (inputs + outputs))
        return {"w": jax.random.uniform(key, (inputs, outputs), minval=-bound, maxval=bound), "b": np.zeros(outputs)}

    def apply(layer, x):
        return x @ layer["w"] + layer["b"]

    def norm(n, x):
        x = x - x.mean(-1, keepdims=True)
        return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-5) * n["g"] + n["b"]

    def loss(p, samples):
        x = p["embedding"][samples[:-1]]
        for l in p["layers"]:
            q, k, v = np.split(apply(l["qkv"], norm(l["norm1"], x)), 3, -1)
            x = x + apply(l["out"], banded(*(t.reshape(a.length, a.heads, size) for t in (q, k, v))))
            x = x + apply(l["second"], jax.nn.gelu(apply(l["first"], norm(l["norm2"], x)), approximate=False))
        logits = jax.nn.log_softmax(apply(p["head"], norm(p["norm"], x)))
        return -np.take_along_axis(logits, samples[1:, None], 1).mean()

    def step(p, m, v, t, samples):
        value, g = jax.value_and_grad(loss)(p, samples)
        each = jax.tree.map
        m = each(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, g)
        v = each(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, g)

        def update(p, m, v):
            m, v = m / (1 - BETA1**t), v / (1 - BETA2**t)
            return p - RATE * (m / (np.sqrt(v) + EPSILON) + DECAY * p)

        return each(update, p, m, v), m, v, value

    keys = iter(jax.random.split(jax.random.key(1), 4 * a.layers + 3))
    def new_norm():
        return {"g": np.ones(a.width), "b": np.zeros(a.width)}
    p = {
        "embedding": 0.02 * jax.random.normal(next(keys), (CLASSES, a.width)),
        "layers": [
            {
                "norm1": new_norm(), "qkv": linear(next(keys), a.width, 3 * a.width),
                "out": linear(next(keys), a.width, a.width), "norm2": new_norm(),
                "first": linear(next(keys), a.width, 4 * a.width), "second": linear(next(keys), 4 * a.width, a.width),
            }
            for _ in range(a.layers)
        ],
        "norm": new_norm(), "head": linear(next(keys), a.width, CLASSES),
    }
    m, v = jax.tree.map(np.zeros_like, p), jax.tree.map(np.zeros_like, p)
    samples = jax.random.randint(next(keys), (a.length + 1,), 0, CLASSES)
    compiled = jax.jit(step, donate_argnums=(0, 1, 2))
    times, losses, begin = [], [], None
    while begin is None or len(times) < 4 or time.perf_counter() - begin < a.seconds:
        start = time.perf_counter()
        p, m, v, value = compiled(p, m, v, len(losses) + 1.0, samples)
        losses.append(float(value))
        times.append(1e3 * (time.perf_counter() - start))
        begin = begin or time.perf_counter()
    times = times[1:]  # the first one compiles
    peak = 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", open("/proc/self/status").read())[1])
    print(json.dumps({
        "peer": f"JAX {jax.__version__}", **vars(a), "runs": len(times),
        "step_ms": {"least": round(min(times), 1), "median": round(statistics.median(times), 1)},
        "first_loss": losses[0], "last_loss": losses[-1], "peak_bytes": peak,
    }))


main()
