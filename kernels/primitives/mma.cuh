// Matrix products of a warp: fragments, their loads from shared memory, and the product m16n8k16 (sm_80 and up).
//
// Fragment maps, with group = lane / 4 and pair = lane % 4 (PTX ISA, "Matrix Fragments for mma.m16n8k16"):
//   A (16 x 16), 4 registers of two elements: rows group, group + 8, group, group + 8; columns 2 pair + {0, 1},
//       the last two registers 8 columns further.
//   B (16 x 8), 2 registers: rows 2 pair + {0, 1}, then 8 further; column group.
//   C (16 x 8), 4 floats: rows group, group, group + 8, group + 8; columns 2 pair + {0, 1}.
#pragma once

#include "primitives/memory.cuh"
#include "primitives/numbers.cuh"

#ifdef EVOKE_EMULATED
#include "emulator/matrix.hpp"
#endif

namespace evoke {

#ifdef EVOKE_EMULATED

template <class T>
inline void mma_16x8x16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2] EVOKE_AT) {
    emulator::mma_16x8x16<T>(c, a, b, at);
}
template <class T> inline void load_matrix_4(uint32_t (&out)[4], SharedPlace<T> row EVOKE_AT) {
    emulator::load_matrix(out, 4, row.offset, row.begin, row.end, false, at);
}
template <class T> inline void load_matrix_4_transposed(uint32_t (&out)[4], SharedPlace<T> row EVOKE_AT) {
    emulator::load_matrix(out, 4, row.offset, row.begin, row.end, true, at);
}
template <class T> inline void load_matrix_2(uint32_t (&out)[2], Shared<T> rows, int i EVOKE_AT) {
    emulator::load_matrix(out, 2, rows.offset(i), rows.begin, rows.end, false, at);
}
template <class T> inline void load_matrix_2_transposed(uint32_t (&out)[2], Shared<T> rows, int i EVOKE_AT) {
    emulator::load_matrix(out, 2, rows.offset(i), rows.begin, rows.end, true, at);
}

#else

// c += a b for one warp: a (16 x 16), b (16 x 8), c (16 x 8).
template <class T> EVOKE_DEVICE void mma_16x8x16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

template <>
EVOKE_DEVICE void mma_16x8x16<bf16>(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
template <> EVOKE_DEVICE void mma_16x8x16<f16>(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Four 8 x 8 matrices: lanes 8 n .. 8 n + 7 each name a row (8 elements, 16 bytes) of matrix n.
// Register n of a lane: row lane / 4 of matrix n, elements 2 (lane % 4) + {0, 1}; transposed: the same of its transpose.
template <class T> EVOKE_DEVICE void load_matrix_4(uint32_t (&out)[4], SharedPlace<T> row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(row.address)
                 : "memory");
}
template <class T> EVOKE_DEVICE void load_matrix_4_transposed(uint32_t (&out)[4], SharedPlace<T> row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(row.address)
                 : "memory");
}
// Two matrices: the addresses of lanes 0 to 15 count, but every lane gives one inside the array.
template <class T> EVOKE_DEVICE void load_matrix_2(uint32_t (&out)[2], Shared<T> rows, int i) {
    const auto address = static_cast<unsigned>(__cvta_generic_to_shared(rows.pointer + i));
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(out[0]), "=r"(out[1])
                 : "r"(address)
                 : "memory");
}
template <class T> EVOKE_DEVICE void load_matrix_2_transposed(uint32_t (&out)[2], Shared<T> rows, int i) {
    const auto address = static_cast<unsigned>(__cvta_generic_to_shared(rows.pointer + i));
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(out[0]), "=r"(out[1])
                 : "r"(address)
                 : "memory");
}

#endif

} // namespace evoke
