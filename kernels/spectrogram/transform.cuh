// Complex Fourier transforms of a power of two, many side by side, in the block's shared memory.
//
// Stockham's order: a stage of radix 4 reads four values M / 4 apart and writes them where they belong, so nothing is ever
// permuted; an odd power begins with a stage of radix 2. A stage goes through registers, between two barriers, and needs
// no second buffer. Twiddles are a table of the half circle, each correctly rounded, not powers of one another.
#pragma once

#include "primitives/memory.cuh"
#include "primitives/numbers.cuh"

namespace evoke {

struct Complex {
    float re, im;
};

EVOKE_DEVICE Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
EVOKE_DEVICE Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }
EVOKE_DEVICE Complex operator*(Complex a, Complex b) {
    return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
EVOKE_DEVICE Complex operator*(float a, Complex b) { return {a * b.re, a * b.im}; }
EVOKE_DEVICE Complex conjugate(Complex a) { return {a.re, -a.im}; }
EVOKE_DEVICE Complex times_i(Complex a) { return {-a.im, a.re}; }
EVOKE_DEVICE float power(Complex a) { return a.re * a.re + a.im * a.im; }

// Transforms of M points by THREADS threads.
template <int M, int THREADS> struct Transform {
    Shared<float> data;     // (transforms, M) complex, swizzled
    Shared<float> twiddles; // exp(-2 pi i t / 2M) for t < M

    static constexpr bool ODD = (M & 0xaaaaaaa) != 0; // an odd power of two

    // Where element `i` lies. Half a warp's elements of 8 bytes then fall on different banks in every stage: stages write
    // with strides of 2, 4 and 8 elements first.
    static EVOKE_DEVICE int slot(int i) { return i ^ (5 * ((i >> 4) & 3)); }

    EVOKE_DEVICE Complex load(int i) const {
        const auto pair = data.template load_vec<2>(2 * slot(i));
        return {pair.at[0], pair.at[1]};
    }
    EVOKE_DEVICE void store(int i, Complex value) const {
        data.template store_vec<2>(2 * slot(i), Vec<float, 2>{{value.re, value.im}});
    }

    // exp(-2 pi i t / 2M) for t < 2M.
    EVOKE_DEVICE Complex twiddle(int t) const {
        const auto pair = twiddles.template load_vec<2>(2 * (t % M));
        return t < M ? Complex{pair.at[0], pair.at[1]} : Complex{-pair.at[0], -pair.at[1]};
    }

    EVOKE_DEVICE void fill_twiddles() const {
        for (int t = thread(); t < M; t += THREADS) {
            float sine, cosine;
            sincospi(float(t) / float(M), sine, cosine); // t / M is exact
            twiddles.template store_vec<2>(2 * t, Vec<float, 2>{{cosine, -sine}});
        }
    }

    // COUNT transforms, STEP transforms' room apart. `read(transform, i)` gives the input; the caller synchronises
    // before the results are read, and must have nobody reading `data` when it calls, unless it reads from there.
    template <int COUNT, int STEP, class Read> EVOKE_DEVICE void run(Read read) const {
        constexpr int QUARTER = M / 4, SLOTS = COUNT * QUARTER, EACH = (SLOTS + THREADS - 1) / THREADS;
        Complex v[EACH][4];
        EVOKE_UNROLL
        for (int e = 0; e < EACH; ++e) {
            const int slot = e * THREADS + thread(), transform = slot / QUARTER, j = slot % QUARTER;
            if (SLOTS % THREADS != 0 && slot >= SLOTS) continue;
            EVOKE_UNROLL
            for (int i = 0; i < 4; ++i) v[e][i] = read(transform, j + i * QUARTER);
        }
        sync_block();
        EVOKE_UNROLL
        for (int e = 0; e < EACH; ++e) {
            const int slot = e * THREADS + thread(), base = slot / QUARTER * STEP * M, j = slot % QUARTER;
            if (SLOTS % THREADS != 0 && slot >= SLOTS) continue;
            if constexpr (ODD) {
                store(base + 2 * j, v[e][0] + v[e][2]);
                store(base + 2 * j + 1, v[e][0] - v[e][2]);
                store(base + 2 * (j + QUARTER), v[e][1] + v[e][3]);
                store(base + 2 * (j + QUARTER) + 1, v[e][1] - v[e][3]);
            } else {
                butterfly(v[e]);
                EVOKE_UNROLL
                for (int i = 0; i < 4; ++i) store(base + 4 * j + i, v[e][i]);
            }
        }
        stages<ODD ? 2 : 4, COUNT, STEP>();
    }

    // The stages from transforms of DONE points on.
    template <int DONE, int COUNT, int STEP> EVOKE_DEVICE void stages() const {
        if constexpr (DONE < M) {
            constexpr int QUARTER = M / 4, SLOTS = COUNT * QUARTER, EACH = (SLOTS + THREADS - 1) / THREADS;
            Complex v[EACH][4];
            sync_block();
            EVOKE_UNROLL
            for (int e = 0; e < EACH; ++e) {
                const int slot = e * THREADS + thread(), base = slot / QUARTER * STEP * M, j = slot % QUARTER;
                if (SLOTS % THREADS != 0 && slot >= SLOTS) continue;
                v[e][0] = load(base + j);
                EVOKE_UNROLL
                for (int i = 1; i < 4; ++i)
                    v[e][i] = load(base + j + i * QUARTER) * twiddle(i * (j % DONE) * (M / (2 * DONE)));
                butterfly(v[e]);
            }
            sync_block();
            EVOKE_UNROLL
            for (int e = 0; e < EACH; ++e) {
                const int slot = e * THREADS + thread(), base = slot / QUARTER * STEP * M, j = slot % QUARTER;
                if (SLOTS % THREADS != 0 && slot >= SLOTS) continue;
                const int to = base + j / DONE * 4 * DONE + j % DONE;
                EVOKE_UNROLL
                for (int i = 0; i < 4; ++i) store(to + i * DONE, v[e][i]);
            }
            stages<4 * DONE, COUNT, STEP>();
        }
    }

    // A transform of four points.
    static EVOKE_DEVICE void butterfly(Complex (&v)[4]) {
        const Complex a = v[0] + v[2], b = v[0] - v[2], c = v[1] + v[3], d = times_i(v[1] - v[3]);
        v[0] = a + c;
        v[1] = b - d;
        v[2] = a - c;
        v[3] = b + d;
    }
};

} // namespace evoke
