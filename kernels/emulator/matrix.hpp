// The warp's matrix operations, by the published lane maps (see primitives/mma.cuh).
#pragma once

#include "emulator/block.hpp"
#include "primitives/numbers.cuh"

namespace evoke::emulator {

struct MatrixLane {
    const uint32_t *a, *b;
    float *c;
};

template <class T> float element(uint32_t pair, int which) {
    return to_float(T{uint16_t(which ? pair >> 16 : pair & 0xffff)});
}

// Products are summed in f32 in the order of the inner index. The hardware adds in groups and truncates: its last
// bits differ.
template <class T> void resolve_mma(void *const *payloads) {
    float a[16][16], b[16][8];
    for (int lane = 0; lane < 32; ++lane) {
        const auto *from = static_cast<const MatrixLane *>(payloads[lane]);
        const int group = lane / 4, pair = lane % 4;
        for (int r = 0; r < 4; ++r)
            for (int e = 0; e < 2; ++e) a[group + r % 2 * 8][pair * 2 + e + r / 2 * 8] = element<T>(from->a[r], e);
        for (int r = 0; r < 2; ++r)
            for (int e = 0; e < 2; ++e) b[pair * 2 + e + r * 8][group] = element<T>(from->b[r], e);
    }
    float c[16][8] = {};
    for (int i = 0; i < 16; ++i)
        for (int k = 0; k < 16; ++k)
            for (int j = 0; j < 8; ++j) c[i][j] += a[i][k] * b[k][j];
    for (int lane = 0; lane < 32; ++lane) {
        const auto *to = static_cast<const MatrixLane *>(payloads[lane]);
        for (int r = 0; r < 4; ++r) to->c[r] += c[lane / 4 + r / 2 * 8][lane % 4 * 2 + r % 2];
    }
}

template <class T>
void mma_16x8x16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], At at) {
    MatrixLane lane{a, b, c};
    meet("a matrix product", &lane, at, &resolve_mma<T>);
}

struct RowLane {
    const uint16_t *row; // null where this lane's address does not count
    uint32_t *out;
    int count;
    bool transposed;
};

inline void resolve_load_matrix(void *const *payloads) {
    for (int lane = 0; lane < 32; ++lane) {
        const auto *to = static_cast<const RowLane *>(payloads[lane]);
        for (int n = 0; n < to->count; ++n) {
            auto at = [&](int row, int column) {
                return static_cast<const RowLane *>(payloads[n * 8 + row])->row[column];
            };
            const int first = lane / 4, second = lane % 4 * 2;
            const uint32_t low = to->transposed ? at(second, first) : at(first, second);
            const uint32_t high = to->transposed ? at(second + 1, first) : at(first, second + 1);
            to->out[n] = low | high << 16;
        }
    }
}

// Each lane's row counts as read by that lane, before the lanes meet.
inline void load_matrix(uint32_t *out, int count, uint32_t offset, uint32_t begin, uint32_t end, bool transposed,
                        At at) {
    const bool counts = here().thread % 32 < count * 8;
    const void *row = counts ? shared_read(offset, begin, end, 16, at) : nullptr;
    RowLane lane{static_cast<const uint16_t *>(row), out, count, transposed};
    meet("a matrix load", &lane, at, &resolve_load_matrix);
}

} // namespace evoke::emulator
