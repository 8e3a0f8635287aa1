// One decoding step of self-attention: a hypothesis's new word sees its own earlier words in the cache.
//
// out = softmax(q K^T / sqrt(channels)) V for one query a row and head, where word t of row r has its key and value in
// row slots[r, t] of the cache; the new word's are stored there at `position` in the same pass.
//
// Each key and value of 2 bytes an element is read once, for 4 FLOPs an element: bound by memory, and with few
// hypotheses by its latency. A warp has one row and head. Its lanes split into teams of one word each, a lane with 16
// bytes of the word's channels where heads are multiples of that, else with one channel; so 32 channels in 16 bits are
// 8 words at a time. Scores, weights and sums are f32.
//
// A team keeps the largest score, the sum of exp(score - largest) and the weighted values, rescaled when the first
// grows; teams meet in a butterfly, which adds the same pairs on both sides: one order, fixed by the shape. The new word
// comes from the projection, not from the cache, so that nothing is read that this launch writes.
#include "primitives/memory.cuh"
#include "primitives/numbers.cuh"
#include "primitives/warp.cuh"

namespace evoke {

// Rows and heads of a block: small, so that few hypotheses spread over many multiprocessors.
constexpr int WARPS = 4, THREADS = WARPS * WARP;

struct Sizes {
    int rows, most, heads, channels; // hypotheses, words a cache holds, heads and channels of one
    int team;                        // lanes that share one word: a power of two, at least channels / N
};

template <int N, class T>
EVOKE_DEVICE void attend(Global<T> out, Global<T> cache, Global<const T> qkv, Global<const uint32_t> slots, int position,
                         Sizes sizes) {
    const int pair = block_x() * WARPS + warp();
    if (pair >= sizes.rows * sizes.heads) return; // a whole warp
    const int row = pair / sizes.heads, head = pair % sizes.heads, width = sizes.heads * sizes.channels;
    const int teams = WARP / sizes.team, team = lane() / sizes.team;
    // This lane's channels; lanes beyond the head add zeros.
    const int own = lane() % sizes.team * N, channel = head * sizes.channels + own;
    const bool active = own < sizes.channels;

    const Global<const T> fresh = qkv + ptrdiff_t(row) * 3 * width;
    const float scale = rsqrt(float(sizes.channels));
    float query[N], sum[N];
    EVOKE_UNROLL
    for (int j = 0; j < N; ++j) query[j] = sum[j] = 0.0f;
    if (active) {
        const auto loaded = fresh.template load_vec<N>(channel);
        EVOKE_UNROLL
        for (int j = 0; j < N; ++j) query[j] = to_float(loaded.at[j]) * scale;
    }
    float most = minus_infinity(), total = 0.0f;
    // Every lane takes every turn, as shuffles ask.
    for (int first = 0; first <= position; first += teams) {
        const int word = first + team;
        const bool here = active && word <= position;
        Vec<T, N> key, value;
        float score = 0.0f;
        if (here) {
            if (word == position) {
                key = fresh.template load_vec<N>(width + channel);
                value = fresh.template load_vec<N>(2 * width + channel);
            } else {
                const size_t slot = slots.load(size_t(row) * sizes.most + word);
                const size_t place = (slot * sizes.most + word) * 2 * width + channel;
                key = cache.template load_vec<N>(place);
                value = cache.template load_vec<N>(place + width);
            }
            EVOKE_UNROLL
            for (int j = 0; j < N; ++j) score += query[j] * to_float(key.at[j]);
        }
        for (int mask = sizes.team / 2; mask > 0; mask /= 2) score += shuffle_xor(score, mask);
        if (word > position) continue; // no shuffle follows in this turn
        const float above = max(most, score), shrink = exp(most - above), weight = exp(score - above);
        most = above;
        total = total * shrink + weight;
        if (!here) continue;
        EVOKE_UNROLL
        for (int j = 0; j < N; ++j) sum[j] = sum[j] * shrink + weight * to_float(value.at[j]);
        if (word == position) {
            const size_t place = (size_t(row) * sizes.most + position) * 2 * width + channel;
            cache.template store_vec<N>(place, key);
            cache.template store_vec<N>(place + width, value);
        }
    }
    // The first team always has a word; one without has a largest score of -infinity and adds nothing.
    const float largest = warp_max(most);
    const float shrink = exp(most - largest);
    total *= shrink;
    EVOKE_UNROLL
    for (int j = 0; j < N; ++j) sum[j] *= shrink;
    for (int mask = sizes.team; mask < WARP; mask *= 2) {
        total += shuffle_xor(total, mask);
        EVOKE_UNROLL
        for (int j = 0; j < N; ++j) sum[j] += shuffle_xor(sum[j], mask);
    }
    if (team != 0 || !active) return;
    Vec<T, N> result;
    EVOKE_UNROLL
    for (int j = 0; j < N; ++j) result.at[j] = from_float<T>(sum[j] / total);
    out.template store_vec<N>(size_t(row) * width + channel, result);
}

} // namespace evoke

using namespace evoke;

// out (rows, width), cache (rows * most, 2 * width), qkv (rows, 3 * width), slots (rows, most), position (1).
EVOKE_KERNEL(cached_attention_bf16, THREADS, 0, Global<bf16> out, Global<bf16> cache, Global<const bf16> qkv,
             Global<const uint32_t> slots, Global<const uint32_t> position, Sizes sizes) {
    const int place = int(position.load(0));
    if (sizes.channels % WIDE<bf16> == 0) attend<WIDE<bf16>>(out, cache, qkv, slots, place, sizes);
    else attend<1>(out, cache, qkv, slots, place, sizes);
}
