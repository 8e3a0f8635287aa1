"""Triton's attention on the same work as Evoke's: the fused kernels of triton_kernels.py, after the form of Triton's
tutorial, over the patterns and lengths of `evoke profile attention`, on an NVIDIA GPU; writes the JSON that its
--peers takes, as attention.py does, with the same clock and the same count of operations.

    attention_triton.py --out FILE [--patterns full,causal,band:256] [--lengths 1k..16k] [--type bf16|f16] ...
    attention_triton.py --check

Patterns: full, causal, and bands without dilation. Head sizes: 16, 32, 64, 128. Ways: `triton` reads through
pointers, `triton-tma` through descriptors (from sm_90 on). Blocks, warps and stages are tuned for each length and
pattern before the clock starts, forward and backward; a time has the launches from Python in it, as those of PyTorch
and JAX have. Not yet run on a GPU.

--check compares output and gradients with attention in f64, on lengths that fit no block; the error may be twice that
of the textbook's form in the same type. Without a GPU the kernels are interpreted, in f16 (Triton's interpreter knows
no products of bf16) and without tuning, and never timed; then all that tuning may choose is compiled for sm_90, which
needs no GPU either. It ends with 1 where anything differs. Needs torch and triton."""

import subprocess
import sys
import time

# The first of all, as it sets Triton up.
from triton_fused import ASKED, HEADS, INTERPRETED, TYPES, WAYS, Fused, torch, triton, window

import attention
from sweep import arguments
from triton_check import check, compiles


class Work(attention.Work):
    def __init__(self, options, pattern: str, length: int, seen):
        self.window = window(pattern, length)
        super().__init__(options, pattern, length, seen)

    def way(self, name: str):
        if name == "triton-tma" and torch.cuda.get_device_capability()[0] < 9:
            raise NotImplementedError("this GPU has no descriptors")
        return lambda: Fused.apply(self.q, self.k, self.v, *self.window, None, name == "triton-tma")

    def times(self, way: str, name: str):
        if name == "decode":
            raise NotImplementedError("decoding is timed with PyTorch")
        began, run = time.perf_counter(), self.way(way)
        run() if name == "forward" else torch.autograd.grad(run(), (self.q, self.k, self.v), self.dout)
        torch.cuda.synchronize()
        self.aside = time.perf_counter() - began
        return super().times(way, name)


def main() -> None:
    parser = arguments(__doc__, "full,causal", tuple(TYPES), "bf16")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--check", action="store_true", help="compare with f64, and time nothing")
    parser.add_argument("--compile-only", action="store_true", help="the second half of --check without a GPU")
    options = parser.parse_args()
    if options.compile_only:
        sys.exit(0 if compiles() else 1)
    if options.check:
        again = [sys.executable, __file__, "--compile-only"]
        sys.exit(0 if check() and (not INTERPRETED or subprocess.run(again).returncode == 0) else 1)
    if INTERPRETED:
        why = "TRITON_INTERPRET is set, and an interpreter's times say nothing: unset it" if ASKED else (
            "PyTorch finds no GPU, and an interpreter's times say nothing: without one there is --check alone")
        sys.exit(f"attention_triton.py: {why}")
    if options.out is None:
        parser.error("--out FILE is missing")
    if options.head_size not in HEADS:
        parser.error(f"--head-size {options.head_size}: there are {', '.join(map(str, HEADS))}")
    ways = options.ways.split(",")
    if unknown := [way for way in ways if way not in WAYS]:
        parser.error(f"--ways {unknown[0]}: there are {', '.join(WAYS)}")
    options.device, options.type = "cuda", options.type or "bf16"
    attention.profile(options, ways, Work, f"Triton {triton.__version__}")


if __name__ == "__main__":
    main()
