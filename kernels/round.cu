// The weights in 16 bits: what products read where the f32 masters were written from outside.
//
// out = round(in), to nearest even. 6 bytes and no FLOP an element: bound by memory. Each element is one thread's, so the
// result does not depend on any order.
#include "primitives/memory.cuh"
#include "primitives/numbers.cuh"

namespace evoke {

// Enough warps to hide the latency of memory; a thread stores the widest vector once and loads two.
constexpr int THREADS = 256;

} // namespace evoke

using namespace evoke;

EVOKE_KERNEL(round_bf16, THREADS, 0, Global<bf16> out, Global<const float> in, uint64_t count) {
    const uint64_t first = (uint64_t(block_x()) * THREADS + thread()) * WIDE<bf16>;
    if (first + WIDE<bf16> <= count) {
        Vec<bf16, WIDE<bf16>> rounded;
        EVOKE_UNROLL
        for (int part = 0; part < WIDE<bf16>; part += WIDE<float>) {
            const auto wide = in.load_vec<WIDE<float>>(first + part);
            EVOKE_UNROLL
            for (int i = 0; i < WIDE<float>; ++i) rounded.at[part + i] = from_float<bf16>(wide.at[i]);
        }
        out.store_vec<WIDE<bf16>>(first, rounded);
    } else {
        for (uint64_t i = first; i < count; ++i) out.store(i, from_float<bf16>(in.load(i)));
    }
}
