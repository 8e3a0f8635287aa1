// What the attention kernels share: sizes by value, tile sizes, and where a block stands.
#pragma once

#include "attention/pattern.cuh"
#include "philox.cuh"
#include "primitives/memory.cuh"
#include "primitives/numbers.cuh"

namespace evoke {

// Warps of a block; each owns the 16 rows of one product fragment, so a tile has 64 rows; in a wide block two such
// bands.
constexpr int ATTENTION_WARPS = 4;
constexpr int ATTENTION_THREADS = ATTENTION_WARPS * WARP;
constexpr int FRAGMENT_ROWS = 16;
// Rows of a tile of queries (forward, dq) or keys (dk, dv).
constexpr int TILE_ROWS = ATTENTION_WARPS * FRAGMENT_ROWS;
// Keys of a tile; fewer where the registers would not hold their scores.
constexpr int TILE_KEYS = 64;

// Laid out as `CudaSizes` in src/ops/attention/cuda.rs. Strides are elements between rows, multiples of 8.
struct AttentionSizes {
    int batch, heads, queries, keys;
    int q_stride, k_stride, v_stride, out_stride;
    int dq_stride, dk_stride, dv_stride, dout_stride;
    int term;         // of the patterns that have two whose queries group apart: the one that this launch is for
    float scale;      // of the scores
    unsigned site, threshold; // dropout
    float kept;               // scale of what is kept
};

// Patterns by head, laid out as `CudaPatterns` in src/ops/attention/cuda.rs.
constexpr int MOST_PATTERNS = 8, MOST_HEADS = 64;
struct PatternTable {
    Pattern patterns[MOST_PATTERNS];
    unsigned char of_head[MOST_HEADS];
};

constexpr float LOG2_E = 1.4426950408889634f, LN_2 = 0.6931471805599453f;

// The first row of a sequence's head in a tensor of (batch * tokens, heads * HEAD).
template <class T, int HEAD>
EVOKE_DEVICE Global<T> head_of(Global<T> tensor, int batch, int tokens, int stride, int head) {
    return tensor + (ptrdiff_t(batch) * tokens * stride + ptrdiff_t(head) * HEAD);
}

EVOKE_DEVICE int key_length_of(Global<const uint32_t> key_lengths, int batch, int keys) {
    return key_lengths ? least(int(key_lengths.load(batch)), keys) : keys;
}

// Parts whose queries are grouped alike, and which one kernel goes through in turn: all of a pattern's, but for the two
// terms of STRIDED.
struct PartRange {
    int begin, end;
};
EVOKE_DEVICE PartRange parts_of_launch(Pattern pattern, int term) {
    const int prefix = pattern.prefix > 0 ? 1 : 0;
    if (pattern.kind != STRIDED) return {0, term == 0 ? parts_of(pattern) : 0};
    return term == 0 ? PartRange{0, prefix + 1} : PartRange{prefix + 1, prefix + 2};
}

// The class of queries `index`, with the keys of `part`. The prefix goes with the classes of the last part.
EVOKE_DEVICE AttentionClass class_for(Pattern pattern, int part, PartRange range, int index,
                                      const AttentionSizes &sizes, int key_length) {
    AttentionClass c = class_of(pattern, range.end - 1, index, sizes.queries, sizes.keys, key_length);
    if (part == range.end - 1) return c;
    AttentionClass own = class_of(pattern, part, 0, sizes.queries, sizes.keys, key_length);
    if (own.rule == EVERYTHING) {
        own.first_query = c.first_query;
        own.query_stride = c.query_stride;
        own.queries = c.queries;
    }
    return own;
}

// The queries that a block of a kernel over queries works on: t0 .. t1 of one class of one head.
struct QueryTile {
    int pattern; // its number in the table: read again where it is needed, not kept in registers
    PartRange parts;
    int index; // of the class
    int length; // keys of the sequence that are real
    AttentionClass grouping;
    int t0, t1;

    // Whether there is anything to do: a launch has as many blocks as the pattern with most needs.
    EVOKE_DEVICE bool present() const { return t0 < t1; }
    // The query in row r of the tile; negative behind the last one.
    EVOKE_DEVICE int query(int r) const { return t0 + r < t1 ? grouping.query(t0 + r) : -1; }
    EVOKE_DEVICE AttentionClass keys_of(int part, const AttentionSizes &sizes, const PatternTable &table) const {
        return class_for(table.patterns[pattern], part, parts, index, sizes, length);
    }
};
EVOKE_DEVICE QueryTile query_tile(const AttentionSizes &sizes, const PatternTable &table,
                                  Global<const uint32_t> key_lengths, int head, int batch, int block,
                                  int rows = TILE_ROWS) {
    QueryTile tile{};
    tile.pattern = table.of_head[head];
    const Pattern &pattern = table.patterns[tile.pattern];
    tile.parts = parts_of_launch(pattern, sizes.term);
    if (tile.parts.end == 0) return tile;
    const int classes = classes_of(pattern, tile.parts.end - 1);
    const int tiles = divide_up(divide_up(sizes.queries, classes), rows);
    // Under a look-ahead mask the last queries have most to do, so they begin first.
    const int number = classes * tiles - 1 - block;
    if (number < 0) return tile;
    tile.index = number % classes;
    tile.length = key_length_of(key_lengths, batch, sizes.keys);
    tile.grouping = tile.keys_of(tile.parts.end - 1, sizes, table);
    tile.t0 = number / classes * rows;
    tile.t1 = least(tile.t0 + rows, tile.grouping.queries);
    return tile;
}

// The keys of a part of this block's tile, found anew: what only a second part asks for is not kept in registers through
// the first one's keys. The queries stay in those of `tile`.
EVOKE_DEVICE AttentionClass keys_anew(const QueryTile &tile, int part, const AttentionSizes &sizes,
                                      const PatternTable &table, Global<const uint32_t> key_lengths, int rows) {
    const int number = anew(block_x()), head = anew(block_y()), batch = anew(block_z());
    AttentionClass c = query_tile(sizes, table, key_lengths, head, batch, number, rows).keys_of(part, sizes, table);
    c.first_query = tile.grouping.first_query;
    c.query_stride = tile.grouping.query_stride;
    return c;
}

} // namespace evoke
