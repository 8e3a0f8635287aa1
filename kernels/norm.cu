// Layer normalisation fused with the residual sum before it and the dropout of the branch; and its gradients.
//
// forward:  sum = x + dropout(branch), y = (sum - mean) / sqrt(variance + epsilon) * gamma + beta
// backward: dx = (g - mean(g) - xhat * mean(g * xhat)) / deviation + dsum, with g = dy * gamma; dbranch = mask(dx);
//           dgamma += sum over rows of dy * xhat; dbeta += sum over rows of dy
//
// Storage is 16 bits, gamma, beta, statistics and all arithmetic f32. The mean is subtracted before squares are summed
// (two passes, over registers), which is exact where the mean is large against the deviation. y is the norm of the sum
// before it is rounded; backward reads the rounded one.
//
// Forward with a branch moves 8 bytes an element, backward 6 (8 with dsum, 2 more for dbranch); 8 and 14 FLOPs, and 5
// integer multiplications an element for the mask: bound by memory. One warp takes a row (backward: two or four above
// 512 and 1024 columns) and keeps it in registers, so each element is read once; a lane has all its loads under way
// before it computes.
//
// Sums of a row: each lane adds its elements in order, then the warp's butterfly, then the row's warps. Gradients of
// gamma and beta: each warp adds its rows in order, a block its warps in order, `norm_gradients_f32` the blocks in an
// order that depends on their number alone. Rows of a block are fixed, so the bits do not depend on the device. The
// partial sums of the blocks are written and read: 1/2 byte an element.
#include "primitives/warp.cuh"
#include "rows.cuh"

namespace evoke {

// A row a warp: enough warps to hide latency, few enough registers a block for several of them on a multiprocessor.
constexpr int FORWARD_WARPS = 4;
constexpr int BACKWARD_WARPS = 8;
// Rows whose gradients of gamma and beta one block adds.
constexpr int BACKWARD_ROWS = 32;
static_assert(BACKWARD_WARPS * WARP == CHUNK, "a thread a column when warps' sums meet");

EVOKE_DEVICE float square(float x) { return x * x; }

// One row of up to CHUNKS * CHUNK columns, a multiple of 8.
template <class T, int CHUNKS>
EVOKE_DEVICE void forward(Global<T> y, Global<float> stats, Global<T> sum, Global<const T> x, Global<const float> gamma,
                          Global<const float> beta, Global<const T> branch, const Dropout &dropout, int rows, int width,
                          float epsilon) {
    const int row = block_x() * FORWARD_WARPS + warp();
    if (row >= rows) return;
    const size_t start = size_t(row) * width;
    float v[CHUNKS][PIECE] = {};
    EVOKE_UNROLL
    for (int c = 0; c < CHUNKS; ++c) {
        const int column = c * CHUNK + lane() * PIECE;
        if (column < width) load_piece(v[c], x, start + column);
    }
    if (branch) {
        float b[CHUNKS][PIECE];
        EVOKE_UNROLL
        for (int c = 0; c < CHUNKS; ++c) {
            const int column = c * CHUNK + lane() * PIECE;
            if (column < width) load_piece(b[c], branch, start + column);
        }
        EVOKE_UNROLL
        for (int c = 0; c < CHUNKS; ++c) {
            const int column = c * CHUNK + lane() * PIECE;
            if (column >= width) continue;
            if (dropout.active()) drop_piece(b[c], dropout, start + column);
            EVOKE_UNROLL
            for (int j = 0; j < PIECE; ++j) v[c][j] += b[c][j];
            store_piece(sum, start + column, v[c]);
        }
    }
    float total = 0.0f, squares = 0.0f; // columns past the end are zeros
    EVOKE_UNROLL
    for (int c = 0; c < CHUNKS; ++c)
        EVOKE_UNROLL
        for (int j = 0; j < PIECE; ++j) total += v[c][j];
    const float mean = warp_sum(total) / float(width);
    EVOKE_UNROLL
    for (int c = 0; c < CHUNKS; ++c) {
        if (c * CHUNK + lane() * PIECE >= width) continue;
        EVOKE_UNROLL
        for (int j = 0; j < PIECE; ++j) squares += square(v[c][j] - mean);
    }
    const float scale = 1.0f / sqrt(warp_sum(squares) / float(width) + epsilon);
    if (lane() == 0) stats.store_vec<2>(2 * size_t(row), {{mean, scale}});
    EVOKE_UNROLL
    for (int c = 0; c < CHUNKS; ++c) {
        const int column = c * CHUNK + lane() * PIECE;
        if (column >= width) continue;
        float g[PIECE], b[PIECE];
        load_piece(g, gamma, column);
        load_piece(b, beta, column);
        EVOKE_UNROLL
        for (int j = 0; j < PIECE; ++j) v[c][j] = (v[c][j] - mean) * scale * g[j] + b[j];
        store_piece(y, start + column, v[c]);
    }
}

// One row of any width, element by element; the sum is computed anew in each pass.
template <class T>
EVOKE_DEVICE void forward_any(Global<T> y, Global<float> stats, Global<T> sum, Global<const T> x,
                              Global<const float> gamma, Global<const float> beta, Global<const T> branch,
                              const Dropout &dropout, int rows, int width, float epsilon) {
    const int row = block_x() * FORWARD_WARPS + warp();
    if (row >= rows) return;
    const size_t start = size_t(row) * width;
    const auto value = [&](int column) {
        const float v = to_float(x.load(start + column));
        return branch ? v + drop(to_float(branch.load(start + column)), dropout, start + column) : v;
    };
    float total = 0.0f, squares = 0.0f;
    for (int c = lane(); c < width; c += WARP) total += value(c);
    const float mean = warp_sum(total) / float(width);
    for (int c = lane(); c < width; c += WARP) squares += square(value(c) - mean);
    const float scale = 1.0f / sqrt(warp_sum(squares) / float(width) + epsilon);
    if (lane() == 0) stats.store_vec<2>(2 * size_t(row), {{mean, scale}});
    for (int c = lane(); c < width; c += WARP) {
        const float v = value(c);
        if (branch) sum.store(start + c, from_float<T>(v));
        y.store(start + c, from_float<T>((v - mean) * scale * gamma.load(c) + beta.load(c)));
    }
}

// The sums of a row that SPLIT warps share, in the order of the warps. `scratch` holds two floats for each warp, twice:
// steps alternate between the halves, so that one barrier a step is enough.
template <int SPLIT> EVOKE_DEVICE Vec<float, 2> row_sums(float a, float b, Shared<float> scratch, int step) {
    Vec<float, 2> sums = {{warp_sum(a), warp_sum(b)}};
    if (SPLIT == 1) return sums;
    const Shared<float> half = scratch + step % 2 * (2 * BACKWARD_WARPS);
    if (lane() == 0) half.store_vec<2>(2 * warp(), sums);
    sync_block();
    sums = {{0.0f, 0.0f}};
    EVOKE_UNROLL
    for (int w = 0; w < SPLIT; ++w) {
        const auto one = half.load_vec<2>(2 * (warp() / SPLIT * SPLIT + w));
        sums.at[0] += one.at[0];
        sums.at[1] += one.at[1];
    }
    return sums;
}

// Adds what the block's warps summed for one chunk each, in the order of the warps: a thread a column. `chunk` is that
// of warp 0; those of the SPLIT warps of a row are `step` chunks apart.
template <int SPLIT>
EVOKE_DEVICE void meet(Global<float> out, int chunk, int step, int width, const float (&own)[PIECE],
                       Shared<float> scratch) {
    store_shared(scratch, warp() * CHUNK + lane() * PIECE, own);
    sync_block();
    EVOKE_UNROLL
    for (int part = 0; part < SPLIT; ++part) {
        const int column = (chunk + part * step) * CHUNK + thread();
        float sum = 0.0f;
        EVOKE_UNROLL
        for (int w = part; w < BACKWARD_WARPS; w += SPLIT) sum += scratch.load(w * CHUNK + thread());
        if (column < width) out.store(column, sum);
    }
    sync_block(); // scratch is written again
}

// Rows of up to CHUNKS * SPLIT * CHUNK columns, a multiple of 8, each shared by SPLIT warps: a lane's sums for gamma
// and beta take 16 registers a chunk. `dgammas` and `dbetas` are (blocks, width).
template <class T, int CHUNKS, int SPLIT>
EVOKE_DEVICE void backward(Global<float> dgammas, Global<float> dbetas, Global<T> dx, Global<T> dbranch,
                           Global<const T> dy, Global<const T> x, Global<const float> stats, Global<const float> gamma,
                           Global<const T> dsum, const Dropout &dropout, int rows, int width) {
    constexpr int ROWS_AT_ONCE = BACKWARD_WARPS / SPLIT;
    EVOKE_SHARED(float, scratch, BACKWARD_WARPS * CHUNK);
    EVOKE_SHARED(float, shares, 2 * 2 * BACKWARD_WARPS);
    const int own = (warp() % SPLIT * CHUNKS * WARP + lane()) * PIECE; // the lane's first column
    float dgamma[CHUNKS][PIECE] = {}, dbeta[CHUNKS][PIECE] = {};
    for (int step = 0; step < BACKWARD_ROWS / ROWS_AT_ONCE; ++step) {
        const int row = block_x() * BACKWARD_ROWS + step * ROWS_AT_ONCE + warp() / SPLIT;
        const int end = row < rows ? width : 0; // past the last row there are no columns
        const size_t start = size_t(row) * width;
        Vec<T, PIECE> dys[CHUNKS], xs[CHUNKS], dsums[CHUNKS]; // as stored: half the registers
        EVOKE_UNROLL
        for (int c = 0; c < CHUNKS; ++c) {
            const int column = own + c * CHUNK;
            if (column >= end) continue;
            dys[c] = dy.template load_vec<PIECE>(start + column);
            xs[c] = x.template load_vec<PIECE>(start + column);
            if (dsum) dsums[c] = dsum.template load_vec<PIECE>(start + column);
        }
        const auto moments = row < rows ? stats.load_vec<2>(2 * size_t(row)) : Vec<float, 2>{{0.0f, 0.0f}};
        const float mean = moments.at[0], scale = moments.at[1];
        float sum = 0.0f, product = 0.0f;
        EVOKE_UNROLL
        for (int c = 0; c < CHUNKS; ++c) {
            const int column = own + c * CHUNK;
            if (column >= end) continue;
            float weight[PIECE];
            load_piece(weight, gamma, column);
            EVOKE_UNROLL
            for (int j = 0; j < PIECE; ++j) {
                const float d = to_float(dys[c].at[j]), xhat = (to_float(xs[c].at[j]) - mean) * scale;
                sum += d * weight[j];
                product += d * weight[j] * xhat;
                dgamma[c][j] += d * xhat;
                dbeta[c][j] += d;
            }
        }
        const auto sums = row_sums<SPLIT>(sum, product, shares, step);
        const float mean_g = sums.at[0] / float(width), mean_product = sums.at[1] / float(width);
        EVOKE_UNROLL
        for (int c = 0; c < CHUNKS; ++c) {
            const int column = own + c * CHUNK;
            if (column >= end) continue;
            float weight[PIECE], out[PIECE];
            load_piece(weight, gamma, column);
            EVOKE_UNROLL
            for (int j = 0; j < PIECE; ++j) {
                const float xhat = (to_float(xs[c].at[j]) - mean) * scale;
                out[j] = scale * (to_float(dys[c].at[j]) * weight[j] - mean_g - xhat * mean_product);
                if (dsum) out[j] += to_float(dsums[c].at[j]);
            }
            store_piece(dx, start + column, out);
            if (!dbranch) continue;
            drop_piece(out, dropout, start + column);
            store_piece(dbranch, start + column, out);
        }
    }
    const size_t partial = size_t(block_x()) * width;
    EVOKE_UNROLL
    for (int c = 0; c < CHUNKS; ++c) {
        meet<SPLIT>(dgammas + partial, c, CHUNKS, width, dgamma[c], scratch);
        meet<SPLIT>(dbetas + partial, c, CHUNKS, width, dbeta[c], scratch);
    }
}

// Rows of any width: dx a warp a row, then the gradients of gamma and beta a thread a column, rows in order.
template <class T>
EVOKE_DEVICE void backward_any(Global<float> dgammas, Global<float> dbetas, Global<T> dx, Global<T> dbranch,
                               Global<const T> dy, Global<const T> x, Global<const float> stats,
                               Global<const float> gamma, Global<const T> dsum, const Dropout &dropout, int rows,
                               int width) {
    const int first = block_x() * BACKWARD_ROWS, last = first + BACKWARD_ROWS < rows ? first + BACKWARD_ROWS : rows;
    for (int row = first + warp(); row < last; row += BACKWARD_WARPS) {
        const size_t start = size_t(row) * width;
        const auto moments = stats.load_vec<2>(2 * size_t(row));
        const float mean = moments.at[0], scale = moments.at[1];
        float sum = 0.0f, product = 0.0f;
        for (int c = lane(); c < width; c += WARP) {
            const float g = to_float(dy.load(start + c)) * gamma.load(c);
            sum += g;
            product += g * (to_float(x.load(start + c)) - mean) * scale;
        }
        const float mean_g = warp_sum(sum) / float(width), mean_product = warp_sum(product) / float(width);
        for (int c = lane(); c < width; c += WARP) {
            const float g = to_float(dy.load(start + c)) * gamma.load(c);
            const float xhat = (to_float(x.load(start + c)) - mean) * scale;
            float out = scale * (g - mean_g - xhat * mean_product);
            if (dsum) out += to_float(dsum.load(start + c));
            dx.store(start + c, from_float<T>(out));
            if (dbranch) dbranch.store(start + c, from_float<T>(drop(out, dropout, start + c)));
        }
    }
    for (int c = thread(); c < width; c += BACKWARD_WARPS * WARP) {
        float dgamma = 0.0f, dbeta = 0.0f;
        for (int row = first; row < last; ++row) {
            const auto moments = stats.load_vec<2>(2 * size_t(row));
            const float d = to_float(dy.load(size_t(row) * width + c));
            dgamma += d * (to_float(x.load(size_t(row) * width + c)) - moments.at[0]) * moments.at[1];
            dbeta += d;
        }
        dgammas.store(size_t(block_x()) * width + c, dgamma);
        dbetas.store(size_t(block_x()) * width + c, dbeta);
    }
}

} // namespace evoke

using namespace evoke;

// y, sum, x, branch (rows, width); stats (rows, 2): mean and 1 / deviation; sum and branch null where there is none.
#define EVOKE_NORM_FORWARD(name, body)                                                                                 \
    EVOKE_KERNEL(name, FORWARD_WARPS * WARP, 0, Global<bf16> y, Global<float> stats, Global<bf16> sum,                 \
                 Global<const bf16> x, Global<const float> gamma, Global<const float> beta, Global<const bf16> branch, \
                 Global<const uint32_t> state, int rows, int width, float epsilon, unsigned site, unsigned threshold,  \
                 float kept_scale) {                                                                                   \
        const Dropout dropout = dropout_of(state, site, threshold, kept_scale);                                        \
        body(y, stats, sum, x, gamma, beta, branch, dropout, rows, width, epsilon);                                    \
    }

// Named after the widest row that their registers hold.
EVOKE_NORM_FORWARD(norm_forward_256_bf16, (forward<bf16, 1>))
EVOKE_NORM_FORWARD(norm_forward_512_bf16, (forward<bf16, 2>))
EVOKE_NORM_FORWARD(norm_forward_1024_bf16, (forward<bf16, 4>))
EVOKE_NORM_FORWARD(norm_forward_2048_bf16, (forward<bf16, 8>))
EVOKE_NORM_FORWARD(norm_forward_any_bf16, (forward_any<bf16>))

// dx, dbranch, dy, x (the sum, where there is a branch), dsum (rows, width); dgammas, dbetas (blocks, width); dbranch
// and dsum null where there is none.
#define EVOKE_NORM_BACKWARD(name, body)                                                                                \
    EVOKE_KERNEL(name, BACKWARD_WARPS * WARP, 0, Global<float> dgammas, Global<float> dbetas, Global<bf16> dx,         \
                 Global<bf16> dbranch, Global<const bf16> dy, Global<const bf16> x, Global<const float> stats,         \
                 Global<const float> gamma, Global<const bf16> dsum, Global<const uint32_t> state, int rows,           \
                 int width, unsigned site, unsigned threshold, float kept_scale) {                                     \
        const Dropout dropout = dropout_of(state, site, threshold, kept_scale);                                        \
        body(dgammas, dbetas, dx, dbranch, dy, x, stats, gamma, dsum, dropout, rows, width);                           \
    }

EVOKE_NORM_BACKWARD(norm_backward_256_bf16, (backward<bf16, 1, 1>))
EVOKE_NORM_BACKWARD(norm_backward_512_bf16, (backward<bf16, 2, 1>))
EVOKE_NORM_BACKWARD(norm_backward_1024_bf16, (backward<bf16, 2, 2>))
EVOKE_NORM_BACKWARD(norm_backward_2048_bf16, (backward<bf16, 2, 4>))
EVOKE_NORM_BACKWARD(norm_backward_any_bf16, (backward_any<bf16>))

// Adds the blocks' sums to the accumulated gradients: block (x, 0) a warp's columns of gamma, (x, 1) of beta. A warp
// takes every GRADIENT_WARPS-th partial, so that many loads are under way; then the warps' sums meet in order.
constexpr int GRADIENT_WARPS = 32;
EVOKE_KERNEL(norm_gradients_f32, GRADIENT_WARPS * WARP, 0, Global<float> dgamma, Global<float> dbeta,
             Global<const float> dgammas, Global<const float> dbetas, int partials, int width) {
    EVOKE_SHARED(float, sums, GRADIENT_WARPS * WARP);
    const Global<float> out = block_y() == 0 ? dgamma : dbeta;
    const Global<const float> from = block_y() == 0 ? dgammas : dbetas;
    const int column = block_x() * WARP + lane();
    float sum = 0.0f;
    if (column < width)
        for (int p = warp(); p < partials; p += GRADIENT_WARPS) sum += from.load(size_t(p) * width + column);
    sums.store(thread(), sum);
    sync_block();
    if (warp() != 0 || column >= width) return;
    float total = 0.0f;
    EVOKE_UNROLL
    for (int w = 0; w < GRADIENT_WARPS; ++w) total += sums.load(w * WARP + lane());
    out.store(column, out.load(column) + total);
}
