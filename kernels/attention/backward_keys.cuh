// Attention backward, for keys and values: dv = (P dropped)^T dout, dk = scale * dS^T q, with P and dS as in
// backward_queries.cuh.
//
// A block takes keys of one class of one head and goes through the queries that see any of them, in ascending order.
// Everything is transposed: a warp's rows are keys, so that its products' results are the left factors of the next
// ones, and never leave the registers. Four products a tile: 8 FLOPs for each visible pair and channel. Deterministic: a
// key's sums are one thread's; no atomics.
//
// Keys that no query sees get zeros: a launch for a pattern's first term (with its prefix) writes every key, one for the
// second term adds.
//
// Narrow blocks have 64 keys, wide ones 128, as forward's, and give the same bits. Two bands have twice the sums: only
// head size 32 has room for them. What 64 keys times 64 queries of head size 64 take of a multiprocessor (narrow;
// counted and reckoned as in forward.cuh): 2300 instructions, so 580 cycles of issue; 1340 of shared memory; 830 of
// products. Bound by shared memory; before copies and bounds were found once a tile, issue took 1460. Wide blocks of
// head size 64, could they be had without spills, would halve what they read: some 750 cycles. Not yet run on a GPU.
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

// Queries that are worked on at a time: the accumulators of dk and dv take head size registers each thread and band, so
// the scores of large heads and of two bands must take fewer.
template <int HEAD, int BANDS> constexpr int KEYS_QUERIES = HEAD > 64 || BANDS > 1 ? 32 : 64;

// Keys and values; two stages of queries and their dout, with what is kept of each.
template <int HEAD, int BANDS>
constexpr unsigned KEYS_SHARED = 2 * HEAD * (2 * BANDS * TILE_ROWS + 4 * KEYS_QUERIES<HEAD, BANDS>) +
                                 2 * 16 * KEYS_QUERIES<HEAD, BANDS>;

// The keys that block `number` of a launch works on: u0 .. of one class of one part of a head's pattern.
struct KeyBlock {
    AttentionClass keys;
    int u0;
    int present;   // keys of the class, the padded ones too; none where there is nothing to do
    int first_own; // the first key that is the part's own: those of the prefix are the prefix's
};
EVOKE_DEVICE KeyBlock key_block(const AttentionSizes &sizes, const PatternTable &table, int length, int head,
                                int number, int rows) {
    const Pattern &pattern = table.patterns[table.of_head[head]];
    const int prefix = pattern.prefix > 0 ? 1 : 0, prefix_keys = least(pattern.prefix, sizes.keys);
    if (sizes.term == 0) {
        const int tiles = divide_up(prefix_keys, rows);
        if (number < tiles)
            return {class_of(pattern, 0, 0, sizes.queries, sizes.keys, length), number * rows, prefix_keys, 0};
        number -= tiles;
    }
    if (sizes.term >= terms_of(pattern)) return {{}, 0, 0, 0};
    const int part = prefix + sizes.term, classes = classes_of(pattern, part);
    const AttentionClass keys = class_of(pattern, part, number % classes, sizes.queries, sizes.keys, length);
    return {keys, number / classes * rows, keys.below(sizes.keys), pattern.prefix};
}

// Stores a warp's 16 rows through its own rows of a tile, added to what is there where `adds`.
template <class T, int HEAD, int ROWS, class Row>
EVOKE_DEVICE void finish_keys(Tile<T, HEAD, ROWS> tile, Global<const T> before, Global<T> to, int stride, int row0,
                              float (&sum)[HEAD / 8][4], bool adds, Row row) {
    if (adds) {
        fetch_rows<T, HEAD, ROWS>(tile, before, stride, row0, row);
        sync_warp();
        add_rows<T, HEAD, ROWS>(sum, tile, row0, 1.0f);
        sync_warp();
    }
    put_rows<T, HEAD, ROWS>(tile, row0, sum);
    sync_warp();
    store_rows<T, HEAD, ROWS>(to, stride, tile, row0, row);
}

template <class T, int HEAD, int BANDS>
EVOKE_DEVICE void attention_keys(Global<T> dk, Global<T> dv, Global<const T> q, Global<const T> k, Global<const T> v,
                                 Global<const T> dout, Global<const float> log_sum_exp, Global<const float> delta,
                                 Global<const uint32_t> key_lengths, Global<const uint32_t> state,
                                 const AttentionSizes &sizes, const PatternTable &table) {
    constexpr int ROWS = BANDS * TILE_ROWS, WARP_ROWS = BANDS * FRAGMENT_ROWS, QUERIES = KEYS_QUERIES<HEAD, BANDS>;
    const int head = block_y(), batch = block_z();
    const int length = key_length_of(key_lengths, batch, sizes.keys);
    const KeyBlock own = key_block(sizes, table, length, head, block_x(), ROWS);
    if (own.u0 >= own.present) return;
    const int u0 = own.u0;
    const AttentionClass c = own.keys;

    EVOKE_SHARED_DYNAMIC(shared);
    Carve carve{shared};
    // Where a lane reads in the second of two arrays is where it reads in the first, and so much further.
    constexpr int VALUES = ROWS * HEAD, DOUTS = 2 * QUERIES * HEAD;
    const Tile<T, HEAD, ROWS> keys{carve.take<T>(2 * VALUES)}, values{keys.at + VALUES};
    const Stages<T, HEAD, QUERIES> queries{carve.take<T>(2 * DOUTS)}, douts{queries.both + DOUTS};
    const QueryRows kept_rows{carve.take<float>(2 * QUERIES), carve.take<float>(2 * QUERIES), carve.take<int>(2 * QUERIES),
                              carve.take<int>(2 * QUERIES)};
    q = head_of<const T, HEAD>(q, batch, sizes.queries, sizes.q_stride, head);
    k = head_of<const T, HEAD>(k, batch, sizes.keys, sizes.k_stride, head);
    v = head_of<const T, HEAD>(v, batch, sizes.keys, sizes.v_stride, head);
    dout = head_of<const T, HEAD>(dout, batch, sizes.queries, sizes.dout_stride, head);
    const ptrdiff_t rows = (ptrdiff_t(batch) * sizes.heads + head) * sizes.queries;

    const int row0 = warp() * WARP_ROWS;
    const float to_log2 = sizes.scale * LOG2_E;
    float dk_sum[BANDS][HEAD / 8][4], dv_sum[BANDS][HEAD / 8][4];
    EVOKE_UNROLL
    for (int band = 0; band < BANDS; ++band) clear(dk_sum[band]), clear(dv_sum[band]);

    const int seen_first = most(u0, c.begin), seen_last = least(u0 + ROWS, c.end);
    const Interval by = seen_first < seen_last ? c.queries_seeing(seen_first, seen_last) : Interval{0, 0};
    const bool works = row0 < seen_last - u0 && row0 + WARP_ROWS > seen_first - u0;
    if (by.begin < by.end) {
        const auto key_row = [&](int r) { return c.begin <= u0 + r && u0 + r < c.end ? c.key(u0 + r) : -1; };
        keys.load(k, sizes.k_stride, key_row);
        values.load(v, sizes.v_stride, key_row);
        const auto load = [&](int stage, int t0) {
            load_lines(queries.at(stage), q, sizes.q_stride, douts.at(stage), dout, sizes.dout_stride,
                       {c.query(t0), c.query_stride, 0, by.end - t0});
            copy_async_commit();
            if (thread() < QUERIES) {
                const int query = t0 + thread() < by.end ? c.query(t0 + thread()) : -1;
                const int place = stage * QUERIES + thread();
                const Interval seen = c.seen(least(t0 + thread(), by.end - 1));
                // A row that is not there, or sees nothing, has no weight.
                const float from = query >= 0 ? log_sum_exp.load(rows + query) : minus_infinity();
                kept_rows.whole.store(place, from == minus_infinity() ? -minus_infinity() : from * LOG2_E);
                kept_rows.mean.store(place, query >= 0 ? delta.load(rows + query) : 0.0f);
                kept_rows.begin.store(place, seen.begin);
                kept_rows.end.store(place, seen.end);
            }
        };
        const SharedPlace<T> key_place = keys.rows_place(row0);
        const SharedPlace<T> query_columns = queries.at(0).transposed_place(), query_rows = queries.at(0).rows_place(0);
        // Products add 16 queries at a time: from the same ones on, whatever the block's keys.
        const int first = by.begin / FRAGMENT_ROWS * FRAGMENT_ROWS;
        load(0, first);
        for (int t0 = first, stage = 0; t0 < by.end; t0 += QUERIES, stage ^= 1) {
            copy_async_wait<0>();
            sync_block();
            if (t0 + QUERIES < by.end) load(stage ^ 1, t0 + QUERIES);
            // Bounds do not fall from one query to the next.
            const int top = stage * QUERIES, bottom = top + QUERIES - 1, mine = u0 + row0;
            if (!works || kept_rows.begin.load(top) >= mine + WARP_ROWS || kept_rows.end.load(bottom) <= mine) continue;
            const bool full = kept_rows.begin.load(bottom) <= mine && mine + WARP_ROWS <= kept_rows.end.load(top);
            const int further = stage * QUERIES * HEAD;
            float weights[BANDS][QUERIES / 8][4], slopes[BANDS][QUERIES / 8][4];
            band_products<T, HEAD, BANDS>(weights, key_place, query_columns.moved(further));
            if (!full) {
                EVOKE_UNROLL
                for (int n = 0; n < QUERIES / 8; ++n) {
                    const auto begin = kept_rows.begin.template load_vec<2>(top + n * 8 + own_column());
                    const auto end = kept_rows.end.template load_vec<2>(top + n * 8 + own_column());
                    EVOKE_UNROLL
                    for (int band = 0; band < BANDS; ++band)
                        EVOKE_UNROLL
                        for (int e = 0; e < 4; ++e) {
                            const int u = mine + band * FRAGMENT_ROWS + own_row(e / 2);
                            if (u < begin.at[e % 2] || u >= end.at[e % 2]) weights[band][n][e] = minus_infinity();
                        }
                }
            }
            EVOKE_UNROLL
            for (int n = 0; n < QUERIES / 8; ++n) {
                const auto whole = kept_rows.whole.template load_vec<2>(top + n * 8 + own_column());
                EVOKE_UNROLL
                for (int band = 0; band < BANDS; ++band)
                    EVOKE_UNROLL
                    for (int e = 0; e < 4; ++e)
                        weights[band][n][e] = exp2(weights[band][n][e] * to_log2 - whole.at[e % 2]);
            }
            band_products<T, HEAD, BANDS>(slopes, key_place.moved(VALUES), query_columns.moved(further + DOUTS));
            uint32_t kept[BANDS] = {};
            if (sizes.threshold != 0) {
                const WeightDropout dropout = weight_dropout_of(state, sizes, block_z(), block_y());
                EVOKE_UNROLL
                for (int band = 0; band < BANDS; ++band) {
                    kept[band] = dropout.kept_in_columns<QUERIES / 8>(c, t0, by.end, mine + band * FRAGMENT_ROWS);
                    EVOKE_UNROLL
                    for (int n = 0; n < QUERIES / 8; ++n)
                        EVOKE_UNROLL
                        for (int e = 0; e < 4; ++e)
                            slopes[band][n][e] = kept[band] >> (4 * n + e) & 1 ? slopes[band][n][e] * sizes.kept : 0.0f;
                }
            }
            EVOKE_UNROLL
            for (int n = 0; n < QUERIES / 8; ++n) {
                const auto mean = kept_rows.mean.template load_vec<2>(top + n * 8 + own_column());
                EVOKE_UNROLL
                for (int band = 0; band < BANDS; ++band)
                    EVOKE_UNROLL
                    for (int e = 0; e < 4; ++e)
                        slopes[band][n][e] = weights[band][n][e] * (slopes[band][n][e] - mean.at[e % 2]);
            }
            if (sizes.threshold != 0) {
                EVOKE_UNROLL
                for (int band = 0; band < BANDS; ++band)
                    EVOKE_UNROLL
                    for (int n = 0; n < QUERIES / 8; ++n)
                        EVOKE_UNROLL
                        for (int e = 0; e < 4; ++e) {
                            float &weight = weights[band][n][e];
                            weight = kept[band] >> (4 * n + e) & 1 ? weight * sizes.kept : 0.0f;
                        }
            }
            weighted_bands<T, HEAD, BANDS>(dv_sum, weights, query_rows.moved(further + DOUTS));
            weighted_bands<T, HEAD, BANDS>(dk_sum, slopes, query_rows.moved(further));
        }
        copy_async_wait<0>();
    }
    sync_block();
    // Found again for what the last lines need, not kept through the loop.
    const int own_head = anew(block_y()), own_batch = anew(block_z());
    const KeyBlock block = key_block(sizes, table, length, own_head, anew(block_x()), ROWS);
    // The prefix's keys are its own part's; a second term touches its own keys alone.
    const bool adds = sizes.term > 0;
    const auto target_row = [&](int r) {
        const int u = block.u0 + r;
        if (u >= block.present || (adds && (u < block.keys.begin || u >= block.keys.end))) return -1;
        const int key = block.keys.key(u);
        return key < block.first_own ? -1 : key;
    };
    dk = head_of<T, HEAD>(dk, own_batch, sizes.keys, sizes.dk_stride, own_head);
    dv = head_of<T, HEAD>(dv, own_batch, sizes.keys, sizes.dv_stride, own_head);
    EVOKE_UNROLL
    for (int band = 0; band < BANDS; ++band) {
        const int first = row0 + band * FRAGMENT_ROWS;
        EVOKE_UNROLL
        for (int n = 0; n < HEAD / 8; ++n)
            EVOKE_UNROLL
            for (int i = 0; i < 4; ++i) dk_sum[band][n][i] *= sizes.scale;
        finish_keys<T, HEAD, ROWS>(keys, read_only(dk), dk, sizes.dk_stride, first, dk_sum[band], adds, target_row);
        finish_keys<T, HEAD, ROWS>(values, read_only(dv), dv, sizes.dv_stride, first, dv_sum[band], adds, target_row);
    }
}

} // namespace evoke

// One instance: type, head size, bands of a warp, which the name tells where they are two.
#define EVOKE_ATTENTION_KEYS(NAME, T, HEAD, BANDS)                                                                     \
    EVOKE_KERNEL(NAME##_##T##_##HEAD, evoke::ATTENTION_THREADS, (evoke::KEYS_SHARED<HEAD, BANDS>),                     \
                 evoke::Global<evoke::T> dk, evoke::Global<evoke::T> dv, evoke::Global<const evoke::T> q,              \
                 evoke::Global<const evoke::T> k, evoke::Global<const evoke::T> v, evoke::Global<const evoke::T> dout, \
                 evoke::Global<const float> log_sum_exp, evoke::Global<const float> delta,                             \
                 evoke::Global<const uint32_t> key_lengths, evoke::Global<const uint32_t> state,                       \
                 evoke::AttentionSizes sizes, evoke::PatternTable table) {                                             \
        evoke::attention_keys<evoke::T, HEAD, BANDS>(dk, dv, q, k, v, dout, log_sum_exp, delta, key_lengths, state,    \
                                                     sizes, table);                                                    \
    }
