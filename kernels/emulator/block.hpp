// One block of threads that runs: its fibers, its scheduler, and what a kernel's primitives call.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "emulator/clocks.hpp"
#include "emulator/fiber.hpp"
#include "emulator/global_memory.hpp"
#include "emulator/shared_memory.hpp"

namespace evoke::emulator {

// What a fiber waits for.
enum class Waits { Nothing, Barrier, Warp, Done };

// A copy that was asked for and has not happened.
struct PendingCopy {
    uint32_t to;
    const void *from; // null: zeros
    At at;
};

struct Fiber {
    Context context;
    int thread = 0;
    struct Block *block = nullptr;
    Waits waits = Waits::Nothing;
    int barrier = 0;       // which one, where it waits at a barrier
    int barrier_count = 0; // threads that it waits for
    At at{"", 0};          // where it waits
    std::vector<PendingCopy> copies;
    std::vector<size_t> groups; // copies up to which each committed group reaches
};

// Lanes of a warp on their way into one operation.
struct Meeting {
    const char *what;
    unsigned mask;
    unsigned arrived;
    At at;
    void *payloads[32];
};

constexpr int BARRIERS = 16;

// Threads on their way into one barrier.
struct Gathering {
    int first = -1;         // one that waits there
    std::vector<int> lanes; // of each warp that wait there
    std::vector<int> warps; // those of which all do
};

struct Launch;

struct Block {
    const Launch *launch = nullptr;
    int threads = 0;
    int index[3] = {0, 0, 0};
    int grid[3] = {1, 1, 1};
    uint32_t linear = 0;
    SharedMemory shared;
    Clocks clocks;
    std::vector<std::vector<Meeting>> meetings; // by warp
    std::vector<int> ended;                     // threads of each warp
    Gathering gatherings[BARRIERS];
    std::vector<Fiber> fibers;
    std::string fault;

    // Runs all threads of the block to their end, or to the first fault.
    void run(const Launch &launch, uint32_t linear);
    // Ends the block with this fault; never returns to the kernel.
    [[noreturn]] void fail(const std::string &what);
    // The fiber is at its barrier; lets all go on if it is the last that the barrier waits for.
    void arrive(Fiber &fiber);
    std::string describe_waits() const;

  private:
    std::vector<std::unique_ptr<char[]>> stacks;
    std::vector<int> ready;
    Context scheduler;
    uint64_t random = 0;

    friend void suspend();
    friend void wake(Fiber &);
    static void enter();
    uint64_t next_random();
    void begin(const Launch &launch, uint32_t linear);
};

// The fiber that runs on this OS thread.
Fiber &here();
// Hands over to the scheduler until somebody wakes the fiber.
void suspend();
void wake(Fiber &fiber);

void block_barrier(At at);
void named_barrier(int id, int count, At at);
void warp_barrier(At at);

// All lanes of the warp meet in `what`; the last one calls `resolve` with everybody's payload.
void meet(const char *what, void *payload, At at, void (*resolve)(void *const *payloads));

template <class T> struct ShuffleLane {
    T value;
    T result;
    int from;
};

template <class T> T shuffle(T value, int from, At at) {
    static_assert(sizeof(T) == 4, "a shuffle moves 32 bits");
    ShuffleLane<T> lane{value, value, from & 31};
    meet("shuffle", &lane, at, [](void *const *payloads) {
        for (int i = 0; i < 32; ++i) {
            auto *own = static_cast<ShuffleLane<T> *>(payloads[i]);
            own->result = static_cast<ShuffleLane<T> *>(payloads[own->from])->value;
        }
    });
    return lane.result;
}

unsigned ballot(bool value, At at);

// Global memory, for the fiber that runs.
const void *global_read(uint64_t address, size_t bytes, At at);
void *global_write(uint64_t address, size_t bytes, At at);

// Shared memory, for the fiber that runs. `begin` and `end` bound the array.
const void *shared_read(uint32_t offset, uint32_t begin, uint32_t end, size_t bytes, At at);
void *shared_write(uint32_t offset, uint32_t begin, uint32_t end, size_t bytes, At at);

void copy_async(uint32_t to, uint32_t begin, uint32_t end, uint64_t from, At at);
void copy_async_commit();
void copy_async_wait(int pending);

template <class S> S shared_array(const char *name, size_t bytes, At at) {
    const uint32_t start = here().block->shared.array(name, bytes, at);
    return {start, start, uint32_t(start + bytes)};
}
template <class S> S shared_dynamic() {
    const SharedMemory &shared = here().block->shared;
    return {0, 0, shared.dynamic_bytes};
}

} // namespace evoke::emulator
