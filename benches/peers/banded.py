"""Times banded attention in PyTorch: attention alone, and one training step of a model of samples. f32 on the CPU; on a
GPU bf16 by autocast, with FlexAttention.

The work:

- attention: forward and backward of a causal band, each query sees its own key and BAND before it
- step: samples of 256 classes, embedded; LAYERS pre-norm layers of banded attention (packed projection) and a
  feed-forward of 4 x WIDTH with exact GELU; norm, linear to 256 classes, cross-entropy; forward, backward, one AdamW

A band has no kernel on a CPU (FlexAttention has no backward there), so this is the fastest exact form: chunks of BAND
queries, each of which sees its own and the previous chunk under a mask, in one call of scaled_dot_product_attention.
On a GPU it is FlexAttention with a block mask, compiled. `--check` compares with the whole masked matrix first. The same
work in Evoke: `evoke bench foley-step`.

    banded.py [--what attention|step] [--length 16000] [--band 256] [--layers 4] [--width 128] [--heads 4]
              [--batch 1] [--threads 2] [--seconds 10] [--device cpu|cuda] [--compile] [--check]

Prints one JSON line: the least and median milliseconds, the losses before and after, and in bytes the process's peak
resident memory (VmHWM), on a GPU the most that was allocated there. Needs torch.
"""

import argparse
import json
import re
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F

CLASSES = 256


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--what", choices=("attention", "step"), default="step")
    for name, value in (("length", 16_000), ("band", 256), ("layers", 4), ("width", 128), ("heads", 4), ("batch", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--check", action="store_true")
    return parser.parse_args()


def chunk_mask(length, band):
    """(chunks, 1, band, 2 band): query r of a chunk sees keys r ..= r + band of the previous chunk and its own."""
    query, key = torch.arange(band)[:, None], torch.arange(2 * band)[None, :]
    seen = (key >= query) & (key <= query + band)
    mask = seen.expand(-(-length // band), 1, band, 2 * band).clone()
    mask[0] &= key >= band  # nothing stands before the first chunk
    return mask


def banded(q, k, v, band, mask):
    """q, k, v (batch, length, heads, head size) -> the same shape."""
    batch, length, heads, size = q.shape
    chunks = -(-length // band)
    padding = chunks * band - length

    def chunked(x):
        return F.pad(x, (0, 0, 0, 0, 0, padding)).view(batch, chunks, band, heads, size)

    def with_previous(x):
        x = chunked(x)
        previous = F.pad(x[:, :-1], (0, 0, 0, 0, 0, 0, 1, 0))
        return torch.cat((previous, x), 2).view(batch * chunks, 2 * band, heads, size).transpose(1, 2)

    q = chunked(q).view(batch * chunks, band, heads, size).transpose(1, 2)
    mask = mask.repeat(batch, 1, 1, 1) if batch > 1 else mask
    out = F.scaled_dot_product_attention(q, with_previous(k), with_previous(v), attn_mask=mask)
    return out.transpose(1, 2).reshape(batch, chunks * band, heads, size)[:, :length]


def flex_mask(length, band, device):
    from torch.nn.attention.flex_attention import create_block_mask

    def seen(batch, head, query, key):
        return (key <= query) & (query - key <= band)

    return create_block_mask(seen, None, None, length, length, device=device)


def flex(q, k, v, band, mask):
    """As `banded`, by FlexAttention."""
    from torch.nn.attention.flex_attention import flex_attention

    return flex_attention(*(x.transpose(1, 2) for x in (q, k, v)), block_mask=mask).transpose(1, 2)


def on_gpu(a):
    return a.device.startswith("cuda")


def mask_of(a, length):
    return flex_mask(length, a.band, a.device) if on_gpu(a) else chunk_mask(length, a.band)


class Layer(nn.Module):
    def __init__(self, a):
        super().__init__()
        self.a, self.attend = a, flex if on_gpu(a) else banded
        self.norms = nn.ModuleList(nn.LayerNorm(a.width) for _ in range(2))
        self.qkv, self.out = nn.Linear(a.width, 3 * a.width), nn.Linear(a.width, a.width)
        self.first, self.second = nn.Linear(a.width, 4 * a.width), nn.Linear(4 * a.width, a.width)

    def forward(self, x, mask):
        batch, length, width = x.shape
        heads = self.qkv(self.norms[0](x)).view(batch, length, 3, self.a.heads, width // self.a.heads)
        q, k, v = heads.unbind(2)
        x = x + self.out(self.attend(q, k, v, self.a.band, mask).reshape(batch, length, width))
        return x + self.second(F.gelu(self.first(self.norms[1](x))))


class Model(nn.Module):
    def __init__(self, a):
        super().__init__()
        self.embedding = nn.Embedding(CLASSES, a.width)
        self.layers = nn.ModuleList(Layer(a) for _ in range(a.layers))
        self.norm, self.head = nn.LayerNorm(a.width), nn.Linear(a.width, CLASSES)

    def forward(self, samples, targets, mask):
        x = self.embedding(samples)
        for layer in self.layers:
            x = layer(x, mask)
        return F.cross_entropy(self.head(self.norm(x)).flatten(0, 1), targets.flatten())


def now(a):
    if on_gpu(a):
        torch.cuda.synchronize()
    return time.perf_counter()


def attention_work(a):
    shape, kind = (a.batch, a.length, a.heads, a.width // a.heads), torch.bfloat16 if on_gpu(a) else torch.float32
    q, k, v = (torch.randn(shape, device=a.device, dtype=kind, requires_grad=True) for _ in range(3))
    dout, mask = torch.randn(shape, device=a.device, dtype=kind), mask_of(a, a.length)
    attend = flex if on_gpu(a) else banded
    attend = torch.compile(attend) if a.compile else attend

    def run():
        start = now(a)
        out = attend(q, k, v, a.band, mask)
        middle = now(a)
        torch.autograd.grad(out, (q, k, v), dout)
        return {"forward": middle - start, "backward": now(a) - middle}

    return run


def step_work(a):
    model = Model(a).to(a.device)
    model = torch.compile(model) if a.compile else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
    samples = torch.randint(0, CLASSES, (a.batch, a.length + 1), device=a.device)
    mask = mask_of(a, a.length)

    def run():
        start = now(a)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16, enabled=on_gpu(a)):
            loss = model(samples[:, :-1], samples[:, 1:], mask)
        loss.backward()
        optimizer.step()
        return {"step": now(a) - start, "loss": loss.item()}

    return run


def check(a):
    """The banded form against the whole matrix, on a length that is no multiple of the band."""
    length = 3 * a.band + 5
    q, k, v = (torch.randn(2, length, 2, 16, device=a.device) for _ in range(3))
    back = torch.arange(length, device=a.device)[:, None] - torch.arange(length, device=a.device)[None, :]
    whole = F.scaled_dot_product_attention(
        *(x.transpose(1, 2) for x in (q, k, v)), attn_mask=(back >= 0) & (back <= a.band)
    ).transpose(1, 2)
    attend = torch.compile(flex) if on_gpu(a) else banded
    error = (attend(q, k, v, a.band, mask_of(a, length)) - whole).abs().max().item()
    assert error < (1e-2 if on_gpu(a) else 1e-5), error  # a GPU may round f32 products to tf32


def main():
    a = arguments()
    torch.set_num_threads(a.threads)
    torch.manual_seed(1)
    if a.check:
        check(a)
    run = attention_work(a) if a.what == "attention" else step_work(a)
    run()
    times, begin = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - begin < a.seconds:
        times.append(run())
    result = {"peer": f"PyTorch {torch.__version__}", **vars(a), "runs": len(times)}
    for name in times[0]:
        if name == "loss":
            result["first_loss"], result["last_loss"] = times[0][name], times[-1][name]
        else:
            taken = [1e3 * t[name] for t in times]
            result[f"{name}_ms"] = {"least": round(min(taken), 1), "median": round(statistics.median(taken), 1)}
    peak = re.search(r"VmHWM:\s*(\d+) kB", open("/proc/self/status").read())
    result["peak_bytes"] = torch.cuda.max_memory_allocated() if on_gpu(a) else 1024 * int(peak[1])
    print(json.dumps(result))


main()
