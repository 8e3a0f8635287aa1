// What a linear layer does around its matrix products: bias and activation, and their gradients.
//
// bias      y = b in every row, to which the product is then added
// forward   y = max(z, 0) over z, or y = z cdf(z), the exact GELU, beside z, which its gradient needs
// backward  dz = dy activation'(z), read off z (GELU) or y (ReLU); db += the column sums of dz
//
// At bf16 an element costs 2 bytes for the bias, 4 forward and 6 backward (2 for the bias alone), for at most some 40
// FLOPs: bound by memory. Arithmetic is f32. The bias comes before the product, so that z is rounded to storage once:
// a product stored first would be rounded twice, and one ReLU in some 3000 would then be on the other side of 0.
// What it costs is the rounding of b itself, 2^-9 of it, and that the product reads y (2 bytes, as adding b later does).
//
// A warp stands on one row, each lane on 16 bytes of it where rows are multiples of that, else on one element. Column
// sums go over pieces of ROWS rows (a thread's rows in order, then the warps in order), and the pieces' partial sums
// by SUM_WARPS warps in turn, which meet in order: fixed by the shape, so they repeat bit for bit. They are summed from
// dz before it is rounded.
#include "activation.cuh"
#include "primitives/memory.cuh"
#include "primitives/numbers.cuh"
#include "primitives/warp.cuh"

namespace evoke {

constexpr int WARPS = 8, THREADS = WARPS * WARP;
// Rows that a thread has on their way at once: enough bytes in flight without a register to spare for more.
constexpr int BATCH = 4;
// Rows of a block. Backward twice as many: a partial sum of 4 bytes then stands for 64 elements of 2 bytes.
constexpr int FORWARD_ROWS = WARPS * BATCH, ROWS = 2 * FORWARD_ROWS;
// Warps that share one column's partial sums: a thousand pieces are 64 loads each.
constexpr int SUM_WARPS = 16;

// cdf(x) + x density(x).
EVOKE_DEVICE float gelu_derivative(float x) {
    constexpr float INVERSE_SQRT_TWO_PI = 0.39894228f;
    // Bounded before it is squared, so that an infinite x gives 0 * finite and not 0 * infinity; a NaN stays one.
    const float bounded = abs(x) > 16.0f ? (x > 0.0f ? 16.0f : -16.0f) : x;
    return bounded * INVERSE_SQRT_TWO_PI * exp(-0.5f * bounded * bounded) + normal_cdf(x);
}

template <int N, class T>
EVOKE_DEVICE void bias_piece(Global<T> y, Global<const float> bias, int rows, int width) {
    const int column = (block_y() * WARP + lane()) * N, first = block_x() * FORWARD_ROWS + warp();
    if (column >= width) return;
    Vec<T, N> values;
    EVOKE_UNROLL
    for (int j = 0; j < N; ++j) values.at[j] = from_float<T>(bias.load(column + j));
    EVOKE_UNROLL
    for (int i = 0; i < BATCH; ++i) {
        const int row = first + i * WARPS;
        if (row < rows) y.template store_vec<N>(size_t(row) * width + column, values);
    }
}

// ReLU's argument lies where its result is to be: `from` is null.
template <Activation A, int N, class T>
EVOKE_DEVICE void forward_piece(Global<T> y, Global<const T> from, int rows, int width) {
    const int column = (block_y() * WARP + lane()) * N, first = block_x() * FORWARD_ROWS + warp();
    if (column >= width) return;
    Vec<T, N> loaded[BATCH];
    EVOKE_UNROLL
    for (int i = 0; i < BATCH; ++i) {
        const int row = first + i * WARPS;
        const size_t place = size_t(row) * width + column;
        if (row >= rows) continue;
        if constexpr (A == Activation::Gelu) loaded[i] = from.template load_vec<N>(place);
        else loaded[i] = y.template load_vec<N>(place);
    }
    EVOKE_UNROLL
    for (int i = 0; i < BATCH; ++i) {
        const int row = first + i * WARPS;
        if (row >= rows) continue;
        Vec<T, N> result;
        EVOKE_UNROLL
        for (int j = 0; j < N; ++j) {
            const float z = to_float(loaded[i].at[j]);
            if constexpr (A == Activation::Gelu) result.at[j] = from_float<T>(gelu(z));
            else result.at[j] = from_float<T>(relu(z));
        }
        y.template store_vec<N>(size_t(row) * width + column, result);
    }
}

// dz is absent without an activation, where dy is dz; `partial` (pieces of rows, width) where there is no bias.
template <Activation A, int N, class T>
EVOKE_DEVICE void backward_piece(Global<T> dz, Global<float> partial, Global<const T> dy, Global<const T> known, int rows,
                                 int width, Shared<float> sums) {
    const int column = (block_y() * WARP + lane()) * N;
    float sum[N];
    EVOKE_UNROLL
    for (int j = 0; j < N; ++j) sum[j] = 0.0f;
    // No return for lanes beyond the row: all threads meet at the barrier.
    const int end = column < width ? (rows < (block_x() + 1) * ROWS ? rows : (block_x() + 1) * ROWS) : 0;
    for (int first = block_x() * ROWS + warp(); first < end; first += BATCH * WARPS) {
        Vec<T, N> gradient[BATCH], value[BATCH];
        EVOKE_UNROLL
        for (int i = 0; i < BATCH; ++i) {
            const int row = first + i * WARPS;
            if (row >= end) continue;
            gradient[i] = dy.template load_vec<N>(size_t(row) * width + column);
            if constexpr (A != Activation::None) value[i] = known.template load_vec<N>(size_t(row) * width + column);
        }
        EVOKE_UNROLL
        for (int i = 0; i < BATCH; ++i) {
            const int row = first + i * WARPS;
            if (row >= end) continue;
            Vec<T, N> result;
            EVOKE_UNROLL
            for (int j = 0; j < N; ++j) {
                float d = to_float(gradient[i].at[j]);
                if constexpr (A == Activation::Gelu) d *= gelu_derivative(to_float(value[i].at[j]));
                if constexpr (A == Activation::Relu) d = to_float(value[i].at[j]) > 0.0f ? d : 0.0f;
                result.at[j] = from_float<T>(d);
                sum[j] += d;
            }
            if constexpr (A != Activation::None) dz.template store_vec<N>(size_t(row) * width + column, result);
        }
    }
    if (!partial) return;
    // (warps, lanes * N), a column's place in the tile as its index.
    EVOKE_UNROLL
    for (int j = 0; j < N; ++j) sums.store((warp() * WARP + lane()) * N + j, sum[j]);
    sync_block();
    const int tile = block_y() * WARP * N;
    for (int c = thread(); c < WARP * N && tile + c < width; c += THREADS) {
        float total = 0.0f;
        EVOKE_UNROLL
        for (int w = 0; w < WARPS; ++w) total += sums.load(w * WARP * N + c);
        partial.store(size_t(block_x()) * width + tile + c, total);
    }
}

template <Activation A, class T>
EVOKE_DEVICE void forward(Global<T> y, Global<const T> from, int rows, int width) {
    if (width % WIDE<T> == 0) forward_piece<A, WIDE<T>>(y, from, rows, width);
    else forward_piece<A, 1>(y, from, rows, width);
}

template <Activation A, class T>
EVOKE_DEVICE void backward(Global<T> dz, Global<float> partial, Global<const T> dy, Global<const T> known, int rows,
                           int width) {
    EVOKE_SHARED(float, sums, WARPS *WARP *WIDE<T>);
    if (width % WIDE<T> == 0) backward_piece<A, WIDE<T>>(dz, partial, dy, known, rows, width, sums);
    else backward_piece<A, 1>(dz, partial, dy, known, rows, width, sums);
}

} // namespace evoke

using namespace evoke;

// All but the last: a grid of (pieces of rows, pieces of columns).
EVOKE_KERNEL(linear_bias_bf16, THREADS, 0, Global<bf16> y, Global<const float> bias, int rows, int width) {
    if (width % WIDE<bf16> == 0) bias_piece<WIDE<bf16>>(y, bias, rows, width);
    else bias_piece<1>(y, bias, rows, width);
}

EVOKE_KERNEL(linear_relu_bf16, THREADS, 0, Global<bf16> y, int rows, int width) {
    forward<Activation::Relu>(y, Global<const bf16>{}, rows, width);
}

EVOKE_KERNEL(linear_gelu_bf16, THREADS, 0, Global<bf16> y, Global<const bf16> argument, int rows, int width) {
    forward<Activation::Gelu>(y, argument, rows, width);
}

EVOKE_KERNEL(linear_gradient_bf16, THREADS, 0, Global<float> partial, Global<const bf16> dy, int rows, int width) {
    backward<Activation::None>(Global<bf16>{}, partial, dy, Global<const bf16>{}, rows, width);
}

EVOKE_KERNEL(linear_gradient_relu_bf16, THREADS, 0, Global<bf16> dz, Global<float> partial, Global<const bf16> dy,
             Global<const bf16> y, int rows, int width) {
    backward<Activation::Relu>(dz, partial, dy, y, rows, width);
}

EVOKE_KERNEL(linear_gradient_gelu_bf16, THREADS, 0, Global<bf16> dz, Global<float> partial, Global<const bf16> dy,
             Global<const bf16> argument, int rows, int width) {
    backward<Activation::Gelu>(dz, partial, dy, argument, rows, width);
}

// db (width) += the sum of partial (pieces, width). A block has WARP columns.
EVOKE_KERNEL(linear_bias_sum, SUM_WARPS *WARP, 0, Global<float> db, Global<const float> partial, int pieces, int width) {
    EVOKE_SHARED(float, sums, SUM_WARPS *WARP);
    const int column = block_x() * WARP + lane();
    float sum = 0.0f;
    if (column < width)
        for (int piece = warp(); piece < pieces; piece += SUM_WARPS) sum += partial.load(size_t(piece) * width + column);
    sums.store(thread(), sum);
    sync_block();
    if (warp() != 0 || column >= width) return;
    float total = 0.0f;
    EVOKE_UNROLL
    for (int w = 0; w < SUM_WARPS; ++w) total += sums.load(w * WARP + lane());
    db.store(column, db.load(column) + total);
}
