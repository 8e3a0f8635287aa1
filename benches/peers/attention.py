"""PyTorch's attention on the same work as Evoke's.

    attention.py [THREADS]            the shapes of the ignored test `attention_times` (src/ops/attention/cpu_bench.rs),
                                      forward and backward, CPU, f32, best of many runs
    attention.py --out FILE ...       the patterns and lengths of `evoke profile attention`, as the JSON that its --peers
                                      takes: median of the runs that fit the time, after one that is not counted; only
                                      visible pairs count as operations (4 a pair and channel, backward 10)

Ways: `sdpa` is scaled_dot_product_attention (without a mask tensor for full and causal, with a boolean one for the rest),
`flash`, `efficient`, `cudnn` and `math` are its single back ends; `flex` is compiled FlexAttention with a block mask; `eager` is
softmax(q k^T) v as it stands in a textbook, `compiled` the same under torch.compile. Each runs as far as its memory and the
time go; what cannot run is left out, with a line that says why."""

import math
import platform
import time

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from sweep import arguments, sweep, timed, write

SIZES = [  # name, batch, heads, head_dim, queries, keys, look-ahead mask
    ("patches", 16, 8, 32, 196, 196, False),
    ("scenes 16", 16, 8, 16, 64, 64, False),
    ("scenes 24", 16, 8, 24, 64, 64, False),
    ("scenes 32", 16, 8, 32, 64, 64, False),
    ("words to patches", 16, 8, 32, 20, 196, False),
    ("words", 16, 8, 32, 20, 20, True),
    ("full 4096", 1, 4, 32, 4096, 4096, False),
    ("wide heads", 4, 8, 64, 196, 196, False),
]

BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}
MASK_BYTES = 1 << 30  # more than this is no mask tensor that anyone keeps
SCORE_BYTES = 2 << 30  # nor a matrix of scores
TYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def shapes(threads: int) -> None:
    torch.set_num_threads(threads)
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads")
    for name, batch, heads, head_dim, queries, keys, causal in SIZES:
        def tensor(rows: int) -> torch.Tensor:
            rows = torch.randn(batch, rows, heads * head_dim)
            return rows.view(batch, -1, heads, head_dim).transpose(1, 2).requires_grad_()

        q, k, v = tensor(queries), tensor(keys), tensor(keys)
        dout = tensor(queries).detach()
        forward = backward = float("inf")
        start = time.perf_counter()
        for _ in range(200):
            t0 = time.perf_counter()
            out = scaled_dot_product_attention(q, k, v, is_causal=causal)
            t1 = time.perf_counter()
            torch.autograd.grad(out, (q, k, v), dout)
            t2 = time.perf_counter()
            forward, backward = min(forward, t1 - t0), min(backward, t2 - t1)
            if t2 - start > 1.0:
                break
        both = forward + backward
        print(f"{name:>18}: forward {forward * 1e3:.3f} ms, backward {backward * 1e3:.3f} ms, both {both * 1e3:.3f} ms")


class Work:
    """Queries, keys and values of one length, and the ways to attend over them."""

    aside = 0.0

    def __init__(self, options, pattern: str, length: int, seen):
        self.options, self.pattern, self.length, self.seen = options, pattern, length, seen
        width, kind = options.heads * options.head_size, TYPES[options.type]

        def tensor() -> torch.Tensor:
            rows = torch.randn(options.batch, length, width, device=options.device, dtype=kind)
            return rows.view(options.batch, length, options.heads, options.head_size).transpose(1, 2)

        self.q, self.k, self.v, self.dout = [tensor().requires_grad_(n < 3) for n in range(4)]

    def mask(self):
        if self.length**2 > MASK_BYTES:
            raise MemoryError(f"a mask of {self.length} x {self.length}")
        i = torch.arange(self.length, device=self.options.device)
        return self.seen(i[:, None], i[None, :])

    def way(self, name: str):
        """The forward pass as a function without arguments; its mask is made before the clock starts."""
        q, k, v = self.q, self.k, self.v
        if name == "sdpa":
            if self.pattern in ("full", "causal"):
                causal = self.pattern == "causal"
                return lambda: scaled_dot_product_attention(q, k, v, is_causal=causal)
            mask = self.mask()
            return lambda: scaled_dot_product_attention(q, k, v, attn_mask=mask)
        if name in BACKENDS:
            whole, backend = self.way("sdpa"), BACKENDS[name]

            def alone():
                with sdpa_kernel(backend):
                    return whole()

            return alone
        if name in ("eager", "compiled"):
            scores = self.options.batch * self.options.heads * self.length**2 * q.element_size()
            if scores > SCORE_BYTES:
                raise MemoryError(f"{scores / 1e9:.1f} GB of scores")
            hidden, scale = ~self.mask(), 1 / math.sqrt(self.options.head_size)

            def attend(q, k, v, hidden):
                return (q @ k.transpose(-1, -2) * scale).masked_fill(hidden, -math.inf).softmax(-1) @ v

            if name == "compiled":
                torch._dynamo.reset()
                attend = torch.compile(attend)
            return lambda: attend(q, k, v, hidden)
        if name == "flex":
            from torch.nn.attention.flex_attention import create_block_mask, flex_attention

            seen = self.seen
            block = create_block_mask(
                lambda b, h, i, j: seen(i, j), None, None, self.length, self.length, device=self.options.device
            )
            torch._dynamo.reset()
            compiled = torch.compile(flex_attention)
            return lambda: compiled(q, k, v, block_mask=block)
        raise ValueError(f"--ways {name}: no such way")

    def decoding(self, name: str):
        """The last query alone, against the keys that it sees."""
        if name != "sdpa":
            raise NotImplementedError("decoding is timed with sdpa")
        last = torch.tensor(self.length - 1)
        keys = self.seen(last, torch.arange(self.length)).nonzero().flatten().to(self.options.device)
        q = self.q[:, :, -1:].detach()
        k, v = [tensor.detach()[:, :, keys].contiguous() for tensor in (self.k, self.v)]
        return lambda: scaled_dot_product_attention(q, k, v)

    def decoded(self) -> int:
        return int(self.seen(torch.tensor(self.length - 1), torch.arange(self.length)).sum())

    def times(self, way: str, name: str) -> tuple[list[float], int | None]:
        """Seconds of each run of a pass, the backward pass without the forward pass before it; the peak of a GPU's
        memory."""
        gpu = self.options.device.startswith("cuda")
        wait = torch.cuda.synchronize if gpu else lambda: None
        with torch.set_grad_enabled(name == "backward"):
            run = self.decoding(way) if name == "decode" else self.way(way)
            if name == "backward":
                out, operands = run(), (self.q, self.k, self.v)
                run = lambda: torch.autograd.grad(out, operands, self.dout, retain_graph=True)
            run()  # compiles, where there is something to compile
            if gpu:
                torch.cuda.reset_peak_memory_stats()
            times = timed(run, self.options.point_seconds, wait)
        return times, torch.cuda.max_memory_allocated() if gpu else None


def profile(options, ways: list[str], work, program: str) -> None:
    """`work(options, pattern, length, seen)`: Work, or what another script makes of it."""
    gpu = options.device.startswith("cuda")
    if not gpu:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    points = sweep(options, ways, lambda *what: work(options, *what))
    write(options, {
        "program": program,
        "device": options.device,
        "name": torch.cuda.get_device_name() if gpu else platform.processor() or platform.machine(),
        "units": torch.cuda.get_device_properties(0).multi_processor_count if gpu else torch.get_num_threads(),
        "storage": options.type,
    }, points)


def main() -> None:
    known = "full,causal,band:256,dilated:256:8,strided:sqrt,fixed:sqrt:16"
    parser = arguments(__doc__, known, tuple(TYPES), "f32 on the CPU, bf16 on a GPU,")
    parser.add_argument("threads", nargs="?", type=int, default=2)
    parser.add_argument("--ways", default="sdpa")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    if options.out is None:
        shapes(options.threads)
        return
    options.type = options.type or ("bf16" if options.device.startswith("cuda") else "f32")
    profile(options, options.ways.split(","), Work, f"PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
