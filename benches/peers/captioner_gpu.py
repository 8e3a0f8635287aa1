"""Times the same work on this machine's NVIDIA GPU in PyTorch: the peers of `evoke bench step` and `evoke bench` there.

- one training step of the captioner of captioner_cpu.py at the size that `evoke bench step --device cuda` has: 6 + 6
  layers, width 512, 8 heads, feed-forward 2048, 32 tokens, batch 256, bf16 by autocast, fused AdamW; eager, and under
  torch.compile with its CUDA graphs
- attention in bf16 by PyTorch's flash backend, forward and backward, head sizes 64 and 128, 512 to 16k tokens, 16k tokens
  and 2048 channels in all

    captioner_gpu.py [--steps 30] [--warmup 10] [--only eager|compile] [--json]

Times are of the GPU's own clock, over many runs between two waits. A step's first and last loss are told: a peer that
computes something else would show there. Needs torch with CUDA.
"""

import argparse
import json
import sys

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

import captioner_cpu as captioner

captioner.BATCH, captioner.TOKENS = 256, 32
captioner.LAYERS, captioner.WIDTH, captioner.HEADS, captioner.HIDDEN = 6, 512, 8, 2048
LENGTHS = (512, 1024, 2048, 4096, 8192, 16384)
TOKENS, CHANNELS = 16384, 2048


def timed(run, runs):
    """Milliseconds of one of `runs` runs, by events of the GPU."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(runs):
        result = run()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / runs, result


def median(run, warmup, rounds, runs):
    for _ in range(warmup):
        first = run()
    times = sorted(timed(run, runs)[0] for _ in range(rounds))
    return times[len(times) // 2], first


def step_row(compiled, options):
    torch.compiler.reset()
    step, _ = captioner.torch_step(1, compiled, "cuda")
    first = step().item()
    ms, _ = median(step, options.warmup, 3, options.steps)
    rate = 1000 * captioner.BATCH / ms
    return {"what": "captioner step, " + ("torch.compile" if compiled else "eager"), "median_ms": ms,
            "samples_per_second": rate, "first_loss": first, "last_loss": step().item()}


def attention_row(head, length, causal):
    shape = (TOKENS // length, CHANNELS // head, length, head)
    q, k, v, dout = (torch.randn(shape, device="cuda", dtype=torch.bfloat16, requires_grad=i < 3) for i in range(4))

    def run():
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            out = scaled_dot_product_attention(q, k, v, is_causal=causal)
        return torch.autograd.grad(out, (q, k, v), dout)

    ms, _ = median(run, 3, 5, 10)
    pairs = length * (length + 1) / 2 if causal else length * length
    # Two products forward, five backward.
    flops = 7 * 2 * pairs * head * shape[0] * shape[1]
    what = f"attention, head {head}, {length} tokens" + (", look-ahead mask" if causal else "")
    return {"what": what, "median_ms": ms, "teraflops": flops / ms * 1e-9}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--warmup", type=int, default=10)
    parser.add_argument("--only", choices=("eager", "compile"), help="this step alone")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("captioner_gpu.py: PyTorch finds no GPU here")
    works = [(f"captioner step, {name}", lambda compiled=compiled: step_row(compiled, options))
             for name, compiled in (("eager", False), ("torch.compile", True))
             if options.only is None or (options.only == "compile") == compiled]
    works += [] if options.only else [(f"attention {head} {length}", lambda head=head, length=length, causal=causal: attention_row(head, length, causal))
              for head in (64, 128) for causal in (False, True) for length in LENGTHS]
    rows = []
    for what, work in works:
        try:
            rows.append(work())
        except Exception as error:  # one peer that fails must not hide the others
            rows.append({"what": what, "error": str(error).strip().splitlines()[0][:200]})
        print(rows[-1], file=sys.stderr, flush=True)
    result = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "rows": rows}
    if options.json:
        print(json.dumps(result, indent=2))


main()
