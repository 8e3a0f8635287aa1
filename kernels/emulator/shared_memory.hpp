// A block's shared memory with a shadow that remembers who touched each unit, when, and from which line.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "emulator/at.hpp"

namespace evoke::emulator {

// The smallest element: two threads may write neighbouring 16-bit elements, as on the hardware.
constexpr uint32_t SHARED_GRAIN = 2;

// One access: thread + 1 (0: none), the clock of its warp, and its line.
struct Access {
    uint32_t clock = 0;
    int line = 0;
    const char *file = "";
    int thread = -1;
};

struct Shadow {
    Access writer;
    Access readers[2]; // two are enough: a third is remembered once one of them is ordered before it
    bool in_flight = false;
};

struct SharedArray {
    const char *name;
    At at;
    uint32_t begin, end;
};

struct SharedMemory {
    std::vector<unsigned char> bytes;
    std::vector<Shadow> shadow;
    std::vector<SharedArray> arrays;
    uint32_t dynamic_bytes = 0;
    uint32_t used = 0;

    void reset(uint32_t dynamic);
    // The start of the array that this line declares; the first thread to come makes room for it.
    uint32_t array(const char *name, size_t bytes, At at);
    // The name of the array that holds `offset`, for reports.
    std::string name_of(uint32_t offset) const;
};

} // namespace evoke::emulator
