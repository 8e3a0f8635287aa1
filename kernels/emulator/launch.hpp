// A launch: one kernel over a grid, with its parameters and buffers.
#pragma once

#include <cstdint>
#include <vector>

#include "emulator/block.hpp"
#include "emulator/registry.hpp"

namespace evoke::emulator {

struct Launch {
    const Kernel *kernel;
    int grid[3];
    uint32_t shared_bytes;
    uint64_t seed;
    std::vector<uint64_t> values; // parameters, each in a slot of 8 bytes
    std::vector<const void *> parameters;
    std::vector<Buffer> buffers;
};

// "norm.cu:45", for reports.
std::string describe(At at);

} // namespace evoke::emulator
