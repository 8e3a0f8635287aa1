// Pictures to patches: bytes to numbers in [-1, 1], in the order of the patches.
//
// A patch is `lines` pieces of `length` bytes that lie `stride` bytes apart, its neighbour begins `length` bytes
// further: out[patch, line, i] = pixels[...] / 127.5 - 1. Patches of one pixel leave the order as it is: one line of
// one patch.
//
// 3 bytes (1 in, 2 out) and 2 FLOPs an element: bound by memory. A thread takes eight neighbours, 8 bytes in and 16
// out, where lines are whole eights; otherwise one by one. Each element is one thread's, so no order matters.
#include "primitives/memory.cuh"
#include "primitives/numbers.cuh"
#include "rows.cuh"

namespace evoke {

// Enough warps to hide the latency of memory.
constexpr int THREADS = 256;

EVOKE_DEVICE float normalised(uint8_t pixel) { return float(pixel) * (1.0f / 127.5f) - 1.0f; }

// `columns` patches lie side by side. The element of the picture that is element `i` of the patches.
EVOKE_DEVICE unsigned source(unsigned i, int columns, int lines, int length) {
    const unsigned line = i / length, patch = line / lines;
    const unsigned row = patch / columns * lines + line % lines; // of all pictures' lines
    return (row * columns + patch % columns) * length + i % length;
}

template <class T>
EVOKE_DEVICE void patches(Global<T> out, Global<const uint8_t> pixels, unsigned count, int columns, int lines,
                          int length) {
    const unsigned first = (unsigned(block_x()) * THREADS + thread()) * PIECE;
    if (first >= count) return;
    if (length % PIECE == 0) {
        const auto piece = pixels.load_vec<PIECE>(source(first, columns, lines, length));
        float values[PIECE];
        EVOKE_UNROLL
        for (int j = 0; j < PIECE; ++j) values[j] = normalised(piece.at[j]);
        store_piece(out, first, values);
        return;
    }
    const unsigned last = first + PIECE < count ? first + PIECE : count;
    for (unsigned i = first; i < last; ++i)
        out.store(i, from_float<T>(normalised(pixels.load(source(i, columns, lines, length)))));
}

} // namespace evoke

using namespace evoke;

// pixels (pictures, height, width, 3); out (patches, lines, length).
EVOKE_KERNEL(patches_bf16, THREADS, 0, Global<bf16> out, Global<const uint8_t> pixels, unsigned count, int columns,
             int lines, int length) {
    patches(out, pixels, count, columns, lines, length);
}
