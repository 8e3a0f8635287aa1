// The update of all parameters: the gradient's global norm, then AdamW with decoupled decay (Loshchilov 2019).
//
// norm     sqrt of the sum of g^2; the factor is clip / norm where that is below 1, and 0 where the norm is not finite
// update   g' = factor g; m = b1 m + (1 - b1) g'; v = b2 v + (1 - b2) g'^2;
//          w = w (1 - rate decay) - rate / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + epsilon); average = d average + (1 - d) w
//
// A parameter costs 4 bytes and 2 FLOPs for the norm, then 34 bytes (w, g, m, v read and written, the 16-bit copy of w
// written, 8 more with an average) and some 20 FLOPs: bound by memory. All f32; nothing is read twice.
//
// The norm is summed over pieces of fixed size, in f32 within a thread and a block, in f64 over the pieces, always in
// one order. An update's elements are independent. What depends on the step is computed on the device from its state,
// in f64 by one small launch, so that neither the host waits nor a captured graph grows old.
#include "philox.cuh"
#include "primitives/warp.cuh"

namespace evoke {

constexpr int WARPS = 8, THREADS = WARPS * WARP;
constexpr int N = WIDE<float>;
// Loads of a thread for one piece of the norm: 64 KB a block, so that ten million parameters are six hundred blocks.
constexpr int LOADS = 16, PIECE = THREADS * N * LOADS;

// Parameters that share their settings.
struct Segment {
    uint64_t start, len;
    float learning_rate, weight_decay;
};

// Segments of one launch; more take several.
constexpr int SEGMENTS = 8;

struct Segments {
    Segment at[SEGMENTS];
    int count;
    int unused;
};

struct Settings {
    float beta1, beta2, epsilon, average;
};

// What a step's update of one segment needs, as floats of a table: the rate over the first moment's correction, what
// decay leaves of a weight, one over the root of the second moment's correction.
constexpr int RATE = 0, SHRINK = 1, SECOND = 2, ROW = 4;

// One parameter while it is updated.
struct Element {
    float w, m, v;
};

struct Step {
    Settings settings;
    float rate, shrink, second, clip;

    EVOKE_DEVICE Element update(Element old, float gradient) const {
        const float g = gradient * clip;
        const float m = settings.beta1 * old.m + (1.0f - settings.beta1) * g;
        const float v = settings.beta2 * old.v + (1.0f - settings.beta2) * g * g;
        return {old.w * shrink - rate * m / (sqrt(v) * second + settings.epsilon), m, v};
    }
    EVOKE_DEVICE float averaged(float average, float w) const {
        return settings.average * average + (1.0f - settings.average) * w;
    }
};

} // namespace evoke

using namespace evoke;

// partial (pieces) = the sum of squares of each piece of gradients (count). A block has one piece.
EVOKE_KERNEL(optimizer_squares, THREADS, 0, Global<float> partial, Global<const float> gradients, uint64_t count) {
    EVOKE_SHARED(float, scratch, WARPS);
    const uint64_t start = uint64_t(block_x()) * PIECE + thread() * N;
    // One sum for each place in a load, so that additions overlap.
    float sums[N];
    EVOKE_UNROLL
    for (int j = 0; j < N; ++j) sums[j] = 0.0f;
    EVOKE_UNROLL
    for (int i = 0; i < LOADS; ++i) {
        const uint64_t first = start + uint64_t(i) * THREADS * N;
        if (first + N <= count) {
            const auto g = gradients.load_vec<N>(first);
            EVOKE_UNROLL
            for (int j = 0; j < N; ++j) sums[j] += g.at[j] * g.at[j];
        } else {
            for (uint64_t e = first; e < count; ++e) sums[0] += gradients.load(e) * gradients.load(e);
        }
    }
    const float total = block_sum<WARPS>((sums[0] + sums[1]) + (sums[2] + sums[3]), scratch);
    if (thread() == 0) partial.store(block_x(), total);
}

// norm (2) = the root of the sum of partial (pieces), and the factor that clips the gradient. One block.
EVOKE_KERNEL(optimizer_norm, THREADS, 0, Global<float> norm, Global<const float> partial, int pieces, float clip) {
    EVOKE_SHARED(double, sums, THREADS);
    double own = 0.0;
    for (int piece = thread(); piece < pieces; piece += THREADS) own += partial.load(piece);
    sums.store(thread(), own);
    sync_block();
    if (thread() != 0) return;
    double total = 0.0;
    for (int i = 0; i < THREADS; ++i) total += sums.load(i);
    const float found = float(::sqrt(total));
    norm.store(0, found);
    norm.store(1, !is_finite(found) ? 0.0f : clip > 0.0f && found > clip ? clip / found : 1.0f);
}

// table (segments, ROW): one thread a segment, one warp.
EVOKE_KERNEL(optimizer_step, WARP, 0, Global<float> table, Global<const uint32_t> state, Segments segments,
             Settings settings) {
    if (thread() >= segments.count) return;
    const Segment segment = segments.at[thread()];
    const uint64_t step = state.load(STATE_STEP) | uint64_t(state.load(STATE_STEP + 1)) << 32;
    const float base = float_of_bits(state.load(STATE_LEARNING_RATE));
    const double rate = double(base) * double(segment.learning_rate);
    const double first = 1.0 - ::pow(double(settings.beta1), double(step));
    const double second = 1.0 - ::pow(double(settings.beta2), double(step));
    const int row = thread() * ROW;
    table.store(row + RATE, float(rate / first));
    table.store(row + SHRINK, float(1.0 - rate * double(segment.weight_decay)));
    table.store(row + SECOND, float(1.0 / ::sqrt(second)));
}

// Updates the parameters of all `segments`, which follow one another. `copy` is the weights' 16-bit copy; it and the
// average may be absent. A thread has N parameters from a multiple of N on, all of one segment or one by one.
EVOKE_KERNEL(optimizer_adamw, THREADS, 0, Global<float> weights, Global<bf16> copy, Global<float> gradients,
             Global<float> first, Global<float> second, Global<float> average, Global<const float> norm,
             Global<const float> table, Segments segments, Settings settings) {
    const uint64_t begin = segments.at[0].start;
    const Segment &last = segments.at[segments.count - 1];
    const uint64_t end = last.start + last.len;
    const uint64_t start = begin / N * N + (uint64_t(block_x()) * THREADS + thread()) * N;
    if (start >= end) return;
    const float clip = norm.load(1);
    // The segment of the first parameter that is this thread's.
    int s = 0;
    EVOKE_UNROLL
    for (int i = 1; i < SEGMENTS; ++i)
        if (i < segments.count && segments.at[i].start <= start) s = i;
    const bool whole = start >= begin && start + N <= segments.at[s].start + segments.at[s].len;

    Vec<float, N> w, g, m, v, a;
    Step step = {settings, 0.0f, 0.0f, 0.0f, clip};
    if (whole) {
        g = gradients.load_vec<N>(start);
        Vec<float, N> zeros;
        EVOKE_UNROLL
        for (int j = 0; j < N; ++j) zeros.at[j] = 0.0f;
        gradients.store_vec<N>(start, zeros);
        if (clip == 0.0f) return; // not finite: nothing else changes
        w = weights.load_vec<N>(start);
        m = first.load_vec<N>(start);
        v = second.load_vec<N>(start);
        if (average) a = average.load_vec<N>(start);
        step.rate = table.load(s * ROW + RATE);
        step.shrink = table.load(s * ROW + SHRINK);
        step.second = table.load(s * ROW + SECOND);
        Vec<bf16, N> rounded;
        EVOKE_UNROLL
        for (int j = 0; j < N; ++j) {
            const Element fresh = step.update({w.at[j], m.at[j], v.at[j]}, g.at[j]);
            w.at[j] = fresh.w;
            m.at[j] = fresh.m;
            v.at[j] = fresh.v;
            rounded.at[j] = from_float<bf16>(fresh.w);
            if (average) a.at[j] = step.averaged(a.at[j], fresh.w);
        }
        weights.store_vec<N>(start, w);
        first.store_vec<N>(start, m);
        second.store_vec<N>(start, v);
        if (copy) copy.store_vec<N>(start, rounded);
        if (average) average.store_vec<N>(start, a);
        return;
    }
    for (uint64_t e = start < begin ? begin : start; e < start + N && e < end; ++e) {
        while (e >= segments.at[s].start + segments.at[s].len) ++s;
        const float gradient = gradients.load(e);
        gradients.store(e, 0.0f);
        if (clip == 0.0f) continue;
        step.rate = table.load(s * ROW + RATE);
        step.shrink = table.load(s * ROW + SHRINK);
        step.second = table.load(s * ROW + SECOND);
        const Element fresh = step.update({weights.load(e), first.load(e), second.load(e)}, gradient);
        weights.store(e, fresh.w);
        first.store(e, fresh.m);
        second.store(e, fresh.v);
        if (copy) copy.store(e, from_float<bf16>(fresh.w));
        if (average) average.store(e, step.averaged(average.load(e), fresh.w));
    }
}
