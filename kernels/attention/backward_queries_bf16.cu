// Attention backward for the queries with bf16 storage; see backward_queries.cuh.
#include "attention/backward_queries.cuh"

EVOKE_ATTENTION_QUERIES(attention_queries, bf16, 32, 1)
EVOKE_ATTENTION_QUERIES(attention_queries, bf16, 64, 1)
EVOKE_ATTENTION_QUERIES(attention_queries, bf16, 96, 1)
EVOKE_ATTENTION_QUERIES(attention_queries, bf16, 128, 1)
