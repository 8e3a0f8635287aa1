// Attention forward: out = softmax(scale q k^T, over the keys that the pattern shows) v, and the log-sum-exp of each row.
//
// A block takes 64 queries of one class of one head and goes through the keys that any of them sees, 64 at a time, with an
// online softmax (Milakov and Gimelshein 2018; Dao 2023): nothing of the size queries x keys exists. Scores are kept in
// units of log 2, so that each weight costs one multiply-add and one exp2. Keys and values of the next tile are copied
// while this one is worked on. Tiles that nobody sees are never loaded; bounds are compared only in tiles that not all
// see.
//
// 4 FLOPs for each visible pair and channel, on tensor cores; bytes: q, k, v, out once for each tile of queries (k, v from
// the second-level cache). Bound by arithmetic from some 280 keys a query on (H200), by memory below. Sums run over the
// keys in ascending order in one thread quad, whatever the schedule: a run repeats bit for bit.
#pragma once

#include "attention/dropout.cuh"
#include "attention/tiles.cuh"

namespace evoke {

// Queries; two stages of keys and values.
template <int HEAD> constexpr unsigned FORWARD_SHARED = 2 * HEAD * (TILE_ROWS + 4 * TILE_KEYS);

// The rows of a lane of one warp: maxima (in units of log 2), this lane's share of the sums, and out before division.
template <int HEAD> struct Softmax {
    float most[2];
    float sum[2];
    float out[HEAD / 8][4];

    EVOKE_DEVICE void clear() {
        for (int half = 0; half < 2; ++half) most[half] = minus_infinity(), sum[half] = 0.0f;
        evoke::clear(out);
    }

    // Takes a tile's scores (minus infinity where hidden) in; they become weights relative to the new maxima.
    EVOKE_DEVICE void take(float (&scores)[TILE_KEYS / 8][4], float to_log2) {
        EVOKE_UNROLL
        for (int half = 0; half < 2; ++half) {
            float largest = scores[0][2 * half];
            EVOKE_UNROLL
            for (int n = 0; n < TILE_KEYS / 8; ++n)
                largest = max(largest, max(scores[n][2 * half], scores[n][2 * half + 1]));
            largest = max(largest, shuffle_xor(largest, 1));
            largest = max(largest, shuffle_xor(largest, 2));
            const float now = max(most[half], largest * to_log2);
            // A row that has seen nothing yet stays at minus infinity, and its weights at 0.
            const float base = now == minus_infinity() ? 0.0f : now;
            const float kept = exp2(most[half] - base);
            most[half] = now;
            float added = 0.0f;
            EVOKE_UNROLL
            for (int n = 0; n < TILE_KEYS / 8; ++n)
                EVOKE_UNROLL
                for (int e = 2 * half; e < 2 * half + 2; ++e) {
                    scores[n][e] = exp2(scores[n][e] * to_log2 - base);
                    added += scores[n][e];
                }
            sum[half] = sum[half] * kept + added;
            EVOKE_UNROLL
            for (int n = 0; n < HEAD / 8; ++n) out[n][2 * half] *= kept, out[n][2 * half + 1] *= kept;
        }
    }
};

template <class T, int HEAD>
EVOKE_DEVICE void attention_forward(Global<T> out, Global<float> log_sum_exp, Global<const T> q, Global<const T> k,
                                    Global<const T> v, Global<const uint32_t> key_lengths,
                                    Global<const uint32_t> state, const AttentionSizes &sizes,
                                    const PatternTable &table) {
    const int head = block_y(), batch = block_z();
    const QueryTile tile = query_tile(sizes, table, key_lengths, head, batch);
    if (!tile.present()) return;
    const int t0 = tile.t0, t1 = tile.t1;

    EVOKE_SHARED_DYNAMIC(shared);
    Carve carve{shared};
    const Tile<T, HEAD, TILE_ROWS> queries{carve.take<T>(TILE_ROWS * HEAD)};
    const Stages<T, HEAD, TILE_KEYS> keys{carve.take<T>(2 * TILE_KEYS * HEAD)};
    const Stages<T, HEAD, TILE_KEYS> values{carve.take<T>(2 * TILE_KEYS * HEAD)};
    q = head_of<const T, HEAD>(q, batch, sizes.queries, sizes.q_stride, head);
    k = head_of<const T, HEAD>(k, batch, sizes.keys, sizes.k_stride, head);
    v = head_of<const T, HEAD>(v, batch, sizes.keys, sizes.v_stride, head);
    out = head_of<T, HEAD>(out, batch, sizes.queries, sizes.out_stride, head);
    log_sum_exp = log_sum_exp + (ptrdiff_t(batch) * sizes.heads + head) * sizes.queries;
    const auto query_row = [&](int r) { return tile.query(r); };
    queries.load(q, sizes.q_stride, query_row);
    copy_async_commit();

    const int row0 = warp() * FRAGMENT_ROWS;
    // A warp whose queries all lie behind the end only helps to copy.
    const bool works = t0 + row0 < t1;
    const WeightDropout dropout = weight_dropout_of(state, sizes, batch, head);
    Softmax<HEAD> softmax;
    softmax.clear();
    if (sizes.term > 0) { // go on from what the first term left
        values.at(1).load(read_only(out), sizes.out_stride, query_row);
        copy_async_commit();
        copy_async_wait<0>();
        sync_block();
        if (works) {
            add_rows<T, HEAD, TILE_KEYS>(softmax.out, values.at(1), row0, 1.0f);
            for (int half = 0; half < 2; ++half) {
                const int query = query_row(row0 + own_row(half));
                if (query < 0) continue;
                softmax.most[half] = log_sum_exp.load(query) * LOG2_E;
                // The sum over a quad of lanes is 1: out is divided already.
                softmax.sum[half] = lane() % 4 == 0 && softmax.most[half] != minus_infinity() ? 1.0f : 0.0f;
            }
        }
        sync_block();
    }

    for (int part = tile.parts.begin; part < tile.parts.end; ++part) {
        const AttentionClass c = tile.keys_of(part, sizes, table);
        const Interval some = c.touched(t0, t1), all = c.seen_by_all(t0, t1);
        if (some.begin >= some.end) continue;
        Interval seen[2];
        for (int half = 0; half < 2; ++half) seen[half] = c.seen(least(t0 + row0 + own_row(half), t1 - 1));
        // Whole groups of random bits: a tile begins at a multiple of its size.
        const int first = some.begin / TILE_KEYS * TILE_KEYS;
        const auto load = [&](int stage, int u0) {
            const auto key_row = [&](int r) { return c.begin <= u0 + r && u0 + r < c.end ? c.key(u0 + r) : -1; };
            keys.at(stage).load(k, sizes.k_stride, key_row);
            values.at(stage).load(v, sizes.v_stride, key_row);
            copy_async_commit();
        };
        sync_block(); // the stages of the part before are free
        load(0, first);
        for (int u0 = first, stage = 0; u0 < some.end; u0 += TILE_KEYS, stage ^= 1) {
            copy_async_wait<0>();
            sync_block();
            if (u0 + TILE_KEYS < some.end) load(stage ^ 1, u0 + TILE_KEYS);
            if (!works) continue;
            float scores[TILE_KEYS / 8][4];
            row_products<T, HEAD>(scores, queries, row0, keys.at(stage));
            if (!(all.begin <= u0 && u0 + TILE_KEYS <= all.end)) {
                EVOKE_UNROLL
                for (int n = 0; n < TILE_KEYS / 8; ++n)
                    EVOKE_UNROLL
                    for (int e = 0; e < 4; ++e) {
                        const int u = u0 + n * 8 + own_column() + e % 2;
                        if (u < seen[e / 2].begin || u >= seen[e / 2].end) scores[n][e] = minus_infinity();
                    }
            }
            softmax.take(scores, sizes.scale * LOG2_E);
            if (dropout.active()) {
                const uint32_t kept = dropout.kept_in_rows(c, t0 + row0, t1, u0);
                EVOKE_UNROLL
                for (int n = 0; n < TILE_KEYS / 8; ++n)
                    EVOKE_UNROLL
                    for (int e = 0; e < 4; ++e) scores[n][e] = kept >> (4 * n + e) & 1 ? scores[n][e] * sizes.kept : 0.0f;
            }
            weighted_rows<T, HEAD>(softmax.out, scores, values.at(stage));
        }
    }

    copy_async_wait<0>(); // where no part had keys, the queries are still on their way
    sync_block();
    if (!works) return;
    EVOKE_UNROLL
    for (int half = 0; half < 2; ++half) {
        float sum = softmax.sum[half];
        sum += shuffle_xor(sum, 1);
        sum += shuffle_xor(sum, 2);
        const float inverse = sum > 0.0f ? 1.0f / sum : 0.0f;
        EVOKE_UNROLL
        for (int n = 0; n < HEAD / 8; ++n) softmax.out[n][2 * half] *= inverse, softmax.out[n][2 * half + 1] *= inverse;
        const int query = query_row(row0 + own_row(half));
        if (lane() % 4 == 0 && query >= 0)
            log_sum_exp.store(query, sum > 0.0f ? (softmax.most[half] + log2(sum)) * LN_2 : minus_infinity());
    }
    // The queries' tile has done its work: out goes through it, so that it is stored 16 bytes at a time.
    put_rows<T, HEAD, TILE_ROWS>(queries, row0, softmax.out);
    sync_warp();
    store_rows<T, HEAD, TILE_ROWS>(out, sizes.out_stride, queries, row0, query_row);
}

} // namespace evoke

// One instance: type, head size.
#define EVOKE_ATTENTION_FORWARD(T, HEAD)                                                                               \
    EVOKE_KERNEL(attention_forward_##T##_##HEAD, evoke::ATTENTION_THREADS, evoke::FORWARD_SHARED<HEAD>,                \
                 evoke::Global<evoke::T> out, evoke::Global<float> log_sum_exp, evoke::Global<const evoke::T> q,       \
                 evoke::Global<const evoke::T> k, evoke::Global<const evoke::T> v,                                     \
                 evoke::Global<const uint32_t> key_lengths, evoke::Global<const uint32_t> state,                       \
                 evoke::AttentionSizes sizes, evoke::PatternTable table) {                                             \
        evoke::attention_forward<evoke::T, HEAD>(out, log_sum_exp, q, k, v, key_lengths, state, sizes, table);         \
    }
