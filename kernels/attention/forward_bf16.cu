// Attention forward with bf16 storage; see forward.cuh.
#include "attention/forward.cuh"

EVOKE_ATTENTION_FORWARD(bf16, 32)
EVOKE_ATTENTION_FORWARD(bf16, 64)
EVOKE_ATTENTION_FORWARD(bf16, 96)
EVOKE_ATTENTION_FORWARD(bf16, 128)
