// What a linear layer may end with.
#pragma once

#include "primitives/numbers.cuh"

namespace evoke {

enum class Activation { None, Gelu, Relu };

// The normal distribution function.
EVOKE_DEVICE float normal_cdf(float x) {
    constexpr float SQRT_HALF = 0.70710678f;
    return 0.5f + 0.5f * erf(x * SQRT_HALF);
}

EVOKE_DEVICE float gelu(float x) { return x * normal_cdf(x); }

// Not `max`, which would make a NaN 0.
EVOKE_DEVICE float relu(float x) { return x < 0.0f ? 0.0f : x; }

} // namespace evoke
