// Word embedding: a row of a table, scaled, plus the position's row, then dropout; and the gradient of the table.
//
// forward:  y[r] = dropout(table[word[r]] * scale + positions[(r mod length) mod period])
// backward: d table[word] += scale * (sum of mask(dy[r]) over the rows r of the word)
// The gradient of the positions is positions.cu's.
//
// Table, y and dy are 16 bits, positions, partial sums and gradients f32; arithmetic is f32. Forward moves 4 bytes an
// element (positions stay in the cache) and takes 3 FLOPs: bound by memory.
//
// Backward neither locks nor walks the table. Three steps, each of which reads what the one before wrote:
// 1. Sort the rows by word, equal words in the order of the batch. The place of a row is the number of rows that go
//    before it, counted: rows^2 comparisons of about 4 instructions, independent and from the cache. Its cost grows
//    with the square: for 256 x 32 rows 67 million comparisons, by estimate 10 microseconds on an H100; for 65,536
//    rows 0.6 milliseconds. So many rows of a small table (samples of sound: 257 words) are counted instead: a warp a
//    tile of TILE rows counts its words, one block turns the counts into the places where each tile's words begin, and
//    the warps walk their tiles again. Linear; 262,144 rows read twice 2 MB.
// 2. Add SPAN sorted rows a warp, in order, 256 columns at a time. A word whose rows all lie in the span is added to
//    the table; one that reaches over a border leaves a partial sum, at most two a span. So no word, however frequent
//    (padding is half of some batches), is one warp's alone.
// 3. Words that reach over a border: a block finds the end of the word and adds the spans' sums, each warp every
//    eighth, then the warps in order.
// It moves 2 bytes an element of dy, 8 an element of the table's rows that occur, and at most 1 for partial sums: for
// 8192 x 512 with 2000 words 21 MB, 6 microseconds of an H100's memory. Every order follows from the words alone:
// deterministic.
//
// A word past the table's end makes its row of y NaN, which no loss survives, and adds nothing.
#include "primitives/warp.cuh"
#include "rows.cuh"

namespace evoke {

// A row a warp.
constexpr int FORWARD_WARPS = 4;
// Rows that a block of the sort counts for: a row a lane; its warps share the rows to be compared with.
constexpr int SORT_ROWS = WARP;
constexpr int SORT_WARPS = 8;
// Rows that a warp counts, the most words of a table for which there is room to count, and threads that add the counts up.
constexpr int TILE = 2048;
constexpr int COUNTED = 1024;
constexpr int SCAN = 256;
// Sorted rows that one warp adds; of them so many are loaded before the first is added.
constexpr int SPAN = 16;
constexpr int LOADED = 8;
constexpr int SPAN_WARPS = 4;
// Warps that share the spans of one word.
constexpr int RUN_WARPS = 8;

template <class T>
EVOKE_DEVICE void embed(Global<T> y, Global<const uint32_t> words, Global<const T> table,
                        Global<const float> positions, Global<const uint32_t> position, const Dropout &dropout,
                        int rows, int length, int period, int table_rows, int width, float scale) {
    const int row = block_x() * FORWARD_WARPS + warp();
    if (row >= rows) return;
    const uint32_t word = words.load(row);
    const bool known = word < uint32_t(table_rows);
    const size_t from = known ? size_t(word) * width : 0;
    const uint32_t at = position ? position.load(0) : uint32_t(row % length);
    const size_t start = size_t(row) * width, place = size_t(at % uint32_t(period)) * width;
    for (Columns columns = {0, width}; columns.first < width; columns.first += CHUNK) {
        float v[PIECE], p[PIECE];
        columns.load(v, table, from);
        columns.load(p, positions, place);
        EVOKE_UNROLL
        for (int j = 0; j < PIECE; ++j) v[j] = known ? v[j] * scale + p[j] : not_a_number();
        columns.drop(v, dropout, start);
        columns.store(y, start, v);
    }
}

// Of the warp's lanes that hold the same bucket: how many there are, and how many of them come before this one.
struct Alike {
    int count, before;
};

EVOKE_DEVICE Alike alike(uint32_t bucket) {
    Alike found = {0, 0};
    EVOKE_UNROLL
    for (int i = 0; i < WARP; ++i) {
        const bool same = shuffle(bucket, i) == bucket;
        found.count += same;
        found.before += same && i < lane();
    }
    return found;
}

// The bucket of a row: its word, one behind the table for words that are none, and none at all past the last row.
EVOKE_DEVICE uint32_t bucket_of(Global<const uint32_t> words, int row, int rows, int table_rows) {
    if (row >= rows) return ~0u;
    const uint32_t word = words.load(row);
    return word < uint32_t(table_rows) ? word : uint32_t(table_rows);
}

// Adds rows that lie in `dy` at `rows[k]`, of `words[k]`, for k from SPAN * span on; see above.
template <class T>
EVOKE_DEVICE void add_span(Global<float> dtable, Global<float> heads, Global<float> tails, Global<const T> dy,
                           Global<const uint32_t> rows, Global<const uint32_t> words, const Dropout &dropout, int count,
                           int table_rows, int width, float scale) {
    const int span = block_x() * SPAN_WARPS + warp(), first = span * SPAN;
    if (first >= count) return;
    const Columns columns = {block_y() * CHUNK, width};
    const int last = first + SPAN < count ? first + SPAN : count; // past the last one
    const uint32_t before = first > 0 ? words.load(first - 1) : ~0u, first_word = words.load(first);
    bool head = first > 0 && before == first_word; // the word of the row at hand began before the span
    float sum[PIECE] = {};
    for (int some = first; some < last; some += LOADED) {
        float values[LOADED][PIECE];
        uint32_t row[LOADED];
        EVOKE_UNROLL
        for (int k = 0; k < LOADED; ++k) {
            row[k] = some + k < last ? rows.load(some + k) : 0;
            if (some + k < last) columns.load(values[k], dy, size_t(row[k]) * width);
        }
        EVOKE_UNROLL
        for (int k = 0; k < LOADED; ++k) {
            const int at = some + k;
            if (at >= last) continue;
            columns.drop(values[k], dropout, size_t(row[k]) * width);
            EVOKE_UNROLL
            for (int j = 0; j < PIECE; ++j) sum[j] += values[k][j];
            const uint32_t word = words.load(at);
            const bool more = at + 1 < count && words.load(at + 1) == word;
            if (more && at + 1 < last) continue;
            // The word or the span ends here.
            if (head) {
                columns.store(heads, size_t(span) * width, sum);
            } else if (more) {
                columns.store(tails, size_t(span) * width, sum);
            } else if (word < uint32_t(table_rows)) {
                float old[PIECE];
                columns.load(old, dtable, size_t(word) * width);
                EVOKE_UNROLL
                for (int j = 0; j < PIECE; ++j) old[j] += sum[j] * scale;
                columns.store(dtable, size_t(word) * width, old);
            }
            head = false;
            EVOKE_UNROLL
            for (int j = 0; j < PIECE; ++j) sum[j] = 0.0f;
        }
    }
}

} // namespace evoke

using namespace evoke;

// y (rows, width); table (table_rows, width); positions (period, width); `position`, where there is one, is that of
// all rows.
EVOKE_KERNEL(embedding_forward_bf16, FORWARD_WARPS * WARP, 0, Global<bf16> y, Global<const uint32_t> words,
             Global<const bf16> table, Global<const float> positions, Global<const uint32_t> position,
             Global<const uint32_t> state, int rows, int length, int period, int table_rows, int width, float scale,
             unsigned site, unsigned threshold, float kept_scale) {
    const Dropout dropout = dropout_of(state, site, threshold, kept_scale);
    embed(y, words, table, positions, position, dropout, rows, length, period, table_rows, width, scale);
}

// The rows in the order of their words, and the words of these rows.
EVOKE_KERNEL(embedding_sort_u32, SORT_WARPS * WARP, 0, Global<uint32_t> sorted_rows, Global<uint32_t> sorted_words,
             Global<const uint32_t> words, int rows) {
    EVOKE_SHARED(int, counts, SORT_WARPS * SORT_ROWS);
    const int row = block_x() * SORT_ROWS + lane();
    const uint32_t own = row < rows ? words.load(row) : 0;
    constexpr int STEP = WIDE<uint32_t>;
    int count = 0;
    for (int other = warp() * STEP; other < rows; other += SORT_WARPS * STEP) {
        Vec<uint32_t, STEP> some;
        if (other + STEP <= rows) {
            some = words.load_vec<STEP>(other);
        } else {
            EVOKE_UNROLL
            for (int i = 0; i < STEP; ++i) some.at[i] = other + i < rows ? words.load(other + i) : ~0u;
        }
        EVOKE_UNROLL
        for (int i = 0; i < STEP; ++i)
            count += some.at[i] < own || (some.at[i] == own && other + i < row);
    }
    counts.store(thread(), count);
    sync_block();
    if (warp() != 0 || row >= rows) return;
    int place = 0;
    EVOKE_UNROLL
    for (int w = 0; w < SORT_WARPS; ++w) place += counts.load(w * SORT_ROWS + lane());
    sorted_rows.store(place, uint32_t(row));
    sorted_words.store(place, own);
}

// How often each word occurs in each tile: counts (table_rows + 1, tiles), the words that are none in the last row.
EVOKE_KERNEL(embedding_count_u32, WARP, 0, Global<uint32_t> counts, Global<const uint32_t> words, int rows,
             int table_rows) {
    EVOKE_SHARED(uint32_t, held, COUNTED + 1);
    for (int b = lane(); b <= table_rows; b += WARP) held.store(b, 0u);
    sync_warp();
    const int tile = block_x(), tiles = divide_up(rows, TILE);
    for (int first = tile * TILE; first < rows && first < (tile + 1) * TILE; first += WARP) {
        const uint32_t bucket = bucket_of(words, first + lane(), rows, table_rows);
        const Alike found = alike(bucket);
        if (bucket != ~0u && found.before == 0) held.store(bucket, held.load(bucket) + uint32_t(found.count));
        sync_warp();
    }
    for (int b = lane(); b <= table_rows; b += WARP) counts.store(size_t(b) * tiles + tile, held.load(b));
}

// counts (count) to the sums of all before each, in place.
EVOKE_KERNEL(embedding_scan_u32, SCAN, 0, Global<uint32_t> counts, int count) {
    EVOKE_SHARED(uint32_t, sums, SCAN);
    const int each = divide_up(count, SCAN), first = thread() * each;
    const int last = first + each < count ? first + each : count;
    uint32_t sum = 0;
    for (int i = first; i < last; ++i) sum += counts.load(i);
    sums.store(thread(), sum);
    sync_block();
    uint32_t before = 0;
    for (int t = 0; t < thread(); ++t) before += sums.load(t);
    for (int i = first; i < last; ++i) {
        const uint32_t own = counts.load(i);
        counts.store(i, before);
        before += own;
    }
}

// The rows in the order of their words, from where each tile's words begin.
EVOKE_KERNEL(embedding_place_u32, WARP, 0, Global<uint32_t> sorted_rows, Global<uint32_t> sorted_words,
             Global<const uint32_t> starts, Global<const uint32_t> words, int rows, int table_rows) {
    EVOKE_SHARED(uint32_t, next, COUNTED + 1);
    const int tile = block_x(), tiles = divide_up(rows, TILE);
    for (int b = lane(); b <= table_rows; b += WARP) next.store(b, starts.load(size_t(b) * tiles + tile));
    sync_warp();
    for (int first = tile * TILE; first < rows && first < (tile + 1) * TILE; first += WARP) {
        const int row = first + lane();
        const uint32_t bucket = bucket_of(words, row, rows, table_rows);
        const Alike found = alike(bucket);
        const uint32_t start = bucket != ~0u ? next.load(bucket) : 0;
        sync_warp();
        if (bucket != ~0u) {
            sorted_rows.store(start + found.before, uint32_t(row));
            sorted_words.store(start + found.before, bucket);
            if (found.before == 0) next.store(bucket, start + uint32_t(found.count));
        }
        sync_warp();
    }
}

// dtable (table_rows, width) is added to; heads, tails (spans, width); dy (rows, width).
EVOKE_KERNEL(embedding_backward_bf16, SPAN_WARPS * WARP, 0, Global<float> dtable, Global<float> heads,
             Global<float> tails, Global<const bf16> dy, Global<const uint32_t> sorted_rows,
             Global<const uint32_t> sorted_words, Global<const uint32_t> state, int rows, int table_rows, int width,
             float scale, unsigned site, unsigned threshold, float kept_scale) {
    add_span(dtable, heads, tails, dy, sorted_rows, sorted_words, dropout_of(state, site, threshold, kept_scale), rows,
             table_rows, width, scale);
}

// Block (span, chunk): the word that begins in the span and goes on in the next one, if there is one.
EVOKE_KERNEL(embedding_runs_f32, RUN_WARPS * WARP, 0, Global<float> dtable, Global<const float> heads,
             Global<const float> tails, Global<const uint32_t> sorted_words, int rows, int table_rows, int width,
             float scale) {
    EVOKE_SHARED(float, scratch, RUN_WARPS * CHUNK);
    const int span = block_x(), first = span * SPAN, next = first + SPAN;
    if (next >= rows) return;
    const uint32_t word = sorted_words.load(next);
    if (sorted_words.load(next - 1) != word || word >= uint32_t(table_rows)) return;
    if (first > 0 && sorted_words.load(first - 1) == word) return; // an earlier span's
    // The first span after `span` that begins with a larger word, by bisection.
    int low = span + 1, high = divide_up(rows, SPAN);
    while (low + 1 < high) {
        const int middle = (low + high) / 2;
        (sorted_words.load(size_t(middle) * SPAN) == word ? low : high) = middle;
    }
    const Columns columns = {block_y() * CHUNK, width};
    float sum[PIECE] = {};
    for (int s = span + 1 + warp(); s < high; s += RUN_WARPS) {
        float head[PIECE];
        columns.load(head, heads, size_t(s) * width);
        EVOKE_UNROLL
        for (int j = 0; j < PIECE; ++j) sum[j] += head[j];
    }
    const float rest = meet<RUN_WARPS>(columns, sum, scratch);
    const int column = columns.first + thread();
    if (column >= width) return;
    const size_t place = size_t(word) * width + column;
    dtable.store(place, dtable.load(place) + (tails.load(size_t(span) * width + column) + rest) * scale);
}
