// Attention backward for the queries with f16 storage; see backward_queries.cuh.
#include "attention/backward_queries.cuh"

EVOKE_ATTENTION_QUERIES(attention_queries, f16, 32, 1)
EVOKE_ATTENTION_QUERIES(attention_queries, f16, 64, 1)
EVOKE_ATTENTION_QUERIES(attention_queries, f16, 96, 1)
EVOKE_ATTENTION_QUERIES(attention_queries, f16, 128, 1)
