// Tiles of rows in shared memory: asynchronous loads, and the products of their fragments.
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

    // Where a lane's row lies in a load of the fragment A of rows row0 .. row0 + 15 and the first 16 columns; in one of
    // two fragments B of the tile itself, too.
    EVOKE_DEVICE SharedPlace<T> rows_place(int row0) const {
        return place_of(at, place(row0 + lane() % 16, lane() / 16));
    }
    // The same for two fragments B of the transpose: its columns are the tile's first 16 rows.
    EVOKE_DEVICE SharedPlace<T> transposed_place() const {
        return place_of(at, place(lane() % 8 + lane() / 16 * 8, lane() / 8 % 2));
    }
    // The same for columns from 16 step on: what `place` does, as a XOR and a distance that the compiler knows.
    EVOKE_DEVICE static SharedPlace<T> stepped(SharedPlace<T> first, int step) {
        constexpr int TURNED = HEAD % 64 == 0 ? 4 : 2; // steps whose chunks are permuted among themselves
        return first.turned(16 * (step % TURNED)).moved(16 * (step / TURNED * TURNED));
    }
};

// Two tiles in a row: one is copied while the other is worked on.
template <class T, int HEAD, int ROWS> struct Stages {
    Shared<T> both;
    EVOKE_DEVICE Tile<T, HEAD, ROWS> at(int stage) const { return {both + stage * HEAD * ROWS}; }
};

// Rows of a tensor that lie evenly apart: row r of a tile is the tensor's row first + r * step where low <= r < high.
struct Line {
    int first, step, low, high;
};

// Asks for a line of rows of two tensors; rows outside it become zeros. A thread copies the same chunks of every so
// many rows, so that all but the rows' numbers is found once: some 8 instructions for each 16 bytes, LDGSTS among them.
template <class T, int HEAD, int ROWS>
EVOKE_DEVICE void load_lines(Tile<T, HEAD, ROWS> a, Global<const T> from_a, int stride_a, Tile<T, HEAD, ROWS> b,
                             Global<const T> from_b, int stride_b, Line line) {
    // Threads beside each other in a row: they copy whole sectors, to different banks. The rows of one thread are so
    // far apart that `place` turns their chunks alike.
    constexpr int BESIDE = HEAD % 64 == 0 ? 8 : 4, PASS = ATTENTION_THREADS / BESIDE;
    static_assert(a.CHUNKS % BESIDE == 0 && ROWS % PASS == 0 && PASS % 8 == 0, "every thread copies as many chunks");
    const int r0 = thread() / BESIDE, chunk = thread() % BESIDE;
    const SharedPlace<T> to_a = place_of(a.at, a.place(r0, chunk)), to_b = place_of(b.at, b.place(r0, chunk));
    from_a = from_a + chunk * CHUNK;
    from_b = from_b + chunk * CHUNK;
    EVOKE_UNROLL
    for (int i = 0; i < ROWS / PASS; ++i) {
        const int r = r0 + i * PASS;
        const bool valid = line.low <= r && r < line.high;
        // Twice the number of a row that is read fits 32 bits, so that the distance in bytes is one product.
        const uint32_t doubled = uint32_t(sizeof(T)) * uint32_t(line.first + r * line.step);
        const Global<const T> row_a = from_a.further(uint64_t(doubled) * uint32_t(stride_a));
        const Global<const T> row_b = from_b.further(uint64_t(doubled) * uint32_t(stride_b));
        EVOKE_UNROLL
        for (int j = 0; j < a.CHUNKS; j += BESIDE) {
            const int further = i * PASS * HEAD + j * CHUNK;
            copy_async(to_a.moved(further), row_a + j * CHUNK, valid);
            copy_async(to_b.moved(further), row_b + j * CHUNK, valid);
        }
    }
}

// Asks for the keys u0 .. u0 + ROWS - 1 of a class and their values, and closes the group of copies.
template <class T, int HEAD, int ROWS>
EVOKE_DEVICE void load_keys(Tile<T, HEAD, ROWS> keys, Global<const T> k, Tile<T, HEAD, ROWS> values, Global<const T> v,
                            const AttentionSizes &sizes, const AttentionClass &c, int u0) {
    if (c.even()) {
        const int step = c.key_step();
        load_lines(keys, k, sizes.k_stride, values, v, sizes.v_stride,
                   {c.first_key + u0 * step, step, c.begin - u0, c.end - u0});
    } else {
        const auto key_row = [&](int r) { return c.begin <= u0 + r && u0 + r < c.end ? c.key(u0 + r) : -1; };
        keys.load(k, sizes.k_stride, key_row);
        values.load(v, sizes.v_stride, key_row);
    }
    copy_async_commit();
}

// The rows of a product of one warp that a lane holds: lane / 4 and 8 further; and its first column in a block of 8.
EVOKE_DEVICE int own_row(int half) { return lane() / 4 + 8 * half; }
EVOKE_DEVICE int own_column() { return lane() % 4 * 2; }

// One bit for each column of a tile that a lane holds of a row, 2 n + e for column 8 n + own_column() + e: whether it
// lies below `limit`, which counts from own_column() on.
template <int KEYS> EVOKE_DEVICE uint32_t columns_below(int limit) {
    const int inside = clamp(limit, 0, KEYS);
    return (1u << (inside / 8 * 2 + least(inside % 8, 2))) - 1;
}

template <int BLOCKS> EVOKE_DEVICE void clear(float (&c)[BLOCKS][4]) {
    EVOKE_UNROLL
    for (int n = 0; n < BLOCKS; ++n)
        EVOKE_UNROLL
        for (int i = 0; i < 4; ++i) c[n][i] = 0.0f;
}

// Two fragments B from one load.
template <class T> EVOKE_DEVICE void load_two(uint32_t (&b)[2][2], SharedPlace<T> row) {
    uint32_t all[4];
    load_matrix_4(all, row);
    b[0][0] = all[0], b[0][1] = all[1], b[1][0] = all[2], b[1][1] = all[3];
}
template <class T> EVOKE_DEVICE void load_two_transposed(uint32_t (&b)[2][2], SharedPlace<T> row) {
    uint32_t all[4];
    load_matrix_4_transposed(all, row);
    b[0][0] = all[0], b[0][1] = all[1], b[1][0] = all[2], b[1][1] = all[3];
}

// c = the rows of BANDS bands of 16 (from `left` on) times the transposed rows of a tile (from `right` on).
template <class T, int HEAD, int BANDS, int BLOCKS>
EVOKE_DEVICE void band_products(float (&c)[BANDS][BLOCKS][4], SharedPlace<T> left, SharedPlace<T> right) {
    using Any = Tile<T, HEAD, FRAGMENT_ROWS>;
    EVOKE_UNROLL
    for (int band = 0; band < BANDS; ++band) clear(c[band]);
    EVOKE_UNROLL
    for (int step = 0; step < HEAD / 16; ++step) {
        uint32_t a[BANDS][4];
        EVOKE_UNROLL
        for (int band = 0; band < BANDS; ++band)
            load_matrix_4(a[band], Any::stepped(left, step).moved(band * FRAGMENT_ROWS * HEAD));
        EVOKE_UNROLL
        for (int n = 0; n < BLOCKS; n += 2) {
            uint32_t b[2][2];
            load_two(b, Any::stepped(right, step).moved(n * 8 * HEAD));
            EVOKE_UNROLL
            for (int band = 0; band < BANDS; ++band) {
                mma_16x8x16<T>(c[band][n], a[band], b[0]);
                mma_16x8x16<T>(c[band][n + 1], a[band], b[1]);
            }
        }
    }
}

// sum += the weights of BANDS bands (as products left them) times the rows of a tile (from `right` on).
template <class T, int HEAD, int BANDS, int BLOCKS>
EVOKE_DEVICE void weighted_bands(float (&sum)[BANDS][HEAD / 8][4], const float (&weights)[BANDS][BLOCKS][4],
                                 SharedPlace<T> right) {
    using Any = Tile<T, HEAD, FRAGMENT_ROWS>;
    EVOKE_UNROLL
    for (int k = 0; k < BLOCKS; k += 2) {
        uint32_t a[BANDS][4];
        EVOKE_UNROLL
        for (int band = 0; band < BANDS; ++band)
            EVOKE_UNROLL
            for (int i = 0; i < 4; ++i) {
                const float(&of)[4] = weights[band][k + i / 2];
                a[band][i] = pack<T>(of[i % 2 * 2], of[i % 2 * 2 + 1]);
            }
        EVOKE_UNROLL
        for (int step = 0; step < HEAD / 16; ++step) {
            uint32_t b[2][2];
            load_two_transposed(b, Any::stepped(right, step).moved(k * 8 * HEAD));
            EVOKE_UNROLL
            for (int band = 0; band < BANDS; ++band) {
                mma_16x8x16<T>(sum[band][2 * step], a[band], b[0]);
                mma_16x8x16<T>(sum[band][2 * step + 1], a[band], b[1]);
            }
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
    const int own = anew(lane()); // nothing of this is found before a kernel's loop, and kept through it
    EVOKE_UNROLL
    for (int i = 0; i < FRAGMENT_ROWS * tile.CHUNKS / WARP; ++i) {
        const int index = i * WARP + own, r = row0 + index / tile.CHUNKS, chunk = index % tile.CHUNKS;
        const int target = row(r);
        if (target >= 0)
            to.template store_vec<CHUNK>(size_t(target) * stride + chunk * CHUNK,
                                         tile.at.template load_vec<CHUNK>(tile.place(r, chunk)));
    }
}

} // namespace evoke
