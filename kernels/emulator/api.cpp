// The C functions that Rust calls: look a kernel up, launch it. See src/device/emulated.
#include <atomic>
#include <cstring>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "emulator/api.hpp"
#include "emulator/launch.hpp"

using namespace evoke::emulator;

namespace {

// Blocks that no launch uses now. Their stacks, once made, serve every launch: to make those of a block anew takes the
// operating system longer than most blocks run.
std::mutex idle_lock;
std::vector<std::unique_ptr<Block>> idle;

std::unique_ptr<Block> take_block() {
    std::lock_guard<std::mutex> guard(idle_lock);
    if (idle.empty()) return std::make_unique<Block>();
    std::unique_ptr<Block> block = std::move(idle.back());
    idle.pop_back();
    return block;
}

void give_back(std::unique_ptr<Block> block) {
    std::lock_guard<std::mutex> guard(idle_lock);
    idle.push_back(std::move(block));
}

} // namespace

extern "C" {

// Runs a kernel; returns 0, or 1 with a message in `fault`.
int evoke_emulator_launch(const char *name, const uint32_t *grid, uint64_t seed, const EvokeBuffer *buffers,
                          size_t buffer_count, const EvokeParameter *parameters, size_t parameter_count,
                          unsigned workers, char *fault, size_t fault_size) {
    auto say = [&](const std::string &text) {
        std::strncpy(fault, text.c_str(), fault_size - 1);
        fault[fault_size - 1] = 0;
        return 1;
    };
    const Kernel *kernel = find_kernel(name);
    if (!kernel) return say(std::string(name) + ": no such kernel");
    Launch launch{kernel, {int(grid[0]), int(grid[1]), int(grid[2])}, kernel->shared_bytes, seed, {}, {}, {}};
    std::string given;
    for (size_t i = 0; i < parameter_count; ++i) given += parameters[i].letter;
    if (given != kernel->signature)
        return say(std::string(name) + ": launched with parameters '" + given + "', but it takes '" +
                   kernel->signature + "'");
    for (size_t i = 0; i < buffer_count; ++i) {
        const EvokeBuffer &buffer = buffers[i];
        std::optional<Writers> writers;
        if (buffer.writable) writers.emplace(buffer.bytes / GLOBAL_GRAIN);
        launch.buffers.push_back({buffer.start, buffer.bytes, buffer.name, std::move(writers)});
    }
    launch.values.resize(parameter_count);
    for (size_t i = 0; i < parameter_count; ++i) {
        uint64_t value = parameters[i].value;
        const bool tensor = parameters[i].letter == 'r' || parameters[i].letter == 'w';
        if (tensor && value != 0) {
            const uint64_t tag = value >> TAG_SHIFT, offset = value & ((uint64_t(1) << TAG_SHIFT) - 1);
            const auto start = reinterpret_cast<uint64_t>(launch.buffers[tag - 1].start);
            value = tag << TAG_SHIFT | (start + offset);
        }
        launch.values[i] = value;
        if (parameters[i].letter == 's') {
            if (parameters[i].bytes != kernel->sizes[i])
                return say(std::string(name) + ": parameter " + std::to_string(i) + " is a struct of " +
                           std::to_string(kernel->sizes[i]) + " bytes, launched with " +
                           std::to_string(parameters[i].bytes));
            launch.parameters.push_back(reinterpret_cast<const void *>(value));
        } else {
            launch.parameters.push_back(&launch.values[i]);
        }
    }
    const uint64_t blocks = uint64_t(grid[0]) * grid[1] * grid[2];
    std::atomic<uint64_t> next{0};
    std::atomic<bool> stop{false};
    std::mutex lock;
    std::string first_fault;
    auto work = [&] {
        std::unique_ptr<Block> block = take_block();
        // Blocks run from a seeded start on, so that no kernel can rely on their order.
        for (uint64_t i; !stop && (i = next++) < blocks;) {
            block->run(launch, uint32_t((i + seed * 7919) % blocks));
            if (!block->fault.empty()) {
                std::lock_guard<std::mutex> guard(lock);
                if (first_fault.empty()) first_fault = block->fault;
                stop = true;
            }
        }
        give_back(std::move(block));
    };
    if (workers <= 1 || blocks <= 1) {
        work();
    } else {
        std::vector<std::thread> team;
        for (unsigned w = 0; w < workers && w < blocks; ++w) team.emplace_back(work);
        for (std::thread &worker : team) worker.join();
    }
    return first_fault.empty() ? 0 : say(first_fault);
}

// The name of kernel `i`, or null behind the last one.
const char *evoke_emulator_kernel(size_t i) { return i < kernel_count() ? kernel_at(i).name.c_str() : nullptr; }
}
