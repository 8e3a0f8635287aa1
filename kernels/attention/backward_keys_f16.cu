// Attention backward for the keys with f16 storage; see backward_keys.cuh.
#include "attention/backward_keys.cuh"

EVOKE_ATTENTION_KEYS(attention_keys, f16, 32, 1)
EVOKE_ATTENTION_KEYS(attention_keys, f16, 64, 1)
EVOKE_ATTENTION_KEYS(attention_keys, f16, 96, 1)
EVOKE_ATTENTION_KEYS(attention_keys, f16, 128, 1)
