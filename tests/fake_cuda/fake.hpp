// A driver and a cublasLt without a GPU, for tests: device memory is this machine's, kernels run in the emulator.
//
// Work is put off as long as the rules of streams and events allow, so that a missing wait shows every time: copies read
// pinned memory late, and fresh memory holds junk. What may not be called during a recording is refused.
//
// FAKE_CUDA_VERSION, FAKE_CUDA_CAPABILITY (80), FAKE_CUDA_COUNT, FAKE_CUDA_MEMORY: what it pretends to be.
// FAKE_CUDA_EPILOGUES: `slow` or `none`, else a product's epilogue costs nothing and a kernel a quarter of a product.
// FAKE_CUDA_LOG: a file that gets a line for each launch, and for a product one more: the column-major layouts of its
// factors and its result, each "rows x columns by leading dimension". FAKE_CUDA_FAIL: a kernel that goes wrong.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <deque>
#include <functional>
#include <string>
#include <vector>

using Work = std::function<void()>;

struct Stream {
    std::deque<Work> waiting;
    uint64_t issued = 0, done = 0;
    bool recording = false;
    std::vector<Work> recorded;

    // Runs what was issued first, up to the `until`th piece.
    void run(uint64_t until) {
        while (done < until) {
            Work work = std::move(waiting.front());
            waiting.pop_front();
            ++done;
            work();
        }
    }
    void finish() { run(issued); }
    void add(Work work) {
        if (recording) {
            recorded.push_back(std::move(work));
            return;
        }
        waiting.push_back(std::move(work));
        ++issued;
    }
};

struct Event {
    Stream *stream = nullptr;
    uint64_t at = 0;
    double time = 0;
};

enum Result { SUCCESS = 0, INVALID = 1, NO_MEMORY = 2, NO_DEVICE = 100, NOT_FOUND = 500, ILLEGAL_ADDRESS = 700, CAPTURE = 900 };

// Milliseconds that the pretended GPU has worked.
extern double fake_clock;
// The first error of a kernel; every later call returns it.
extern int broken;
void note(const std::string &line);
