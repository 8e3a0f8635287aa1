// Attention backward, for the queries: dq = scale * dS k, dS = P (dP - delta), dP = dout v^T, P again from the log-sum-exp
// (Dao 2022).
//
// The same walk as forward's: a block takes 64 queries and goes through the keys that they see. Three products a tile, so
// 6 of backward's 14 FLOPs for each visible pair and channel (the keys' kernel has 8; a form with atomics needs 10 in all:
// that is what a fixed order of sums costs here). Each sum is one thread's, over the keys in ascending order: a run repeats
// bit for bit, and nothing but delta is stored between the kernels.
#pragma once

#include "attention/dropout.cuh"
#include "attention/tiles.cuh"

namespace evoke {

// Keys whose weights and slopes are in registers at a time: with all 64 the accumulators of head size 128 would spill.
constexpr int HALF_KEYS = TILE_KEYS / 2;

// Whether the products' loops are rolled: found by trying, as what ptxas (13.0) compiles without spills.
template <int HEAD> constexpr bool ROLLED = HEAD != 64;

// Queries and their dout; two stages of keys and values.
template <int HEAD> constexpr unsigned QUERIES_SHARED = 2 * HEAD * (2 * TILE_ROWS + 4 * TILE_KEYS);

template <class T, int HEAD>
EVOKE_DEVICE void attention_queries(Global<T> dq, Global<const T> q, Global<const T> k, Global<const T> v,
                                    Global<const T> dout, Global<const float> log_sum_exp, Global<const float> delta,
                                    Global<const uint32_t> key_lengths, Global<const uint32_t> state,
                                    const AttentionSizes &sizes, const PatternTable &table) {
    const int head = block_y(), batch = block_z();
    const QueryTile tile = query_tile(sizes, table, key_lengths, head, batch);
    if (!tile.present()) return;
    const int t0 = tile.t0, t1 = tile.t1;

    EVOKE_SHARED_DYNAMIC(shared);
    Carve carve{shared};
    const Tile<T, HEAD, TILE_ROWS> queries{carve.take<T>(TILE_ROWS * HEAD)};
    const Tile<T, HEAD, TILE_ROWS> douts{carve.take<T>(TILE_ROWS * HEAD)};
    const Stages<T, HEAD, TILE_KEYS> keys{carve.take<T>(2 * TILE_KEYS * HEAD)};
    const Stages<T, HEAD, TILE_KEYS> values{carve.take<T>(2 * TILE_KEYS * HEAD)};
    q = head_of<const T, HEAD>(q, batch, sizes.queries, sizes.q_stride, head);
    k = head_of<const T, HEAD>(k, batch, sizes.keys, sizes.k_stride, head);
    v = head_of<const T, HEAD>(v, batch, sizes.keys, sizes.v_stride, head);
    dout = head_of<const T, HEAD>(dout, batch, sizes.queries, sizes.dout_stride, head);
    dq = head_of<T, HEAD>(dq, batch, sizes.queries, sizes.dq_stride, head);
    const ptrdiff_t rows = (ptrdiff_t(batch) * sizes.heads + head) * sizes.queries;
    const auto query_row = [&](int r) { return tile.query(r); };
    queries.load(q, sizes.q_stride, query_row);
    douts.load(dout, sizes.dout_stride, query_row);
    copy_async_commit();

    const int row0 = warp() * FRAGMENT_ROWS;
    const bool works = t0 + row0 < t1;
    const float to_log2 = sizes.scale * LOG2_E;
    const WeightDropout dropout = weight_dropout_of(state, sizes, batch, head);
    float whole[2], mean[2]; // the rows' log-sum-exp in units of log 2, and delta
    for (int half = 0; half < 2; ++half) {
        const int query = query_row(row0 + own_row(half));
        // A row that is not there has no weight.
        whole[half] = query >= 0 ? log_sum_exp.load(rows + query) * LOG2_E : -minus_infinity();
        mean[half] = query >= 0 ? delta.load(rows + query) : 0.0f;
    }
    float sum[HEAD / 8][4];
    clear(sum);

    for (int part = tile.parts.begin; part < tile.parts.end; ++part) {
        const AttentionClass c = tile.keys_of(part, sizes, table);
        const Interval some = c.touched(t0, t1), all = c.seen_by_all(t0, t1);
        if (some.begin >= some.end) continue;
        Interval seen[2];
        for (int half = 0; half < 2; ++half) seen[half] = c.seen(least(t0 + row0 + own_row(half), t1 - 1));
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
            const bool full = all.begin <= u0 && u0 + TILE_KEYS <= all.end;
            uint32_t kept = dropout.active() ? dropout.kept_in_rows(c, t0 + row0, t1, u0) : ALL_LANES;
            const float scale = dropout.active() ? sizes.kept : 1.0f;
            EVOKE_ROLLED
            for (int right = 0; right < TILE_KEYS; right += HALF_KEYS) {
                float weights[HALF_KEYS / 8][4], slopes[HALF_KEYS / 8][4];
                if (ROLLED<HEAD>) {
                    row_products_rolled<T, HEAD>(weights, queries, row0, keys.at(stage), right);
                    row_products_rolled<T, HEAD>(slopes, douts, row0, values.at(stage), right);
                } else {
                    row_products<T, HEAD>(weights, queries, row0, keys.at(stage), right);
                    row_products<T, HEAD>(slopes, douts, row0, values.at(stage), right);
                }
                EVOKE_UNROLL
                for (int n = 0; n < HALF_KEYS / 8; ++n)
                    EVOKE_UNROLL
                    for (int e = 0; e < 4; ++e) {
                        const int u = u0 + right + n * 8 + own_column() + e % 2;
                        const bool visible = full || (seen[e / 2].begin <= u && u < seen[e / 2].end);
                        const float weight = visible ? exp2(weights[n][e] * to_log2 - whole[e / 2]) : 0.0f;
                        const float slope = kept >> (4 * n + e) & 1 ? slopes[n][e] * scale : 0.0f;
                        weights[n][e] = weight * (slope - mean[e / 2]);
                    }
                weighted_rows<T, HEAD>(sum, weights, keys.at(stage), right);
                kept >>= 4 * HALF_KEYS / 8; // the bits of the other half
            }
        }
    }

    copy_async_wait<0>(); // where no part had keys, the queries are still on their way
    sync_block();
    if (!works) return;
    EVOKE_UNROLL
    for (int n = 0; n < HEAD / 8; ++n)
        EVOKE_UNROLL
        for (int i = 0; i < 4; ++i) sum[n][i] *= sizes.scale;
    if (sizes.term > 0) { // what the first term gave
        fetch_rows<T, HEAD, TILE_ROWS>(queries, read_only(dq), sizes.dq_stride, row0, query_row);
        sync_warp();
        add_rows<T, HEAD, TILE_ROWS>(sum, queries, row0, 1.0f);
        sync_warp();
    }
    put_rows<T, HEAD, TILE_ROWS>(queries, row0, sum);
    sync_warp();
    store_rows<T, HEAD, TILE_ROWS>(dq, sizes.dq_stride, queries, row0, query_row);
}

} // namespace evoke

// One instance: type, head size.
#define EVOKE_ATTENTION_QUERIES(T, HEAD)                                                                               \
    EVOKE_KERNEL(attention_queries_##T##_##HEAD, evoke::ATTENTION_THREADS, evoke::QUERIES_SHARED<HEAD>,                \
                 evoke::Global<evoke::T> dq, evoke::Global<const evoke::T> q, evoke::Global<const evoke::T> k,         \
                 evoke::Global<const evoke::T> v, evoke::Global<const evoke::T> dout,                                  \
                 evoke::Global<const float> log_sum_exp, evoke::Global<const float> delta,                             \
                 evoke::Global<const uint32_t> key_lengths, evoke::Global<const uint32_t> state,                       \
                 evoke::AttentionSizes sizes, evoke::PatternTable table) {                                             \
        evoke::attention_queries<evoke::T, HEAD>(dq, q, k, v, dout, log_sum_exp, delta, key_lengths, state, sizes,     \
                                                 table);                                                               \
    }
