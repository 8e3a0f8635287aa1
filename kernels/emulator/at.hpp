// A line of the kernel sources, taken where a primitive is called.
#pragma once

#include <cstring>

namespace evoke {

struct At {
    const char *file;
    int line;
    static constexpr At here(const char *file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }
};

// Names of the source: nearly always one and the same text in memory, which is quicker to see than to compare.
inline bool same(const char *a, const char *b) { return a == b || std::strcmp(a, b) == 0; }
inline bool same(At a, At b) { return a.line == b.line && same(a.file, b.file); }

} // namespace evoke
