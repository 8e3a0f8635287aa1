// Attention forward: out = softmax(scale q k^T, over the keys that the pattern shows) v, and the log-sum-exp of each row.
//
// A block takes queries of one class of one head and goes through the keys that any of them sees, tile by tile, with an
// online softmax (Milakov and Gimelshein 2018; Dao 2023): nothing of the size queries x keys exists. Scores are kept in
// units of log 2, so that each weight costs one multiply-add and one exp2. Keys and values of the next tile are copied
// while this one is worked on. Tiles that nobody sees are never loaded, those that no row of a warp sees are left out
// by that warp, and bounds are compared only in tiles that not all of its rows see.
//
// Two forms of one source. A narrow block has 64 queries: each of its four warps has one band of 16 rows, and reads
// every key and value from shared memory for those 16. A wide block has 128 (Dao 2023): a warp has two bands, and each
// fragment that it reads serves both. `Blocks` in src/ops/attention/blocks.rs chooses by shape. The bits are the same,
// since a row's sums know nothing of the rows beside it.
//
// 4 FLOPs for each visible pair and channel, on tensor cores; bytes: q, k, v, out once for each block (k, v from the
// second-level cache). Bound by arithmetic from some 280 keys a query on (H200), by memory below. Sums run over the
// keys in ascending order in one thread quad, whatever the schedule: a run repeats bit for bit.
//
// What 64 queries times 64 keys of head size 64 take of a multiprocessor, counted in the machine code for sm_90a (nvcc
// 13.0); a cycle is one instruction of each scheduler, 128 bytes of shared memory, 16 exp2, and of products 62 % of the
// dense peak, which is what mma.sync reaches on an H100:
//
//                                  narrow   wide
//   instructions of the loop        1528    1214, of which 256 products, 144 or 80 loads of fragments
//   cycles: issue                    382     304
//           shared memory            704     384
//           products                 413     413
//           exp2                     256     256
//
// So narrow blocks wait for shared memory, wide ones for the products: up to 1.7 times as fast where nothing else is in
// the way. Two wide blocks fit a multiprocessor (four narrow ones, three of head size 128). Not yet run on a GPU.
#pragma once

#include "attention/dropout.cuh"
#include "attention/tiles.cuh"

namespace evoke {

// Keys of a tile: with 64, the scores of two bands and the sums of large heads would not fit the registers, nor would
// two wide blocks the shared memory of an A100. The same for both forms, which is why their bits agree.
template <int HEAD> constexpr int FORWARD_KEYS = HEAD > 64 ? TILE_KEYS / 2 : TILE_KEYS;

// Queries; two stages of keys and values.
template <int HEAD, int BANDS>
constexpr unsigned FORWARD_SHARED = 2 * HEAD * (BANDS * TILE_ROWS + 4 * FORWARD_KEYS<HEAD>);

// A row's weights are relative to a maximum that may be this many powers of two behind the true one: sums and weights
// are as exact at 256 as at 1, and what was summed up so far is scaled anew some few times in a sequence, not at every
// maximum (as in FlashAttention-4).
constexpr float BEHIND = 8.0f;

// The rows of a lane in one band: what weights are relative to (in units of log 2), and this lane's share of the sums.
template <int HEAD> struct Softmax {
    float most[2];
    float sum[2];

    EVOKE_DEVICE void clear() {
        for (int half = 0; half < 2; ++half) most[half] = minus_infinity(), sum[half] = 0.0f;
    }

    // Takes a tile's scores (minus infinity where hidden) in; they become weights.
    template <int BLOCKS>
    EVOKE_DEVICE void take(float (&scores)[BLOCKS][4], float (&out)[HEAD / 8][4], float to_log2) {
        float base[2];
        bool rises = false;
        EVOKE_UNROLL
        for (int half = 0; half < 2; ++half) {
            float largest = max(scores[0][2 * half], scores[0][2 * half + 1]);
            EVOKE_UNROLL
            for (int n = 1; n < BLOCKS; ++n)
                largest = max(largest, max(scores[n][2 * half], scores[n][2 * half + 1]));
            largest = max(largest, shuffle_xor(largest, 1));
            largest = max(largest, shuffle_xor(largest, 2)) * to_log2;
            const bool higher = largest > most[half] + BEHIND;
            rises = rises || higher;
            base[half] = higher ? largest : most[half];
        }
        if (any(rises)) {
            EVOKE_UNROLL
            for (int half = 0; half < 2; ++half) {
                // 1 where nothing changes, 0 where nothing was seen before.
                const float kept = base[half] == most[half] ? 1.0f : exp2(most[half] - base[half]);
                most[half] = base[half];
                sum[half] *= kept;
                EVOKE_UNROLL
                for (int n = 0; n < HEAD / 8; ++n) out[n][2 * half] *= kept, out[n][2 * half + 1] *= kept;
            }
        }
        EVOKE_UNROLL
        for (int half = 0; half < 2; ++half) {
            // The weights of a row that has seen nothing yet stay at 0.
            const float from = base[half] == minus_infinity() ? 0.0f : base[half];
            float added[2] = {0.0f, 0.0f};
            EVOKE_UNROLL
            for (int n = 0; n < BLOCKS; ++n)
                EVOKE_UNROLL
                for (int e = 0; e < 2; ++e) {
                    float &score = scores[n][2 * half + e];
                    score = exp2(score * to_log2 - from);
                    added[e] = n == 0 ? score : added[e] + score;
                }
            sum[half] += added[0] + added[1];
            settle(sum[half]); // not behind dropout, which needs the weights' registers
        }
    }
};

template <class T, int HEAD, int BANDS>
EVOKE_DEVICE void attention_forward(Global<T> out, Global<float> log_sum_exp, Global<const T> q, Global<const T> k,
                                    Global<const T> v, Global<const uint32_t> key_lengths,
                                    Global<const uint32_t> state, const AttentionSizes &sizes,
                                    const PatternTable &table) {
    constexpr int ROWS = BANDS * TILE_ROWS, WARP_ROWS = BANDS * FRAGMENT_ROWS, KEYS = FORWARD_KEYS<HEAD>;
    const int head = block_y(), batch = block_z();
    const QueryTile tile = query_tile(sizes, table, key_lengths, head, batch, block_x(), ROWS);
    if (!tile.present()) return;
    const int t0 = tile.t0, t1 = tile.t1;

    EVOKE_SHARED_DYNAMIC(shared);
    Carve carve{shared};
    const Tile<T, HEAD, ROWS> queries{carve.take<T>(ROWS * HEAD)};
    const Stages<T, HEAD, KEYS> keys{carve.take<T>(4 * KEYS * HEAD)}, values{keys.both + 2 * KEYS * HEAD};
    q = head_of<const T, HEAD>(q, batch, sizes.queries, sizes.q_stride, head);
    // Found where it is needed, before and after the loop: registers are dear.
    const auto out_rows = [&] { return head_of<T, HEAD>(out, block_z(), sizes.queries, sizes.out_stride, block_y()); };
    const auto sum_rows = [&] {
        return log_sum_exp + (ptrdiff_t(block_z()) * sizes.heads + block_y()) * sizes.queries;
    };
    const auto query_row = [&](int r) { return tile.query(r); };
    queries.load(q, sizes.q_stride, query_row);
    copy_async_commit();

    const int row0 = warp() * WARP_ROWS;
    // A warp whose queries all lie behind the end only helps to copy.
    const bool works = t0 + row0 < t1;
    Softmax<HEAD> softmax[BANDS];
    float sums[BANDS][HEAD / 8][4];
    EVOKE_UNROLL
    for (int band = 0; band < BANDS; ++band) softmax[band].clear(), clear(sums[band]);
    if (sizes.term > 0) { // go on from what the first term left
        static_assert(ROWS <= 4 * KEYS, "it has the room of both stages of keys and values");
        const Tile<T, HEAD, ROWS> earlier{keys.both};
        earlier.load(read_only(out_rows()), sizes.out_stride, query_row);
        copy_async_commit();
        copy_async_wait<0>();
        sync_block();
        if (works) {
            EVOKE_UNROLL
            for (int band = 0; band < BANDS; ++band) {
                const int first = row0 + band * FRAGMENT_ROWS;
                add_rows<T, HEAD, ROWS>(sums[band], earlier, first, 1.0f);
                for (int half = 0; half < 2; ++half) {
                    const int query = query_row(first + own_row(half));
                    if (query < 0) continue;
                    Softmax<HEAD> &own = softmax[band];
                    own.most[half] = sum_rows().load(query) * LOG2_E;
                    // The sum over a quad of lanes is 1: out is divided already.
                    own.sum[half] = lane() % 4 == 0 && own.most[half] != minus_infinity() ? 1.0f : 0.0f;
                }
            }
        }
        sync_block();
    }

    k = head_of<const T, HEAD>(k, anew(block_z()), sizes.keys, sizes.k_stride, anew(block_y()));
    v = head_of<const T, HEAD>(v, anew(block_z()), sizes.keys, sizes.v_stride, anew(block_y()));
    const SharedPlace<T> query_place = queries.rows_place(row0);
    const SharedPlace<T> key_place = keys.at(0).transposed_place(), value_place = values.at(0).rows_place(0);
    for (int part = tile.parts.begin; part < tile.parts.end; ++part) {
        const AttentionClass c = keys_anew(tile, part, sizes, table, key_lengths, ROWS);
        // Each lane keeps what one of the warp's rows sees, and asks for the block's first or last row.
        const Interval seen = c.seen(least(t0 + row0 + lane() % WARP_ROWS, t1 - 1));
        const Interval ends = c.seen(lane() % 2 ? t1 - 1 : t0);
        const Interval some = {shuffle(ends.begin, 0), shuffle(ends.end, 1)};
        if (some.begin >= some.end) continue;
        // Whole groups of random bits: a tile begins at a multiple of its size.
        const int first = some.begin / KEYS * KEYS;
        const auto load = [&](int stage, int u0) {
            load_keys(keys.at(stage), k, values.at(stage), v, sizes, c, u0);
        };
        sync_block(); // the stages of the part before are free
        load(0, first);
        for (int u0 = first, stage = 0; u0 < some.end; u0 += KEYS, stage ^= 1) {
            copy_async_wait<0>();
            sync_block();
            if (u0 + KEYS < some.end) load(stage ^ 1, u0 + KEYS);
            if (!works || !any(seen.begin < u0 + KEYS && u0 < seen.end)) continue;
            const int further = stage * KEYS * HEAD;
            float scores[BANDS][KEYS / 8][4];
            band_products<T, HEAD, BANDS>(scores, query_place, key_place.moved(further));
            if (!all(seen.begin <= u0 && u0 + KEYS <= seen.end)) {
                EVOKE_UNROLL
                for (int band = 0; band < BANDS; ++band)
                    EVOKE_UNROLL
                    for (int half = 0; half < 2; ++half) {
                        const int row = band * FRAGMENT_ROWS + own_row(half), zero = u0 + own_column();
                        const uint32_t visible = columns_below<KEYS>(shuffle(seen.end, row) - zero) &
                                                 ~columns_below<KEYS>(shuffle(seen.begin, row) - zero);
                        EVOKE_UNROLL
                        for (int i = 0; i < KEYS / 4; ++i)
                            if (!(visible >> i & 1)) scores[band][i / 2][2 * half + i % 2] = minus_infinity();
                    }
            }
            EVOKE_UNROLL
            for (int band = 0; band < BANDS; ++band) softmax[band].take(scores[band], sums[band], sizes.scale * LOG2_E);
            if (sizes.threshold != 0) {
                const WeightDropout dropout = weight_dropout_of(state, sizes, block_z(), block_y());
                EVOKE_UNROLL
                for (int band = 0; band < BANDS; ++band) {
                    const uint32_t kept = dropout.kept_in_rows<KEYS / 8>(c, t0 + row0 + band * FRAGMENT_ROWS, t1, u0);
                    EVOKE_UNROLL
                    for (int n = 0; n < KEYS / 8; ++n)
                        EVOKE_UNROLL
                        for (int e = 0; e < 4; ++e)
                            scores[band][n][e] = kept >> (4 * n + e) & 1 ? scores[band][n][e] * sizes.kept : 0.0f;
                }
            }
            weighted_bands<T, HEAD, BANDS>(sums, scores, value_place.moved(further));
        }
    }

    copy_async_wait<0>(); // where no part had keys, the queries are still on their way
    sync_block();
    if (!works) return;
    const int own0 = anew(warp()) * WARP_ROWS; // row0
    EVOKE_UNROLL
    for (int band = 0; band < BANDS; ++band) {
        const int first = own0 + band * FRAGMENT_ROWS;
        EVOKE_UNROLL
        for (int half = 0; half < 2; ++half) {
            float sum = softmax[band].sum[half];
            sum += shuffle_xor(sum, 1);
            sum += shuffle_xor(sum, 2);
            const float inverse = sum > 0.0f ? 1.0f / sum : 0.0f;
            EVOKE_UNROLL
            for (int n = 0; n < HEAD / 8; ++n)
                sums[band][n][2 * half] *= inverse, sums[band][n][2 * half + 1] *= inverse;
            const int query = query_row(first + own_row(half));
            if (lane() % 4 == 0 && query >= 0)
                sum_rows().store(query, sum > 0.0f ? (softmax[band].most[half] + log2(sum)) * LN_2 : minus_infinity());
        }
        // The queries' tile has done its work: out goes through it, so that it is stored 16 bytes at a time.
        put_rows<T, HEAD, ROWS>(queries, first, sums[band]);
    }
    sync_warp();
    EVOKE_UNROLL
    for (int band = 0; band < BANDS; ++band)
        store_rows<T, HEAD, ROWS>(out_rows(), sizes.out_stride, queries, own0 + band * FRAGMENT_ROWS, query_row);
}

} // namespace evoke

// One instance: type, head size, bands of a warp, which the name tells where they are two.
#define EVOKE_ATTENTION_FORWARD(NAME, T, HEAD, BANDS)                                                                  \
    EVOKE_KERNEL(NAME##_##T##_##HEAD, evoke::ATTENTION_THREADS, (evoke::FORWARD_SHARED<HEAD, BANDS>),                  \
                 evoke::Global<evoke::T> out, evoke::Global<float> log_sum_exp, evoke::Global<const evoke::T> q,       \
                 evoke::Global<const evoke::T> k, evoke::Global<const evoke::T> v,                                     \
                 evoke::Global<const uint32_t> key_lengths, evoke::Global<const uint32_t> state,                       \
                 evoke::AttentionSizes sizes, evoke::PatternTable table) {                                             \
        evoke::attention_forward<evoke::T, HEAD, BANDS>(out, log_sum_exp, q, k, v, key_lengths, state, sizes, table);  \
    }
