"""Spectrogram losses and their gradients by PyTorch's `torch.stft` in f64, for tests/spectrogram_oracle.rs.

Needs `torch`. Usage: stft.py tests/fixtures/stft.json

Signals are a formula of integers, exact in f32, so that only results are stored. tf.signal's framing: frames begin at the
signal's start, zeros behind its end, ceil(samples / hop) of them; the window is the first samples of the transform.
"""

import json
import math
import sys

import torch

# clips, samples, fft, window, hop, measure, seeds of prediction and target (0 is silence)
SIZES = [
    (1, 1, 512, 512, 256, "magnitude", 1, 2),
    (1, 255, 512, 512, 256, "magnitude", 3, 4),
    (2, 256, 512, 512, 256, "magnitude", 5, 6),
    (2, 257, 512, 512, 256, "magnitude", 7, 8),
    (3, 1000, 512, 512, 256, "magnitude", 9, 10),
    (2, 16000, 512, 512, 256, "magnitude", 11, 12),
    (1, 1000, 512, 512, 256, "magnitude", 0, 13),
    (1, 1000, 512, 512, 256, "magnitude", 14, 0),
    (1, 1000, 512, 512, 256, "magnitude", 0, 0),
    (2, 777, 64, 64, 16, "magnitude", 15, 16),
    (2, 777, 128, 100, 33, "magnitude", 17, 18),
    (1, 3000, 256, 255, 100, "magnitude", 19, 20),
    (1, 5000, 1024, 600, 120, "magnitude", 21, 22),
    (1, 9000, 2048, 1200, 240, "magnitude", 23, 24),
    (1, 20000, 4096, 4096, 1000, "magnitude", 25, 26),
    (1, 700, 64, 33, 90, "magnitude", 27, 28),
    (2, 1000, 512, 512, 256, "power", 29, 30),
    (2, 1000, 512, 512, 256, "log", 31, 32),
    (1, 4000, 1024, 600, 120, "convergence", 33, 34),
    (2, 5000, 2048, 1200, 240, "convergence", 35, 36),
    (2, 2000, 512, 240, 50, "convergence", 37, 38),
    (1, 2000, 512, 240, 50, "convergence", 39, 0),
]
FLOOR = 1e-7  # under the logarithms of convergence
HIGH_FLOOR = 1e-2  # of log
STORED = 100  # elements of a gradient, at most


def signal(seed: int, clips: int, samples: int) -> torch.Tensor:
    """Squares modulo a prime: as flat a spectrum as noise has."""
    if seed == 0:
        return torch.zeros(clips, samples, dtype=torch.float64)
    values = [((i * i * (seed + 2) + i * 7919 + seed * 131) % 4093 - 2046) / 4096 for i in range(1, clips * samples + 1)]
    return torch.tensor(values, dtype=torch.float64).view(clips, samples)


def magnitudes(x: torch.Tensor, fft: int, window: int, hop: int) -> torch.Tensor:
    frames = math.ceil(x.shape[1] / hop)
    needed = (frames - 1) * hop + fft
    padded = torch.nn.functional.pad(x, (0, max(needed - x.shape[1], 0)))[:, :needed]
    hann = torch.zeros(fft, dtype=x.dtype)
    hann[:window] = torch.hann_window(window, periodic=True, dtype=torch.float64).to(x.dtype)
    return torch.stft(padded, fft, hop, fft, hann, center=False, return_complex=True).abs()


def loss(predicted: torch.Tensor, target: torch.Tensor, fft: int, window: int, hop: int, measure: str) -> torch.Tensor:
    s, t = magnitudes(predicted, fft, window, hop), magnitudes(target, fft, window, hop)
    assert s.shape[2] == math.ceil(predicted.shape[1] / hop)

    def log(x: torch.Tensor, floor: float) -> torch.Tensor:
        return 0.5 * torch.log(x * x + floor)

    if measure == "magnitude":
        return ((s - t) ** 2).mean()
    if measure == "power":
        return ((s * s - t * t) ** 2).mean()
    if measure == "log":
        return ((log(s, HIGH_FLOOR) - log(t, HIGH_FLOOR)) ** 2).mean()
    ratio = torch.linalg.vector_norm(t - s, dim=(1, 2)) / torch.linalg.vector_norm(t, dim=(1, 2)).clamp(min=1e-30)
    ratio = torch.where((t * t).mean(dim=(1, 2)) > FLOOR, ratio, torch.zeros_like(ratio))
    return (ratio + (log(t, FLOOR) - log(s, FLOOR)).abs().mean(dim=(1, 2))).mean()


def main() -> None:
    cases = []
    for clips, samples, fft, window, hop, measure, first, second in SIZES:
        def differentiated(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
            predicted = signal(first, clips, samples).to(dtype).requires_grad_()
            target = signal(second, clips, samples).to(dtype)
            value = loss(predicted, target, fft, window, hop, measure)
            (gradient,) = torch.autograd.grad(value, predicted)
            return value, gradient.flatten()

        value, flat = differentiated(torch.float64)
        in_f32 = (differentiated(torch.float32)[1] - flat).abs().max() / flat.abs().max().clamp(min=1e-300)
        every = math.ceil(len(flat) / STORED)
        cases.append({
            "clips": clips, "samples": samples, "fft": fft, "window": window, "hop": hop, "measure": measure,
            "seeds": [first, second], "loss": value.item(), "every": every, "largest": flat.abs().max().item(),
            "error_in_f32": in_f32.item(),
            "gradient": [float(f"{v:.9g}") for v in flat[::every].tolist()],
        })
    lines = ",\n".join(json.dumps(case) for case in cases)
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        file.write(f'{{"torch": "{torch.__version__}", "floor": {FLOOR}, "high_floor": {HIGH_FLOOR}, "cases": [\n{lines}\n]}}\n')


main()
