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
//
// Rows may lie further apart than they are long, so that each begins where 16 bytes can be loaded. What lies between
// them is neither read nor written: the last `words % 8` elements of such a row go one by one.
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
    int wide;         // rows begin at multiples of 16 bytes
};

// What the gradient of a row's logits is made of.
struct Slope {
    float most, probability, even, sharp;
    unsigned target;

    EVOKE_DEVICE float at(float logit, int i) const {
        const float d = exp(logit - most) * probability - even;
        return unsigned(i) == target ? d - sharp : d;
    }
};

// The next steps are those of N elements from `i` on.

template <int N, class T> EVOKE_DEVICE void see(Part &part, Global<T> logits, int i) {
    float values[N];
    const auto loaded = logits.template load_vec<N>(i);
    EVOKE_UNROLL
    for (int j = 0; j < N; ++j) values[j] = to_float(loaded.at[j]);
    part.add(values);
}

template <int N, class T> EVOKE_DEVICE void descend(const Slope &slope, Global<T> logits, int i) {
    const auto loaded = logits.template load_vec<N>(i);
    Vec<T, N> gradient;
    EVOKE_UNROLL
    for (int j = 0; j < N; ++j) gradient.at[j] = from_float<T>(slope.at(to_float(loaded.at[j]), i + j));
    logits.template store_vec<N>(i, gradient);
}

template <int N, class T> EVOKE_DEVICE void clear(Global<T> logits, int i) {
    Vec<T, N> zeros;
    EVOKE_UNROLL
    for (int j = 0; j < N; ++j) zeros.at[j] = from_float<T>(0.0f);
    logits.template store_vec<N>(i, zeros);
}

// One row of `words` logits, by a block or a warp.
template <bool BLOCK, int N, class T>
EVOKE_DEVICE Row row_loss(Global<T> logits, unsigned target, float scale, int words, Settings settings) {
    constexpr int MEMBERS = BLOCK ? THREADS : WARP;
    const int member = BLOCK ? thread() : lane();
    // Where the elements begin that are no whole piece of N; there are fewer of them than members.
    const int whole = words / N * N, rest = whole + member;
    if (target == settings.ignored) {
        if (settings.train) {
            for (int i = member * N; i < whole; i += MEMBERS * N) clear<N>(logits, i);
            if (N > 1 && rest < words) clear<1>(logits, rest);
        }
        return {0.0f, 0.0f};
    }
    Part part = {minus_infinity(), 0.0f, 0.0f};
    for (int i = member * N; i < whole; i += MEMBERS * N) see<N>(part, logits, i);
    if (N > 1 && rest < words) see<1>(part, logits, rest);
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
        const Slope slope = {most, scale / sum, scale * settings.smoothing / float(words),
                             scale * (1.0f - settings.smoothing), target};
        for (int i = member * N; i < whole; i += MEMBERS * N) descend<N>(slope, logits, i);
        if (N > 1 && rest < words) descend<1>(slope, logits, rest);
    }
    return {nats, (1.0f - settings.smoothing) * nats + settings.smoothing * uniform};
}

template <bool BLOCK, class T>
EVOKE_DEVICE void loss(Global<T> logits, Global<float> smoothed, Global<float> nats, Global<const uint32_t> targets,
                       Global<const float> scale, int rows, int words, int stride, Settings settings) {
    const int row = BLOCK ? block_x() : block_x() * WARPS + warp();
    if (row >= rows) return; // a whole block, or a whole warp of a kernel without barriers
    const Global<T> own = logits + ptrdiff_t(row) * stride;
    const unsigned target = targets.load(row);
    const Row found = settings.wide ? row_loss<BLOCK, WIDE<T>>(own, target, scale.load(0), words, settings)
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
             Global<const uint32_t> targets, Global<const float> scale, int rows, int words, int stride,
             Settings settings) {
    loss<true>(logits, smoothed, nats, targets, scale, rows, words, stride, settings);
}

// One row a warp: a small vocabulary would leave most of a block idle.
EVOKE_KERNEL(cross_entropy_small_bf16, THREADS, 0, Global<bf16> logits, Global<float> smoothed, Global<float> nats,
             Global<const uint32_t> targets, Global<const float> scale, int rows, int words, int stride,
             Settings settings) {
    loss<false>(logits, smoothed, nats, targets, scale, rows, words, stride, settings);
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
