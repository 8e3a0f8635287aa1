// Attention backward for the keys with bf16 storage; see backward_keys.cuh.
#include "attention/backward_keys.cuh"

EVOKE_ATTENTION_KEYS(bf16, 32)
EVOKE_ATTENTION_KEYS(bf16, 64)
EVOKE_ATTENTION_KEYS(bf16, 96)
EVOKE_ATTENTION_KEYS(bf16, 128)
