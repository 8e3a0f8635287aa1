// Attention backward for the queries with bf16 storage; see backward_queries.cuh.
#include "attention/backward_queries.cuh"

EVOKE_ATTENTION_QUERIES(bf16, 32)
EVOKE_ATTENTION_QUERIES(bf16, 64)
EVOKE_ATTENTION_QUERIES(bf16, 96)
EVOKE_ATTENTION_QUERIES(bf16, 128)
