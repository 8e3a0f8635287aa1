// The scheduler: fibers run in a seeded random order and stop at barriers and warp operations. Where nobody can run
// and somebody waits, the block is stuck, and the report says who waits for what.
#include "emulator/block.hpp"

#include <map>

#include "emulator/launch.hpp"

namespace evoke::emulator {

namespace {

thread_local Fiber *running = nullptr;

std::string place(At at) {
    const char *name = std::strrchr(at.file, '/');
    return std::string(name ? name + 1 : at.file) + ":" + std::to_string(at.line);
}

} // namespace

std::string describe(At at) { return place(at); }

Fiber &here() { return *running; }

uint64_t Block::next_random() { // xorshift64*: any generator would do
    random ^= random >> 12;
    random ^= random << 25;
    random ^= random >> 27;
    return random * 0x2545F4914F6CDD1Dull;
}

void Block::enter() {
    Fiber &fiber = here();
    Block &block = *fiber.block;
    const Kernel &kernel = *block.launch->kernel;
    kernel.call(kernel.function, block.launch->parameters.data());
    // Copies that nobody waited for end with the thread.
    fiber.copies.clear();
    fiber.waits = Waits::Done;
    const int warp = fiber.thread / 32;
    block.ended[warp] += 1;
    for (const Meeting &meeting : block.meetings[warp])
        if (meeting.mask >> (fiber.thread % 32) & 1)
            block.fail("thread " + std::to_string(fiber.thread) + " has ended, while others of its warp wait for it in " +
                       meeting.what + " at " + place(meeting.at) + ": a divergent warp operation");
    suspend();
}

void suspend() {
    Fiber &fiber = here();
    switch_context(fiber.context, fiber.block->scheduler);
}

void wake(Fiber &fiber) {
    fiber.waits = Waits::Nothing;
    fiber.block->ready.push_back(fiber.thread);
}

void Block::fail(const std::string &what) {
    if (fault.empty()) {
        fault = launch->kernel->name + ", block (" + std::to_string(index[0]) + ", " + std::to_string(index[1]) + ", " +
                std::to_string(index[2]) + "): " + what;
    }
    // The scheduler sees the fault and runs no fiber again; what stands on their stacks owns nothing.
    suspend();
    std::abort(); // never comes back
}

void Block::begin(const Launch &of, uint32_t number) {
    launch = &of;
    linear = number;
    threads = of.kernel->threads;
    for (int axis = 0; axis < 3; ++axis) grid[axis] = of.grid[axis];
    index[0] = int(number % grid[0]);
    index[1] = int(number / grid[0] % grid[1]);
    index[2] = int(number / grid[0] / grid[1]);
    fault.clear();
    shared.reset(of.shared_bytes);
    const int warps = threads / 32;
    clocks.reset(warps);
    meetings.assign(warps, {});
    ended.assign(warps, 0);
    for (Gathering &gathering : gatherings) {
        gathering.first = -1;
        gathering.lanes.assign(warps, 0);
        gathering.warps.clear();
    }
    fibers.resize(threads);
    while (int(stacks.size()) < threads) stacks.emplace_back(new char[FIBER_STACK]); // rubbish
    ready.clear();
    random = of.seed * 0x9E3779B97F4A7C15ull + number + 1;
    for (int t = 0; t < threads; ++t) {
        Fiber &fiber = fibers[t];
        fiber.thread = t;
        fiber.block = this;
        fiber.waits = Waits::Nothing;
        fiber.copies.clear();
        fiber.groups.clear();
        prepare(fiber.context, stacks[t].get(), FIBER_STACK, &Block::enter);
        ready.push_back(t);
    }
}

void Block::run(const Launch &of, uint32_t number) {
    begin(of, number);
    while (!ready.empty()) {
        const size_t pick = next_random() % ready.size();
        std::swap(ready[pick], ready.back());
        running = &fibers[ready.back()];
        ready.pop_back();
        switch_context(scheduler, running->context);
        if (!fault.empty()) return;
    }
    bool stuck = false;
    for (const Fiber &fiber : fibers) stuck |= fiber.waits != Waits::Done;
    if (stuck) {
        fault = launch->kernel->name + ", block (" + std::to_string(index[0]) + ", " + std::to_string(index[1]) + ", " +
                std::to_string(index[2]) + "): nobody can go on: " + describe_waits();
    }
}

std::string Block::describe_waits() const {
    std::map<std::string, std::pair<int, int>> groups; // what -> how many, the first thread
    for (const Fiber &fiber : fibers) {
        std::string what;
        if (fiber.waits == Waits::Done) {
            what = "have ended";
        } else if (fiber.waits == Waits::Barrier) {
            what = "wait at barrier " + std::to_string(fiber.barrier) + " of " + std::to_string(fiber.barrier_count) +
                   " threads at " + place(fiber.at) + ", which some threads never reach";
        } else {
            what = "wait for their warp at " + place(fiber.at);
        }
        auto &group = groups.emplace(what, std::make_pair(0, fiber.thread)).first->second;
        group.first += 1;
    }
    std::string text;
    for (const auto &[what, group] : groups) {
        if (!text.empty()) text += "; ";
        text += std::to_string(group.first) + " threads (the first is " + std::to_string(group.second) + ") " + what;
    }
    return text;
}

// Barriers.

void Block::arrive(Fiber &fiber) {
    const int id = fiber.barrier, count = fiber.barrier_count, warp = fiber.thread / 32;
    Gathering &gathering = gatherings[id];
    if (gathering.first < 0) gathering.first = fiber.thread;
    // Who came before agrees with the first one, or the block would have ended.
    const Fiber &first = fibers[gathering.first];
    if (first.barrier_count != count)
        fail("barrier " + std::to_string(id) + " is for " + std::to_string(first.barrier_count) + " threads at " +
             place(first.at) + " and for " + std::to_string(count) + " at " + place(fiber.at));
    if (!same(first.at, fiber.at))
        fail("barrier " + std::to_string(id) + " is reached at " + place(first.at) + " by thread " +
             std::to_string(first.thread) + " and at " + place(fiber.at) + " by thread " +
             std::to_string(fiber.thread));
    // A warp arrives as a whole: lanes that are there before the others wait for them.
    if (++gathering.lanes[warp] < 32) return;
    gathering.warps.push_back(warp);
    if (int(gathering.warps.size()) * 32 < count) return;
    clocks.join(gathering.warps);
    gathering.first = -1;
    for (Fiber &waiting : fibers) {
        if (waiting.waits != Waits::Barrier || waiting.barrier != id) continue;
        if (gathering.lanes[waiting.thread / 32] == 32) wake(waiting);
        else gathering.first = waiting.thread;
    }
    for (int whole : gathering.warps) gathering.lanes[whole] = 0;
    gathering.warps.clear();
}

void named_barrier(int id, int count, At at) {
    Fiber &fiber = here();
    Block &block = *fiber.block;
    if (id < 0 || id >= BARRIERS || count <= 0 || count % 32 != 0 || count > block.threads)
        block.fail("barrier " + std::to_string(id) + " of " + std::to_string(count) + " threads at " + place(at) +
                   ": ids go from 0 to 15, counts are whole warps of the block");
    fiber.waits = Waits::Barrier;
    fiber.barrier = id;
    fiber.barrier_count = count;
    fiber.at = at;
    block.arrive(fiber);
    suspend();
}

void block_barrier(At at) { named_barrier(0, here().block->threads, at); }

// Warp operations.

void meet(const char *what, void *payload, At at, void (*resolve)(void *const *payloads)) {
    Fiber &fiber = here();
    Block &block = *fiber.block;
    const int warp = fiber.thread / 32, lane = fiber.thread % 32;
    auto &meetings = block.meetings[warp];
    if (meetings.empty()) meetings.push_back({what, 0xffffffffu, 0, at, {}});
    Meeting &meeting = meetings.front();
    if (!same(meeting.what, what) || !same(meeting.at, at))
        block.fail("thread " + std::to_string(fiber.thread) + " arrives at " + what + " at " + place(at) +
                   " while others of its warp are in " + meeting.what + " at " + place(meeting.at) +
                   ": a divergent warp operation");
    for (int other = 0; block.ended[warp] > 0 && other < 32; ++other) {
        const Fiber &peer = block.fibers[warp * 32 + other];
        if (peer.waits == Waits::Done)
            block.fail("thread " + std::to_string(peer.thread) + " has ended, while others of its warp wait for it in " +
                       what + " at " + place(at) + ": a divergent warp operation");
    }
    meeting.payloads[lane] = payload;
    meeting.arrived |= 1u << lane;
    fiber.waits = Waits::Warp;
    fiber.at = at;
    if (meeting.arrived == meeting.mask) {
        resolve(meeting.payloads);
        meetings.clear();
        for (int i = 0; i < 32; ++i) wake(block.fibers[warp * 32 + i]);
    }
    suspend();
}

void warp_barrier(At at) {
    int unused = 0;
    meet("a warp barrier", &unused, at,
         [](void *const *) { here().block->clocks.advance(here().thread / 32); });
}

unsigned ballot(bool value, At at) {
    struct Lane {
        bool value;
        unsigned result;
    } lane{value, 0};
    meet("a vote", &lane, at, [](void *const *payloads) {
        unsigned bits = 0;
        for (int i = 0; i < 32; ++i) bits |= unsigned(static_cast<Lane *>(payloads[i])->value) << i;
        for (int i = 0; i < 32; ++i) static_cast<Lane *>(payloads[i])->result = bits;
    });
    return lane.result;
}

} // namespace evoke::emulator
