// The sum of two tensors: how contributions to one gradient meet.
//
// out = a + b. 6 bytes and 1 FLOP an element at bf16: bound by memory. Each element is one thread's, so the result does
// not depend on any order.
#include "primitives/memory.cuh"
#include "primitives/numbers.cuh"

namespace evoke {

// Enough warps to hide the latency of memory; a piece of one thread is the widest load.
constexpr int THREADS = 256;

template <class T> EVOKE_DEVICE void add(Global<T> out, Global<const T> a, Global<const T> b, uint64_t count) {
    const uint64_t first = (uint64_t(block_x()) * THREADS + thread()) * WIDE<T>;
    if (first + WIDE<T> <= count) {
        const auto left = a.template load_vec<WIDE<T>>(first), right = b.template load_vec<WIDE<T>>(first);
        Vec<T, WIDE<T>> sum;
        EVOKE_UNROLL
        for (int i = 0; i < WIDE<T>; ++i) sum.at[i] = from_float<T>(to_float(left.at[i]) + to_float(right.at[i]));
        out.template store_vec<WIDE<T>>(first, sum);
    } else {
        for (uint64_t i = first; i < count; ++i) out.store(i, from_float<T>(to_float(a.load(i)) + to_float(b.load(i))));
    }
}

} // namespace evoke

using namespace evoke;

EVOKE_KERNEL(add_bf16, THREADS, 0, Global<bf16> out, Global<const bf16> a, Global<const bf16> b, uint64_t count) {
    add(out, a, b, count);
}
// Of values that are f32 on every device: a waveform's.
EVOKE_KERNEL(add_f32, THREADS, 0, Global<float> out, Global<const float> a, Global<const float> b, uint64_t count) {
    add(out, a, b, count);
}
