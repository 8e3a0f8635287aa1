// Attention forward with f16 storage, in wide blocks; see forward.cuh.
#include "attention/forward.cuh"

EVOKE_ATTENTION_FORWARD(attention_forward_wide, f16, 32, 2)
EVOKE_ATTENTION_FORWARD(attention_forward_wide, f16, 64, 2)
EVOKE_ATTENTION_FORWARD(attention_forward_wide, f16, 96, 2)
EVOKE_ATTENTION_FORWARD(attention_forward_wide, f16, 128, 2)
