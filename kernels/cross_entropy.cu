// Cross-entropy over a vocabulary with its gradient; probabilities are never stored.
//
// With M the row's largest logit and S the sum of exp(logit - M):
//   nats     = log S + M - logit[target]
//   smoothed = (1 - s) nats + s (log S + M - mean of the logits)
//   gradient = scale (exp(logit - M) / S - s / words - (1 - s) [word is the target]), over the logits
// Ignored rows have 0 everywhere.
//
// 6 bytes an element at bf16 when training, of which 4 reach device memory, since the second pass finds its row in the
// caches (20 KB for 10 000 words); 2 without a gradient. Some 12 FLOPs with two exponentials: bound by memory.
//
// The first pass keeps the largest logit and the sum of exponentials together and rescales the sum when the former
// grows, in f32; a block (for small vocabularies a warp) has one row. Lanes, then warps, meet in a fixed order, and rows
// are summed by one block in f64: a loss repeats bit for bit. A thread's second pass touches what its first one read.
#include "primitives/memory.cuh"
#include "primitives/numbers.cuh"
#include "primitives/warp.cuh"

namespace evoke {

constexpr int WARPS = 8, THREADS = WARPS * WARP;

// What a thread knows of its part of a row.
struct Part {
    float most, sum, plain; // the largest logit, the sum of exp(logit - most), the sum of the logits

    template <int N> EVOKE_DEVICE void add(const float (&logits)[N]) {
        float above = most;
        EVOKE_UNROLL
        for (int j = 0; j < N; ++j) above = max(above, logits[j]);
        // Where all is -infinity, a difference of such would be NaN.
        const float base = above == minus_infinity() ? 0.0f : above;
        sum *= exp(most - base);
        EVOKE_UNROLL
        for (int j = 0; j < N; ++j) {
            sum += exp(logits[j] - base);
            plain += logits[j];
        }
        most = above;
    }
};

struct Row {
    float nats, smoothed;
};

struct Settings {
    float smoothing;
    int train;
    unsigned ignored; // a target that is none
};

// One row of `words` logits, by a block or a warp.
template <bool BLOCK, int N, class T>
EVOKE_DEVICE Row row_loss(Global<T> logits, unsigned target, float scale, int words, Settings settings) {
    constexpr int MEMBERS = BLOCK ? THREADS : WARP;
    const int member = BLOCK ? thread() : lane();
    if (target == settings.ignored) {
        Vec<T, N> zeros;
        EVOKE_UNROLL
        for (int j = 0; j < N; ++j) zeros.at[j] = from_float<T>(0.0f);
        if (settings.train)
            for (int i = member * N; i < words; i += MEMBERS * N) logits.template store_vec<N>(i, zeros);
        return {0.0f, 0.0f};
    }
    Part part = {minus_infinity(), 0.0f, 0.0f};
    for (int i = member * N; i < words; i += MEMBERS * N) {
        float values[N];
        const auto loaded = logits.template load_vec<N>(i);
        EVOKE_UNROLL
        for (int j = 0; j < N; ++j) values[j] = to_float(loaded.at[j]);
        part.add(values);
    }
    // A target that is no word makes the loss NaN, which training reports. Read before anyone writes: the reductions
    // below end with a barrier.
    const float own = target < unsigned(words) ? to_float(logits.load(target)) : minus_infinity() - minus_infinity();
    float most, sum, plain;
    if constexpr (BLOCK) {
        EVOKE_SHARED(float, maxima, WARPS);
        EVOKE_SHARED(float, sums, WARPS);
        EVOKE_SHARED(float, plains, WARPS);
        most = block_max<WARPS>(part.most, maxima);
        sum = block_sum<WARPS>(part.sum * exp(part.most - most), sums);
        plain = block_sum<WARPS>(part.plain, plains);
    } else {
        most = warp_max(part.most);
        sum = warp_sum(part.sum * exp(part.most - most));
        plain = warp_sum(part.plain);
        sync_warp();
    }
    const float log_sum = log(sum), nats = log_sum - (own - most);
    const float uniform = log_sum - (plain / float(words) - most);
    if (settings.train) {
        const float probability = scale / sum, even = scale * settings.smoothing / float(words);
        const float sharp = scale * (1.0f - settings.smoothing);
        for (int i = member * N; i < words; i += MEMBERS * N) {
            const auto loaded = logits.template load_vec<N>(i);
            Vec<T, N> gradient;
            EVOKE_UNROLL
            for (int j = 0; j < N; ++j) {
                float d = exp(to_float(loaded.at[j]) - most) * probability - even;
                if (unsigned(i + j) == target) d -= sharp;
                gradient.at[j] = from_float<T>(d);
            }
            logits.template store_vec<N>(i, gradient);
        }
    }
    return {nats, (1.0f - settings.smoothing) * nats + settings.smoothing * uniform};
}

template <bool BLOCK, class T>
EVOKE_DEVICE void loss(Global<T> logits, Global<float> smoothed, Global<float> nats, Global<const uint32_t> targets,
                       Global<const float> scale, int rows, int words, Settings settings) {
    const int row = BLOCK ? block_x() : block_x() * WARPS + warp();
    if (row >= rows) return; // a whole block, or a whole warp of a kernel without barriers
    const Global<T> own = logits + ptrdiff_t(row) * words;
    const unsigned target = targets.load(row);
    const Row found = words % WIDE<T> == 0 ? row_loss<BLOCK, WIDE<T>>(own, target, scale.load(0), words, settings)
                                           : row_loss<BLOCK, 1>(own, target, scale.load(0), words, settings);
    if ((BLOCK ? thread() : lane()) == 0) {
        smoothed.store(row, found.smoothed);
        nats.store(row, found.nats);
    }
}

} // namespace evoke

using namespace evoke;

// One row a block.
EVOKE_KERNEL(cross_entropy_bf16, THREADS, 0, Global<bf16> logits, Global<float> smoothed, Global<float> nats,
             Global<const uint32_t> targets, Global<const float> scale, int rows, int words, Settings settings) {
    loss<true>(logits, smoothed, nats, targets, scale, rows, words, settings);
}

// One row a warp: a small vocabulary would leave most of a block idle.
EVOKE_KERNEL(cross_entropy_small_bf16, THREADS, 0, Global<bf16> logits, Global<float> smoothed, Global<float> nats,
             Global<const uint32_t> targets, Global<const float> scale, int rows, int words, Settings settings) {
    loss<false>(logits, smoothed, nats, targets, scale, rows, words, settings);
}

// sums (2) = the sum of `smoothed` (rows) times the scale, and of `nats` (rows). One block.
EVOKE_KERNEL(cross_entropy_sums, THREADS, 0, Global<float> sums, Global<const float> smoothed, Global<const float> nats,
             Global<const float> scale, int rows) {
    EVOKE_SHARED(double, partial, THREADS);
    EVOKE_SHARED(double, plain, THREADS);
    double own[2] = {0.0, 0.0};
    for (int row = thread(); row < rows; row += THREADS) {
        own[0] += smoothed.load(row);
        own[1] += nats.load(row);
    }
    partial.store(thread(), own[0]);
    plain.store(thread(), own[1]);
    sync_block();
    if (thread() > 1) return;
    double total = 0.0;
    for (int i = 0; i < THREADS; ++i) total += (thread() == 0 ? partial : plain).load(i);
    sums.store(thread(), float(thread() == 0 ? total * double(scale.load(0)) : total));
}
