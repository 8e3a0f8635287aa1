"""Times of the spectrogram loss in PyTorch on the CPU, forward and backward, f32: the same work as the ignored test
`spectrogram_times` (src/ops/spectrogram/cpu_bench.rs). Best and median of many runs. Usage: spectrogram.py [THREADS]"""

import math
import sys
import time

import torch

CLIPS, SAMPLES, FLOOR, SECONDS = 16, 16_000, 1e-7, 2.0
RESOLUTIONS = [(1024, 120, 600), (2048, 240, 1200), (512, 50, 240)]  # transform, hop, window


def signal(seed: int) -> torch.Tensor:
    i = torch.arange(CLIPS * SAMPLES)
    return (((i * 7919 + seed * 104_729) % 1000).float() / 1000 - 0.5).view(CLIPS, SAMPLES)


def magnitudes(x: torch.Tensor, fft: int, hop: int, hann: torch.Tensor) -> torch.Tensor:
    """tf.signal's framing: frames begin at the start, zeros behind the end."""
    needed = (math.ceil(SAMPLES / hop) - 1) * hop + fft
    padded = torch.nn.functional.pad(x, (0, needed - SAMPLES)) if needed > SAMPLES else x[:, :needed]
    return torch.stft(padded, fft, hop, fft, hann, center=False, return_complex=True).abs()


def window(fft: int, length: int) -> torch.Tensor:
    hann = torch.zeros(fft)
    hann[:length] = torch.hann_window(length)
    return hann


HANN = {fft: window(fft, length) for fft, _, length in RESOLUTIONS}
PLAIN = window(512, 512)


def plain(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return ((magnitudes(x, 512, 256, PLAIN) - magnitudes(y, 512, 256, PLAIN)) ** 2).mean()


def multi_resolution(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    total = torch.zeros(())
    for fft, hop, _ in RESOLUTIONS:
        s, t = magnitudes(x, fft, hop, HANN[fft]), magnitudes(y, fft, hop, HANN[fft])
        ratio = torch.linalg.vector_norm(t - s, dim=(1, 2)) / torch.linalg.vector_norm(t, dim=(1, 2))
        log = 0.5 * (torch.log(t * t + FLOOR) - torch.log(s * s + FLOOR)).abs().mean(dim=(1, 2))
        total = total + (ratio + log).mean()
    return total


def main() -> None:
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads")
    y = signal(2)
    for name, loss in [("magnitude, window 512, hop 256", plain), ("multi-resolution", multi_resolution)]:
        x = signal(1).requires_grad_()
        times, start = [], time.perf_counter()
        while time.perf_counter() - start < SECONDS:
            t = time.perf_counter()
            value = loss(x, y)
            torch.autograd.grad(value, x)
            times.append(time.perf_counter() - t)
        times.sort()
        best, median = times[0] * 1e3, times[len(times) // 2] * 1e3
        print(f"{name:>31}, with gradient: best {best:.3f} ms, median {median:.3f} ms of {len(times)} runs, loss {value:.6f}")


main()
