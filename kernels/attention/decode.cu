// Attention of one new query a sequence to cached keys and values: a step of decoding.
//
//   out, q (batch, heads * D); k, v (batch * capacity, heads * D), where key j lies in row DecodeSizes::row(j): keys
//   0 .. pinned first, the others in a ring as long as the pattern reaches back
//   number (1): keys so far, the query's own among them; or, where all keys stay (cross-attention, DecodeSizes::queries),
//   the number of the query. It lives in device memory, so that a recorded step can be replayed
//   key_lengths (batch): keys that are real; absent: all
//
// out = softmax(scale q k^T, over the keys that the pattern shows to this query) v; 0 where it shows none. The
// caller sees to it that no visible key has left the ring (Pattern::reach).
//
// Reads every visible key and value once, 4 D bytes and 4 D FLOPs a key: bound by memory, so no tensor cores. A block
// takes a head of a sequence. D / 8 lanes share a key, 16 bytes each; each group of lanes keeps four keys on their way
// and an online softmax of its own, and the groups' results are merged at the end. A few sequences of few heads do not
// fill a GPU: then a step costs the latency of one block, which goes with the keys that it takes one after another. So
// blocks are four times as large where there are few of them and long lists: 512 keys of 64 channels are two turns for a
// group, not eight.
//
// Accumulates in f32. Deterministic: which keys a group takes, and the order of the merges, follow from the sizes.
//
// Grid: x batch * heads.
#include "attention/sizes.cuh"
#include "primitives/warp.cuh"

namespace evoke {

// Of a block, and of one where there are few blocks: as many as a multiprocessor has room for with their registers.
constexpr int DECODE_THREADS = 128, DECODE_MANY = 512;
// Keys that a group of lanes has on their way: with their values 8 loads of 16 bytes a thread.
constexpr int DECODE_AHEAD = 4;

constexpr int CHUNK = 8; // elements of 16 bytes

// Laid out as `CudaDecodeSizes` in src/ops/attention/decode.rs. Strides are elements between rows, multiples of 8.
struct DecodeSizes {
    int heads, capacity, pinned;
    int queries; // of the sequence, where its keys are all there and stay; 0: the query stands on the last key so far
    int q_stride, k_stride, v_stride, out_stride;
    float scale;

    // The row of key j in its sequence's part of the cache.
    EVOKE_DEVICE int row(int j) const { return j < pinned ? j : pinned + (j - pinned) % (capacity - pinned); }
};

// A term's keys, see AttentionClass.
struct KeyRuns {
    int first, period, run;
    EVOKE_DEVICE int key(int u) const { return first + u / run * period + u % run; }
};

// The keys of one query as a list: prefix, then the terms.
struct DecodeKeys {
    int prefix;
    KeyRuns runs[2];
    Interval seen[2];

    EVOKE_DEVICE int count() const { return prefix + seen[0].end - seen[0].begin + seen[1].end - seen[1].begin; }
    EVOKE_DEVICE int key(int n) const {
        if (n < prefix) return n;
        n -= prefix;
        const int first = seen[0].end - seen[0].begin;
        return n < first ? runs[0].key(seen[0].begin + n) : runs[1].key(seen[1].begin + n - first);
    }
};

EVOKE_DEVICE DecodeKeys keys_of(Pattern pattern, int queries, int query, int keys, int key_length) {
    DecodeKeys made = {least(pattern.prefix, least(keys, key_length)), {{0, 1, 1}, {0, 1, 1}}, {{0, 0}, {0, 0}}};
    const int prefix = pattern.prefix > 0 ? 1 : 0;
    EVOKE_UNROLL
    for (int term = 0; term < 2; ++term) {
        if (term >= terms_of(pattern)) break;
        const int classes = classes_of(pattern, prefix + term);
        const AttentionClass own = class_of(pattern, prefix + term, query % classes, queries, keys, key_length);
        made.runs[term] = {own.first_key, own.period, own.run};
        made.seen[term] = own.seen(query / classes);
    }
    return made;
}

// A softmax under way: the maximum in powers of two, the sum, and 8 channels of the mixture.
struct Mixture {
    float highest, sum, channels[CHUNK];

    EVOKE_DEVICE void merge(float other_highest, float other_sum, const float (&other)[CHUNK]) {
        const float top = max(highest, other_highest);
        const float level = top == minus_infinity() ? 0.0f : top; // both have seen nothing
        const float own_share = exp2(highest - level), other_share = exp2(other_highest - level);
        highest = top;
        sum = sum * own_share + other_sum * other_share;
        EVOKE_UNROLL
        for (int i = 0; i < CHUNK; ++i) channels[i] = channels[i] * own_share + other[i] * other_share;
    }
};

template <class T, int D, int THREADS>
EVOKE_DEVICE void attention_decode(Global<T> out, Global<const T> q, Global<const T> k, Global<const T> v,
                                   Global<const uint32_t> number, Global<const uint32_t> key_lengths,
                                   const DecodeSizes &sizes, const PatternTable &table) {
    constexpr int CHUNKS = D / CHUNK;
    constexpr int LANES = CHUNKS <= 2 ? 2 : CHUNKS <= 4 ? 4 : CHUNKS <= 8 ? 8 : 16; // of a key, a power of two
    constexpr int GROUPS = THREADS / LANES, WARPS = THREADS / WARP;
    const int batch = block_x() / sizes.heads, head = block_x() % sizes.heads;
    const bool stays = sizes.queries > 0;
    const int loaded = int(number.load(0)), keys = stays ? sizes.capacity : loaded;
    const DecodeKeys list = keys_of(table.patterns[table.of_head[head]], stays ? sizes.queries : 1, stays ? loaded : 0,
                                    keys, key_length_of(key_lengths, batch, keys));
    const int chunk = thread() % LANES, group = thread() / LANES, count = list.count();
    const bool works = chunk < CHUNKS; // of 16 lanes only 12 have a chunk where D is 96
    const size_t column = size_t(head) * D + (works ? chunk : 0) * CHUNK, first_row = size_t(batch) * sizes.capacity;

    float query[CHUNK];
    const Vec<T, CHUNK> own = q.template load_vec<CHUNK>(size_t(batch) * sizes.q_stride + column);
    EVOKE_UNROLL
    for (int i = 0; i < CHUNK; ++i) query[i] = works ? to_float(own.at[i]) * (sizes.scale * LOG2_E) : 0.0f;

    Mixture mixture = {minus_infinity(), 0.0f, {}};
    for (int first = group; first - group < count; first += GROUPS * DECODE_AHEAD) {
        Vec<T, CHUNK> key_chunks[DECODE_AHEAD], value_chunks[DECODE_AHEAD];
        EVOKE_UNROLL
        for (int n = 0; n < DECODE_AHEAD; ++n) {
            // Behind the last key the last one is read again, with weight 0.
            const size_t row = first_row + sizes.row(list.key(least(first + n * GROUPS, count - 1)));
            key_chunks[n] = k.template load_vec<CHUNK>(row * sizes.k_stride + column);
            value_chunks[n] = v.template load_vec<CHUNK>(row * sizes.v_stride + column);
        }
        EVOKE_UNROLL
        for (int n = 0; n < DECODE_AHEAD; ++n) {
            float score = 0.0f;
            EVOKE_UNROLL
            for (int i = 0; i < CHUNK; ++i) score += query[i] * to_float(key_chunks[n].at[i]);
            EVOKE_UNROLL
            for (int mask = LANES / 2; mask > 0; mask /= 2) score += shuffle_xor(score, mask);
            if (first + n * GROUPS < count) {
                float channels[CHUNK];
                EVOKE_UNROLL
                for (int i = 0; i < CHUNK; ++i) channels[i] = to_float(value_chunks[n].at[i]);
                mixture.merge(score, 1.0f, channels);
            }
        }
    }

    EVOKE_UNROLL
    for (int mask = LANES; mask < WARP; mask *= 2) { // the groups of a warp
        float other[CHUNK];
        const float highest = shuffle_xor(mixture.highest, mask), sum = shuffle_xor(mixture.sum, mask);
        EVOKE_UNROLL
        for (int i = 0; i < CHUNK; ++i) other[i] = shuffle_xor(mixture.channels[i], mask);
        mixture.merge(highest, sum, other);
    }
    EVOKE_SHARED(float, of_warps, WARPS * LANES * CHUNK);
    EVOKE_SHARED(float, statistics, WARPS * LANES * 2);
    const int place = warp() * LANES + chunk;
    if (lane() < LANES) {
        statistics.store_vec<2>(2 * place, {{mixture.highest, mixture.sum}});
        EVOKE_UNROLL
        for (int i = 0; i < CHUNK; i += 4)
            of_warps.store_vec<4>(place * CHUNK + i, {{mixture.channels[i], mixture.channels[i + 1],
                                                       mixture.channels[i + 2], mixture.channels[i + 3]}});
    }
    sync_block();
    if (warp() != 0 || lane() >= CHUNKS) return;
    EVOKE_UNROLL
    for (int w = 1; w < WARPS; ++w) {
        const int from = w * LANES + chunk;
        const Vec<float, 2> pair = statistics.load_vec<2>(2 * from);
        float other[CHUNK];
        EVOKE_UNROLL
        for (int i = 0; i < CHUNK; ++i) other[i] = of_warps.load(from * CHUNK + i);
        mixture.merge(pair.at[0], pair.at[1], other);
    }
    // Nothing seen: the sum is 0, and so is the mixture. A NaN is not 0 and comes through.
    const float share = mixture.sum == 0.0f ? 0.0f : 1.0f / mixture.sum;
    Vec<T, CHUNK> made;
    EVOKE_UNROLL
    for (int i = 0; i < CHUNK; ++i) made.at[i] = from_float<T>(mixture.channels[i] * share);
    store_wide(out, size_t(batch) * sizes.out_stride + column, made);
}

} // namespace evoke

#define DECODE(NAME, THREADS, T, D)                                                                                    \
    EVOKE_KERNEL(NAME##_##T##_##D, evoke::THREADS, 0, evoke::Global<evoke::T> out, evoke::Global<const evoke::T> q,    \
                 evoke::Global<const evoke::T> k, evoke::Global<const evoke::T> v,                                     \
                 evoke::Global<const uint32_t> number, evoke::Global<const uint32_t> key_lengths,                      \
                 evoke::DecodeSizes sizes, evoke::PatternTable table) {                                                \
        evoke::attention_decode<evoke::T, D, evoke::THREADS>(out, q, k, v, number, key_lengths, sizes, table);         \
    }
#define DECODE_BOTH(T, D)                                                                                              \
    DECODE(attention_decode, DECODE_THREADS, T, D)                                                                     \
    DECODE(attention_decode_many, DECODE_MANY, T, D)

DECODE_BOTH(bf16, 32)
DECODE_BOTH(bf16, 64)
DECODE_BOTH(bf16, 96)
DECODE_BOTH(bf16, 128)
DECODE_BOTH(f16, 32)
DECODE_BOTH(f16, 64)
DECODE_BOTH(f16, 96)
DECODE_BOTH(f16, 128)
