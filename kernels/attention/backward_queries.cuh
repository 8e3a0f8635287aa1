// Attention backward, for the queries: dq = scale * dS k, dS = P (dP - delta), dP = dout v^T, P again from the log-sum-exp
// (Dao 2022).
//
// The same walk as forward's: a block takes queries and goes through the keys that they see. Three products a tile, so
// 6 of backward's 14 FLOPs for each visible pair and channel (the keys' kernel has 8; a form with atomics needs 10 in all:
// that is what a fixed order of sums costs here). Each sum is one thread's, over the keys in ascending order: a run repeats
// bit for bit, and nothing but delta is stored between the kernels.
//
// Narrow blocks have 64 queries, wide ones 128, as forward's, and give the same bits. Head sizes above 64 have no wide
// form: their blocks would fill the shared memory, or their sums the registers. What 64 queries times 64 keys of head
// size 64 take of a multiprocessor (counted and reckoned as in forward.cuh), narrow and wide: 1860 and 1430
// instructions, so 470 and 360 cycles of issue; 1150 and 700 of shared memory; 620 of products. Not yet run on a GPU.
#pragma once

#include "attention/dropout.cuh"
#include "attention/tiles.cuh"

namespace evoke {

// Keys whose weights and slopes are in registers at a time: with more, the accumulators of large heads or of two bands
// would spill.
constexpr int HALF_KEYS = TILE_KEYS / 2;

// Queries and their dout; two stages of keys and values.
template <int HEAD, int BANDS> constexpr unsigned QUERIES_SHARED = 2 * HEAD * (2 * BANDS * TILE_ROWS + 4 * TILE_KEYS);

template <class T, int HEAD, int BANDS>
EVOKE_DEVICE void attention_queries(Global<T> dq, Global<const T> q, Global<const T> k, Global<const T> v,
                                    Global<const T> dout, Global<const float> log_sum_exp, Global<const float> delta,
                                    Global<const uint32_t> key_lengths, Global<const uint32_t> state,
                                    const AttentionSizes &sizes, const PatternTable &table) {
    constexpr int ROWS = BANDS * TILE_ROWS, WARP_ROWS = BANDS * FRAGMENT_ROWS;
    const int head = block_y(), batch = block_z();
    const QueryTile tile = query_tile(sizes, table, key_lengths, head, batch, block_x(), ROWS);
    if (!tile.present()) return;
    const int t0 = tile.t0, t1 = tile.t1;

    EVOKE_SHARED_DYNAMIC(shared);
    Carve carve{shared};
    // Where a lane reads in the second of two arrays is where it reads in the first, and so much further.
    constexpr int DOUTS = ROWS * HEAD, VALUES = 2 * TILE_KEYS * HEAD;
    const Tile<T, HEAD, ROWS> queries{carve.take<T>(2 * DOUTS)}, douts{queries.at + DOUTS};
    const Stages<T, HEAD, TILE_KEYS> keys{carve.take<T>(2 * VALUES)}, values{keys.both + VALUES};
    q = head_of<const T, HEAD>(q, batch, sizes.queries, sizes.q_stride, head);
    dout = head_of<const T, HEAD>(dout, batch, sizes.queries, sizes.dout_stride, head);
    const ptrdiff_t rows = (ptrdiff_t(batch) * sizes.heads + head) * sizes.queries;
    const auto query_row = [&](int r) { return tile.query(r); };
    queries.load(q, sizes.q_stride, query_row);
    douts.load(dout, sizes.dout_stride, query_row);
    copy_async_commit();

    const int row0 = warp() * WARP_ROWS;
    const bool works = t0 + row0 < t1;
    const float to_log2 = sizes.scale * LOG2_E;
    float whole[BANDS][2], mean[BANDS][2]; // the rows' log-sum-exp in units of log 2, and delta
    float sum[BANDS][HEAD / 8][4];
    EVOKE_UNROLL
    for (int band = 0; band < BANDS; ++band) {
        EVOKE_UNROLL
        for (int half = 0; half < 2; ++half) {
            const int query = query_row(row0 + band * FRAGMENT_ROWS + own_row(half));
            // A row that is not there, or sees nothing, has no weight.
            const float from = query >= 0 ? log_sum_exp.load(rows + query) : minus_infinity();
            whole[band][half] = from == minus_infinity() ? -minus_infinity() : from * LOG2_E;
            mean[band][half] = query >= 0 ? delta.load(rows + query) : 0.0f;
        }
        clear(sum[band]);
    }

    k = head_of<const T, HEAD>(k, anew(block_z()), sizes.keys, sizes.k_stride, anew(block_y()));
    v = head_of<const T, HEAD>(v, anew(block_z()), sizes.keys, sizes.v_stride, anew(block_y()));
    const SharedPlace<T> query_place = queries.rows_place(row0);
    const SharedPlace<T> key_columns = keys.at(0).transposed_place(), key_rows = keys.at(0).rows_place(0);
    for (int part = tile.parts.begin; part < tile.parts.end; ++part) {
        const AttentionClass c = keys_anew(tile, part, sizes, table, key_lengths, ROWS);
        // Each lane keeps what one of the warp's rows sees, and asks for the block's first or last row.
        const Interval seen = c.seen(least(t0 + row0 + lane() % WARP_ROWS, t1 - 1));
        const Interval ends = c.seen(lane() % 2 ? t1 - 1 : t0);
        const Interval some = {shuffle(ends.begin, 0), shuffle(ends.end, 1)};
        if (some.begin >= some.end) continue;
        const int first = some.begin / TILE_KEYS * TILE_KEYS;
        const auto load = [&](int stage, int u0) {
            load_keys(keys.at(stage), k, values.at(stage), v, sizes, c, u0);
        };
        sync_block(); // the stages of the part before are free
        load(0, first);
        for (int u0 = first, stage = 0; u0 < some.end; u0 += TILE_KEYS, stage ^= 1) {
            copy_async_wait<0>();
            sync_block();
            if (u0 + TILE_KEYS < some.end) load(stage ^ 1, u0 + TILE_KEYS);
            if (!works || !any(seen.begin < u0 + TILE_KEYS && u0 < seen.end)) continue;
            const bool full = all(seen.begin <= u0 && u0 + TILE_KEYS <= seen.end);
            EVOKE_ROLLED
            for (int right = 0; right < TILE_KEYS; right += HALF_KEYS) {
                const int further = (stage * TILE_KEYS + right) * HEAD;
                float weights[BANDS][HALF_KEYS / 8][4], slopes[BANDS][HALF_KEYS / 8][4];
                band_products<T, HEAD, BANDS>(weights, query_place, key_columns.moved(further));
                band_products<T, HEAD, BANDS>(slopes, query_place.moved(DOUTS), key_columns.moved(further + VALUES));
                if (!full) {
                    EVOKE_UNROLL
                    for (int band = 0; band < BANDS; ++band)
                        EVOKE_UNROLL
                        for (int half = 0; half < 2; ++half) {
                            const int row = band * FRAGMENT_ROWS + own_row(half), zero = u0 + right + own_column();
                            const uint32_t visible = columns_below<HALF_KEYS>(shuffle(seen.end, row) - zero) &
                                                     ~columns_below<HALF_KEYS>(shuffle(seen.begin, row) - zero);
                            EVOKE_UNROLL
                            for (int i = 0; i < HALF_KEYS / 4; ++i)
                                if (!(visible >> i & 1)) weights[band][i / 2][2 * half + i % 2] = minus_infinity();
                        }
                }
                if (sizes.threshold != 0) {
                    const WeightDropout dropout = weight_dropout_of(state, sizes, block_z(), block_y());
                    EVOKE_UNROLL
                    for (int band = 0; band < BANDS; ++band) {
                        const uint32_t kept = dropout.kept_in_rows<HALF_KEYS / 8>(
                            c, t0 + row0 + band * FRAGMENT_ROWS, t1, u0 + right);
                        EVOKE_UNROLL
                        for (int n = 0; n < HALF_KEYS / 8; ++n)
                            EVOKE_UNROLL
                            for (int e = 0; e < 4; ++e)
                                slopes[band][n][e] = kept >> (4 * n + e) & 1 ? slopes[band][n][e] * sizes.kept : 0.0f;
                    }
                }
                EVOKE_UNROLL
                for (int band = 0; band < BANDS; ++band)
                    EVOKE_UNROLL
                    for (int n = 0; n < HALF_KEYS / 8; ++n)
                        EVOKE_UNROLL
                        for (int e = 0; e < 4; ++e) {
                            const float weight = exp2(weights[band][n][e] * to_log2 - whole[band][e / 2]);
                            weights[band][n][e] = weight * (slopes[band][n][e] - mean[band][e / 2]);
                        }
                weighted_bands<T, HEAD, BANDS>(sum, weights, key_rows.moved(further));
            }
        }
    }

    copy_async_wait<0>(); // where no part had keys, the queries are still on their way
    sync_block();
    if (!works) return;
    const int own0 = anew(warp()) * WARP_ROWS; // row0
    // Found only here, not kept through the loop.
    dq = head_of<T, HEAD>(dq, anew(block_z()), sizes.queries, sizes.dq_stride, anew(block_y()));
    EVOKE_UNROLL
    for (int band = 0; band < BANDS; ++band) {
        const int first = own0 + band * FRAGMENT_ROWS;
        EVOKE_UNROLL
        for (int n = 0; n < HEAD / 8; ++n)
            EVOKE_UNROLL
            for (int i = 0; i < 4; ++i) sum[band][n][i] *= sizes.scale;
        if (sizes.term > 0) { // what the first term gave
            fetch_rows<T, HEAD, ROWS>(queries, read_only(dq), sizes.dq_stride, first, query_row);
            sync_warp();
            add_rows<T, HEAD, ROWS>(sum[band], queries, first, 1.0f);
            sync_warp();
        }
        put_rows<T, HEAD, ROWS>(queries, first, sum[band]);
        sync_warp();
        store_rows<T, HEAD, ROWS>(dq, sizes.dq_stride, queries, first, query_row);
    }
}

} // namespace evoke

// One instance: type, head size, bands of a warp, which the name tells where they are two.
#define EVOKE_ATTENTION_QUERIES(NAME, T, HEAD, BANDS)                                                                  \
    EVOKE_KERNEL(NAME##_##T##_##HEAD, evoke::ATTENTION_THREADS, (evoke::QUERIES_SHARED<HEAD, BANDS>),                  \
                 evoke::Global<evoke::T> dq, evoke::Global<const evoke::T> q, evoke::Global<const evoke::T> k,         \
                 evoke::Global<const evoke::T> v, evoke::Global<const evoke::T> dout,                                  \
                 evoke::Global<const float> log_sum_exp, evoke::Global<const float> delta,                             \
                 evoke::Global<const uint32_t> key_lengths, evoke::Global<const uint32_t> state,                       \
                 evoke::AttentionSizes sizes, evoke::PatternTable table) {                                             \
        evoke::attention_queries<evoke::T, HEAD, BANDS>(dq, q, k, v, dout, log_sum_exp, delta, key_lengths, state,     \
                                                        sizes, table);                                                 \
    }
