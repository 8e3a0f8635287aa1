// Checked accesses: bounds, alignment, races, what nobody wrote, what is still on its way.
#include "emulator/launch.hpp"

namespace evoke::emulator {

namespace {

std::string thread_name(int thread) { return "thread " + std::to_string(thread); }

// The buffer of a tagged address, after a check that the bytes lie in it.
const Buffer &buffer_of(uint64_t address, size_t bytes, At at, const char *does) {
    Fiber &fiber = here();
    Block &block = *fiber.block;
    const auto &buffers = block.launch->buffers;
    const uint64_t tag = address >> TAG_SHIFT, plain = address & ((uint64_t(1) << TAG_SHIFT) - 1);
    if (tag == 0 || tag > buffers.size())
        block.fail(thread_name(fiber.thread) + " " + does + " through a null pointer at " + describe(at));
    const Buffer &buffer = buffers[tag - 1];
    const auto start = reinterpret_cast<uint64_t>(buffer.start);
    const int64_t offset = int64_t(plain) - int64_t(start);
    if (offset < 0 || uint64_t(offset) + bytes > buffer.bytes)
        block.fail("out of bounds: " + thread_name(fiber.thread) + " " + does + " " + std::to_string(bytes) +
                   " bytes at byte " + std::to_string(offset) + " of '" + buffer.name + "', which has " +
                   std::to_string(buffer.bytes) + " bytes, at " + describe(at));
    if (plain % bytes != 0)
        block.fail("misaligned: " + thread_name(fiber.thread) + " " + does + " " + std::to_string(bytes) +
                   " bytes at byte " + std::to_string(offset) + " of '" + buffer.name + "' at " + describe(at));
    return buffer;
}

uint32_t number_of(const Fiber &fiber) { // unique in the launch, and not 0
    return fiber.block->linear * uint32_t(fiber.block->threads) + uint32_t(fiber.thread) + 1;
}

void *plain(uint64_t address) {
    return reinterpret_cast<void *>(address & ((uint64_t(1) << TAG_SHIFT) - 1));
}

} // namespace

const void *global_read(uint64_t address, size_t bytes, At at) {
    const Buffer &buffer = buffer_of(address, bytes, at, "reads");
    void *pointer = plain(address);
    if (buffer.writers) {
        const size_t offset = size_t(static_cast<unsigned char *>(pointer) - buffer.start);
        const uint32_t own = number_of(here());
        for (size_t unit = offset / GLOBAL_GRAIN; unit <= (offset + bytes - 1) / GLOBAL_GRAIN; ++unit) {
            const uint32_t writer = buffer.writers->of(unit);
            if (writer != 0 && writer != own)
                here().block->fail("race: " + thread_name(here().thread) + " reads byte " + std::to_string(offset) +
                                   " of '" + buffer.name + "' at " + describe(at) +
                                   ", which another thread wrote in the same launch");
        }
    }
    return pointer;
}

void *global_write(uint64_t address, size_t bytes, At at) {
    const Buffer &buffer = buffer_of(address, bytes, at, "writes");
    if (!buffer.writers)
        here().block->fail(thread_name(here().thread) + " writes '" + buffer.name + "', which is an input, at " +
                           describe(at));
    void *pointer = plain(address);
    const size_t offset = size_t(static_cast<unsigned char *>(pointer) - buffer.start);
    const uint32_t own = number_of(here());
    for (size_t unit = offset / GLOBAL_GRAIN; unit <= (offset + bytes - 1) / GLOBAL_GRAIN; ++unit) {
        const uint32_t before = buffer.writers->exchange(unit, own);
        if (before != 0 && before != own)
            here().block->fail("two writers: " + thread_name(here().thread) + " writes byte " + std::to_string(offset) +
                               " of '" + buffer.name + "' at " + describe(at) +
                               ", which another thread wrote in the same launch");
    }
    return pointer;
}

// Shared memory.

void SharedMemory::reset(uint32_t dynamic) {
    dynamic_bytes = dynamic;
    used = dynamic;
    arrays.clear();
    if (dynamic > 0) arrays.push_back({"dynamic shared memory", {"", 0}, 0, dynamic});
    bytes.assign(dynamic, 0xcd); // rubbish, should a check fail to see a read of it
    shadow.assign(dynamic / SHARED_GRAIN, {});
}

uint32_t SharedMemory::array(const char *name, size_t size, At at) {
    for (const SharedArray &array : arrays)
        if (same(array.at, at) && same(array.name, name))
            return array.begin;
    const uint32_t begin = (used + 15) / 16 * 16, end = uint32_t(begin + size);
    arrays.push_back({name, at, begin, end});
    used = (end + 15) / 16 * 16;
    bytes.resize(used, 0xcd);
    shadow.resize(used / SHARED_GRAIN);
    return begin;
}

std::string SharedMemory::name_of(uint32_t offset) const {
    for (const SharedArray &array : arrays)
        if (array.begin <= offset && offset < array.end) return array.name;
    return "shared memory";
}

namespace {

void check_shared(uint32_t offset, uint32_t begin, uint32_t end, size_t bytes, At at, const char *does) {
    Fiber &fiber = here();
    const int64_t place = int64_t(int32_t(offset)) - begin;
    const SharedMemory &shared = fiber.block->shared;
    if (place < 0 || offset + bytes > end)
        fiber.block->fail("out of bounds: " + thread_name(fiber.thread) + " " + does + " " + std::to_string(bytes) +
                          " bytes at byte " + std::to_string(place) + " of shared '" + shared.name_of(begin) +
                          "', which has " + std::to_string(end - begin) + " bytes, at " + describe(at));
    if (offset % bytes != 0)
        fiber.block->fail("misaligned: " + thread_name(fiber.thread) + " " + does + " " + std::to_string(bytes) +
                          " bytes at byte " + std::to_string(place) + " of shared '" + shared.name_of(begin) + "' at " +
                          describe(at));
}

[[noreturn]] void fail_race(const char *kind, uint32_t unit, const char *does, At at, const char *did,
                            const Access &other) {
    Fiber &fiber = here();
    const SharedMemory &shared = fiber.block->shared;
    const std::string where = "shared '" + shared.name_of(unit * SHARED_GRAIN) + "'";
    fiber.block->fail(std::string(kind) + ": " + thread_name(fiber.thread) + " " + does + " " + where + " at " +
                      describe(at) + ", and " + thread_name(other.thread) + " " + did + " it at " +
                      describe({other.file, other.line}) + " with no barrier between");
}

[[noreturn]] void fail_in_flight(uint32_t unit, const char *does, At at, const Access &copy) {
    Fiber &fiber = here();
    fiber.block->fail("missing copy wait: " + thread_name(fiber.thread) + " " + does + " shared '" +
                      fiber.block->shared.name_of(unit * SHARED_GRAIN) + "' at " + describe(at) +
                      " before the copy asked for at " + describe({copy.file, copy.line}) + " by " +
                      thread_name(copy.thread) + " was waited for");
}

void note_write(uint32_t unit, At at, bool in_flight) {
    Fiber &fiber = here();
    Block &block = *fiber.block;
    Shadow &shadow = block.shared.shadow[unit];
    if (shadow.in_flight) fail_in_flight(unit, "writes", at, shadow.writer);
    const Access &writer = shadow.writer;
    if (writer.thread >= 0 && !block.clocks.ordered(writer.thread, writer.clock, fiber.thread))
        fail_race("two writers", unit, "writes", at, "wrote", writer);
    for (const Access &reader : shadow.readers)
        if (reader.thread >= 0 && !block.clocks.ordered(reader.thread, reader.clock, fiber.thread))
            fail_race("race", unit, "writes", at, "read", reader);
    shadow.writer = {block.clocks.own(fiber.thread / 32), at.line, at.file, fiber.thread};
    shadow.readers[0].thread = shadow.readers[1].thread = -1;
    shadow.in_flight = in_flight;
}

void note_read(uint32_t unit, At at) {
    Fiber &fiber = here();
    Block &block = *fiber.block;
    Shadow &shadow = block.shared.shadow[unit];
    const Access &writer = shadow.writer;
    if (shadow.in_flight) fail_in_flight(unit, "reads", at, writer);
    if (writer.thread < 0)
        block.fail("uninitialised read: " + thread_name(fiber.thread) + " reads shared '" +
                   block.shared.name_of(unit * SHARED_GRAIN) + "' at " + describe(at) + ", which nobody has written");
    if (!block.clocks.ordered(writer.thread, writer.clock, fiber.thread))
        fail_race("race", unit, "reads", at, "wrote", writer);
    const Access own{block.clocks.own(fiber.thread / 32), at.line, at.file, fiber.thread};
    Access *place = &shadow.readers[1];
    for (Access &reader : shadow.readers)
        if (reader.thread < 0 || block.clocks.ordered(reader.thread, reader.clock, fiber.thread)) {
            place = &reader;
            break;
        }
    *place = own;
}

} // namespace

const void *shared_read(uint32_t offset, uint32_t begin, uint32_t end, size_t bytes, At at) {
    check_shared(offset, begin, end, bytes, at, "reads");
    for (uint32_t unit = offset / SHARED_GRAIN; unit < (offset + bytes) / SHARED_GRAIN; ++unit) note_read(unit, at);
    return here().block->shared.bytes.data() + offset;
}

void *shared_write(uint32_t offset, uint32_t begin, uint32_t end, size_t bytes, At at) {
    check_shared(offset, begin, end, bytes, at, "writes");
    for (uint32_t unit = offset / SHARED_GRAIN; unit < (offset + bytes) / SHARED_GRAIN; ++unit)
        note_write(unit, at, false);
    return here().block->shared.bytes.data() + offset;
}

// Asynchronous copies: noted when asked for, made when waited for.

constexpr size_t COPY = 16;

void copy_async(uint32_t to, uint32_t begin, uint32_t end, uint64_t from, At at) {
    check_shared(to, begin, end, COPY, at, "copies to");
    const void *source = from ? global_read(from, COPY, at) : nullptr;
    for (uint32_t unit = to / SHARED_GRAIN; unit < (to + COPY) / SHARED_GRAIN; ++unit) note_write(unit, at, true);
    here().copies.push_back({to, source, at});
}

void copy_async_commit() {
    Fiber &fiber = here();
    fiber.groups.push_back(fiber.copies.size());
}

void copy_async_wait(int pending) {
    Fiber &fiber = here();
    if (int(fiber.groups.size()) <= pending) return;
    const size_t keep = size_t(pending), finished = fiber.groups.size() - keep;
    const size_t count = fiber.groups[finished - 1];
    SharedMemory &shared = fiber.block->shared;
    for (size_t i = 0; i < count; ++i) {
        const PendingCopy &copy = fiber.copies[i];
        if (copy.from) std::memcpy(shared.bytes.data() + copy.to, copy.from, COPY);
        else std::memset(shared.bytes.data() + copy.to, 0, COPY);
        for (uint32_t unit = copy.to / SHARED_GRAIN; unit < (copy.to + COPY) / SHARED_GRAIN; ++unit) {
            shared.shadow[unit].in_flight = false;
            note_write(unit, copy.at, false);
        }
    }
    fiber.copies.erase(fiber.copies.begin(), fiber.copies.begin() + ptrdiff_t(count));
    fiber.groups.erase(fiber.groups.begin(), fiber.groups.begin() + ptrdiff_t(finished));
    for (size_t &group : fiber.groups) group -= count;
}

} // namespace evoke::emulator
