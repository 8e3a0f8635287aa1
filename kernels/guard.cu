// What decides on the device whether a step may reach the weights, so that the host need not wait for its loss.
//
// tally   the shares of a pass's loss, in order, are added to the step's
// judge   the step's loss is compared with its running mean and variance, as src/train/guard.rs does; where it stands out,
//         or it or the gradient's norm is not finite, the factor that clips the gradient becomes 0 and nothing is updated
//
// Some 30 operations of one thread, 64 bytes read and written: bound by the launch. The mean and variance are f64, each
// operation rounded by itself, in the order of the host's: the host goes through the same numbers when it has read the
// loss, and must come to the same verdict.
#include "philox.cuh"

namespace evoke {

// Words of the guard's memory: `Words` of src/ops/guard/mod.rs.
constexpr int DEVIATIONS = 0, MEAN = 2, VARIANCE = 4, COUNT = 6, UPDATES = 8, SPIKES = 10, VERDICT = 11, TALLY = 12,
              LOSS = 13, NORM = 14;

// What came of a step: `Verdict` of src/ops/guard/mod.rs.
constexpr uint32_t NORMAL = 0, SPIKE = 1, LOSS_NOT_FINITE = 2, NORM_NOT_FINITE = 3;

// The host's constants.
struct Rule {
    double newest, least_spread;
    uint64_t warm_up;
    uint32_t in_a_row;
    uint32_t unused;
};

// 64-bit numbers in two words, the low one first.
EVOKE_DEVICE uint64_t load_long(Global<uint32_t> words, int i) {
    return words.load(i) | uint64_t(words.load(i + 1)) << 32;
}

EVOKE_DEVICE void store_long(Global<uint32_t> words, int i, uint64_t value) {
    words.store(i, uint32_t(value));
    words.store(i + 1, uint32_t(value >> 32));
}

EVOKE_DEVICE double load_double(Global<uint32_t> words, int i) { return double_of_bits(load_long(words, i)); }

EVOKE_DEVICE uint32_t observe(Global<uint32_t> words, float found, Rule rule) {
    if (!is_finite(found)) return LOSS_NOT_FINITE;
    const double loss = found;
    double mean = load_double(words, MEAN), variance = load_double(words, VARIANCE);
    const double deviations = load_double(words, DEVIATIONS);
    const uint64_t count = load_long(words, COUNT);
    const double least = times(rule.least_spread, mean < 0.0 ? -mean : mean), spread = root(variance);
    const double deviation = spread > least ? spread : least;
    const bool stands_out =
        deviations > 0.0 && count >= rule.warm_up && loss > plus(mean, times(deviations, deviation));
    const uint32_t spikes = words.load(SPIKES);
    if (stands_out && spikes < rule.in_a_row) {
        words.store(SPIKES, spikes + 1);
        return SPIKE;
    }
    words.store(SPIKES, 0);
    if (count == 0 || stands_out) mean = loss;
    const double difference = plus(loss, -mean);
    mean = plus(mean, times(rule.newest, difference));
    variance = times(plus(1.0, -rule.newest),
                     plus(variance, times(times(rule.newest, difference), difference)));
    store_long(words, MEAN, bits_of(mean));
    store_long(words, VARIANCE, bits_of(variance));
    store_long(words, COUNT, count + 1);
    return NORMAL;
}

} // namespace evoke

using namespace evoke;

// words: the guard's. Each term's first element is added up, then to the tally. One warp.
EVOKE_KERNEL(guard_tally, WARP, 0, Global<uint32_t> words, Global<const float> a, Global<const float> b,
             Global<const float> c, Global<const float> d, Global<const float> e) {
    if (thread() != 0) return;
    float sum = a.load(0);
    if (b) sum += b.load(0);
    if (c) sum += c.load(0);
    if (d) sum += d.load(0);
    if (e) sum += e.load(0);
    words.store(TALLY, bits_of(float_of_bits(words.load(TALLY)) + sum));
}

// words: the guard's; norm (2): the gradient's norm and factor; state: the step's, whose number is set. One warp.
EVOKE_KERNEL(guard_judge, WARP, 0, Global<uint32_t> words, Global<float> norm, Global<uint32_t> state, Rule rule) {
    if (thread() != 0) return;
    const uint32_t loss = words.load(TALLY);
    const float length = norm.load(0);
    uint32_t verdict = observe(words, float_of_bits(loss), rule);
    if (verdict == NORMAL && !is_finite(length)) verdict = NORM_NOT_FINITE;
    const uint64_t updates = load_long(words, UPDATES) + 1;
    if (verdict == NORMAL) store_long(words, UPDATES, updates);
    else norm.store(1, 0.0f);
    store_long(state, STATE_STEP, updates);
    words.store(VERDICT, verdict);
    words.store(TALLY, 0);
    words.store(LOSS, loss);
    words.store(NORM, bits_of(length));
}
