// A line of the kernel sources, taken where a primitive is called.
#pragma once

namespace evoke {

struct At {
    const char *file;
    int line;
    static constexpr At here(const char *file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }
};

} // namespace evoke
