// A linear layer of a few rows with what stands around it: a step of decoding.
//
//   s = x + branch, e = norm(s), y = activation(e W^T + b)
//
// x, branch, s, e (rows, inputs), W (outputs, inputs), y (rows, outputs). Without a branch s = x, without a norm e = x.
// What the next layer goes on from, s or e, is written beside. Of queries, keys and values the last two go straight to
// their row of a ring, as ring.cu has it. Rounded to storage are e, s, the argument of GELU, and y: where a norm, a
// product, an activation and a store one after another round. The norm is of the sum before it is rounded.
//
// Each weight of 2 bytes is read once for 2 FLOPs a row: bound by memory, and with one row by the way to it, since 6
// layers of width 512 are 38 MB, which lie in the second cache of an H100 (50 MB). The floor of a sample is those bytes
// over its bandwidth, some 7 us at 5.5 TB/s; what stands above it is the latency of launches that wait for each other.
// So weights are asked for before anything is computed: they depend on nothing, and arrive while the norm is found.
//
// A block has OUTPUTS rows of W, which its warps share by their inputs, STEP at a time: 64 blocks already where a layer
// is 512 wide. Products are m16n8k16, rows of x by rows of W. Any order of the inputs will do for their sum, so a lane
// takes eight neighbours, one load of 16 bytes, as its part of two products, from x and W alike. Every block finds the
// norm's statistics for itself; the first one writes what is written beside.
//
// Sums are f32: within a product as the tensor core adds, a warp's products in order, then the warps in order: fixed by
// the sizes, so they repeat bit for bit, and a row's do not depend on the other rows. Statistics as in norm.cu.
//
// Grid: x outputs / OUTPUTS.
#include "activation.cuh"
#include "primitives/mma.cuh"
#include "primitives/warp.cuh"
#include "rows.cuh"

namespace evoke {

constexpr int WARPS = 8, THREADS = WARPS * WARP;
// Of a product m16n8k16: rows of x, rows of W.
constexpr int TILE = 16, OUTPUTS = 8;
// Inputs of two products: a piece for each of the four lanes that share a row.
constexpr int STEP = 4 * PIECE;
// Pieces of weights that a lane has on their way with one tile of rows: 64 bytes, with all warps 16 KB a block; fewer
// where registers hold the sums of more tiles.
constexpr int AHEAD = 4;

// Laid out as `CudaSizes` in src/ops/few_rows/cuda.rs.
struct FewRows {
    int rows, inputs, outputs;
    int stride;           // elements from one row of x to the next
    int kept;             // columns of y; those behind them go to the ring
    int capacity, pinned; // of the ring
    int activation;       // see Activation
    int norm_goes_on;     // e is written beside, not s
    float epsilon;
};

// Eight elements of T as two products take them. Never an array of T that is filled one by one, which would go through
// memory on its way into registers.
struct Piece {
    uint32_t words[PIECE / 2] = {};
};

template <class T> EVOKE_DEVICE Piece rounded(const float (&values)[PIECE]) {
    Piece made;
    EVOKE_UNROLL
    for (int j = 0; j < PIECE; j += 2) made.words[j / 2] = pack<T>(values[j], values[j + 1]);
    return made;
}

// Elements k .. k + 7 of the row that begins at `start`; behind its end zeros. WHOLE: rows are whole pieces.
template <bool WHOLE, class T>
EVOKE_DEVICE void load(float (&out)[PIECE], Global<const T> from, size_t start, int k, int end) {
    if constexpr (WHOLE) {
        load_piece(out, from, start + k);
    } else {
        EVOKE_UNROLL
        for (int j = 0; j < PIECE; ++j) out[j] = k + j < end ? to_float(from.load(start + k + j)) : 0.0f;
    }
}

// The same as they are stored.
template <bool WHOLE, class T> EVOKE_DEVICE Piece stored(Global<const T> from, size_t start, int k, int end) {
    Piece made;
    if (k >= end) return made;
    if constexpr (WHOLE) {
        const auto loaded = from.template load_vec<PIECE>(start + k);
        memcpy(made.words, &loaded, sizeof made.words);
        return made;
    } else {
        float values[PIECE];
        load<WHOLE>(values, from, start, k, end);
        return rounded<T>(values);
    }
}

// What enters the product.
template <bool WHOLE, class T> struct Entering {
    Global<T> stream; // where s or e is written beside, by the first block
    Global<const T> x, branch;
    Global<const float> gamma, beta;

    // Elements k .. k + 7 of s.
    EVOKE_DEVICE void sum(float (&out)[PIECE], const FewRows &sizes, int row, int k) const {
        load<WHOLE>(out, x, size_t(row) * sizes.stride, k, sizes.inputs);
        if (!branch) return;
        float added[PIECE];
        load<WHOLE>(added, branch, size_t(row) * sizes.inputs, k, sizes.inputs);
        EVOKE_UNROLL
        for (int j = 0; j < PIECE; ++j) out[j] += added[j];
    }

    // Mean and 1 / deviation of each row.
    EVOKE_DEVICE void measure(Shared<float> statistics, const FewRows &sizes) const {
        for (int row = warp(); row < sizes.rows; row += WARPS) {
            float total = 0.0f, squares = 0.0f, v[PIECE];
            for (int k = lane() * PIECE; k < sizes.inputs; k += CHUNK) {
                sum(v, sizes, row, k);
                EVOKE_UNROLL
                for (int j = 0; j < PIECE; ++j) total += v[j];
            }
            const float mean = warp_sum(total) / float(sizes.inputs);
            for (int k = lane() * PIECE; k < sizes.inputs; k += CHUNK) {
                sum(v, sizes, row, k);
                EVOKE_UNROLL
                for (int j = 0; j < PIECE; ++j) {
                    const float away = WHOLE || k + j < sizes.inputs ? v[j] - mean : 0.0f;
                    squares += away * away;
                }
            }
            const float scale = 1.0f / sqrt(warp_sum(squares) / float(sizes.inputs) + sizes.epsilon);
            if (lane() == 0) statistics.store_vec<2>(2 * row, {{mean, scale}});
        }
    }

    // Elements k .. k + 7 of e, as the product takes them: zeros behind the last row and the last element.
    EVOKE_DEVICE Piece piece(const FewRows &sizes, Shared<float> statistics, int row, int k) const {
        if (row >= sizes.rows || k >= sizes.inputs) return Piece();
        if (!gamma) return stored<WHOLE>(x, size_t(row) * sizes.stride, k, sizes.inputs);
        float v[PIECE], normed[PIECE], scales[PIECE], shifts[PIECE];
        sum(v, sizes, row, k);
        load<WHOLE>(scales, gamma, 0, k, sizes.inputs);
        load<WHOLE>(shifts, beta, 0, k, sizes.inputs);
        const auto moments = statistics.load_vec<2>(2 * row);
        EVOKE_UNROLL
        for (int j = 0; j < PIECE; ++j) {
            normed[j] = (v[j] - moments.at[0]) * moments.at[1] * scales[j] + shifts[j];
            if (!WHOLE && k + j >= sizes.inputs) normed[j] = 0.0f;
        }
        const Piece made = rounded<T>(normed);
        if (stream && block_x() == 0) write(sizes, row, k, sizes.norm_goes_on ? made : rounded<T>(v));
        return made;
    }

    EVOKE_DEVICE void write(const FewRows &sizes, int row, int k, const Piece &piece) const {
        Vec<T, PIECE> values;
        memcpy(&values, piece.words, sizeof values);
        const size_t place = size_t(row) * sizes.inputs + k;
        if constexpr (WHOLE) {
            store_wide(stream, place, values);
        } else {
            EVOKE_UNROLL
            for (int j = 0; j < PIECE; ++j)
                if (k + j < sizes.inputs) stream.store(place + j, values.at[j]);
        }
    }
};

// Up to TILES * TILE rows.
template <class T, int TILES, bool WHOLE>
EVOKE_DEVICE void few_rows(Global<T> y, Global<T> argument, Global<T> cache, const Entering<WHOLE, T> &entering,
                           Global<const T> weight, Global<const T> bias, Global<const uint32_t> count,
                           const FewRows &sizes) {
    constexpr int TURN = AHEAD / TILES;
    EVOKE_SHARED(float, statistics, 2 * TILES * TILE);
    EVOKE_SHARED(float, sums, WARPS * TILES * TILE * OUTPUTS);
    const int group = lane() / 4, own = lane() % 4 * PIECE; // a row of the tiles, and a place in a step
    const int steps = divide_up(sizes.inputs, STEP), output = block_x() * OUTPUTS + group;
    const int end = output < sizes.outputs ? sizes.inputs : 0;
    const auto weights = [&](int step) {
        return stored<WHOLE>(weight, size_t(output) * sizes.inputs, step * STEP + own, end);
    };
    Piece ahead[TURN];
    EVOKE_UNROLL
    for (int n = 0; n < TURN; ++n) ahead[n] = weights(warp() + n * WARPS);
    if (entering.gamma) {
        entering.measure(statistics, sizes);
        sync_block();
    }

    float c[TILES][4] = {};
    for (int first = warp(); first < steps; first += TURN * WARPS) {
        EVOKE_UNROLL
        for (int n = 0; n < TURN; ++n) {
            const int step = first + n * WARPS;
            if (step >= steps) break; // a whole warp
            const Piece w = ahead[n];
            ahead[n] = weights(step + TURN * WARPS);
            EVOKE_UNROLL
            for (int tile = 0; tile < TILES; ++tile) {
                const int row = tile * TILE + group, k = step * STEP + own;
                const Piece a = entering.piece(sizes, statistics, row, k);
                const Piece below = entering.piece(sizes, statistics, row + 8, k);
                EVOKE_UNROLL
                for (int half = 0; half < 4; half += 2)
                    mma_16x8x16<T>(c[tile],
                                   {a.words[half], below.words[half], a.words[half + 1], below.words[half + 1]},
                                   {w.words[half], w.words[half + 1]});
            }
        }
    }
    EVOKE_UNROLL
    for (int tile = 0; tile < TILES; ++tile) {
        const int row = warp() * TILES * TILE + tile * TILE + group, column = lane() % 4 * 2;
        sums.store_vec<2>(row * OUTPUTS + column, {{c[tile][0], c[tile][1]}});
        sums.store_vec<2>((row + 8) * OUTPUTS + column, {{c[tile][2], c[tile][3]}});
    }
    sync_block();

    for (int i = thread(); i < sizes.rows * OUTPUTS; i += THREADS) {
        const int row = i / OUTPUTS, column = block_x() * OUTPUTS + i % OUTPUTS;
        if (column >= sizes.outputs) continue;
        float sum = 0.0f;
        EVOKE_UNROLL
        for (int w = 0; w < WARPS; ++w) sum += sums.load(w * TILES * TILE * OUTPUTS + i);
        if (bias) sum += to_float(bias.load(column));
        T made = from_float<T>(sum);
        if (sizes.activation == int(Activation::Gelu)) {
            if (argument) argument.store(size_t(row) * sizes.outputs + column, made);
            made = from_float<T>(gelu(to_float(made)));
        } else if (sizes.activation == int(Activation::Relu)) {
            made = from_float<T>(relu(to_float(made)));
        }
        if (column < sizes.kept) {
            y.store(size_t(row) * sizes.kept + column, made);
        } else {
            const uint32_t newest = count.load(0) - 1, pinned = uint32_t(sizes.pinned);
            const uint32_t slot =
                newest < pinned ? newest : pinned + (newest - pinned) % (uint32_t(sizes.capacity) - pinned);
            const int width = sizes.outputs - sizes.kept;
            cache.store((size_t(row) * sizes.capacity + slot) * width + (column - sizes.kept), made);
        }
    }
}

} // namespace evoke

using namespace evoke;

// y (rows, kept); stream (rows, inputs), argument (rows, outputs) of GELU, cache (rows * capacity, outputs - kept): each
// null where it is not asked for. x, branch (rows, inputs), weight (outputs, inputs), bias (outputs), gamma, beta
// (inputs), count (1): x and weight are always there.
#define FEW_ROWS(NAME, TILES, WHOLE)                                                                                   \
    EVOKE_KERNEL(few_rows_##NAME##_bf16, THREADS, 0, Global<bf16> y, Global<bf16> stream, Global<bf16> argument,       \
                 Global<bf16> cache, Global<const bf16> x, Global<const bf16> branch, Global<const bf16> weight,       \
                 Global<const bf16> bias, Global<const float> gamma, Global<const float> beta,                         \
                 Global<const uint32_t> count, FewRows sizes) {                                                        \
        few_rows<bf16, TILES, WHOLE>(y, argument, cache, Entering<WHOLE, bf16>{stream, x, branch, gamma, beta},        \
                                     weight, bias, count, sizes);                                                      \
    }

// Up to so many rows; `any` up to 64 of any width.
FEW_ROWS(16, 1, true)
FEW_ROWS(32, 2, true)
FEW_ROWS(64, 4, true)
FEW_ROWS(any, 4, false)
