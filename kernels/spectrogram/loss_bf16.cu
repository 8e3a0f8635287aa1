// The spectrogram loss of predictions that are stored as bf16: loss.cuh.
#include "spectrogram/kernels.cuh"

using namespace evoke;

EVOKE_SPECTROGRAM(64, bf16)
EVOKE_SPECTROGRAM(128, bf16)
EVOKE_SPECTROGRAM(256, bf16)
EVOKE_SPECTROGRAM(512, bf16)
EVOKE_SPECTROGRAM(1024, bf16)
EVOKE_SPECTROGRAM(2048, bf16)
EVOKE_SPECTROGRAM(4096, bf16)
