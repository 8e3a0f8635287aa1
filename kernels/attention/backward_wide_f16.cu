// Attention backward with f16 storage, in wide blocks; see backward_queries.cuh and backward_keys.cuh.
#include "attention/backward_keys.cuh"
#include "attention/backward_queries.cuh"

EVOKE_ATTENTION_QUERIES(attention_queries_wide, f16, 32, 2)
EVOKE_ATTENTION_QUERIES(attention_queries_wide, f16, 64, 2)
EVOKE_ATTENTION_KEYS(attention_keys_wide, f16, 32, 2)
