// What crosses between Rust (src/device/emulated/library.rs) and the emulator.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

struct EvokeBuffer {
    unsigned char *start;
    size_t bytes;
    const char *name;
    int writable;
};

// One parameter: its letter (registry.hpp), and its value. A tensor's is the number of its buffer (0: absent) in the
// upper 16 bits and its offset from the buffer's start in the lower 48; a struct's is the address of its bytes.
struct EvokeParameter {
    char letter;
    uint32_t bytes; // of a struct
    uint64_t value;
};

int evoke_emulator_launch(const char *name, const uint32_t *grid, uint64_t seed, const EvokeBuffer *buffers,
                          size_t buffer_count, const EvokeParameter *parameters, size_t parameter_count,
                          unsigned workers, char *fault, size_t fault_size);
const char *evoke_emulator_kernel(size_t i);
}
