// What is compared of two spectra, bin by bin, and the slope that turns one into the gradient's spectrum.
//
// With S and T the bin of the prediction and of the target, the gradient's bin is slope * S, slope = (dg/d|S|) / |S|; every
// measure writes it so that it is finite, and 0 where S is: silence has no gradient, and never NaN. A slope here is half of
// that, since the inverse transform counts all bins but the first and the last one twice.
#pragma once

#include "spectrogram/transform.cuh"

namespace evoke {

// As `Measure` in src/ops/spectrogram/settings.rs.
enum Measure { MAGNITUDE, POWER, LOG, MEL, CONVERGENCE };

// Sums of a clip: squared differences; of convergence also the target's power and the logarithms' differences.
constexpr int TERMS = 3;

// What a launch is told beside its tensors; as `Settings` in src/ops/spectrogram/cuda.rs.
struct Settings {
    int samples; // of a clip
    int window, hop;
    int measure;
    int bands;    // mel
    float factor; // slopes are multiplied by it and by the scale, but for convergence
    float floor;  // a power
};

// What the slopes of one clip are multiplied by: of squared differences or of convergence, and of logarithms beside it.
struct Slopes {
    float linear, log;
};

struct Compared {
    float terms[TERMS];
    float slope;
};

// Bins of powers p of the prediction and q of the target. `log` is good to 2^-21 near 1, where equal bins are: far below
// what a difference of spectra means.
EVOKE_DEVICE Compared compare(float p, float q, Slopes slopes, const Settings &settings) {
    if (settings.measure == POWER) return {{(p - q) * (p - q), 0.0f, 0.0f}, slopes.linear * (p - q)};
    if (settings.measure == LOG) {
        const float difference = 0.5f * log((p + settings.floor) / (q + settings.floor));
        return {{difference * difference, 0.0f, 0.0f}, slopes.linear * difference / (p + settings.floor)};
    }
    const float s = sqrt(p), difference = s - sqrt(q);
    Compared found = {{difference * difference, 0.0f, 0.0f}, p > 0.0f ? slopes.linear * difference / s : 0.0f};
    if (settings.measure == CONVERGENCE) {
        const float ratio = (p + settings.floor) / (q + settings.floor);
        found.terms[1] = q;
        found.terms[2] = abs(0.5f * log(ratio));
        if (ratio != 1.0f) found.slope += (ratio > 1.0f ? slopes.log : -slopes.log) / (p + settings.floor);
    }
    return found;
}

// A spectrum's bins k and M - k, of 2M real samples, from bins of the transform of M pairs of them.
struct Bins {
    Complex low, high;
};

// `turn` is exp(-2 pi i k / 2M). For k = 0 the pair is the first and the last bin of all.
EVOKE_DEVICE Bins bins_of(Complex low, Complex high, Complex turn) {
    const Complex even = low + conjugate(high), odd = times_i(turn * (low - conjugate(high)));
    return {0.5f * (even - odd), 0.5f * conjugate(even + odd)};
}

// The way back, for a transform that is inverse but for the sign of the angle: hence everything is conjugate.
EVOKE_DEVICE Bins pairs_of(Bins bins, Complex turn) {
    const Complex even = bins.low + conjugate(bins.high);
    const Complex odd = times_i(conjugate(turn) * (bins.low - conjugate(bins.high)));
    return {conjugate(even + odd), even - odd};
}

} // namespace evoke
