// A row of positions for each token of each sequence, then dropout; and its gradients.
//
// forward:  y[b, t] = dropout(x[b, t] + positions[t])
// backward: dx = mask(dy); d positions[t] += sum over b of mask(dy[b, t])
// Forward also takes a position that lives in device memory, from which on the rows count (a step of decoding).
// Backward also takes positions that come again after `period` tokens: d positions[t] is then the sum over all tokens
// t, t + period, ... of each sequence.
//
// x and y are 16 bits, positions and their gradient f32; arithmetic is f32. Forward moves 4 bytes an element (positions
// stay in the cache), backward 2 or, with dx, 4; 1 FLOP, and 5 integer multiplications for the mask: bound by memory.
//
// The gradient of a position: a block of POSITION_WARPS warps takes one position of all sequences; each warp adds every
// POSITION_WARPS-th occurrence in order, then the warps' sums meet in order. The order depends on the sizes alone.
#include "primitives/warp.cuh"
#include "rows.cuh"

namespace evoke {

// A row a warp.
constexpr int FORWARD_WARPS = 4;
// Warps that share the sequences of a batch: enough loads under way for one position.
constexpr int POSITION_WARPS = 8;

template <class T>
EVOKE_DEVICE void add_positions(Global<T> y, Global<const T> x, Global<const float> positions,
                                Global<const uint32_t> first, const Dropout &dropout, int rows, int length, int period,
                                int width) {
    const int row = block_x() * FORWARD_WARPS + warp();
    if (row >= rows) return;
    const unsigned place = ((first ? first.load(0) : 0u) + unsigned(row % length)) % unsigned(period);
    const size_t start = size_t(row) * width, position = size_t(place) * width;
    for (Columns columns = {0, width}; columns.first < width; columns.first += CHUNK) {
        float v[PIECE], p[PIECE];
        columns.load(v, x, start);
        columns.load(p, positions, position);
        EVOKE_UNROLL
        for (int j = 0; j < PIECE; ++j) v[j] += p[j];
        columns.drop(v, dropout, start);
        columns.store(y, start, v);
    }
}

// Block (t, chunk): position t < period, CHUNK columns.
template <class T>
EVOKE_DEVICE void positions_backward(Global<float> dpositions, Global<T> dx, Global<const T> dy, const Dropout &dropout,
                                     int batch, int length, int period, int width) {
    EVOKE_SHARED(float, scratch, POSITION_WARPS * CHUNK);
    const int t = block_x();
    const Columns columns = {block_y() * CHUNK, width};
    float sum[PIECE] = {};
    const int repeats = divide_up(length - t, period); // occurrences in a sequence
    for (int i = warp(); i < batch * repeats; i += POSITION_WARPS) {
        const size_t start = (size_t(i / repeats) * length + size_t(i % repeats) * period + t) * width;
        float v[PIECE];
        columns.load(v, dy, start);
        columns.drop(v, dropout, start);
        if (dx) columns.store(dx, start, v);
        EVOKE_UNROLL
        for (int j = 0; j < PIECE; ++j) sum[j] += v[j];
    }
    if (!dpositions) return;
    const float total = meet<POSITION_WARPS>(columns, sum, scratch);
    const int column = columns.first + thread();
    if (column >= width) return;
    const size_t place = size_t(t) * width + column;
    dpositions.store(place, dpositions.load(place) + total);
}

} // namespace evoke

using namespace evoke;

// x, y (rows, width), sequences of `length` rows; positions (period, width); `first`, where there is one, is the position
// of a sequence's first row.
EVOKE_KERNEL(positions_forward_bf16, FORWARD_WARPS * WARP, 0, Global<bf16> y, Global<const bf16> x,
             Global<const float> positions, Global<const uint32_t> first, Global<const uint32_t> state, int rows,
             int length, int period, int width, unsigned site, unsigned threshold, float kept_scale) {
    add_positions(y, x, positions, first, dropout_of(state, site, threshold, kept_scale), rows, length, period, width);
}

// dpositions (period, width) is added to; dx, dy (batch * length, width). Either output may be null.
EVOKE_KERNEL(positions_backward_bf16, POSITION_WARPS * WARP, 0, Global<float> dpositions, Global<bf16> dx,
             Global<const bf16> dy, Global<const uint32_t> state, int batch, int length, int period, int width,
             unsigned site, unsigned threshold, float kept_scale) {
    positions_backward(dpositions, dx, dy, dropout_of(state, site, threshold, kept_scale), batch, length, period, width);
}
