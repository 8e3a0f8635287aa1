// 16-bit floats as bits, rounded to nearest even as the GPU's conversions do.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace evoke::emulator {

inline uint32_t bits_of(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}

inline float float_of(uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

inline float bf16_to_float(uint16_t bits) { return float_of(uint32_t(bits) << 16); }

inline uint16_t float_to_bf16(float x) {
    const uint32_t bits = bits_of(x);
    if (x != x) return 0x7fff; // the GPU's canonical NaN
    return uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

inline float f16_to_float(uint16_t half) {
    const uint32_t sign = uint32_t(half & 0x8000) << 16, exponent = (half >> 10) & 31, fraction = half & 1023;
    if (exponent == 0) { // zero and subnormals: fraction * 2^-24
        const float value = float(fraction) * 5.9604644775390625e-8f;
        return sign ? -value : value;
    }
    if (exponent == 31) return float_of(sign | 0x7f800000 | (fraction << 13));
    return float_of(sign | ((exponent + 112) << 23) | (fraction << 13));
}

inline uint16_t float_to_f16(float x) {
    const uint32_t bits = bits_of(x);
    const uint16_t sign = uint16_t((bits >> 16) & 0x8000);
    if (x != x) return 0x7fff;
    const float magnitude = std::fabs(x);
    if (magnitude >= 65520.0f) return sign | 0x7c00; // rounds beyond the largest finite half
    if (magnitude < 6.103515625e-5f) {               // below 2^-14: a multiple of 2^-24
        return sign | uint16_t(std::nearbyint(magnitude * 16777216.0f));
    }
    const uint32_t shifted = (bits & 0x7fffffff) - (112u << 23);
    return sign | uint16_t((shifted + 0xfff + ((shifted >> 13) & 1)) >> 13);
}

} // namespace evoke::emulator
