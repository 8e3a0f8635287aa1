// The windows of a 3x3 convolution with stride 2, and their gradient.
//
// forward:  out[picture, oy, ox, ky, kx, c] = x[picture, 2 oy + ky - 1, 2 ox + kx - 1, c], zero outside the picture
// backward: dx[picture, y, x, c] = sum over the windows that see the pixel of dout
//
// Storage is 16 bits, sums f32. An element of x is copied 9 / 4 times: 6.5 bytes an element of x each way, and up to 3
// additions backward: bound by memory. A thread takes eight neighbours of the output, 16 bytes where channels are whole
// eights, otherwise one by one (the first convolution, of 3 channels).
//
// Backward gathers: each pixel adds from the one, two or four windows that see it, in the order of the window's
// elements. No thread writes what another one adds to: deterministic.
#include "primitives/memory.cuh"
#include "primitives/numbers.cuh"
#include "rows.cuh"

namespace evoke {

// Enough warps to hide the latency of memory.
constexpr int THREADS = 256;
constexpr int SIDE = 3;
constexpr int STRIDE = 2;

// Pictures of height x width pixels; both are even. All elements together are fewer than 2^32.
struct Pictures {
    int height, width, channels;

    // The element of x that is element `i` of the windows, from 0; -1 outside the picture.
    EVOKE_DEVICE int64_t seen(unsigned i) const {
        const unsigned c = i % channels, at = i / channels;
        const int k = int(at % (SIDE * SIDE));
        const unsigned window = at / (SIDE * SIDE), row = window / (width / STRIDE);
        const int ox = int(window % (width / STRIDE)), oy = int(row % (height / STRIDE));
        const int y = oy * STRIDE + k / SIDE - 1, x = ox * STRIDE + k % SIDE - 1;
        if (y < 0 || y >= height || x < 0 || x >= width) return -1;
        return int64_t((row / (height / STRIDE) * height + y) * width + x) * channels + c;
    }

    // The output along an axis of `size` pixels whose window sees pixel `i` with its element `k`; -1 if none does.
    EVOKE_DEVICE static int window(int i, int k, int size) {
        const int twice = i + 1 - k;
        return twice >= 0 && twice % STRIDE == 0 && twice / STRIDE < size / STRIDE ? twice / STRIDE : -1;
    }

    // Calls visit(element of the windows) for each that copies element `i` of x, in order.
    template <class Visit> EVOKE_DEVICE void copies(unsigned i, Visit visit) const {
        const unsigned c = i % channels, pixel = i / channels, row = pixel / width;
        const int x = int(pixel % width), y = int(row % height);
        const unsigned picture = row / height;
        EVOKE_UNROLL
        for (int k = 0; k < SIDE * SIDE; ++k) {
            const int oy = window(y, k / SIDE, height), ox = window(x, k % SIDE, width);
            if (oy < 0 || ox < 0) continue;
            const size_t place = (size_t(picture) * (height / STRIDE) + oy) * (width / STRIDE) + ox;
            visit((place * (SIDE * SIDE) + k) * channels + c);
        }
    }
};

template <class T>
EVOKE_DEVICE void windows(Global<T> out, Global<const T> x, unsigned count, const Pictures &pictures) {
    const unsigned first = (unsigned(block_x()) * THREADS + thread()) * PIECE;
    if (first >= count) return;
    Vec<T, PIECE> piece;
    EVOKE_UNROLL
    for (int j = 0; j < PIECE; ++j) piece.at[j] = from_float<T>(0.0f);
    if (pictures.channels % PIECE == 0) {
        const int64_t from = pictures.seen(first);
        if (from >= 0) piece = x.template load_vec<PIECE>(from);
    } else {
        EVOKE_UNROLL
        for (int j = 0; j < PIECE; ++j) {
            const int64_t from = first + j < count ? pictures.seen(first + j) : -1;
            if (from >= 0) piece.at[j] = x.load(from);
        }
    }
    if (first + PIECE <= count) {
        out.template store_vec<PIECE>(first, piece);
    } else {
        EVOKE_UNROLL
        for (int j = 0; j < PIECE; ++j)
            if (first + j < count) out.store(first + j, piece.at[j]);
    }
}

template <class T>
EVOKE_DEVICE void windows_backward(Global<T> dx, Global<const T> dout, unsigned count, const Pictures &pictures) {
    const unsigned first = (unsigned(block_x()) * THREADS + thread()) * PIECE;
    if (first >= count) return;
    float sum[PIECE] = {};
    if (pictures.channels % PIECE == 0) {
        pictures.copies(first, [&](size_t i) {
            float v[PIECE];
            load_piece(v, dout, i);
            EVOKE_UNROLL
            for (int j = 0; j < PIECE; ++j) sum[j] += v[j];
        });
        store_piece(dx, first, sum);
        return;
    }
    const unsigned last = first + PIECE < count ? first + PIECE : count;
    for (unsigned e = first; e < last; ++e) {
        float total = 0.0f;
        pictures.copies(e, [&](size_t i) { total += to_float(dout.load(i)); });
        dx.store(e, from_float<T>(total));
    }
}

} // namespace evoke

using namespace evoke;

// x (pictures, height, width, channels); out (pictures, height / 2, width / 2, 9, channels), `count` elements.
EVOKE_KERNEL(windows_forward_bf16, THREADS, 0, Global<bf16> out, Global<const bf16> x, unsigned count, int height,
             int width, int channels) {
    windows(out, x, count, Pictures{height, width, channels});
}

// dx as x, `count` elements; dout as out.
EVOKE_KERNEL(windows_backward_bf16, THREADS, 0, Global<bf16> dx, Global<const bf16> dout, unsigned count, int height,
             int width, int channels) {
    windows_backward(dx, dout, count, Pictures{height, width, channels});
}
