// The spectrogram loss and its gradient in one pass over the samples; no spectrogram is stored.
//
// Frame f of a clip is samples f * hop .. f * hop + window, zeros beyond the end, times w[n] = .5 - .5 cos(2 pi n / window),
// in a transform of N = 2M samples; S and T are the bins of the prediction and of the target. The loss is what `compare`
// says of them, summed; the gradient of sample n of a frame is w[n] times the inverse transform of slope * S.
//
// A block owns TILE samples of one clip. It sums the loss of the frames that begin there, and its samples' gradient over
// every frame that touches them, in the order of the frames, in registers: frames that reach over a tile's start are
// transformed by both its owners (1 in 5 at window 512, hop 256), and nothing is ever added to memory. So there are no
// atomics, and with fixed orders of all sums the bits repeat.
//
// A real signal of N samples is M complex ones. Prediction and target are two such transforms side by side; they are not
// the two halves of one transform of N, since then a silent signal would get the other's roundings as its spectrum, whose
// phase is noise, and silence's gradient would not be 0.
//
// At N = 512, hop 256: 8 bytes a sample read and 4 written (f32; a quarter more reaches the caches), so 64 clips of 16 000
// samples are 12 MB or 4 us at 3.3 TB/s. A frame is three transforms of 5 M log2 M = 10 k FLOPs and some 13 k around
// them: 5 000 frames, 220 MFLOP, or 6 us at 40 TFLOP/s. What bounds it is neither but the barriers:
// eight a transform, 5 frames in a row, some 10 k cycles a block; 118 registers let 4 blocks of 128 threads share a
// multiprocessor, so 1024 blocks take two turns on 132 of them. Predicted, never measured: 12 to 15 us, and 3 for each of
// the two kernels of sums.
#pragma once

#include "primitives/warp.cuh"
#include "spectrogram/measure.cuh"

namespace evoke {

// Sizes of a block for transforms of N real samples.
template <int N> struct Sizes {
    static constexpr int M = N / 2;
    // As many threads as both signals of a frame have butterflies of radix 4 at N = 512, 1024 and 2048; half at 4096.
    static constexpr int THREADS = N <= 512 ? 128 : N <= 1024 ? 256 : 512;
    // Frames at a time, so that small transforms fill the block too.
    static constexpr int FRAMES = N <= 512 ? 256 / M : 1;
    // Samples of a block: enough that few frames are transformed twice, few enough to keep their sums in registers.
    static constexpr int TILE = N <= 512 ? 1024 : N <= 1024 ? 2048 : 4096;
    static constexpr int DATA = 2 * FRAMES * N, WINDOW = N, TWIDDLES = N; // floats
    static constexpr int BYTES = (DATA + WINDOW + TWIDDLES) * int(sizeof(float));
};

// The most mel bands, and the borders of their triangles in bins.
constexpr int MOST_BANDS = 128, MOST_BORDERS = MOST_BANDS + 2;
struct Borders {
    float at[MOST_BORDERS];
};

// Shared memory of mel bands: a band for each bin, differences of bins, and of bands with one more on either side.
template <int N> struct MelSizes {
    static constexpr int BINS = (N / 2 + 1 + 3) / 4 * 4, BORDERS = (MOST_BORDERS + 3) / 4 * 4;
    static constexpr int FLOATS = BINS + Sizes<N>::FRAMES * (BINS + BORDERS) + BORDERS;
    static constexpr int BYTES = Sizes<N>::BYTES + FLOATS * int(sizeof(float));
};

template <int N> struct Mel {
    using S = Sizes<N>;
    using L = MelSizes<N>;
    Shared<int> band;          // (bins): the triangle that rises there; -1 where none is
    Shared<float> borders;     // (bands + 2)
    Shared<float> differences; // (frames, bins)
    Shared<float> of_bands;    // (frames, bands + 2): band i stands at i + 1

    EVOKE_DEVICE void carve(Carve &carve) {
        band = carve.take<int>(L::BINS);
        borders = carve.take<float>(L::BORDERS);
        differences = carve.take<float>(S::FRAMES * L::BINS);
        of_bands = carve.take<float>(S::FRAMES * L::BORDERS);
    }

    // After `borders` have been written and the block has synchronised.
    EVOKE_DEVICE void fill_bands(int bands) const {
        for (int k = thread(); k <= N / 2; k += S::THREADS) {
            int found = -1;
            while (found < bands + 1 && borders.load(found + 1) <= float(k)) ++found;
            band.store(k, found <= bands ? found : -1);
        }
    }

    EVOKE_DEVICE float rise(int k, int band) const {
        const float low = borders.load(band);
        return (float(k) - low) / (borders.load(band + 1) - low);
    }

    // Sums the bins of every band, in their order; gives the squares of frames that count.
    template <class Counts> EVOKE_DEVICE float sum_bands(int bands, Counts counts) const {
        float squares = 0.0f;
        EVOKE_ROLLED
        for (int item = thread(); item < S::FRAMES * (bands + 2); item += S::THREADS) {
            const int frame = item / (bands + 2), place = item % (bands + 2), band = place - 1;
            float sum = 0.0f;
            if (band >= 0 && band < bands) {
                const float low = borders.load(band), centre = borders.load(band + 1), high = borders.load(band + 2);
                for (int k = int(ceil(low)); k <= N / 2 && float(k) < high; ++k) {
                    const float weight =
                        float(k) < centre ? (float(k) - low) / (centre - low) : (high - float(k)) / (high - centre);
                    sum += weight * differences.load(frame * L::BINS + k);
                }
            }
            of_bands.store(frame * L::BORDERS + place, sum);
            if (counts(frame)) squares += sum * sum;
        }
        return squares;
    }

    // (dg/d|S|) / 2, but for the factor.
    EVOKE_DEVICE float slope(int frame, int k) const {
        const int rising = band.load(k);
        if (rising < 0) return 0.0f;
        const float share = rise(k, rising);
        const Shared<float> own = of_bands + frame * L::BORDERS;
        return share * own.load(rising + 1) + (1.0f - share) * own.load(rising);
    }
};

// What one launch is about.
template <class T> struct Signals {
    Global<T> gradient;          // null where only the loss is asked for
    Global<float> partials;      // (clips, tiles, TERMS); null where they are known
    Global<const T> predicted;   // (clips, samples)
    Global<const float> target;  // (clips, samples)
    Global<const float> scale;   // (1)
    Global<const float> slopes;  // (clips, 2); null where scale and factor say all
};

template <int N, bool MEL, class T>
EVOKE_DEVICE void spectrogram_loss(const Signals<T> &at, const Borders *borders, const Settings &settings) {
    using S = Sizes<N>;
    constexpr int M = S::M, OWN = S::TILE / S::THREADS;
    EVOKE_SHARED_DYNAMIC(bytes);
    Carve carve = {bytes};
    const Shared<float> data = carve.take<float>(S::DATA), window = carve.take<float>(S::WINDOW);
    const Transform<M, S::THREADS> transform = {data, carve.take<float>(S::TWIDDLES)};
    Mel<N> mel;
    if constexpr (MEL) {
        mel.carve(carve);
        for (int i = thread(); i < settings.bands + 2; i += S::THREADS) mel.borders.store(i, borders->at[i]);
    }
    const int clip = block_y(), samples = settings.samples, hop = settings.hop;
    const ptrdiff_t place = ptrdiff_t(clip) * samples;
    const Global<const T> predicted = at.predicted + place;
    const Global<const float> target = at.target + place;
    const bool train = bool(at.gradient);
    Slopes slopes = {0.0f, 0.0f};
    if (train && at.slopes) slopes = {at.slopes.load(2 * clip), at.slopes.load(2 * clip + 1)};
    if (train && !at.slopes) slopes.linear = at.scale.load(0) * settings.factor;

    transform.fill_twiddles();
    for (int n = thread(); n < N; n += S::THREADS) {
        float sine, cosine;
        sincospi(2.0f * float(n) / float(settings.window), sine, cosine);
        window.store(n, n < settings.window ? 0.5f - 0.5f * cosine : 0.0f);
    }
    sync_block();
    if constexpr (MEL) mel.fill_bands(settings.bands);

    const int begin = block_x() * S::TILE, end = min_int(begin + S::TILE, samples);
    // Frames that began earlier and reach in; then those that begin here.
    const int reach = max_int(begin + 1 - settings.window, 0);
    const int first = divide_up(train ? reach : begin, hop), last = divide_up(end, hop);
    float gradient[OWN], terms[TERMS] = {0.0f, 0.0f, 0.0f};
    EVOKE_UNROLL
    for (int i = 0; i < OWN; ++i) gradient[i] = 0.0f;

    EVOKE_ROLLED
    for (int frame = first; frame < last; frame += S::FRAMES) {
        const auto start_of = [&](int g) { return (frame + g) * hop; };
        const auto counts = [&](int g) { return frame + g < last && start_of(g) >= begin; };
        // Transform 2g is the prediction of frame g, 2g + 1 its target.
        transform.template run<2 * S::FRAMES, 1>([&](int index, int i) {
            const int from = start_of(index / 2) + 2 * i;
            Complex pair = {0.0f, 0.0f};
            if (frame + index / 2 >= last) return pair;
            const bool low = 2 * i < settings.window && from < samples;
            const bool high = 2 * i + 1 < settings.window && from + 1 < samples;
            if (index % 2 == 0) {
                if (low) pair.re = to_float(predicted.load(from));
                if (high) pair.im = to_float(predicted.load(from + 1));
            } else {
                if (low) pair.re = target.load(from);
                if (high) pair.im = target.load(from + 1);
            }
            const auto weights = window.template load_vec<2>(2 * i);
            return Complex{pair.re * weights.at[0], pair.im * weights.at[1]};
        });
        sync_block();

        const auto pair_of = [&](int index, int k) {
            return bins_of(transform.load(index * M + k), transform.load(index * M + (M - k) % M), transform.twiddle(k));
        };
        if constexpr (MEL) {
            EVOKE_ROLLED
            for (int item = thread(); item < S::FRAMES * (M / 2 + 1); item += S::THREADS) {
                const int g = item / (M / 2 + 1), k = item % (M / 2 + 1);
                const Bins s = pair_of(2 * g, k), t = pair_of(2 * g + 1, k);
                const Shared<float> own = mel.differences + g * MelSizes<N>::BINS;
                own.store(k, sqrt(power(s.low)) - sqrt(power(t.low)));
                if (k < M - k) own.store(M - k, sqrt(power(s.high)) - sqrt(power(t.high)));
            }
            sync_block();
            terms[0] += mel.sum_bands(settings.bands, counts);
            sync_block();
        }
        // Bins k and M - k together: the loss, and what the inverse transform starts from.
        const auto compare_pair = [&](int g, int k) {
            Bins s = pair_of(2 * g, k);
            const Bins t = pair_of(2 * g + 1, k);
            float low, high;
            if constexpr (MEL) {
                const float p = power(s.low), q = power(s.high);
                low = p > 0.0f ? slopes.linear * mel.slope(g, k) / sqrt(p) : 0.0f;
                high = q > 0.0f ? slopes.linear * mel.slope(g, M - k) / sqrt(q) : 0.0f;
            } else {
                const Compared a = compare(power(s.low), power(t.low), slopes, settings);
                const Compared b = compare(power(s.high), power(t.high), slopes, settings);
                const bool two = k < M - k;
                EVOKE_UNROLL
                for (int i = 0; i < TERMS; ++i)
                    if (counts(g)) terms[i] += two ? a.terms[i] + b.terms[i] : a.terms[i];
                low = a.slope;
                high = b.slope;
            }
            if (!train) return;
            const float twice = k == 0 ? 2.0f : 1.0f; // the first and the last bin have no mirror image
            s = {twice * low * s.low, twice * high * s.high};
            s = pairs_of(s, transform.twiddle(k));
            transform.store(2 * g * M + k, s.low);
            if (k > 0 && k < M - k) transform.store(2 * g * M + M - k, s.high);
        };
        EVOKE_ROLLED // one copy of the comparison, or the mel form spills
        for (int item = thread(); item < S::FRAMES * (M / 2 + 1); item += S::THREADS) {
            const int g = item / (M / 2 + 1);
            if (frame + g < last) compare_pair(g, item % (M / 2 + 1));
        }
        if (train) {
            sync_block();
            transform.template run<S::FRAMES, 2>(
                [&](int index, int i) { return transform.load(2 * index * M + i); });
            sync_block();
            EVOKE_ROLLED
            for (int g = 0; g < S::FRAMES && frame + g < last; ++g) {
                const int first_n = begin + thread() - start_of(g);
                EVOKE_UNROLL
                for (int i = 0; i < OWN; ++i) {
                    const int n = first_n + i * S::THREADS;
                    if (n < 0 || n >= settings.window) continue;
                    const Complex pair = transform.load(2 * g * M + n / 2);
                    gradient[i] += window.load(n) * (n % 2 == 0 ? pair.re : -pair.im);
                }
            }
        }
        sync_block(); // before the next frames take this one's place
    }

    if (train) {
        EVOKE_UNROLL
        for (int i = 0; i < OWN; ++i) {
            const int sample = begin + i * S::THREADS + thread();
            if (sample < end) at.gradient.store(place + sample, from_float<T>(gradient[i]));
        }
    }
    if (!at.partials) return;
    constexpr int WARPS = S::THREADS / WARP;
    EVOKE_SHARED(float, scratch, TERMS * WARPS);
    float sums[TERMS];
    EVOKE_UNROLL
    for (int i = 0; i < TERMS; ++i) sums[i] = block_sum<WARPS>(terms[i], scratch + i * WARPS);
    if (thread() == 0) {
        const int tile = clip * blocks_x() + block_x();
        EVOKE_UNROLL
        for (int i = 0; i < TERMS; ++i) at.partials.store(tile * TERMS + i, sums[i]);
    }
}

} // namespace evoke
