// Attention backward, for keys and values: dv = (P dropped)^T dout, dk = scale * dS^T q, with P and dS as in
// backward_queries.cuh.
//
// A block takes 64 keys of one class of one head and goes through the queries that see any of them, in ascending order.
// Everything is transposed: a warp's 16 rows are keys, so that its products' results are the left factors of the next
// ones, and never leave the registers. Four products a tile: 8 FLOPs for each visible pair and channel. Deterministic: a
// key's sums are one thread's; no atomics.
//
// Keys that no query sees get zeros: a launch for a pattern's first term (with its prefix) writes every key, one for the
// second term adds.
#pragma once

#include "attention/dropout.cuh"
#include "attention/tiles.cuh"

namespace evoke {

// What is kept of each query of a tile, beside its rows.
struct QueryRows {
    Shared<float> whole; // log-sum-exp in units of log 2
    Shared<float> mean;  // delta
    Shared<int> begin, end; // keys that it sees
};

// Keys and values; two stages of queries and their dout, with what is kept of each.
template <int HEAD>
constexpr unsigned KEYS_SHARED = 2 * HEAD * (2 * TILE_ROWS + 4 * TILE_QUERIES<HEAD>) + 2 * 16 * TILE_QUERIES<HEAD>;

// The part, class and tile of keys that block `number` of a launch works on.
struct KeyTile {
    int part, index, u0;
};
EVOKE_DEVICE KeyTile key_tile(Pattern pattern, int term, int keys, int number) {
    const int prefix = pattern.prefix > 0 ? 1 : 0, prefix_tiles = divide_up(least(pattern.prefix, keys), TILE_ROWS);
    if (term == 0 && number < prefix_tiles) return {0, 0, number * TILE_ROWS};
    if (term == 0) number -= prefix_tiles;
    if (term >= terms_of(pattern)) return {-1, 0, 0};
    const int part = prefix + term, classes = classes_of(pattern, part);
    const int index = number % classes, u0 = number / classes * TILE_ROWS;
    return {u0 < keys ? part : -1, index, u0};
}

// Stores a warp's 16 rows through its own rows of a tile, added to what is there where `adds`.
template <class T, int HEAD, class Row>
EVOKE_DEVICE void finish_keys(Tile<T, HEAD, TILE_ROWS> tile, Global<const T> before, Global<T> to, int stride, int row0,
                              float (&sum)[HEAD / 8][4], bool adds, Row row) {
    if (adds) {
        fetch_rows<T, HEAD, TILE_ROWS>(tile, before, stride, row0, row);
        sync_warp();
        add_rows<T, HEAD, TILE_ROWS>(sum, tile, row0, 1.0f);
        sync_warp();
    }
    put_rows<T, HEAD, TILE_ROWS>(tile, row0, sum);
    sync_warp();
    store_rows<T, HEAD, TILE_ROWS>(to, stride, tile, row0, row);
}

template <class T, int HEAD>
EVOKE_DEVICE void attention_keys(Global<T> dk, Global<T> dv, Global<const T> q, Global<const T> k, Global<const T> v,
                                 Global<const T> dout, Global<const float> log_sum_exp, Global<const float> delta,
                                 Global<const uint32_t> key_lengths, Global<const uint32_t> state,
                                 const AttentionSizes &sizes, const PatternTable &table) {
    constexpr int QUERIES = TILE_QUERIES<HEAD>;
    const int head = block_y(), batch = block_z();
    const Pattern pattern = table.patterns[table.of_head[head]];
    const KeyTile own = key_tile(pattern, sizes.term, sizes.keys, block_x());
    if (own.part < 0) return;
    const int length = key_length_of(key_lengths, batch, sizes.keys), u0 = own.u0;
    const AttentionClass c = class_of(pattern, own.part, own.index, sizes.queries, sizes.keys, length);
    const bool is_prefix = c.rule == EVERYTHING, adds = sizes.term > 0;
    // All keys of the class, the padded ones too.
    const int present = is_prefix ? least(pattern.prefix, sizes.keys) : c.below(sizes.keys);
    if (u0 >= present) return;

    EVOKE_SHARED_DYNAMIC(shared);
    Carve carve{shared};
    const Tile<T, HEAD, TILE_ROWS> keys{carve.take<T>(TILE_ROWS * HEAD)};
    const Tile<T, HEAD, TILE_ROWS> values{carve.take<T>(TILE_ROWS * HEAD)};
    const Stages<T, HEAD, QUERIES> queries{carve.take<T>(2 * QUERIES * HEAD)};
    const Stages<T, HEAD, QUERIES> douts{carve.take<T>(2 * QUERIES * HEAD)};
    const QueryRows kept_rows{carve.take<float>(2 * QUERIES), carve.take<float>(2 * QUERIES), carve.take<int>(2 * QUERIES),
                              carve.take<int>(2 * QUERIES)};
    q = head_of<const T, HEAD>(q, batch, sizes.queries, sizes.q_stride, head);
    k = head_of<const T, HEAD>(k, batch, sizes.keys, sizes.k_stride, head);
    v = head_of<const T, HEAD>(v, batch, sizes.keys, sizes.v_stride, head);
    dout = head_of<const T, HEAD>(dout, batch, sizes.queries, sizes.dout_stride, head);
    dk = head_of<T, HEAD>(dk, batch, sizes.keys, sizes.dk_stride, head);
    dv = head_of<T, HEAD>(dv, batch, sizes.keys, sizes.dv_stride, head);
    const ptrdiff_t rows = (ptrdiff_t(batch) * sizes.heads + head) * sizes.queries;

    const int row0 = warp() * FRAGMENT_ROWS;
    const float to_log2 = sizes.scale * LOG2_E;
    const WeightDropout dropout = weight_dropout_of(state, sizes, batch, head);
    float dk_sum[HEAD / 8][4], dv_sum[HEAD / 8][4];
    clear(dk_sum);
    clear(dv_sum);

    const int seen_first = most(u0, c.begin), seen_last = least(u0 + TILE_ROWS, c.end);
    const Interval by = seen_first < seen_last ? c.queries_seeing(seen_first, seen_last) : Interval{0, 0};
    const bool works = row0 < seen_last - u0 && row0 + FRAGMENT_ROWS > seen_first - u0;
    if (by.begin < by.end) {
        const auto key_row = [&](int r) { return c.begin <= u0 + r && u0 + r < c.end ? c.key(u0 + r) : -1; };
        keys.load(k, sizes.k_stride, key_row);
        values.load(v, sizes.v_stride, key_row);
        const auto load = [&](int stage, int t0) {
            const auto query_row = [&](int r) { return t0 + r < by.end ? c.query(t0 + r) : -1; };
            queries.at(stage).load(q, sizes.q_stride, query_row);
            douts.at(stage).load(dout, sizes.dout_stride, query_row);
            copy_async_commit();
            if (thread() < QUERIES) {
                const int query = query_row(thread()), place = stage * QUERIES + thread();
                const Interval seen = c.seen(least(t0 + thread(), by.end - 1));
                // A row that is not there has no weight.
                kept_rows.whole.store(place, query >= 0 ? log_sum_exp.load(rows + query) * LOG2_E : -minus_infinity());
                kept_rows.mean.store(place, query >= 0 ? delta.load(rows + query) : 0.0f);
                kept_rows.begin.store(place, seen.begin);
                kept_rows.end.store(place, seen.end);
            }
        };
        load(0, by.begin);
        for (int t0 = by.begin, stage = 0; t0 < by.end; t0 += QUERIES, stage ^= 1) {
            copy_async_wait<0>();
            sync_block();
            if (t0 + QUERIES < by.end) load(stage ^ 1, t0 + QUERIES);
            if (!works) continue;
            float weights[QUERIES / 8][4], slopes[QUERIES / 8][4];
            row_products<T, HEAD>(weights, keys, row0, queries.at(stage));
            const Interval all = c.seen_by_all(t0, least(t0 + QUERIES, by.end));
            const bool full = all.begin <= u0 && u0 + TILE_ROWS <= all.end;
            const uint32_t kept =
                dropout.active() ? dropout.kept_in_columns<QUERIES / 8>(c, t0, by.end, u0 + row0) : ALL_LANES;
            const float scale = dropout.active() ? sizes.kept : 1.0f;
            EVOKE_UNROLL
            for (int n = 0; n < QUERIES / 8; ++n)
                EVOKE_UNROLL
                for (int e = 0; e < 2; ++e) {
                    const int place = stage * QUERIES + n * 8 + own_column() + e;
                    const float whole = kept_rows.whole.load(place);
                    const int begin = full ? u0 : kept_rows.begin.load(place);
                    const int end = full ? u0 + TILE_ROWS : kept_rows.end.load(place);
                    EVOKE_UNROLL
                    for (int half = 0; half < 2; ++half) {
                        const int u = u0 + row0 + own_row(half);
                        float &weight = weights[n][2 * half + e];
                        weight = begin <= u && u < end ? exp2(weight * to_log2 - whole) : 0.0f;
                    }
                }
            row_products<T, HEAD>(slopes, values, row0, douts.at(stage));
            EVOKE_UNROLL
            for (int n = 0; n < QUERIES / 8; ++n)
                EVOKE_UNROLL
                for (int e = 0; e < 4; ++e) {
                    const float mean = kept_rows.mean.load(stage * QUERIES + n * 8 + own_column() + e % 2);
                    const bool keeps = kept >> (4 * n + e) & 1;
                    slopes[n][e] = weights[n][e] * ((keeps ? slopes[n][e] * scale : 0.0f) - mean);
                    weights[n][e] = keeps ? weights[n][e] * scale : 0.0f;
                }
            weighted_rows<T, HEAD>(dv_sum, weights, douts.at(stage));
            weighted_rows<T, HEAD>(dk_sum, slopes, queries.at(stage));
        }
        copy_async_wait<0>();
    }
    sync_block();
    EVOKE_UNROLL
    for (int n = 0; n < HEAD / 8; ++n)
        EVOKE_UNROLL
        for (int i = 0; i < 4; ++i) dk_sum[n][i] *= sizes.scale;
    // The prefix's keys are its own part's; a second term touches its own keys alone.
    const auto target_row = [&](int r) {
        const int u = u0 + r;
        if (u >= present || (adds && (u < c.begin || u >= c.end))) return -1;
        const int key = c.key(u);
        return !is_prefix && key < pattern.prefix ? -1 : key;
    };
    finish_keys<T, HEAD>(keys, read_only(dk), dk, sizes.dk_stride, row0, dk_sum, adds, target_row);
    finish_keys<T, HEAD>(values, read_only(dv), dv, sizes.dv_stride, row0, dv_sum, adds, target_row);
}

} // namespace evoke

// One instance: type, head size.
#define EVOKE_ATTENTION_KEYS(T, HEAD)                                                                                  \
    EVOKE_KERNEL(attention_keys_##T##_##HEAD, evoke::ATTENTION_THREADS, evoke::KEYS_SHARED<HEAD>,                      \
                 evoke::Global<evoke::T> dk, evoke::Global<evoke::T> dv, evoke::Global<const evoke::T> q,              \
                 evoke::Global<const evoke::T> k, evoke::Global<const evoke::T> v, evoke::Global<const evoke::T> dout, \
                 evoke::Global<const float> log_sum_exp, evoke::Global<const float> delta,                             \
                 evoke::Global<const uint32_t> key_lengths, evoke::Global<const uint32_t> state,                       \
                 evoke::AttentionSizes sizes, evoke::PatternTable table) {                                             \
        evoke::attention_keys<evoke::T, HEAD>(dk, dv, q, k, v, dout, log_sum_exp, delta, key_lengths, state, sizes,    \
                                              table);                                                                  \
    }
