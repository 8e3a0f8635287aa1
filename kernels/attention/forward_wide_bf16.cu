// Attention forward with bf16 storage, in wide blocks; see forward.cuh.
#include "attention/forward.cuh"

EVOKE_ATTENTION_FORWARD(attention_forward_wide, bf16, 32, 2)
EVOKE_ATTENTION_FORWARD(attention_forward_wide, bf16, 64, 2)
EVOKE_ATTENTION_FORWARD(attention_forward_wide, bf16, 96, 2)
EVOKE_ATTENTION_FORWARD(attention_forward_wide, bf16, 128, 2)
