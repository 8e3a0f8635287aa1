// Attention backward for the keys with f16 storage; see backward_keys.cuh.
#include "attention/backward_keys.cuh"

EVOKE_ATTENTION_KEYS(f16, 32)
EVOKE_ATTENTION_KEYS(f16, 64)
EVOKE_ATTENTION_KEYS(f16, 96)
EVOKE_ATTENTION_KEYS(f16, 128)
