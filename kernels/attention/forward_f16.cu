// Attention forward with f16 storage; see forward.cuh.
#include "attention/forward.cuh"

EVOKE_ATTENTION_FORWARD(f16, 32)
EVOKE_ATTENTION_FORWARD(f16, 64)
EVOKE_ATTENTION_FORWARD(f16, 96)
EVOKE_ATTENTION_FORWARD(f16, 128)
