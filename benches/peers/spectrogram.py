"""Times of the spectrogram loss in PyTorch, forward and backward, f32: the same work as the ignored test
`spectrogram_times` (src/ops/spectrogram/cpu_bench.rs) and `evoke bench spectrogram`. Best and median of many runs.

    spectrogram.py [THREADS] [--clips 16] [--device cpu|cuda] [--json]

On a GPU each run is waited for: the loss is read, as a training loop that shows it would."""

import argparse
import json
import math
import time

import torch

SAMPLES, FLOOR, SECONDS = 16_000, 1e-7, 2.0
RESOLUTIONS = [(1024, 120, 600), (2048, 240, 1200), (512, 50, 240)]  # transform, hop, window


def signal(seed: int, clips: int) -> torch.Tensor:
    i = torch.arange(clips * SAMPLES)
    return (((i * 7919 + seed * 104_729) % 1000).float() / 1000 - 0.5).view(clips, SAMPLES)


def magnitudes(x: torch.Tensor, fft: int, hop: int, hann: torch.Tensor) -> torch.Tensor:
    """tf.signal's framing: frames begin at the start, zeros behind the end."""
    needed = (math.ceil(SAMPLES / hop) - 1) * hop + fft
    padded = torch.nn.functional.pad(x, (0, needed - SAMPLES)) if needed > SAMPLES else x[:, :needed]
    return torch.stft(padded, fft, hop, fft, hann, center=False, return_complex=True).abs()


def window(fft: int, length: int) -> torch.Tensor:
    hann = torch.zeros(fft)
    hann[:length] = torch.hann_window(length)
    return hann


class Losses:
    """The two losses, with their windows on the device."""

    def __init__(self, device: str):
        self.hann = {fft: window(fft, length).to(device) for fft, _, length in RESOLUTIONS}
        self.whole = window(512, 512).to(device)

    def magnitude(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return ((magnitudes(x, 512, 256, self.whole) - magnitudes(y, 512, 256, self.whole)) ** 2).mean()

    def multi_resolution(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        total = torch.zeros((), device=x.device)
        for fft, hop, _ in RESOLUTIONS:
            s, t = (magnitudes(z, fft, hop, self.hann[fft]) for z in (x, y))
            ratio = torch.linalg.vector_norm(t - s, dim=(1, 2)) / torch.linalg.vector_norm(t, dim=(1, 2))
            log = 0.5 * (torch.log(t * t + FLOOR) - torch.log(s * s + FLOOR)).abs().mean(dim=(1, 2))
            total = total + (ratio + log).mean()
        return total


def timed(loss, x: torch.Tensor, y: torch.Tensor) -> dict:
    times, start = [], time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        t = time.perf_counter()
        value = loss(x, y)
        torch.autograd.grad(value, x)
        value = value.item()  # waits, on a GPU
        times.append(1e3 * (time.perf_counter() - t))
    times = sorted(times[1:] or times)  # the first one plans its transforms
    return {"least_ms": times[0], "median_ms": times[len(times) // 2], "runs": len(times), "loss": value}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("threads", nargs="?", type=int, default=2)
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    losses = Losses(options.device)
    y = signal(2, options.clips).to(options.device)
    found = {}
    for name in ("magnitude", "multi_resolution"):
        x = signal(1, options.clips).to(options.device).requires_grad_()
        found[name] = timed(getattr(losses, name), x, y)
    if options.json:
        print(json.dumps({"peer": f"PyTorch {torch.__version__}", **found}))
        return
    print(f"PyTorch {torch.__version__}, {options.device}, {torch.get_num_threads()} threads, {options.clips} clips")
    for name, one in found.items():
        print(f"{name:>16}, with gradient: least {one['least_ms']:.3f} ms, median {one['median_ms']:.3f} ms of "
              f"{one['runs']} runs, loss {one['loss']:.6f}")


main()
