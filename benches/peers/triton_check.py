"""attention_triton.py --check: Triton's attention and its gradients against f64, and its kernels compiled for a GPU
that need not be here."""

import itertools
import math
import os
import re
import subprocess

from shapes import visible
from triton_fused import CHOICES, DESCRIBED, INTERPRETED, KERNELS, TYPES, WAYS, Fused, config, torch, triton, window


def textbook(q, k, v, dout, hidden) -> list[torch.Tensor]:
    """Output and gradients of queries, keys and values, in the type of the operands."""
    q, k, v = (tensor.detach().clone().requires_grad_() for tensor in (q, k, v))
    scores = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).masked_fill(hidden, -math.inf)
    out = scores.softmax(-1) @ v
    return [out.detach(), *torch.autograd.grad(out, (q, k, v), dout)]


def agrees(device: str, kind: str, shape, pattern: str, ways) -> bool:
    """Whether every one of `ways`, (chosen, tma), is near enough to f64."""
    batch, heads, length, head = shape
    draw = torch.Generator().manual_seed(length)
    rows = [torch.randn(batch, length, heads, head, generator=draw).to(device, TYPES[kind]) for _ in range(4)]
    q, k, v, dout = [tensor.transpose(1, 2) for tensor in rows]
    i = torch.arange(length, device=device)
    hidden = ~visible(pattern, length)(i[:, None], i[None, :])
    exact = textbook(*(tensor.double() for tensor in (q, k, v, dout)), hidden)
    farthest = lambda found: [(one.double() - truth).abs().max().item() for one, truth in zip(found, exact)]
    # And a little where the textbook happens to be exact: a sixteenth of the type's step at 1.
    allowed = [2 * error + torch.finfo(q.dtype).eps / 16 for error in farthest(textbook(q, k, v, dout, hidden))]
    ok = True
    for chosen, tma in ways:
        operands = [tensor.detach().requires_grad_() for tensor in (q, k, v)]
        out = Fused.apply(*operands, *window(pattern, length), chosen, tma)
        errors = farthest([out.detach(), *torch.autograd.grad(out, operands, dout)])
        within = all(error <= bound for error, bound in zip(errors, allowed))  # NaN is not
        ok = ok and within
        told = ", ".join(f"{name} {error:.1e} of {bound:.1e}"
                         for name, error, bound in zip(("out", "dq", "dk", "dv"), errors, allowed))
        print(f"{pattern:<10} {kind:<4} {batch} x {heads} x {length} x {head}, {WAYS[tma]}, "
              f"{'tuned' if chosen is None else 'chosen'}: {told}{'' if within else '  DIFFERS'}", flush=True)
    return ok


def check() -> bool:
    device = "cpu" if INTERPRETED else "cuda"
    how = "interpreted" if INTERPRETED else torch.cuda.get_device_name()
    print(f"Triton {triton.__version__}, {how}", flush=True)
    # What is allocated holds NaN until it is written.
    torch.use_deterministic_algorithms(True, warn_only=True)
    most = max(map(len, CHOICES.values()))
    in_turn = [{name: choices[n % len(choices)] for name, choices in CHOICES.items()} for n in range(most)]
    both = (False, True) if INTERPRETED or torch.cuda.get_device_capability()[0] >= 9 else (False,)
    ok = True
    for number, (pattern, shape) in enumerate([
        ("full", (1, 2, 200, 16)), ("full", (1, 1, 128, 32)), ("full", (2, 1, 1, 64)), ("causal", (2, 2, 150, 32)),
        ("causal", (1, 1, 257, 64)), ("causal", (1, 1, 256, 128)), ("band:40", (2, 1, 300, 16)),
        ("band:7,90", (1, 1, 333, 32)), ("band:200,3", (1, 1, 310, 16)), ("band:0,0", (1, 1, 70, 16)),
        ("band:1,1", (1, 1, 140, 16)), ("band:all,5", (1, 1, 190, 16)), ("band:5,all", (1, 2, 190, 16)),
    ]):
        # One choice each in turn; all of them where it is quick, and what tuning takes.
        chosen = [in_turn[number % most]]
        if not INTERPRETED and shape[2] == 257:
            chosen = [*in_turn, None]
        kind = "f16" if INTERPRETED or number % 2 else "bf16"
        ok = agrees(device, kind, shape, pattern, [(one, tma) for one in chosen for tma in both]) and ok
    return ok


def used(made, capability: int) -> str:
    """Registers and spills, where Triton's own assembler is found."""
    assembler = os.path.join(os.path.dirname(triton.__file__), "backends", "nvidia", "bin", "ptxas")
    if not os.path.exists(assembler):
        return ""
    said = subprocess.run([assembler, "-v", "--gpu-name", f"sm_{capability}a", "-o", os.devnull, "/dev/stdin"],
                          input=made.asm["ptx"], capture_output=True, text=True).stderr
    found = re.search(r"(\d+) bytes spill stores", said), re.search(r"Used (\d+) registers", said)
    return f", {found[1][1]} registers, {found[0][1]} bytes spilled" if all(found) else ""


def compiles(capability: int = 90) -> bool:
    """All that tuning may choose, in bf16, look-ahead mask, for a GPU of this compute capability, from Hopper on."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    ok = True
    every = [(name, choice) for name, choices in CHOICES.items() for choice in choices]
    for (name, choice), head, tma in itertools.product(every, (64, 128), (False, True)):
        kernel, sizes = KERNELS[name], config(name, choice, tma)
        constants = {"HEAD": head, "LEFT": False, "RIGHT": True, "EVEN": True, "TMA": tma, **sizes.kwargs}
        rows = choice[0] if name == "keys" else choice[1]
        types, divisible = {}, {}
        for at, operand in enumerate(kernel.arg_names):
            if operand in constants:
                types[operand] = "constexpr"
            elif tma and operand in DESCRIBED[name]:
                types[operand] = f"tensordesc<bf16[{rows}, {head}]>"
            elif operand.isupper():
                types[operand] = "*fp32" if operand in ("LSE", "DELTA") else "*bf16"
            else:
                types[operand] = "fp32" if operand in ("scale", "root") else "i32"
            # As a tensor's beginning is, and strides and lengths of whole blocks.
            if types[operand][0] == "*" or operand.startswith("stride") or operand == "length":
                divisible[(at,)] = [["tt.divisibility", 16]]
        made = triton.compile(ASTSource(kernel, types, constants, divisible), target=GPUTarget("cuda", capability, 32),
                              options={"num_warps": sizes.num_warps, "num_stages": sizes.num_stages})
        # Hopper's own products, and copies by descriptor: without them this would be no peer.
        fast = "wgmma.mma_async" in made.asm["ptx"] and ("cp.async.bulk.tensor" in made.asm["ptx"]) == tma
        ok = ok and fast
        print(f"{name} {choice} head {head}, {WAYS[tma]}: compiles for sm_{capability}, "
              f"{made.metadata.shared} bytes shared{used(made, capability)}{'' if fast else '  NOT HOPPER'}",
              flush=True)
    return ok
