// Global memory of a launch: the buffers it was given, with their bounds, and who wrote each unit of them.
//
// A pointer that a kernel holds is tagged: its upper 16 bits number the buffer of the launch that it belongs to, so
// that an index that runs over a tensor's end is caught even where another tensor lies behind it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace evoke::emulator {

constexpr int TAG_SHIFT = 48;
// The smallest element that a kernel writes.
constexpr size_t GLOBAL_GRAIN = 2;

struct Buffer {
    unsigned char *start;
    size_t bytes;
    std::string name;
    bool writable;
    // For each unit of a writable buffer, the thread of the launch that wrote it, plus one.
    std::unique_ptr<std::atomic<uint32_t>[]> writers;
};

} // namespace evoke::emulator
