// What the 32 lanes of a warp do together: exchange, vote, sum.
#pragma once

#include "primitives/memory.cuh"
#include "primitives/numbers.cuh"

namespace evoke {

#ifdef EVOKE_EMULATED

template <class T> inline T shuffle(T value, int from EVOKE_AT) { return emulator::shuffle(value, from, at); }
template <class T> inline T shuffle_xor(T value, int mask EVOKE_AT) {
    return emulator::shuffle(value, lane() ^ mask, at);
}
inline unsigned ballot(bool value EVOKE_AT) { return emulator::ballot(value, at); }
inline void sync_warp(EVOKE_AT_ONLY) { emulator::warp_barrier(at); }

#else

// The value that lane `from` holds.
template <class T> EVOKE_DEVICE T shuffle(T value, int from) { return __shfl_sync(ALL_LANES, value, from); }
// The value that lane `lane() ^ mask` holds.
template <class T> EVOKE_DEVICE T shuffle_xor(T value, int mask) { return __shfl_xor_sync(ALL_LANES, value, mask); }
// One bit a lane.
EVOKE_DEVICE unsigned ballot(bool value) { return __ballot_sync(ALL_LANES, value); }
// Orders the shared memory accesses of the warp's lanes.
EVOKE_DEVICE void sync_warp() { __syncwarp(); }

#endif

EVOKE_DEVICE bool any(bool value EVOKE_AT) {
#ifdef EVOKE_EMULATED
    return emulator::ballot(value, at) != 0;
#else
    return __any_sync(ALL_LANES, value);
#endif
}

EVOKE_DEVICE bool all(bool value EVOKE_AT) {
#ifdef EVOKE_EMULATED
    return emulator::ballot(value, at) == ALL_LANES;
#else
    return __all_sync(ALL_LANES, value);
#endif
}

// The sum over the warp, the same bits in every lane: a butterfly adds the same pairs on both sides.
EVOKE_DEVICE float warp_sum(float value) {
    EVOKE_UNROLL
    for (int mask = WARP / 2; mask > 0; mask /= 2) value += shuffle_xor(value, mask);
    return value;
}

EVOKE_DEVICE float warp_max(float value) {
    EVOKE_UNROLL
    for (int mask = WARP / 2; mask > 0; mask /= 2) value = max(value, shuffle_xor(value, mask));
    return value;
}

// The sum over a block of WARPS warps in a fixed order, in every thread. `scratch` holds WARPS floats; the block must
// have synchronised since it was last read.
template <int WARPS> EVOKE_DEVICE float block_sum(float value, Shared<float> scratch) {
    value = warp_sum(value);
    if (lane() == 0) scratch.store(warp(), value);
    sync_block();
    float sum = 0.0f;
    EVOKE_UNROLL
    for (int w = 0; w < WARPS; ++w) sum += scratch.load(w);
    return sum;
}

template <int WARPS> EVOKE_DEVICE float block_max(float value, Shared<float> scratch) {
    value = warp_max(value);
    if (lane() == 0) scratch.store(warp(), value);
    sync_block();
    float most = scratch.load(0);
    EVOKE_UNROLL
    for (int w = 1; w < WARPS; ++w) most = max(most, scratch.load(w));
    return most;
}

} // namespace evoke
