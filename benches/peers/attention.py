"""Times of PyTorch's scaled_dot_product_attention on the CPU, forward and backward, f32: the same work as the ignored
test `attention_times` (src/ops/attention/cpu_bench.rs). Best of many runs. Usage: attention.py [THREADS]"""

import sys
import time

import torch
from torch.nn.functional import scaled_dot_product_attention

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


def main() -> None:
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
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


main()
