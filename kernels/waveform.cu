// The expected waveform: the expectation of the decoded sample under the softmax of 256 logits, and its gradient.
//
// With p = softmax(logits) of a row and v the codes' values:
//   wave  = sum of p v
//   slope = p (v - wave), which the backward pass turns into the gradient, times that of the wave
// v(code) = sgn(x) (256^|x| - 1) / 255 with x = code / 128 - 1 (mu-law), or x.
//
// 4 bytes a logit at bf16 when training, 2 without, 4 in the backward pass; some 10 FLOPs with one exponential: bound by
// memory. A warp has one row, eight codes a lane; lanes meet in a butterfly, so the bits repeat. Sums are in f32.
#include "primitives/memory.cuh"
#include "primitives/numbers.cuh"
#include "primitives/warp.cuh"

namespace evoke {

constexpr int WARPS = 8, THREADS = WARPS * WARP;
constexpr int CODES = 256, OWN = CODES / WARP;

EVOKE_DEVICE float decoded(int code, bool mu_law) {
    const float x = float(code) / 128.0f - 1.0f;
    if (!mu_law) return x;
    const float size = (exp2(8.0f * abs(x)) - 1.0f) / 255.0f;
    return x < 0.0f ? -size : size;
}

// wave (rows), slope (rows, CODES) or null, from logits (rows, CODES).
EVOKE_DEVICE void expected_waveform(Global<float> wave, Global<bf16> slope, Global<const bf16> logits, int rows,
                                    bool mu_law) {
    const int row = block_x() * WARPS + warp(), first = lane() * OWN;
    if (row >= rows) return; // a whole warp
    const size_t at = size_t(row) * CODES + first;
    static_assert(OWN == WIDE<bf16>, "a lane's logits are one wide load");
    const auto loaded = logits.load_vec<OWN>(at);
    float weights[OWN], most = minus_infinity();
    EVOKE_UNROLL
    for (int i = 0; i < OWN; ++i) {
        weights[i] = to_float(loaded.at[i]);
        most = max(most, weights[i]);
    }
    most = warp_max(most);
    float sum = 0.0f, product = 0.0f, values[OWN];
    EVOKE_UNROLL
    for (int i = 0; i < OWN; ++i) {
        values[i] = decoded(first + i, mu_law);
        weights[i] = exp(weights[i] - most);
        sum += weights[i];
        product += weights[i] * values[i];
    }
    sum = warp_sum(sum);
    const float mean = warp_sum(product) / sum;
    if (lane() == 0) wave.store(row, mean);
    if (!slope) return;
    Vec<bf16, OWN> out;
    EVOKE_UNROLL
    for (int i = 0; i < OWN; ++i) out.at[i] = from_float<bf16>(weights[i] / sum * (values[i] - mean));
    store_wide(slope, at, out);
}

} // namespace evoke

using namespace evoke;

EVOKE_KERNEL(expected_waveform_bf16, THREADS, 0, Global<float> wave, Global<bf16> slope, Global<const bf16> logits,
             int rows, int mu_law) {
    expected_waveform(wave, slope, logits, rows, mu_law != 0);
}

// gradient (rows, CODES), which holds the slope, times of_wave (rows).
EVOKE_KERNEL(expected_waveform_gradient_bf16, THREADS, 0, Global<bf16> gradient, Global<const float> of_wave,
             int rows) {
    const int row = block_x() * WARPS + warp();
    if (row >= rows) return;
    const size_t at = size_t(row) * CODES + lane() * OWN;
    const float factor = of_wave.load(row);
    const auto slope = gradient.load_vec<OWN>(at);
    Vec<bf16, OWN> out;
    EVOKE_UNROLL
    for (int i = 0; i < OWN; ++i) out.at[i] = from_float<bf16>(to_float(slope.at[i]) * factor);
    store_wide(gradient, at, out);
}

// What known codes stand for, later by `shift` samples: wave[b, t] = v(codes[b, t - shift]), and 0 before the first one and
// for a code that is none. 8 bytes or 6 a sample: bound by memory.
namespace evoke {

template <class T>
EVOKE_DEVICE void decode_samples(Global<T> wave, Global<const uint32_t> codes, uint64_t count, int samples, int shift,
                                 bool mu_law) {
    const uint64_t i = uint64_t(block_x()) * THREADS + thread();
    if (i >= count) return;
    float value = 0.0f;
    if (int(i % uint64_t(samples)) >= shift) {
        const uint32_t code = codes.load(i - shift);
        if (code < uint32_t(CODES)) value = decoded(int(code), mu_law);
    }
    wave.store(i, from_float<T>(value));
}

} // namespace evoke

// wave (clips * samples), codes (clips * samples).
EVOKE_KERNEL(decoded_samples_f32, THREADS, 0, Global<float> wave, Global<const uint32_t> codes, uint64_t count,
             int samples, int shift, int mu_law) {
    decode_samples(wave, codes, count, samples, shift, mu_law != 0);
}

EVOKE_KERNEL(decoded_samples_bf16, THREADS, 0, Global<bf16> wave, Global<const uint32_t> codes, uint64_t count,
             int samples, int shift, int mu_law) {
    decode_samples(wave, codes, count, samples, shift, mu_law != 0);
}
