// Who sees whom: every attention pattern as index arithmetic over strided views, with no mask. The same arithmetic as
// src/ops/attention/pattern.rs, which says what each pattern means; here is what a kernel needs of it.
//
// A pattern is a list of PARTS: its prefix of keys that every query sees, then one or two terms. Each part splits the
// queries into residue classes: queries first_query + t * query_stride, keys key(u), so arranged that query t sees
// exactly the keys lo(t) <= u < hi(t) and that neither bound falls as t grows. Hence a tile of queries touches the keys
// lo(first) .. hi(last), all of it sees lo(last) .. hi(first), and only keys outside the latter need a comparison.
//
// Pure functions of integers; lengths are below 2^30, so that sums of two of them fit an int.
#pragma once

#include "primitives/base.cuh"

namespace evoke {

// A window side without limit: farther than any two tokens are apart.
constexpr int UNLIMITED = 1 << 30;

enum PatternKind : int { BAND, STRIDED, BLOCK, SUMMARY, FIXED, FRAMES };

// Laid out as `CudaPattern` in src/ops/attention/cuda.rs. Meaning of a .. e by kind:
//   BAND left, right, dilation   STRIDED stride   BLOCK length   SUMMARY and FIXED length, first, count
//   FRAMES left, right, tokens of a frame, and the rate as frames in queries, whose product is below 2^31
struct Pattern {
    int kind;
    int a, b, c, d, e;
    int prefix;
};

// Which keys of a class a query sees.
enum RuleKind : int {
    WINDOW,        // step - left ..= step + right
    IN_BLOCK,      // from the start of the step's block to the step
    UP_TO,         // every key up to the step
    BLOCKS_BEFORE, // every key in the blocks before the step's
    IN_FRAMES,     // every token of the frames from the step's - left to the step's + right
    EVERYTHING,    // every key: the prefix
};

EVOKE_BOTH int least(int a, int b) { return a < b ? a : b; }
EVOKE_BOTH int most(int a, int b) { return a > b ? a : b; }
EVOKE_BOTH int clamp(int x, int low, int high) { return x < low ? low : x > high ? high : x; }

// An interval of keys or queries; empty where end <= begin.
struct Interval {
    int begin, end;
};

// One residue class of one part.
struct AttentionClass {
    int first_query, query_stride;
    int queries;    // in the class
    int first_step; // query t stands at step first_step + t
    // Keys in runs: key(u) = first_key + (u / run) * period + u mod run.
    int first_key, period, run;
    int begin, end; // the class's keys: behind the prefix, before the key length
    int rule, left, right;
    // IN_FRAMES: query t stands at step t, a run is the tokens of a frame, and `first_step` frames last `steps` steps
    // (registers are dear where a class is kept through a loop).
    int steps;

    EVOKE_BOTH int query(int t) const { return first_query + t * query_stride; }
    EVOKE_BOTH int key(int u) const { return run == 1 ? first_key + u * period : first_key + u / run * period + u % run; }

    // Whether key(u + 1) follows on key(u) throughout.
    EVOKE_BOTH bool neighbours() const { return period == run; }

    // Whether keys lie evenly apart, and how far.
    EVOKE_BOTH bool even() const { return run == 1 || neighbours(); }
    EVOKE_BOTH int key_step() const { return run == 1 ? period : 1; }

    // How many of the keys lie below `limit`.
    EVOKE_BOTH int below(int limit) const {
        const int span = most(limit - first_key, 0);
        return span / period * run + least(span % period, run);
    }

    // The frame shown at a step: floor(step * frames / steps), in parts that fit.
    EVOKE_BOTH int frame(int step) const {
        const int frames = first_step;
        const int64_t whole = int64_t(step / steps) * frames + step % steps * frames / steps;
        return whole < UNLIMITED ? int(whole) : UNLIMITED;
    }

    // The keys u that query t sees.
    EVOKE_BOTH Interval seen(int t) const {
        const int step = first_step + t;
        int low = 0, high = 0;
        if (rule == WINDOW) {
            low = left >= UNLIMITED ? 0 : step - left;
            high = right >= UNLIMITED ? end : step + right + 1;
        } else if (rule == EVERYTHING) {
            high = end;
        } else if (rule == IN_FRAMES) {
            const int now = frame(t), frames = (end + run - 1) / run;
            low = left >= UNLIMITED ? 0 : clamp(now - left, 0, frames) * run;
            high = right >= UNLIMITED ? end : least(now + right + 1, frames) * run;
        } else if (step >= 0) {
            if (rule == IN_BLOCK) {
                low = step - step % left;
                high = step + 1;
            } else {
                high = below(rule == UP_TO ? step + 1 : step - step % left);
            }
        }
        low = clamp(low, begin, end);
        return {low, clamp(high, low, end)};
    }

    // The keys that some query of t0 .. t1 may see (t0 < t1).
    EVOKE_BOTH Interval touched(int t0, int t1) const { return {seen(t0).begin, seen(t1 - 1).end}; }

    // The keys that every query of t0 .. t1 sees.
    EVOKE_BOTH Interval seen_by_all(int t0, int t1) const { return {seen(t1 - 1).begin, seen(t0).end}; }

    // The queries t of which some may see a key of u0 .. u1.
    EVOKE_BOTH Interval queries_seeing(int u0, int u1) const {
        int low = 0, high = queries;
        while (low < high) { // the first query whose keys end beyond u0
            const int middle = (low + high) / 2;
            if (seen(middle).end <= u0) low = middle + 1;
            else high = middle;
        }
        const int first = low;
        high = queries;
        while (low < high) { // the first one behind it whose keys begin at or beyond u1
            const int middle = (low + high) / 2;
            if (seen(middle).begin < u1) low = middle + 1;
            else high = middle;
        }
        return {first, low};
    }
};

// Terms of a pattern, its prefix apart.
EVOKE_BOTH int terms_of(Pattern p) { return p.kind == STRIDED || p.kind == FIXED ? 2 : 1; }

// Parts of a pattern: part 0 is the prefix, where there is one.
EVOKE_BOTH int parts_of(Pattern p) { return terms_of(p) + (p.prefix > 0 ? 1 : 0); }

// Residue classes that the queries of a part are split into, the empty ones included.
EVOKE_BOTH int classes_of(Pattern p, int part) {
    const int term = part - (p.prefix > 0 ? 1 : 0);
    if (term < 0) return 1;
    return p.kind == BAND ? p.c : p.kind == STRIDED && term == 1 ? p.a : 1;
}

// Class `index` of a part, for a sequence of which the first `key_length` of `keys` keys are real.
EVOKE_BOTH AttentionClass class_of(Pattern p, int part, int index, int queries, int keys, int key_length) {
    const int length = least(key_length, keys), prefix = least(p.prefix, length);
    const int term = part - (p.prefix > 0 ? 1 : 0);
    AttentionClass c{};
    if (term < 0) { // every query sees the prefix
        c = {0, 1, queries, 0, 0, 1, 1, 0, prefix, EVERYTHING, 0, 0, 1};
        return c;
    }
    // Frames have a clock of their own; else the last query stands on the last key.
    const int stride = classes_of(p, part), position = p.kind == FRAMES ? index : index + keys - queries;
    const int residue = (position % stride + stride) % stride;
    c.first_query = index;
    c.query_stride = stride;
    c.queries = index < queries ? (queries - index + stride - 1) / stride : 0;
    c.first_step = (position - residue) / stride;
    c.first_key = residue;
    c.period = stride;
    c.run = 1;
    if (p.kind == SUMMARY || (p.kind == FIXED && term == 1)) {
        c.first_key = p.b;
        c.period = p.a;
        c.run = p.c;
    }
    switch (p.kind) {
    case BAND: c.rule = WINDOW, c.left = p.a, c.right = p.b; break;
    // Steps 0 and 1 back along the column lie in the band of term 0.
    case STRIDED: c.rule = WINDOW, c.left = term == 0 ? p.a : UNLIMITED, c.right = term == 0 ? 0 : -2; break;
    case BLOCK: c.rule = IN_BLOCK, c.left = p.a; break;
    case SUMMARY: c.rule = UP_TO; break;
    case FRAMES:
        c.rule = IN_FRAMES, c.left = p.a, c.right = p.b;
        c.period = c.run = p.c, c.first_step = p.d, c.steps = p.e;
        break;
    // The query's own block is term 0.
    default: c.rule = term == 0 ? IN_BLOCK : BLOCKS_BEFORE, c.left = p.a; break;
    }
    c.end = c.below(length);
    c.begin = least(c.below(prefix), c.end);
    return c;
}

} // namespace evoke
