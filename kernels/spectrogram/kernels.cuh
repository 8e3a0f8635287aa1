// The kernels of one storage type: EVOKE_SPECTROGRAM(N, type) for every transform, and their mel forms.
#pragma once

#include "spectrogram/loss.cuh"

#define EVOKE_SPECTROGRAM(N, T)                                                                                        \
    EVOKE_KERNEL(spectrogram_##N##_##T, Sizes<N>::THREADS, Sizes<N>::BYTES, Global<EVOKE_STORED_##T> gradient,         \
                 Global<float> partials, Global<const EVOKE_STORED_##T> predicted, Global<const float> target,         \
                 Global<const float> scale, Global<const float> slopes, Settings settings) {                           \
        spectrogram_loss<N, false, EVOKE_STORED_##T>({gradient, partials, predicted, target, scale, slopes}, nullptr,  \
                                                     settings);                                                        \
    }                                                                                                                  \
    EVOKE_KERNEL(spectrogram_mel_##N##_##T, Sizes<N>::THREADS, MelSizes<N>::BYTES, Global<EVOKE_STORED_##T> gradient,  \
                 Global<float> partials, Global<const EVOKE_STORED_##T> predicted, Global<const float> target,         \
                 Global<const float> scale, Global<const float> slopes, Settings settings, Borders borders) {          \
        spectrogram_loss<N, true, EVOKE_STORED_##T>({gradient, partials, predicted, target, scale, slopes}, &borders,  \
                                                    settings);                                                         \
    }
#define EVOKE_STORED_bf16 bf16
#define EVOKE_STORED_f32 float
