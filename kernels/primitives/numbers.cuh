// Conversions between 16-bit floats and float, and the elementary functions that kernels use.
#pragma once

#include <cstring>

#include "primitives/base.cuh"

#ifdef EVOKE_EMULATED
#include "emulator/floats.hpp"
#include <cmath>
#endif

namespace evoke {

#ifdef EVOKE_EMULATED

inline float to_float(bf16 x) { return emulator::bf16_to_float(x.bits); }
inline float to_float(f16 x) { return emulator::f16_to_float(x.bits); }
inline float to_float(float x) { return x; }

template <class T> inline T from_float(float x);
template <> inline bf16 from_float<bf16>(float x) { return {emulator::float_to_bf16(x)}; }
template <> inline f16 from_float<f16>(float x) { return {emulator::float_to_f16(x)}; }
template <> inline float from_float<float>(float x) { return x; }

inline float exp2(float x) { return ::exp2f(x); }
inline float log2(float x) { return ::log2f(x); }
inline float exp(float x) { return ::expf(x); }
inline float log(float x) { return ::logf(x); }
inline float tanh(float x) { return ::tanhf(x); }
inline float erf(float x) { return ::erff(x); }
inline float sqrt(float x) { return ::sqrtf(x); }
inline float rsqrt(float x) { return 1.0f / ::sqrtf(x); }
inline float max(float a, float b) { return ::fmaxf(a, b); }
inline float min(float a, float b) { return ::fminf(a, b); }
inline float abs(float x) { return ::fabsf(x); }
inline void sincospi(float x, float &sine, float &cosine) {
    sine = float(::sin(double(x) * 3.14159265358979323846));
    cosine = float(::cos(double(x) * 3.14159265358979323846));
}
inline float ceil(float x) { return ::ceilf(x); }
inline bool is_finite(float x) { return std::isfinite(x); }
inline void settle(float &) {}
inline int anew(int x) { return x; }
inline uint32_t multiply_high(uint32_t a, uint32_t b) { return uint32_t((uint64_t(a) * b) >> 32); }
inline float float_of_bits(uint32_t bits) { return __builtin_bit_cast(float, bits); }
inline uint32_t bits_of(float x) { return __builtin_bit_cast(uint32_t, x); }
inline double double_of_bits(uint64_t bits) { return __builtin_bit_cast(double, bits); }
inline uint64_t bits_of(double x) { return __builtin_bit_cast(uint64_t, x); }
// Through memory, so that no compiler makes one rounding of a product and a sum.
inline double times(double a, double b) {
    volatile double product = a * b;
    return product;
}
inline double plus(double a, double b) { return a + b; }
inline double root(double x) { return ::sqrt(x); }

#else

EVOKE_DEVICE float to_float(bf16 x) { return __bfloat162float(x); }
EVOKE_DEVICE float to_float(f16 x) { return __half2float(x); }
EVOKE_DEVICE float to_float(float x) { return x; }

template <class T> EVOKE_DEVICE T from_float(float x);
template <> EVOKE_DEVICE bf16 from_float<bf16>(float x) { return __float2bfloat16_rn(x); }
template <> EVOKE_DEVICE f16 from_float<f16>(float x) { return __float2half_rn(x); }
template <> EVOKE_DEVICE float from_float<float>(float x) { return x; }

// ex2.approx: 2 ulp. Its error is far below that of a 16-bit result.
EVOKE_DEVICE float exp2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
EVOKE_DEVICE float log2(float x) { return ::__log2f(x); }
EVOKE_DEVICE float exp(float x) { return ::__expf(x); }
EVOKE_DEVICE float log(float x) { return ::__logf(x); }
EVOKE_DEVICE float tanh(float x) { return ::tanhf(x); }
EVOKE_DEVICE float erf(float x) { return ::erff(x); }
EVOKE_DEVICE float sqrt(float x) { return ::sqrtf(x); }
EVOKE_DEVICE float rsqrt(float x) { return ::rsqrtf(x); }
EVOKE_DEVICE float max(float a, float b) { return ::fmaxf(a, b); }
EVOKE_DEVICE float min(float a, float b) { return ::fminf(a, b); }
EVOKE_DEVICE float abs(float x) { return ::fabsf(x); }
// The sine and cosine of pi x, each correct to 1 ulp: no multiple of pi is ever rounded.
EVOKE_DEVICE void sincospi(float x, float &sine, float &cosine) { ::sincospif(x, &sine, &cosine); }
EVOKE_DEVICE float ceil(float x) { return ::ceilf(x); }
EVOKE_DEVICE bool is_finite(float x) { return ::isfinite(x); }
// Makes the compiler compute a value here: left alone, it may put that off, and keep all that the value is made of.
EVOKE_DEVICE void settle(float &x) { asm volatile("" : "+f"(x)); }
// The same number, of which the compiler knows no more: what follows from it is computed again, not kept in registers.
EVOKE_DEVICE int anew(int x) {
    asm volatile("" : "+r"(x));
    return x;
}
EVOKE_DEVICE uint32_t multiply_high(uint32_t a, uint32_t b) { return __umulhi(a, b); }
EVOKE_DEVICE float float_of_bits(uint32_t bits) { return __uint_as_float(bits); }
EVOKE_DEVICE uint32_t bits_of(float x) { return __float_as_uint(x); }
EVOKE_DEVICE double double_of_bits(uint64_t bits) { return __longlong_as_double(static_cast<long long>(bits)); }
EVOKE_DEVICE uint64_t bits_of(double x) { return static_cast<uint64_t>(__double_as_longlong(x)); }
// Each rounded by itself, as on the host: a fused multiply-add would differ in the last bit.
EVOKE_DEVICE double times(double a, double b) { return __dmul_rn(a, b); }
EVOKE_DEVICE double plus(double a, double b) { return __dadd_rn(a, b); }
EVOKE_DEVICE double root(double x) { return __dsqrt_rn(x); }

#endif

// Two floats rounded to T in one register, `low` in the low half: what a matrix fragment holds.
template <class T> EVOKE_DEVICE uint32_t pack(float low, float high) {
    const Vec<T, 2> pair = {{from_float<T>(low), from_float<T>(high)}};
    uint32_t bits;
    memcpy(&bits, &pair, sizeof bits);
    return bits;
}

// -infinity without a header that only one compiler has.
EVOKE_DEVICE float minus_infinity() {
#ifdef EVOKE_EMULATED
    return -__builtin_inff();
#else
    return __int_as_float(0xff800000);
#endif
}

EVOKE_BOTH int divide_up(int a, int b) { return (a + b - 1) / b; }
EVOKE_BOTH int min_int(int a, int b) { return a < b ? a : b; }
EVOKE_BOTH int max_int(int a, int b) { return a > b ? a : b; }

} // namespace evoke
