// Global memory of a launch: the buffers it was given, with their bounds, and who wrote each unit of them.
//
// A pointer that a kernel holds is tagged: its upper 16 bits number the buffer of the launch that it belongs to, so
// that an index that runs over a tensor's end is caught even where another tensor lies behind it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace evoke::emulator {

constexpr int TAG_SHIFT = 48;
// The smallest element that a kernel writes.
constexpr size_t GLOBAL_GRAIN = 2;

// For each unit of a writable buffer, the thread of the launch that wrote it, plus one; 0: nobody did.
//
// In pages that are made when they are first written: a launch may be given the rest of an arena and write a row of it,
// and what it does not touch then costs neither memory nor time.
class Writers {
  public:
    explicit Writers(size_t units) : count(units / PAGE + 1), pages(new std::atomic<Page *>[count]()) {}
    Writers(Writers &&other) noexcept : count(std::exchange(other.count, 0)), pages(std::move(other.pages)) {}
    ~Writers() {
        for (size_t i = 0; i < count; ++i) delete pages[i].load(std::memory_order_relaxed);
    }

    uint32_t of(size_t unit) const {
        const Page *page = pages[unit / PAGE].load(std::memory_order_acquire);
        return page ? page->at[unit % PAGE].load(std::memory_order_relaxed) : 0;
    }

    // Notes a writer; returns the one before it.
    uint32_t exchange(size_t unit, uint32_t writer) const {
        std::atomic<Page *> &place = pages[unit / PAGE];
        Page *page = place.load(std::memory_order_acquire);
        if (!page) {
            Page *made = new Page();
            // Another worker may have been quicker: `page` is then its page.
            if (place.compare_exchange_strong(page, made, std::memory_order_acq_rel)) page = made;
            else delete made;
        }
        return page->at[unit % PAGE].exchange(writer, std::memory_order_relaxed);
    }

  private:
    static constexpr size_t PAGE = 1024; // 4 KB of writers
    struct Page {
        std::atomic<uint32_t> at[PAGE] = {};
    };
    size_t count;
    std::unique_ptr<std::atomic<Page *>[]> pages;
};

struct Buffer {
    unsigned char *start;
    size_t bytes;
    std::string name;
    std::optional<Writers> writers; // of a writable buffer
};

} // namespace evoke::emulator
