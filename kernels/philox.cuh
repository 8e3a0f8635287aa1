// Counter-based random bits, the same as src/ops/philox.rs: Philox4x32-10 (Salmon et al. 2011).
//
// Eight neighbouring elements share one evaluation; element e takes 16 bits of counter (e / 8), lane e mod 8. Exact
// integer arithmetic: the same bits on every device, in any order.
#pragma once

#include "primitives/memory.cuh"
#include "primitives/numbers.cuh"

namespace evoke {

// Elements that share one evaluation.
constexpr int PHILOX_GROUP = 8;

// One random value for each of eight elements.
struct PhiloxValues {
    uint32_t words[4];
    EVOKE_DEVICE uint32_t at(int lane) const { return words[lane / 2] >> (16 * (lane % 2)) & 0xffff; }
};

// What changes from step to step, in device memory, as 32-bit words: a replayed graph reads it anew.
//   0, 1 seed   2, 3 pass   4, 5 step   6 learning rate (bits of a float)   7 unused
constexpr int STATE_SEED = 0, STATE_PASS = 2, STATE_STEP = 4, STATE_LEARNING_RATE = 6;

// The mask of one place of the model in one pass. Nothing is dropped where `threshold` is 0.
struct Dropout {
    uint32_t key[2];
    uint32_t stream[2];
    uint32_t threshold; // an element is dropped if its 16 bits are below this
    float scale;        // of what is kept

    EVOKE_DEVICE bool active() const { return threshold != 0; }

    // The values of elements 8 group .. 8 group + 7.
    EVOKE_DEVICE PhiloxValues values(uint64_t group) const {
        uint32_t a = uint32_t(group), b = uint32_t(group >> 32), c = stream[0], d = stream[1];
        uint32_t k0 = key[0], k1 = key[1];
        EVOKE_UNROLL
        for (int round = 0; round < 10; ++round) {
            const uint32_t left_high = multiply_high(a, 0xD2511F53u), left = a * 0xD2511F53u;
            const uint32_t right_high = multiply_high(c, 0xCD9E8D57u), right = c * 0xCD9E8D57u;
            a = right_high ^ b ^ k0;
            c = left_high ^ d ^ k1;
            b = right;
            d = left;
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        return {{a, b, c, d}};
    }

    // What an element with these random bits is multiplied by.
    EVOKE_DEVICE float factor(uint32_t bits) const { return bits < threshold ? 0.0f : scale; }
};

// `state` may be absent where `threshold` is 0. The scale is computed by the host (philox::kept_scale).
EVOKE_DEVICE Dropout dropout_of(Global<const uint32_t> state, unsigned site, unsigned threshold, float scale) {
    Dropout dropout = {{0, 0}, {site, 0}, threshold, scale};
    if (threshold != 0) {
        dropout.key[0] = state.load(STATE_SEED);
        dropout.key[1] = state.load(STATE_SEED + 1);
        dropout.stream[1] = state.load(STATE_PASS);
    }
    return dropout;
}

} // namespace evoke
