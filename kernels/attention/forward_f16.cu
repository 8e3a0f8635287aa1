// Attention forward with f16 storage; see forward.cuh.
#include "attention/forward.cuh"

EVOKE_ATTENTION_FORWARD(attention_forward, f16, 32, 1)
EVOKE_ATTENTION_FORWARD(attention_forward, f16, 64, 1)
EVOKE_ATTENTION_FORWARD(attention_forward, f16, 96, 1)
EVOKE_ATTENTION_FORWARD(attention_forward, f16, 128, 1)
