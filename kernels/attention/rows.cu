// Small companions of attention: delta for backward, zeros for keys that no part of a pattern covers, and the weights
// themselves, for pictures of what a model looks at.
//
// delta = sum over channels of dout * out: 4 bytes and 2 FLOPs an element at 16 bits, bound by memory. The weights' kernel
// is for looking, not for training: it computes each score twice and keeps nothing. Each result is one thread group's, its
// sums in a fixed order.
#include "attention/sizes.cuh"
#include "primitives/warp.cuh"

namespace evoke {

constexpr int THREADS = 128, WARPS = THREADS / WARP, CHUNK = 8;

// (batch * queries, heads * HEAD) twice -> (batch, heads, queries). A group of lanes, one for each 16 bytes of a head,
// takes one row of one head.
template <class T, int HEAD>
EVOKE_DEVICE void attention_delta(Global<float> delta, Global<const T> out, Global<const T> dout,
                                  const AttentionSizes &sizes) {
    constexpr int CHUNKS = HEAD / CHUNK, LANES = CHUNKS <= 4 ? 4 : CHUNKS <= 8 ? 8 : 16;
    const int64_t number = int64_t(block_x()) * (THREADS / LANES) + thread() / LANES;
    const int64_t all = int64_t(sizes.batch) * sizes.queries * sizes.heads;
    const int64_t row = number / sizes.heads;
    const int head = int(number % sizes.heads), chunk = thread() % LANES;
    float sum = 0.0f;
    if (number < all && chunk < CHUNKS) {
        const size_t place = size_t(head) * HEAD + chunk * CHUNK;
        const auto a = out.template load_vec<CHUNK>(row * sizes.out_stride + place);
        const auto b = dout.template load_vec<CHUNK>(row * sizes.dout_stride + place);
        EVOKE_UNROLL
        for (int i = 0; i < CHUNK; ++i) sum += to_float(a.at[i]) * to_float(b.at[i]);
    }
    EVOKE_UNROLL
    for (int mask = LANES / 2; mask > 0; mask /= 2) sum += shuffle_xor(sum, mask);
    if (number < all && chunk == 0)
        delta.store((row / sizes.queries * sizes.heads + head) * sizes.queries + row % sizes.queries, sum);
}

// Zeros in rows of `columns` elements (a multiple of 8).
template <class T> EVOKE_DEVICE void attention_clear(Global<T> out, int rows, int columns, int stride) {
    const int64_t number = int64_t(block_x()) * THREADS + thread(), chunks = columns / CHUNK;
    if (number / chunks < rows)
        out.template store_vec<CHUNK>(number / chunks * stride + number % chunks * CHUNK, Vec<T, CHUNK>{});
}

// Does query i see key j?
EVOKE_DEVICE bool sees(Pattern pattern, const AttentionSizes &sizes, int i, int j) {
    for (int part = 0; part < parts_of(pattern); ++part) {
        const int classes = classes_of(pattern, part);
        const AttentionClass c =
            class_of(pattern, part, i % classes, sizes.queries, sizes.keys, sizes.keys);
        const int u = c.below(j);
        const Interval seen = c.seen(i / classes);
        if (seen.begin <= u && u < seen.end && c.key(u) == j) return true;
    }
    return false;
}

// A warp takes one query of one head: out (batch, heads, queries, keys).
template <class T>
EVOKE_DEVICE void attention_weights(Global<float> out, Global<const T> q, Global<const T> k, const AttentionSizes &sizes,
                                    const PatternTable &table, int head_size) {
    const int i = block_x() * WARPS + warp(), head = block_y(), batch = block_z();
    if (i >= sizes.queries) return;
    const Pattern pattern = table.patterns[table.of_head[head]];
    const size_t query = (size_t(batch) * sizes.queries + i) * sizes.q_stride + size_t(head) * head_size;
    const auto score = [&](int j) {
        if (!sees(pattern, sizes, i, j)) return minus_infinity();
        const size_t key = (size_t(batch) * sizes.keys + j) * sizes.k_stride + size_t(head) * head_size;
        float sum = 0.0f;
        for (int first = 0; first < head_size; first += CHUNK) {
            const auto a = q.template load_vec<CHUNK>(query + first), b = k.template load_vec<CHUNK>(key + first);
            EVOKE_UNROLL
            for (int e = 0; e < CHUNK; ++e) sum += to_float(a.at[e]) * to_float(b.at[e]);
        }
        return sum * sizes.scale;
    };
    float largest = minus_infinity();
    for (int j = lane(); j < sizes.keys; j += WARP) largest = max(largest, score(j));
    largest = warp_max(largest);
    if (largest == minus_infinity()) largest = 0.0f; // it sees nothing: all weights are 0
    float sum = 0.0f;
    for (int j = lane(); j < sizes.keys; j += WARP) sum += exp(score(j) - largest);
    sum = warp_sum(sum);
    const size_t row = ((size_t(batch) * sizes.heads + head) * sizes.queries + i) * sizes.keys;
    for (int j = lane(); j < sizes.keys; j += WARP) out.store(row + j, sum > 0.0f ? exp(score(j) - largest) / sum : 0.0f);
}

} // namespace evoke

using namespace evoke;

#define EVOKE_ATTENTION_DELTA(T, HEAD)                                                                                 \
    EVOKE_KERNEL(attention_delta_##T##_##HEAD, THREADS, 0, Global<float> delta, Global<const T> out,                   \
                 Global<const T> dout, AttentionSizes sizes) {                                                         \
        attention_delta<T, HEAD>(delta, out, dout, sizes);                                                             \
    }
EVOKE_ATTENTION_DELTA(bf16, 32)
EVOKE_ATTENTION_DELTA(bf16, 64)
EVOKE_ATTENTION_DELTA(bf16, 96)
EVOKE_ATTENTION_DELTA(bf16, 128)
EVOKE_ATTENTION_DELTA(f16, 32)
EVOKE_ATTENTION_DELTA(f16, 64)
EVOKE_ATTENTION_DELTA(f16, 96)
EVOKE_ATTENTION_DELTA(f16, 128)

#define EVOKE_ATTENTION_ROWS(T)                                                                                        \
    EVOKE_KERNEL(attention_clear_##T, THREADS, 0, Global<T> out, int rows, int columns, int stride) {                  \
        attention_clear(out, rows, columns, stride);                                                                   \
    }                                                                                                                  \
    EVOKE_KERNEL(attention_weights_##T, THREADS, 0, Global<float> out, Global<const T> q, Global<const T> k,           \
                 AttentionSizes sizes, PatternTable table, int head_size) {                                            \
        attention_weights(out, q, k, sizes, table, head_size);                                                         \
    }
EVOKE_ATTENTION_ROWS(bf16)
EVOKE_ATTENTION_ROWS(f16)
