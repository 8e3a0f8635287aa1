"""JAX's attention on the same work as Evoke's: jax.nn.dot_product_attention, jitted, over the patterns and lengths of
`evoke profile attention`, on the CPU or a GPU; writes the JSON that its --peers takes, as attention.py does.

    attention_jax.py --out FILE [--threads 2] [--patterns full,causal] [--lengths 1k..8k] ...

The backward pass is jax.vjp's, compiled together with the forward pass whose inside it needs, and the forward pass's
own median is taken off: XLA gives no backward pass alone. What does not fit the time or memory is left out, with a
line that says why. Needs jax."""

import os
import statistics

from sweep import arguments, sweep, timed, write

SCORE_BYTES = 4 << 30  # a larger matrix of scores is not tried


def main():
    parser = arguments(__doc__, "full,causal", ("f32", "bf16"), "f32")
    parser.add_argument("--threads", type=int, default=2)
    o = parser.parse_args()
    if o.out is None:
        parser.error("--out FILE is missing")
    o.type = o.type or "f32"
    # Read by XLA when it loads.
    os.environ.setdefault("XLA_FLAGS", f"--xla_cpu_multi_thread_eigen={str(o.threads > 1).lower()}")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: o.threads])
    import jax
    import jax.numpy as jnp

    kind = {"f32": jnp.float32, "bf16": jnp.bfloat16}[o.type]

    class Work:
        aside = 0.0

        def __init__(self, pattern, length, seen):
            scores = o.batch * o.heads * length * length * 4
            if scores > SCORE_BYTES:
                raise MemoryError(f"{scores / 1e9:.1f} GB of scores")
            shape = (o.batch, length, o.heads, o.head_size)
            draws = jax.random.split(jax.random.key(o.seed), 4)
            self.tensors = [jax.random.normal(draw, shape, kind) for draw in draws]
            mask = None
            if pattern not in ("full", "causal"):
                i = jnp.arange(length)
                mask = seen(i[:, None], i[None, :])[None, None]

            def attend(q, k, v):
                return jax.nn.dot_product_attention(q, k, v, mask=mask, is_causal=pattern == "causal")

            self.forward = jax.jit(attend)
            self.both = jax.jit(lambda q, k, v, dout: jax.vjp(attend, q, k, v)[1](dout))
            self.forward_s = None

        def times(self, way, name):
            q, k, v, dout = self.tensors
            if name == "decode":
                raise NotImplementedError("decoding is timed with PyTorch")
            run, off = lambda: self.forward(q, k, v).block_until_ready(), 0.0
            if name == "backward":
                if self.forward_s is None:
                    self.times(way, "forward")
                run, off = lambda: jax.block_until_ready(self.both(q, k, v, dout)), self.forward_s
            run()  # compiles
            times = [seconds - off for seconds in timed(run, o.point_seconds)]
            if name == "forward":
                self.forward_s = statistics.median(times)
            return times, None

    points = sweep(o, ["dot_product_attention"], Work)
    device = jax.devices()[0]
    write(o, {"program": f"JAX {jax.__version__}", "device": device.platform, "name": device.device_kind,
              "units": o.threads, "storage": o.type}, points)


if __name__ == "__main__":
    main()
