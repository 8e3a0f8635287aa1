// The spectrogram loss of predictions that are stored as f32: loss.cuh.
#include "spectrogram/kernels.cuh"

using namespace evoke;

EVOKE_SPECTROGRAM(64, f32)
EVOKE_SPECTROGRAM(128, f32)
EVOKE_SPECTROGRAM(256, f32)
EVOKE_SPECTROGRAM(512, f32)
EVOKE_SPECTROGRAM(1024, f32)
EVOKE_SPECTROGRAM(2048, f32)
EVOKE_SPECTROGRAM(4096, f32)
