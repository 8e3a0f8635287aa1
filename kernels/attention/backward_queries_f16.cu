// Attention backward for the queries with f16 storage; see backward_queries.cuh.
#include "attention/backward_queries.cuh"

EVOKE_ATTENTION_QUERIES(f16, 32)
EVOKE_ATTENTION_QUERIES(f16, 64)
EVOKE_ATTENTION_QUERIES(f16, 96)
EVOKE_ATTENTION_QUERIES(f16, 128)
