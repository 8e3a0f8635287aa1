// The newest key and value of each sequence to their place in a ring: what attention while decoding reads.
//
// With j = count - 1: row j of a sequence's part of the cache where j < pinned, else pinned + (j - pinned) mod (capacity -
// pinned). 4 bytes an element and no FLOP; a step moves a few KB, so it is bound by the launch. A block has one
// sequence, each element is one thread's: no order matters.
#include "primitives/memory.cuh"

namespace evoke {

constexpr int THREADS = 256;

template <class T>
EVOKE_DEVICE void store_newest(Global<T> cache, Global<const T> rows, Global<const uint32_t> count, int width,
                               int stride, int capacity, int pinned) {
    const uint32_t newest = count.load(0) - 1;
    const uint32_t ring = uint32_t(capacity - pinned);
    const uint32_t slot = newest < uint32_t(pinned) ? newest : uint32_t(pinned) + (newest - uint32_t(pinned)) % ring;
    const size_t from = size_t(block_x()) * stride, to = (size_t(block_x()) * capacity + slot) * width;
    for (int i = thread(); i < width; i += THREADS) cache.store(to + i, rows.load(from + i));
}

} // namespace evoke

using namespace evoke;

// cache (sequences * capacity, width); rows (sequences, width), `stride` elements apart.
EVOKE_KERNEL(ring_store_bf16, THREADS, 0, Global<bf16> cache, Global<const bf16> rows, Global<const uint32_t> count,
             int width, int stride, int capacity, int pinned) {
    store_newest(cache, rows, count, width, stride, capacity, pinned);
}
