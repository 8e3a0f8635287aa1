"""The kernels of triton_kernels.py as a function of PyTorch with a gradient: Triton loaded, blocks chosen or tuned.
Without a GPU, or where TRITON_INTERPRET asks for it, they are interpreted."""

import math
import os
import sys

try:
    import torch

    ASKED = os.environ.get("TRITON_INTERPRET", "0") not in ("", "0")
    # What --check starts a second time: an interpreted kernel is not compiled.
    COMPILES = "--compile-only" in sys.argv
    INTERPRETED = not COMPILES and (ASKED or not torch.cuda.is_available())
    os.environ["TRITON_INTERPRET"] = str(int(INTERPRETED))  # read when Triton loads
    import triton
    from triton.tools.tensor_descriptor import TensorDescriptor
except ImportError as error:
    sys.exit(f"attention_triton.py: {error}; benches/peers/README.md says how to install what it needs")

import triton_kernels

if INTERPRETED:
    # NumPy from 2.4 on makes no number of an array of one element, which Triton 3.5 and 3.6 want to interpret loops.
    from triton.runtime import interpreter

    patched = interpreter._patch_lang_tensor

    def patch(tensor, *rest) -> None:
        patched(tensor, *rest)
        tensor.__index__ = lambda self: int(self.handle.data.item())

    interpreter._patch_lang_tensor = patch

TYPES = {"bf16": torch.bfloat16, "f16": torch.float16}
HEADS = (16, 32, 64, 128)
WAYS = ("triton", "triton-tma")
LOG2_E = 1.4426950408889634
DELTA_ROWS = 128
TUNING_MS = 20  # for each choice, at each length

# Queries, keys, warps, stages. At head size 64 none of them spills registers on sm_90; those that do at 128 are for the
# tuning to drop.
CHOICES = {
    "forward": ((64, 64, 4, 3), (128, 64, 4, 3), (128, 64, 8, 3), (128, 128, 8, 2), (128, 128, 8, 3)),
    "keys": ((32, 64, 4, 3), (64, 64, 8, 2), (32, 128, 8, 3), (64, 128, 8, 2)),
    "queries": ((64, 32, 4, 3), (64, 64, 4, 2), (128, 32, 8, 3), (128, 64, 8, 3)),
}
DESCRIBED = {"forward": ("K", "V"), "keys": ("Q", "DOUT"), "queries": ("K", "V")}  # what the loops read
KERNELS = {name: getattr(triton_kernels, name) for name in CHOICES}


def config(name: str, choice, tma: bool) -> triton.Config:
    queries, keys, warps, stages = choice

    def shape(operands) -> None:
        for operand in DESCRIBED[name]:
            operands[operand].block_shape = [queries if name == "keys" else keys, operands["HEAD"]]

    sizes = {"BLOCK_M": queries, "BLOCK_N": keys}
    return triton.Config(sizes, num_warps=warps, num_stages=stages, pre_hook=shape if tma else None)


def tuned(name: str, tma: bool):
    configs = [config(name, choice, tma) for choice in CHOICES[name]]
    bench = lambda run, quantiles: triton.testing.do_bench(run, TUNING_MS / 4, TUNING_MS, quantiles=quantiles)
    return triton.autotune(configs, ["length", "heads", "HEAD", "LEFT", "RIGHT"], do_bench=bench)(KERNELS[name])


TUNED = {(name, tma): tuned(name, tma) for name in KERNELS for tma in (False, True)}


def window(pattern: str, length: int) -> tuple[int, int]:
    """Keys to the left and to the right that a query sees; the length where that side ends nowhere."""
    name, *words = pattern.split(":")
    if name == "band" and len(words) == 1:
        left, right = (words[0] + ",0").split(",")[:2]
        return tuple(length if side == "all" else min(int(side), length) for side in (left, right))
    if name in ("full", "causal") and not words:
        return length, length if name == "full" else 0
    raise NotImplementedError("this script does not know it")


class Fused(torch.autograd.Function):
    """Attention over (batch, heads, length, head) that lies as (batch, length, heads, head). A way is the window, of
    each kernel one of CHOICES or None, which tunes, and whether descriptors are read."""

    @staticmethod
    def launch(way, name: str, *operands: torch.Tensor) -> None:
        left, right, chosen, tma = way
        kernel, q = KERNELS[name], operands[0]
        batch, heads, length, head = q.shape
        operands = dict(zip(kernel.arg_names, operands))
        if tma:
            for operand in DESCRIBED[name]:
                whole = [batch * length, heads * head]
                operands[operand] = TensorDescriptor(operands[operand], whole, [heads * head, 1], [DELTA_ROWS, head])
        even = length % DELTA_ROWS == 0
        sizes = {"HEAD": head, "LEFT": left < length, "RIGHT": right < length, "EVEN": even, "TMA": tma}
        if chosen is None:
            kernel = TUNED[name, tma]
        else:
            picked = config(name, chosen[name], tma)
            if tma:
                picked.pre_hook({**operands, **sizes})
            sizes.update(picked.all_kwargs())
        side = "BLOCK_N" if name == "keys" else "BLOCK_M"
        scale = 1 / math.sqrt(head)
        factors = (scale * LOG2_E,) if name == "forward" else (scale * LOG2_E, scale)
        grid = lambda meta: (triton.cdiv(length, meta[side]), batch * heads)
        kernel[grid](*operands.values(), *q.stride()[:3], heads, length, left, right, *factors, **sizes)

    @staticmethod
    def forward(ctx, q, k, v, *way):
        batch, heads, length, head = q.shape
        rows = lambda tensor: tensor.transpose(1, 2).is_contiguous()
        if not all(map(rows, (q, k, v))):
            raise ValueError("queries, keys and values must lie as (batch, length, heads, head)")
        out = torch.empty_like(q)
        lse = torch.empty(batch * heads, length, dtype=torch.float32, device=q.device)
        Fused.launch(way, "forward", q, k, v, out, lse)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.way = way
        return out

    @staticmethod
    def backward(ctx, dout):
        q, k, v, out, lse = ctx.saved_tensors
        batch, heads, length, head = q.shape
        if not dout.transpose(1, 2).is_contiguous():
            dout = torch.empty_like(q).copy_(dout)
        sums, dq, dk, dv = torch.empty_like(lse), torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        grid = (triton.cdiv(length, DELTA_ROWS), batch * heads)
        triton_kernels.delta[grid](out, dout, sums, *q.stride()[:3], heads, length, HEAD=head, BLOCK_M=DELTA_ROWS)
        Fused.launch(ctx.way, "keys", q, k, v, dout, lse, sums, dk, dv)
        Fused.launch(ctx.way, "queries", q, k, v, dout, lse, sums, dq)
        return (dq, dk, dv) + (None,) * len(ctx.way)
