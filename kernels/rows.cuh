// Rows by pieces of eight neighbouring elements: what one thread loads at a time, and what shares one evaluation of
// Philox.
#pragma once

#include "philox.cuh"
#include "primitives/memory.cuh"
#include "primitives/numbers.cuh"

namespace evoke {

// 16 bytes of 16-bit floats; two loads of f32.
constexpr int PIECE = 8;
static_assert(PIECE == PHILOX_GROUP, "a piece draws its dropout at once");

// Elements i .. i + 7 as f32; `i` is a multiple of 8.
template <class T> EVOKE_DEVICE void load_piece(float (&out)[PIECE], Global<T> from, size_t i) {
    constexpr int STEP = WIDE<T> < PIECE ? WIDE<T> : PIECE;
    EVOKE_UNROLL
    for (int start = 0; start < PIECE; start += STEP) {
        const auto piece = from.template load_vec<STEP>(i + start);
        EVOKE_UNROLL
        for (int j = 0; j < STEP; ++j) out[start + j] = to_float(piece.at[j]);
    }
}

template <class T> EVOKE_DEVICE void store_piece(Global<T> to, size_t i, const float (&values)[PIECE]) {
    constexpr int STEP = WIDE<T> < PIECE ? WIDE<T> : PIECE;
    EVOKE_UNROLL
    for (int start = 0; start < PIECE; start += STEP) {
        Vec<T, STEP> piece;
        EVOKE_UNROLL
        for (int j = 0; j < STEP; ++j) piece.at[j] = from_float<T>(values[start + j]);
        to.template store_vec<STEP>(i + start, piece);
    }
}

// The same into shared memory.
EVOKE_DEVICE void store_shared(Shared<float> to, int i, const float (&values)[PIECE]) {
    EVOKE_UNROLL
    for (int start = 0; start < PIECE; start += WIDE<float>) {
        Vec<float, WIDE<float>> piece;
        EVOKE_UNROLL
        for (int j = 0; j < WIDE<float>; ++j) piece.at[j] = values[start + j];
        to.store_vec<WIDE<float>>(i + start, piece);
    }
}

// Dropout of elements first .. first + 7 of a place; `first` is a multiple of 8.
EVOKE_DEVICE void drop_piece(float (&values)[PIECE], const Dropout &dropout, uint64_t first) {
    const PhiloxValues bits = dropout.values(first / PHILOX_GROUP);
    EVOKE_UNROLL
    for (int j = 0; j < PIECE; ++j)
        values[j] = bits.at(j) < dropout.threshold ? 0.0f : values[j] * dropout.scale;
}

// Dropout of one element: for rows that cannot be cut into pieces. Draws for each element anew.
EVOKE_DEVICE float drop(float value, const Dropout &dropout, uint64_t element) {
    if (!dropout.active()) return value;
    const PhiloxValues bits = dropout.values(element / PHILOX_GROUP);
    const int place = int(element % PHILOX_GROUP);
    // Registers have no index: the word is selected.
    const uint32_t low = place < 2 ? bits.words[0] : bits.words[1], high = place < 6 ? bits.words[2] : bits.words[3];
    const uint32_t drawn = (place < 4 ? low : high) >> (16 * (place % 2)) & 0xffff;
    return drawn < dropout.threshold ? 0.0f : value * dropout.scale;
}

// What is no result of anything.
EVOKE_DEVICE float not_a_number() {
#ifdef EVOKE_EMULATED
    return __builtin_nanf("");
#else
    return __int_as_float(0x7fffffff);
#endif
}

// Columns that a warp takes at a time: a piece a lane.
constexpr int CHUNK = WARP * PIECE;

// The eight columns of a lane in the chunk that begins at column `first` of rows of `width`: neighbours where rows are
// whole pieces, otherwise every 32nd, so that a warp's scalar accesses lie side by side. Columns past the end are
// zeros.
struct Columns {
    int first, width;

    EVOKE_DEVICE bool pieces() const { return width % PIECE == 0; }
    EVOKE_DEVICE int at(int j) const { return first + (pieces() ? lane() * PIECE + j : j * WARP + lane()); }

    // `start` is the element that the row begins with.
    template <class T> EVOKE_DEVICE void load(float (&values)[PIECE], Global<T> from, size_t start) const {
        if (!pieces() || at(0) >= width) {
            EVOKE_UNROLL
            for (int j = 0; j < PIECE; ++j) values[j] = at(j) < width ? to_float(from.load(start + at(j))) : 0.0f;
        } else {
            load_piece(values, from, start + at(0));
        }
    }

    template <class T> EVOKE_DEVICE void store(Global<T> to, size_t start, const float (&values)[PIECE]) const {
        if (!pieces()) {
            EVOKE_UNROLL
            for (int j = 0; j < PIECE; ++j)
                if (at(j) < width) to.store(start + at(j), from_float<T>(values[j]));
        } else if (at(0) < width) {
            store_piece(to, start + at(0), values);
        }
    }

    // Dropout of the row whose element `start` is its first.
    EVOKE_DEVICE void drop(float (&values)[PIECE], const Dropout &dropout, uint64_t start) const {
        if (!dropout.active()) return;
        if (pieces()) {
            drop_piece(values, dropout, start + at(0));
        } else {
            EVOKE_UNROLL
            for (int j = 0; j < PIECE; ++j) values[j] = evoke::drop(values[j], dropout, start + at(j));
        }
    }
};

// The sum over the block's warps, in their order, of what each holds for the columns of a chunk: thread t gets that of
// column `columns.first + t`. `scratch` holds WARPS * CHUNK floats, and the block is CHUNK threads.
template <int WARPS>
EVOKE_DEVICE float meet(const Columns &columns, const float (&own)[PIECE], Shared<float> scratch) {
    static_assert(WARPS * WARP == CHUNK, "a thread a column");
    const Shared<float> mine = scratch + warp() * CHUNK;
    if (columns.pieces()) {
        store_shared(mine, lane() * PIECE, own);
    } else {
        EVOKE_UNROLL
        for (int j = 0; j < PIECE; ++j) mine.store(j * WARP + lane(), own[j]);
    }
    sync_block();
    float sum = 0.0f;
    EVOKE_UNROLL
    for (int w = 0; w < WARPS; ++w) sum += scratch.load(w * CHUNK + thread());
    return sum;
}

} // namespace evoke
