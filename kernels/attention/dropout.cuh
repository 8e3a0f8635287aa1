// Dropout of attention's weights: one bit for each weight that a lane holds, set where it is kept.
//
// Weights are numbered ((batch * heads + head) * queries + query) * K + key, where K is the number of keys rounded up to
// whole Philox groups: eight neighbouring keys share one evaluation. Where the keys of a tile are neighbours, the lanes
// that hold weights of one group share the work: 4 evaluations a lane for 32 weights. Keys of a dilated or strided class
// are no neighbours, and each weight costs an evaluation of its own.
#pragma once

#include "attention/tiles.cuh"
#include "primitives/warp.cuh"

namespace evoke {

struct WeightDropout {
    Dropout mask;
    uint64_t row; // number of query 0
    uint64_t groups; // in a row

    EVOKE_DEVICE bool active() const { return mask.active(); }

    // One bit for each of the eight keys of `group`.
    EVOKE_DEVICE uint32_t kept(int query, int group) const {
        const PhiloxValues values = mask.values((row + query) * groups + group);
        uint32_t bits = 0;
        EVOKE_UNROLL
        for (int i = 0; i < PHILOX_GROUP; ++i) bits |= uint32_t(values.at(i) >= mask.threshold) << i;
        return bits;
    }
    EVOKE_DEVICE uint32_t kept_one(int query, int key) const {
        return kept(query, key / PHILOX_GROUP) >> key % PHILOX_GROUP & 1;
    }

    // For a product whose 16 rows are queries from t0 on and whose columns are 8 * BLOCKS keys from u0 on (a multiple
    // of 8): bit 4 n + i is for element i of block n. Queries from t1 on count as the last one, keys behind the end as
    // kept.
    template <int BLOCKS>
    EVOKE_DEVICE uint32_t kept_in_rows(const AttentionClass &c, int t0, int t1, int u0) const {
        uint32_t bits = 0;
        if (c.neighbours()) {
            // Lane q of a quad evaluates block q, and q + 4 where there are eight, of both rows that the quad holds.
            static_assert(BLOCKS == 4 || BLOCKS == 8, "whole quads of blocks, and 8 bits for each in one word");
            uint32_t own = 0;
            EVOKE_ROLLED
            for (int i = 0; i < BLOCKS / 2; ++i) {
                const int n = lane() % 4 + i / 2 * 4, t = least(t0 + own_row(i % 2), t1 - 1);
                own |= kept(c.query(t), (c.first_key + u0) / PHILOX_GROUP + n) << (8 * i);
            }
            EVOKE_UNROLL
            for (int q = 0; q < 4; ++q) {
                const uint32_t theirs = shuffle(own, lane() / 4 * 4 + q) >> own_column();
                EVOKE_UNROLL
                for (int i = 0; i < BLOCKS / 2; ++i)
                    EVOKE_UNROLL
                    for (int e = 0; e < 2; ++e) bits |= (theirs >> (8 * i + e) & 1) << (4 * (q + i / 2 * 4) + i % 2 * 2 + e);
            }
        } else {
            EVOKE_ROLLED
            for (int i = 0; i < 4 * BLOCKS; ++i) {
                const int t = least(t0 + own_row(i / 2 % 2), t1 - 1), u = u0 + i / 4 * 8 + own_column() + i % 2;
                bits |= (u < c.end ? kept_one(c.query(t), c.key(u)) : 1u) << i;
            }
        }
        return bits;
    }

    // The same where the 16 rows are keys from u0 on and the columns 8 * BLOCKS queries from t0 on.
    template <int BLOCKS>
    EVOKE_DEVICE uint32_t kept_in_columns(const AttentionClass &c, int t0, int t1, int u0) const {
        uint32_t bits = 0;
        if (c.neighbours()) {
            // 16 lanes evaluate the 8 queries of a block with both groups of 8 keys; the other 16 those of the next block.
            uint32_t own = 0;
            EVOKE_ROLLED
            for (int i = 0; i < BLOCKS / 2; ++i) {
                const int n = 2 * i + lane() / 16, t = least(t0 + n * 8 + lane() % 8, t1 - 1);
                own |= kept(c.query(t), (c.first_key + u0) / PHILOX_GROUP + lane() / 8 % 2) << (8 * i);
            }
            EVOKE_UNROLL
            for (int source = 0; source < 8; ++source) {
                const int odd = source / 4, half = source / 2 % 2, e = source % 2;
                const uint32_t theirs = shuffle(own, odd * 16 + half * 8 + own_column() + e) >> lane() / 4;
                EVOKE_UNROLL
                for (int i = 0; i < BLOCKS / 2; ++i)
                    bits |= (theirs >> (8 * i) & 1) << (4 * (2 * i + odd) + 2 * half + e);
            }
        } else {
            EVOKE_ROLLED
            for (int i = 0; i < 4 * BLOCKS; ++i) {
                const int t = least(t0 + i / 4 * 8 + own_column() + i % 2, t1 - 1), u = u0 + own_row(i / 2 % 2);
                bits |= (u < c.end ? kept_one(c.query(t), c.key(u)) : 1u) << i;
            }
        }
        return bits;
    }
};

EVOKE_DEVICE WeightDropout weight_dropout_of(Global<const uint32_t> state, const AttentionSizes &sizes, int batch,
                                             int head) {
    return {dropout_of(state, sizes.site, sizes.threshold, sizes.kept),
            (uint64_t(batch) * sizes.heads + head) * sizes.queries, uint64_t(divide_up(sizes.keys, PHILOX_GROUP))};
}

} // namespace evoke
