"""Times one training step of a captioner on the CPU in PyTorch and JAX: the peers of `evoke bench`.

The work, the same for every peer:

- a batch of 16 pictures of 224x224, bytes; each step normalises them to [-1, 1], cuts them into 196 patches of
  16x16x3, and maps the flattened patches by one linear layer to the width, plus learned positions
- 4 encoder and 4 decoder layers, width 256, 8 heads, feed-forward 1024, exact (erf) GELU, pre-norm, no dropout
- 20 tokens in, 20 targets, vocabulary 10,000, output tied to the token embedding
- cross-entropy with label smoothing .1; forward, backward and one AdamW step (lr 3e-4, weight decay .01) in f32

Each peer is written the way its own users would write it for speed: PyTorch with packed projections,
`scaled_dot_product_attention` and fused AdamW, eager or under `torch.compile`; JAX as one jitted step with donated
buffers and optax's AdamW. One batch is used again and again; it is ready before the clock starts.

    captioner_cpu.py --peer eager|compile|jax [--steps 20] [--warmup 3] [--threads 2] [--json]
    captioner_cpu.py --all            each peer in a process of its own, one after the other

Prints the median, least and greatest milliseconds of a step, the loss before and after, and the peak resident memory
of the process (which, for compiled peers, includes the compiler's). The first losses of all peers are near
ln 10,000 = 9.2: a peer that computes something else would show it. Needs torch, or jax and optax.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time

import numpy as np

PEERS = ("eager", "compile", "jax")
BATCH, SIDE, PATCH, TOKENS, VOCABULARY = 16, 224, 16, 20, 10_000
PATCHES, PIXELS = (SIDE // PATCH) ** 2, PATCH * PATCH * 3
LAYERS, WIDTH, HEADS, HIDDEN = 4, 256, 8, 1024
SMOOTHING, LEARNING_RATE, WEIGHT_DECAY = 0.1, 3e-4, 0.01


def batch():
    random = np.random.default_rng(1)
    pictures = random.integers(0, 256, (BATCH, SIDE, SIDE, 3), dtype=np.uint8)
    tokens = random.integers(0, VOCABULARY, (BATCH, TOKENS + 1), dtype=np.int64)
    return pictures, tokens[:, :-1], tokens[:, 1:]


def torch_step(threads, compiled, device="cpu"):
    """On `cuda` the arithmetic is bf16 by autocast, and the loss stays where it is: nothing waits for a step."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.set_num_threads(threads)
    torch.manual_seed(1)

    def heads(x):
        return x.view(x.shape[0], x.shape[1], HEADS, WIDTH // HEADS).transpose(1, 2)

    def attend(q, k, v, look_ahead=False):
        out = F.scaled_dot_product_attention(heads(q), heads(k), heads(v), is_causal=look_ahead)
        return out.transpose(1, 2).reshape(q.shape)

    class FeedForward(nn.Sequential):
        def __init__(self):
            super().__init__(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, WIDTH))

    class SelfAttention(nn.Module):
        def __init__(self, look_ahead):
            super().__init__()
            self.look_ahead = look_ahead
            self.norm, self.qkv, self.out = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

        def forward(self, x):
            return self.out(attend(*self.qkv(self.norm(x)).chunk(3, -1), self.look_ahead))

    class CrossAttention(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.q = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH)
            self.kv, self.out = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(WIDTH, WIDTH)

        def forward(self, x, memory):
            return self.out(attend(self.q(self.norm(x)), *self.kv(memory).chunk(2, -1)))

    class Captioner(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches = nn.Linear(PIXELS, WIDTH)
            self.picture_positions = nn.Parameter(0.02 * torch.randn(PATCHES, WIDTH))
            self.encoder = nn.ModuleList(
                nn.ModuleList([SelfAttention(False), FeedForward()]) for _ in range(LAYERS))
            self.encoder_norm = nn.LayerNorm(WIDTH)
            self.embedding = nn.Embedding(VOCABULARY, WIDTH)
            nn.init.normal_(self.embedding.weight, std=0.02)
            self.token_positions = nn.Parameter(0.02 * torch.randn(TOKENS, WIDTH))
            self.decoder = nn.ModuleList(
                nn.ModuleList([SelfAttention(True), CrossAttention(), FeedForward()]) for _ in range(LAYERS))
            self.decoder_norm = nn.LayerNorm(WIDTH)

        def forward(self, pictures, tokens, targets):
            side = SIDE // PATCH
            x = pictures.view(BATCH, side, PATCH, side, PATCH, 3).transpose(2, 3).reshape(BATCH, PATCHES, PIXELS)
            x = self.patches(x.float().mul(2 / 255).sub(1)) + self.picture_positions
            for attention, feed_forward in self.encoder:
                x = x + attention(x)
                x = x + feed_forward(x)
            memory = self.encoder_norm(x)
            y = self.embedding(tokens) + self.token_positions
            for attention, cross, feed_forward in self.decoder:
                y = y + attention(y)
                y = y + cross(y, memory)
                y = y + feed_forward(y)
            logits = F.linear(self.decoder_norm(y), self.embedding.weight)
            return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), label_smoothing=SMOOTHING)

    model = Captioner().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    # On a GPU with its CUDA graphs.
    loss_of = torch.compile(model, mode="reduce-overhead" if device == "cuda" else None) if compiled else model
    data = [torch.from_numpy(array).to(device) for array in batch()]

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = loss_of(*data)
        loss.backward()
        optimizer.step()
        return loss.detach().clone() if device == "cuda" else loss.item()

    return step, f"torch {torch.__version__}"


def jax_step(threads):
    # XLA sizes its thread pools by the cores that the process may use; there is no other switch that holds.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    import jax
    import jax.numpy as jnp
    import optax

    keys = iter(jax.random.split(jax.random.key(1), 100))

    def linear(inputs, outputs):
        bound = inputs ** -0.5
        return {"w": jax.random.uniform(next(keys), (inputs, outputs), minval=-bound, maxval=bound),
                "b": jnp.zeros(outputs)}

    def norm():
        return {"g": jnp.ones(WIDTH), "b": jnp.zeros(WIDTH)}

    def normal(*shape):
        return 0.02 * jax.random.normal(next(keys), shape)

    def self_attention():
        return {"norm": norm(), "qkv": linear(WIDTH, 3 * WIDTH), "out": linear(WIDTH, WIDTH)}

    def cross_attention():
        return {"norm": norm(), "q": linear(WIDTH, WIDTH), "kv": linear(WIDTH, 2 * WIDTH), "out": linear(WIDTH, WIDTH)}

    def feed_forward():
        return {"norm": norm(), "up": linear(WIDTH, HIDDEN), "down": linear(HIDDEN, WIDTH)}

    weights = {
        "patches": linear(PIXELS, WIDTH), "picture_positions": normal(PATCHES, WIDTH),
        "encoder": [{"self": self_attention(), "ff": feed_forward()} for _ in range(LAYERS)],
        "encoder_norm": norm(), "embedding": normal(VOCABULARY, WIDTH), "token_positions": normal(TOKENS, WIDTH),
        "decoder": [{"self": self_attention(), "cross": cross_attention(), "ff": feed_forward()}
                    for _ in range(LAYERS)],
        "decoder_norm": norm(),
    }

    def apply(layer, x):
        return x @ layer["w"] + layer["b"]

    def normalise(layer, x):
        centred = x - x.mean(-1, keepdims=True)
        return centred * jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-5) * layer["g"] + layer["b"]

    def attend(q, k, v, look_ahead=False):
        q, k, v = (x.reshape(BATCH, -1, HEADS, WIDTH // HEADS) for x in (q, k, v))
        return jax.nn.dot_product_attention(q, k, v, is_causal=look_ahead).reshape(BATCH, -1, WIDTH)

    def run_self(layer, x, look_ahead=False):
        qkv = apply(layer["qkv"], normalise(layer["norm"], x))
        return x + apply(layer["out"], attend(*jnp.split(qkv, 3, -1), look_ahead))

    def run_cross(layer, x, memory):
        q = apply(layer["q"], normalise(layer["norm"], x))
        return x + apply(layer["out"], attend(q, *jnp.split(apply(layer["kv"], memory), 2, -1)))

    def run_feed_forward(layer, x):
        hidden = jax.nn.gelu(apply(layer["up"], normalise(layer["norm"], x)), approximate=False)
        return x + apply(layer["down"], hidden)

    def loss_of(weights, pictures, tokens, targets):
        side = SIDE // PATCH
        x = pictures.reshape(BATCH, side, PATCH, side, PATCH, 3).swapaxes(2, 3).reshape(BATCH, PATCHES, PIXELS)
        x = apply(weights["patches"], x.astype(jnp.float32) * (2 / 255) - 1) + weights["picture_positions"]
        for layer in weights["encoder"]:
            x = run_feed_forward(layer["ff"], run_self(layer["self"], x))
        memory = normalise(weights["encoder_norm"], x)
        y = weights["embedding"][tokens] + weights["token_positions"]
        for layer in weights["decoder"]:
            y = run_cross(layer["cross"], run_self(layer["self"], y, True), memory)
            y = run_feed_forward(layer["ff"], y)
        logits = normalise(weights["decoder_norm"], y) @ weights["embedding"].T
        log_sum = jax.nn.logsumexp(logits, -1)
        true = jnp.take_along_axis(logits, targets[..., None], -1)[..., 0]
        return (log_sum - (1 - SMOOTHING) * true - SMOOTHING * logits.mean(-1)).mean()

    optimizer = optax.adamw(LEARNING_RATE, weight_decay=WEIGHT_DECAY)

    def update(weights, moments, *data):
        loss, gradients = jax.value_and_grad(loss_of)(weights, *data)
        changes, moments = optimizer.update(gradients, moments, weights)
        return optax.apply_updates(weights, changes), moments, loss

    update = jax.jit(update, donate_argnums=(0, 1))
    state = [weights, jax.jit(optimizer.init)(weights)]
    data = [jnp.asarray(array if array.dtype == np.uint8 else array.astype(np.int32)) for array in batch()]

    def step():
        state[0], state[1], loss = update(*state, *data)
        jax.block_until_ready(state)
        return float(loss)

    return step, f"jax {jax.__version__}"


def measure(options):
    step, version = jax_step(options.threads) if options.peer == "jax" else \
        torch_step(options.threads, options.peer == "compile")
    losses = [step() for _ in range(options.warmup)]
    times = []
    for _ in range(options.steps):
        start = time.perf_counter()
        losses.append(step())
        times.append(1000 * (time.perf_counter() - start))
    return {
        "peer": options.peer, "version": version, "threads": options.threads, "steps": options.steps,
        "median_ms": statistics.median(times), "min_ms": min(times), "max_ms": max(times),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
        "loss_first": losses[0], "loss_last": losses[-1],
    }


def show(result):
    if "error" in result:
        return f"{result['peer']:<8} {result['error']}"
    return ("{peer:<8} {version:<16} median {median_ms:8.1f} ms  min {min_ms:8.1f}  max {max_ms:8.1f}  "
            "peak {peak_rss_mb:7.0f} MB  loss {loss_first:.3f} -> {loss_last:.3f}").format(**result)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--peer", choices=PEERS)
    which.add_argument("--all", action="store_true")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.steps < 1 or options.warmup < 1 or options.threads < 1:
        parser.error("--steps, --warmup and --threads must be at least 1")
    # Read by the libraries' thread pools when they load.
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(options.threads)
    if options.peer:
        result = measure(options)
        print(json.dumps(result) if options.json else show(result))
        return
    results = []
    for peer in PEERS:
        numbers = [f"--{name}={getattr(options, name)}" for name in ("steps", "warmup", "threads")]
        child = subprocess.run([sys.executable, __file__, "--peer", peer, "--json", *numbers],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if child.returncode == 0:
            results.append(json.loads(child.stdout.strip().splitlines()[-1]))
        else:
            last = (child.stderr.strip().splitlines() or ["no message"])[-1]
            results.append({"peer": peer, "error": f"exit code {child.returncode}: {last}"})
        if not options.json:
            print(show(results[-1]), flush=True)
    if options.json:
        print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
