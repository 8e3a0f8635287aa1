// pattern.cuh against a brute-force mask, for all small sizes, windows, dilations, blocks, offsets and prefixes.
#include <cstdio>
#include <vector>

#include "attention/pattern.cuh"

using namespace evoke;

namespace {

// The definition itself, in words: does query `i`, which stands at key position `p`, see key `j`?
bool visible(Pattern a, int i, int p, int j) {
    if (j < a.prefix) return true;
    if (a.kind == FRAMES) {
        const long back = long(i) * a.d / a.e - j / a.c;
        return (a.a >= UNLIMITED || back <= a.a) && (a.b >= UNLIMITED || -back <= a.b);
    }
    const int back = p - j;
    const bool same_block = back >= 0 && a.kind != BAND && p / a.a == j / a.a;
    const bool summary = back >= 0 && a.c > 0 && a.kind >= SUMMARY && j % a.a >= a.b && j % a.a < a.b + a.c;
    switch (a.kind) {
    case BAND: {
        if (back % a.c != 0) return false;
        const int steps = back / a.c;
        return (a.a >= UNLIMITED || steps <= a.a) && (a.b >= UNLIMITED || -steps <= a.b);
    }
    case STRIDED: return back >= 0 && (back <= a.a || back % a.a == 0);
    case BLOCK: return same_block;
    case SUMMARY: return summary;
    default: return same_block || summary;
    }
}

struct Failure {
    const char *what;
    int query, key;
};

// Each pair of one problem is seen by exactly one part, once; the tile functions agree with what single queries see.
bool check(Pattern a, int queries, int keys, int key_length, Failure &failure) {
    std::vector<int> seen(size_t(queries) * keys, 0);
    for (int part = 0; part < parts_of(a); ++part) {
        for (int index = 0; index < classes_of(a, part); ++index) {
            const AttentionClass c = class_of(a, part, index, queries, keys, key_length);
            for (int t = 0; t < c.queries; ++t) {
                const Interval own = c.seen(t);
                for (int u = own.begin; u < own.end; ++u) seen[size_t(c.query(t)) * keys + c.key(u)] += 1;
                if (t > 0 && (own.begin < c.seen(t - 1).begin || own.end < c.seen(t - 1).end)) {
                    failure = {"a bound falls", c.query(t), own.begin};
                    return false;
                }
            }
            for (int t0 = 0; t0 < c.queries; t0 += 3) {
                const int t1 = least(t0 + 3, c.queries);
                const Interval some = c.touched(t0, t1), all = c.seen_by_all(t0, t1);
                for (int t = t0; t < t1; ++t) {
                    const Interval own = c.seen(t);
                    if (own.begin < own.end && (own.begin < some.begin || own.end > some.end)) {
                        failure = {"a key outside the touched ones", c.query(t), own.begin};
                        return false;
                    }
                    if (all.begin < all.end && (own.begin > all.begin || own.end < all.end)) {
                        failure = {"a key that not all see", c.query(t), all.begin};
                        return false;
                    }
                }
            }
            for (int u0 = c.begin; u0 < c.end; u0 += 2) {
                const int u1 = least(u0 + 2, c.end);
                const Interval by = c.queries_seeing(u0, u1);
                for (int t = 0; t < c.queries; ++t) {
                    const Interval own = c.seen(t);
                    if (own.begin < u1 && own.end > u0 && own.begin < own.end && (t < by.begin || t >= by.end)) {
                        failure = {"a query outside those that see the keys", c.query(t), c.key(u0)};
                        return false;
                    }
                }
            }
        }
    }
    for (int i = 0; i < queries; ++i) {
        for (int j = 0; j < keys; ++j) {
            const int expected = j < key_length && visible(a, i, i + keys - queries, j) ? 1 : 0;
            if (seen[size_t(i) * keys + j] != expected) {
                failure = {expected ? "a visible key is not seen once" : "a hidden key is seen", i, j};
                return false;
            }
        }
    }
    return true;
}

} // namespace

// Returns the number of problems checked, or -1 with a message.
extern "C" long evoke_pattern_test(char *message, size_t size) {
    std::vector<Pattern> patterns;
    for (int left : {0, 1, 2, 5, UNLIMITED})
        for (int right : {0, 1, 3, UNLIMITED})
            for (int dilation : {1, 2, 3, 5}) patterns.push_back({BAND, left, right, dilation, 0, 0, 0});
    for (int stride = 1; stride <= 6; ++stride) patterns.push_back({STRIDED, stride, 0, 0, 0, 0, 0});
    for (int length = 1; length <= 6; ++length) {
        patterns.push_back({BLOCK, length, 0, 0, 0, 0, 0});
        for (int first = 0; first < length; ++first)
            for (int count = 1; first + count <= length; ++count)
                for (int kind : {SUMMARY, FIXED}) patterns.push_back({kind, length, first, count, 0, 0, 0});
    }
    const int rates[][2] = {{1, 1}, {1, 2}, {1, 5}, {2, 3}, {3, 7}, {4, 3}, {3, 1}, {1, 20}};
    for (int left : {0, 1, 2, UNLIMITED})
        for (int right : {0, 1, 3, UNLIMITED})
            for (int tokens : {1, 2, 3, 5, 20})
                for (const auto &rate : rates)
                    patterns.push_back({FRAMES, left, right, tokens, rate[0], rate[1], 0});
    long problems = 0;
    for (const Pattern &pattern : patterns)
        for (int prefix : {0, 1, 3})
            for (int queries = 1; queries <= 13; ++queries)
                for (int keys : {1, 2, 7, 12, 13})
                    for (int key_length : {0, 1, keys / 2, keys}) {
                        Pattern a = pattern;
                        a.prefix = prefix;
                        Failure failure{};
                        if (!check(a, queries, keys, key_length, failure)) {
                            std::snprintf(message, size,
                                          "kind %d (%d, %d, %d, %d, %d), prefix %d, %d queries, %d keys of which %d are real: %s "
                                          "(query %d, key %d)",
                                          a.kind, a.a, a.b, a.c, a.d, a.e, prefix, queries, keys, key_length, failure.what,
                                          failure.query, failure.key);
                            return -1;
                        }
                        problems += 1;
                    }
    // A million frames: the products must not overflow.
    const Pattern late = {FRAMES, 1, 0, 196, 15, 8008, 0};
    for (int t : {0, 8007, 1 << 24, (1 << 30) - 1}) {
        const AttentionClass c = class_of(late, 0, 0, 1 << 30, (1 << 30) - 1, (1 << 30) - 1);
        const long frame = long(t) * 15 / 8008;
        if (c.seen(t).begin != (frame > 0 ? frame - 1 : 0) * 196 || c.seen(t).end != (frame + 1) * 196) {
            std::snprintf(message, size, "query %d of a long video sees keys %d .. %d", t, c.seen(t).begin, c.seen(t).end);
            return -1;
        }
        problems += 1;
    }
    return problems;
}
