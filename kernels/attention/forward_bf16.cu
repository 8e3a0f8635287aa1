// Attention forward with bf16 storage; see forward.cuh.
#include "attention/forward.cuh"

EVOKE_ATTENTION_FORWARD(attention_forward, bf16, 32, 1)
EVOKE_ATTENTION_FORWARD(attention_forward, bf16, 64, 1)
EVOKE_ATTENTION_FORWARD(attention_forward, bf16, 96, 1)
EVOKE_ATTENTION_FORWARD(attention_forward, bf16, 128, 1)
