// What every kernel includes: types, the kernel macro, and where a thread stands.
//
// The same sources are compiled twice: by nvcc for GPUs, and by the host's compiler with EVOKE_EMULATED for the
// emulator (emulator/README.md). This folder is the only place that knows the difference: each wrapper has its CUDA
// form and its host twin side by side.
#pragma once

#include <cstddef>
#include <cstdint>

// A parameter that only the emulator has: the place in the sources that a call comes from, for its reports.
#ifdef EVOKE_EMULATED
#include "emulator/at.hpp"
#define EVOKE_DEVICE inline
#define EVOKE_BOTH constexpr
#define EVOKE_AT , ::evoke::At at = ::evoke::At::here()
#define EVOKE_AT_ONLY ::evoke::At at = ::evoke::At::here()
#define EVOKE_UNROLL
#define EVOKE_ROLLED
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#define EVOKE_DEVICE __device__ __forceinline__
#define EVOKE_BOTH __host__ __device__ __forceinline__ constexpr
#define EVOKE_AT
#define EVOKE_AT_ONLY
#define EVOKE_UNROLL _Pragma("unroll")
#define EVOKE_ROLLED _Pragma("unroll 1")
#endif

namespace evoke {

constexpr int WARP = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;

#ifdef EVOKE_EMULATED

// 16-bit floats on the host: storage only, arithmetic is in float.
struct bf16 {
    uint16_t bits;
};
struct f16 {
    uint16_t bits;
};

#else

using bf16 = __nv_bfloat16;
using f16 = __half;

#endif

// N elements that travel together; N * sizeof(T) is at most 16, the widest load there is.
template <class T, int N> struct alignas(sizeof(T) * N) Vec {
    static_assert(N * sizeof(T) <= 16 && (N & (N - 1)) == 0, "a vector is 2, 4, 8 or 16 bytes");
    T at[N];
};

// Elements of T in the widest load.
template <class T> constexpr int WIDE = 16 / sizeof(T);

} // namespace evoke

#ifdef EVOKE_EMULATED

#include "emulator/registry.hpp"
#include "emulator/block.hpp"

// EVOKE_KERNEL(name, threads of a block, bytes of dynamic shared memory, parameters...) { body }
// Parameters: outputs, inputs, sizes. The name is what the launch code asks for.
#define EVOKE_KERNEL(name, threads, shared_bytes, ...)                                                                 \
    static void name(__VA_ARGS__);                                                                                     \
    static const ::evoke::emulator::Registration name##_registration(#name, &name, threads, shared_bytes, __FILE__);   \
    static void name(__VA_ARGS__)

namespace evoke {
EVOKE_DEVICE int thread() { return emulator::here().thread; }
EVOKE_DEVICE int threads() { return emulator::here().block->threads; }
EVOKE_DEVICE int block_x() { return emulator::here().block->index[0]; }
EVOKE_DEVICE int block_y() { return emulator::here().block->index[1]; }
EVOKE_DEVICE int block_z() { return emulator::here().block->index[2]; }
EVOKE_DEVICE int blocks_x() { return emulator::here().block->grid[0]; }
} // namespace evoke

#else

#define EVOKE_KERNEL(name, threads, shared_bytes, ...)                                                                 \
    extern "C" __device__ unsigned name##_shared_bytes;                                                                \
    __device__ unsigned name##_shared_bytes = (shared_bytes);                                                          \
    extern "C" __global__ void __launch_bounds__(threads) name(__VA_ARGS__)

namespace evoke {
EVOKE_DEVICE int thread() { return threadIdx.x; }
EVOKE_DEVICE int threads() { return blockDim.x; }
EVOKE_DEVICE int block_x() { return blockIdx.x; }
EVOKE_DEVICE int block_y() { return blockIdx.y; }
EVOKE_DEVICE int block_z() { return blockIdx.z; }
EVOKE_DEVICE int blocks_x() { return gridDim.x; }
} // namespace evoke

#endif

namespace evoke {
EVOKE_DEVICE int lane() { return thread() % WARP; }
EVOKE_DEVICE int warp() { return thread() / WARP; }
} // namespace evoke
