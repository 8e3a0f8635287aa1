// Tiles of rows in shared memory: asynchronous loads, and the fragments that products take from them.
//
// A row has HEAD elements, in chunks of 16 bytes. Chunks are permuted by an XOR with the row, so that the eight rows of a
// matrix load lie in eight different groups of banks, and so do the eight chunks that neighbouring threads copy.
#pragma once

#include "attention/sizes.cuh"
#include "primitives/async_copy.cuh"
#include "primitives/mma.cuh"

namespace evoke {

constexpr int CHUNK = 8; // elements of 16 bits

template <class T, int HEAD, int ROWS> struct Tile {
    static constexpr int CHUNKS = HEAD / CHUNK;
    static constexpr int ELEMENTS = HEAD * ROWS;
    Shared<T> at;

    EVOKE_DEVICE static int place(int row, int chunk) {
        // Rows of a multiple of 128 bytes all begin at bank 0; others, two at a time.
        const int turn = HEAD % 64 == 0 ? row & 7 : row >> 1 & 3;
        return row * HEAD + (chunk ^ turn) * CHUNK;
    }

    // Asks for the rows `row(0) .. row(ROWS - 1)` of `from`; those whose number is negative become zeros.
    // The loop is rolled: its addresses would take the registers of the products that run while the copies do.
    template <class Row> EVOKE_DEVICE void load(Global<const T> from, int stride, Row row) const {
        EVOKE_ROLLED
        for (int i = 0; i < ROWS * CHUNKS / ATTENTION_THREADS; ++i) {
            const int index = i * ATTENTION_THREADS + thread(), r = index / CHUNKS, chunk = index % CHUNKS;
            const int source = row(r);
            copy_async(at, place(r, chunk), from, size_t(most(source, 0)) * stride + chunk * CHUNK, source >= 0);
        }
        static_assert(ROWS * CHUNKS % ATTENTION_THREADS == 0, "every thread copies as many chunks");
    }

    // The fragment A of rows row0 .. row0 + 15, columns 16 step .. 16 step + 15.
    EVOKE_DEVICE void rows(uint32_t (&a)[4], int row0, int step) const {
        load_matrix_4(a, at, place(row0 + lane() % 16, 2 * step + lane() / 16));
    }

    // Two fragments B of the transpose: its columns are rows row0 .. row0 + 15 of the tile, its rows the columns
    // 16 step .. 16 step + 15.
    EVOKE_DEVICE void transposed(uint32_t (&b)[2][2], int row0, int step) const {
        uint32_t all[4];
        load_matrix_4(all, at, place(row0 + lane() % 8 + lane() / 16 * 8, 2 * step + lane() / 8 % 2));
        b[0][0] = all[0], b[0][1] = all[1], b[1][0] = all[2], b[1][1] = all[3];
    }

    // Two fragments B of the tile itself: its rows row0 .. row0 + 15, columns 16 step .. 16 step + 15.
    EVOKE_DEVICE void plain(uint32_t (&b)[2][2], int row0, int step) const {
        uint32_t all[4];
        load_matrix_4_transposed(all, at, place(row0 + lane() % 16, 2 * step + lane() / 16));
        b[0][0] = all[0], b[0][1] = all[1], b[1][0] = all[2], b[1][1] = all[3];
    }
};

// Two tiles in a row: one is copied while the other is worked on.
template <class T, int HEAD, int ROWS> struct Stages {
    Shared<T> both;
    EVOKE_DEVICE Tile<T, HEAD, ROWS> at(int stage) const { return {both + stage * HEAD * ROWS}; }
};

// The rows of a product of one warp that a lane holds: lane / 4 and 8 further; and its first column in a block of 8.
EVOKE_DEVICE int own_row(int half) { return lane() / 4 + 8 * half; }
EVOKE_DEVICE int own_column() { return lane() % 4 * 2; }

template <int BLOCKS> EVOKE_DEVICE void clear(float (&c)[BLOCKS][4]) {
    EVOKE_UNROLL
    for (int n = 0; n < BLOCKS; ++n)
        EVOKE_UNROLL
        for (int i = 0; i < 4; ++i) c[n][i] = 0.0f;
}

// Adds what 16 channels give to a product of rows.
template <class T, int HEAD, int LEFT, int RIGHT, int BLOCKS>
EVOKE_DEVICE void row_products_step(float (&c)[BLOCKS][4], Tile<T, HEAD, LEFT> left, int row0, Tile<T, HEAD, RIGHT> right,
                                    int right0, int step) {
    uint32_t a[4];
    left.rows(a, row0, step);
    EVOKE_UNROLL
    for (int n = 0; n < BLOCKS; n += 2) {
        uint32_t b[2][2];
        right.transposed(b, right0 + n * 8, step);
        mma_16x8x16<T>(c[n], a, b[0]);
        mma_16x8x16<T>(c[n + 1], a, b[1]);
    }
}

// c = rows (row0 ..) of `left` times the transposed rows (right0 ..) of `right`: 16 x (8 * BLOCKS).
template <class T, int HEAD, int LEFT, int RIGHT, int BLOCKS>
EVOKE_DEVICE void row_products(float (&c)[BLOCKS][4], Tile<T, HEAD, LEFT> left, int row0, Tile<T, HEAD, RIGHT> right,
                               int right0 = 0) {
    clear(c);
    EVOKE_UNROLL
    for (int step = 0; step < HEAD / 16; ++step) row_products_step<T, HEAD>(c, left, row0, right, right0, step);
}

// The same with a loop that is not unrolled: the addresses of one step take fewer registers than those of all.
template <class T, int HEAD, int LEFT, int RIGHT, int BLOCKS>
EVOKE_DEVICE void row_products_rolled(float (&c)[BLOCKS][4], Tile<T, HEAD, LEFT> left, int row0,
                                      Tile<T, HEAD, RIGHT> right, int right0) {
    clear(c);
    EVOKE_ROLLED
    for (int step = 0; step < HEAD / 16; ++step) row_products_step<T, HEAD>(c, left, row0, right, right0, step);
}

// sum += weights (16 x 8 * BLOCKS, as a product left them) times the rows (right0 ..) of `right`: 16 x HEAD.
template <class T, int HEAD, int RIGHT, int BLOCKS>
EVOKE_DEVICE void weighted_rows(float (&sum)[HEAD / 8][4], const float (&weights)[BLOCKS][4],
                                Tile<T, HEAD, RIGHT> right, int right0 = 0) {
    EVOKE_UNROLL
    for (int k = 0; k < BLOCKS; k += 2) {
        const uint32_t a[4] = {pack<T>(weights[k][0], weights[k][1]), pack<T>(weights[k][2], weights[k][3]),
                               pack<T>(weights[k + 1][0], weights[k + 1][1]),
                               pack<T>(weights[k + 1][2], weights[k + 1][3])};
        EVOKE_UNROLL
        for (int step = 0; step < HEAD / 16; ++step) {
            uint32_t b[2][2];
            right.plain(b, right0 + k * 8, step);
            mma_16x8x16<T>(sum[2 * step], a, b[0]);
            mma_16x8x16<T>(sum[2 * step + 1], a, b[1]);
        }
    }
}

// Puts a warp's 16 x HEAD result into rows row0 .. of a tile, rounded.
template <class T, int HEAD, int ROWS>
EVOKE_DEVICE void put_rows(Tile<T, HEAD, ROWS> tile, int row0, const float (&sum)[HEAD / 8][4]) {
    EVOKE_UNROLL
    for (int n = 0; n < HEAD / 8; ++n)
        EVOKE_UNROLL
        for (int half = 0; half < 2; ++half) {
            const Vec<T, 2> pair = {{from_float<T>(sum[n][2 * half]), from_float<T>(sum[n][2 * half + 1])}};
            tile.at.template store_vec<2>(tile.place(row0 + own_row(half), n) + own_column(), pair);
        }
}

// Adds rows row0 .. of a tile to a warp's 16 x HEAD sums.
template <class T, int HEAD, int ROWS>
EVOKE_DEVICE void add_rows(float (&sum)[HEAD / 8][4], Tile<T, HEAD, ROWS> tile, int row0, float factor) {
    EVOKE_UNROLL
    for (int n = 0; n < HEAD / 8; ++n)
        EVOKE_UNROLL
        for (int half = 0; half < 2; ++half) {
            const auto pair = tile.at.template load_vec<2>(tile.place(row0 + own_row(half), n) + own_column());
            sum[n][2 * half] += factor * to_float(pair.at[0]);
            sum[n][2 * half + 1] += factor * to_float(pair.at[1]);
        }
}

// Copies 16 rows of global memory to a warp's rows of a tile, 16 bytes at a time; rows whose number is negative become
// zeros. The lanes must synchronise before they read them.
template <class T, int HEAD, int ROWS, class Row>
EVOKE_DEVICE void fetch_rows(Tile<T, HEAD, ROWS> tile, Global<const T> from, int stride, int row0, Row row) {
    EVOKE_ROLLED
    for (int i = 0; i < FRAGMENT_ROWS * tile.CHUNKS / WARP; ++i) {
        const int index = i * WARP + lane(), r = row0 + index / tile.CHUNKS, chunk = index % tile.CHUNKS;
        const int source = row(r);
        Vec<T, CHUNK> values{};
        if (source >= 0) values = from.template load_vec<CHUNK>(size_t(source) * stride + chunk * CHUNK);
        tile.at.template store_vec<CHUNK>(tile.place(r, chunk), values);
    }
}

// Copies a warp's 16 rows of a tile to global memory, 16 bytes at a time; rows whose number is negative are left out.
// The lanes must have synchronised since they put them there.
template <class T, int HEAD, int ROWS, class Row>
EVOKE_DEVICE void store_rows(Global<T> to, int stride, Tile<T, HEAD, ROWS> tile, int row0, Row row) {
    EVOKE_UNROLL
    for (int i = 0; i < FRAGMENT_ROWS * tile.CHUNKS / WARP; ++i) {
        const int index = i * WARP + lane(), r = row0 + index / tile.CHUNKS, chunk = index % tile.CHUNKS;
        const int target = row(r);
        if (target >= 0)
            to.template store_vec<CHUNK>(size_t(target) * stride + chunk * CHUNK,
                                         tile.at.template load_vec<CHUNK>(tile.place(r, chunk)));
    }
}

} // namespace evoke
