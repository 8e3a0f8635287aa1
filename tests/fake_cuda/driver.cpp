// The functions of libcuda that Evoke calls.
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>

#include "emulator/api.hpp"
#include "emulator/registry.hpp"
#include "fake.hpp"

using evoke::emulator::find_kernel;
using evoke::emulator::Kernel;

double fake_clock = 0;
int broken = SUCCESS;

void note(const std::string &line) {
    if (const char *path = std::getenv("FAKE_CUDA_LOG"))
        if (FILE *file = std::fopen(path, "a")) {
            std::fprintf(file, "%s\n", line.c_str());
            std::fclose(file);
        }
}

namespace {
std::recursive_mutex lock;
std::vector<Stream *> streams; // never freed: events may still name them
std::map<uint64_t, size_t> allocations;
std::map<uint64_t, size_t> pinned;
std::map<std::string, unsigned> shared_bytes;

int number(const char *name, int otherwise) {
    const char *text = std::getenv(name);
    return text ? std::atoi(text) : otherwise;
}
bool recording() {
    for (Stream *stream : streams)
        if (stream->recording) return true;
    return false;
}
void finish_all() {
    for (Stream *stream : streams) stream->finish();
}
bool inside(uint64_t address, size_t bytes) {
    auto next = allocations.upper_bound(address);
    if (next == allocations.begin()) return false;
    --next;
    return address + bytes <= next->first + next->second;
}
void *memory(uint64_t address) { return reinterpret_cast<void *>(address); }
// Everything but a few calls reports a kernel that went wrong.
int ok() { return broken; }

void launch(const Kernel *kernel, std::vector<uint32_t> grid, std::vector<std::vector<unsigned char>> given) {
    std::vector<EvokeBuffer> buffers;
    std::vector<EvokeParameter> parameters;
    for (size_t i = 0; i < given.size(); ++i) {
        uint64_t value = 0;
        if (kernel->signature[i] == 's') {
            value = reinterpret_cast<uint64_t>(given[i].data());
        } else {
            std::memcpy(&value, given[i].data(), given[i].size());
        }
        if ((kernel->signature[i] == 'r' || kernel->signature[i] == 'w') && value != 0) {
            auto found = allocations.upper_bound(value);
            if (found == allocations.begin()) {
                broken = ILLEGAL_ADDRESS;
                return;
            }
            --found;
            // From the tensor to the end of its region; the emulated device knows the tensor's own end.
            buffers.push_back({static_cast<unsigned char *>(memory(value)), found->first + found->second - value,
                               "device memory", kernel->signature[i] == 'w'});
            value = uint64_t(buffers.size()) << 48;
        }
        parameters.push_back({kernel->signature[i], uint32_t(given[i].size()), value});
    }
    char fault[1024] = "";
    const char *fails = std::getenv("FAKE_CUDA_FAIL");
    const int failed = evoke_emulator_launch(kernel->name.c_str(), grid.data(), 1, buffers.data(), buffers.size(),
                                             parameters.data(), parameters.size(), 2, fault, sizeof fault);
    if (failed || (fails && kernel->name == fails)) {
        if (failed) std::fprintf(stderr, "fake GPU: %s\n", fault);
        broken = ILLEGAL_ADDRESS;
    }
}
} // namespace

#define CALL(...)                                                                                                      \
    extern "C" int __VA_ARGS__ {                                                                                       \
        std::lock_guard<std::recursive_mutex> guard(lock);
#define END }

CALL(cuGetErrorName(int error, const char **text))
    *text = error == ILLEGAL_ADDRESS ? "CUDA_ERROR_ILLEGAL_ADDRESS" : error == NO_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR";
    return SUCCESS;
END
CALL(cuGetErrorString(int error, const char **text))
    *text = error == ILLEGAL_ADDRESS ? "an illegal memory access was encountered" : error == NO_MEMORY ? "out of memory" : "an error";
    return SUCCESS;
END
CALL(cuDriverGetVersion(int *version))
    *version = number("FAKE_CUDA_VERSION", 13000);
    return SUCCESS;
END
CALL(cuInit(unsigned))
    return number("FAKE_CUDA_COUNT", 1) == 0 ? NO_DEVICE : SUCCESS;
END
CALL(cuDeviceGetCount(int *count))
    *count = number("FAKE_CUDA_COUNT", 1);
    return SUCCESS;
END
CALL(cuDeviceGet(int *device, int i))
    *device = i;
    return SUCCESS;
END
CALL(cuDeviceGetAttribute(int *value, int which, int))
    const int capability = number("FAKE_CUDA_CAPABILITY", 90);
    *value = which == 75 ? capability / 10 : which == 76 ? capability % 10 : which == 16 ? 132 : which == 13 ? 1980000
           : which == 38 ? 1 << 20 : 0;
    return SUCCESS;
END
CALL(cuDeviceGetName(char *name, int size, int))
    std::strncpy(name, "Fake GPU", size);
    return SUCCESS;
END
CALL(cuDeviceGetPCIBusId(char *id, int size, int device))
    std::snprintf(id, size, "00000000:0%d:00.0", device + 1);
    return SUCCESS;
END

// NVML under its own name is this library too: a GPU that takes 7 J between two readings.
CALL(nvmlInit_v2())
    return SUCCESS;
END
CALL(nvmlDeviceGetHandleByPciBusId_v2(const char *id, void **device))
    static int known;
    *device = &known;
    return std::strcmp(id, "00000000:01:00.0") == 0 ? 0 : 6;
END
CALL(nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *millijoules))
    static unsigned long long total = 1000;
    if (std::getenv("FAKE_NVML_NO_ENERGY") || !device) return 3;
    *millijoules = total += 7000;
    return SUCCESS;
END
CALL(nvmlDeviceGetClockInfo(void *device, int which, unsigned *megahertz))
    if (!device || which != 1) return 3;
    *megahertz = 1755;
    return SUCCESS;
END

CALL(cuDeviceTotalMem_v2(size_t *bytes, int))
    *bytes = size_t(number("FAKE_CUDA_MEMORY", 4096)) << 20;
    return SUCCESS;
END
CALL(cuDevicePrimaryCtxRetain(void **context, int device))
    *context = reinterpret_cast<void *>(size_t(device) + 1);
    return SUCCESS;
END
CALL(cuCtxSetCurrent(void *))
    return ok();
END
CALL(cuMemGetInfo_v2(size_t *free, size_t *total))
    cuDeviceTotalMem_v2(total, 0);
    *free = *total;
    for (auto &[start, bytes] : allocations) *free -= bytes;
    return ok();
END
CALL(cuMemAlloc_v2(uint64_t *start, size_t bytes))
    size_t free, total;
    cuMemGetInfo_v2(&free, &total);
    if (recording()) return CAPTURE;
    if (bytes > free) return NO_MEMORY;
    void *taken = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
    std::memset(taken, 0xcd, bytes);
    *start = reinterpret_cast<uint64_t>(taken);
    allocations[*start] = bytes;
    return ok();
END
CALL(cuMemFree_v2(uint64_t start))
    finish_all();
    if (!allocations.erase(start)) return INVALID;
    std::free(memory(start));
    return ok();
END
CALL(cuMemHostAlloc(void **start, size_t bytes, unsigned))
    if (recording()) return CAPTURE;
    *start = std::malloc(bytes);
    pinned[reinterpret_cast<uint64_t>(*start)] = bytes;
    return ok();
END
CALL(cuMemFreeHost(void *start))
    // No wait: who frees it must have waited, and work that still reads it is a fault that sanitizers see.
    pinned.erase(reinterpret_cast<uint64_t>(start));
    std::free(start);
    return ok();
END
CALL(cuStreamCreate(Stream **stream, unsigned))
    streams.push_back(*stream = new Stream);
    return ok();
END
CALL(cuStreamDestroy_v2(Stream *stream))
    stream->finish();
    return ok();
END
CALL(cuStreamSynchronize(Stream *stream))
    if (stream->recording) return CAPTURE;
    stream->finish();
    return ok();
END
CALL(cuStreamWaitEvent(Stream *stream, Event *event, unsigned))
    if (Stream *other = event->stream) stream->add([other, at = event->at] { other->run(at); });
    return ok();
END
CALL(cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, Stream *stream))
    if (!inside(to, bytes)) return INVALID;
    // Memory that is not pinned is read before the call returns.
    auto next = pinned.upper_bound(reinterpret_cast<uint64_t>(from));
    const bool late = next != pinned.begin() &&
                      reinterpret_cast<uint64_t>(from) + bytes <= std::prev(next)->first + std::prev(next)->second;
    if (late) {
        stream->add([=] { std::memcpy(memory(to), from, bytes); });
    } else {
        auto copy = std::make_shared<std::vector<char>>(static_cast<const char *>(from), static_cast<const char *>(from) + bytes);
        stream->add([=] { std::memcpy(memory(to), copy->data(), bytes); });
    }
    return ok();
END
CALL(cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, Stream *stream))
    if (!inside(from, bytes)) return INVALID;
    stream->add([=] { std::memcpy(to, memory(from), bytes); });
    return ok();
END
CALL(cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, Stream *stream))
    if (!inside(to, bytes) || !inside(from, bytes)) return INVALID;
    stream->add([=] { std::memcpy(memory(to), memory(from), bytes); });
    return ok();
END
CALL(cuMemcpyDtoH_v2(void *to, uint64_t from, size_t bytes))
    if (recording()) return CAPTURE;
    std::memcpy(to, memory(from), bytes);
    return ok();
END
CALL(cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, Stream *stream))
    if (!inside(to, bytes)) return INVALID;
    note("fill " + std::to_string(bytes));
    stream->add([=] { std::memset(memory(to), value, bytes); });
    return ok();
END
CALL(cuEventCreate(Event **event, unsigned))
    *event = new Event;
    return ok();
END
CALL(cuEventRecord(Event *event, Stream *stream))
    stream->add([event] { event->time = fake_clock; });
    event->stream = stream;
    event->at = stream->issued;
    return ok();
END
CALL(cuEventSynchronize(Event *event))
    if (recording()) return CAPTURE;
    if (event->stream) event->stream->run(event->at);
    return ok();
END
CALL(cuEventElapsedTime_v2(float *milliseconds, Event *start, Event *end))
    *milliseconds = float(end->time - start->time);
    return ok();
END
CALL(cuEventDestroy_v2(Event *event))
    if (event->stream) event->stream->run(event->at);
    delete event;
    return ok();
END

CALL(cuModuleLoadData(void **module, const void *))
    if (recording()) return CAPTURE;
    *module = module;
    note("module");
    return ok();
END
CALL(cuModuleGetFunction(const Kernel **function, void *, const char *name))
    *function = find_kernel(name);
    return *function ? ok() : NOT_FOUND;
END
CALL(cuModuleGetGlobal_v2(uint64_t *address, size_t *bytes, void *, const char *symbol))
    std::string name = symbol;
    const std::string ending = "_shared_bytes";
    if (name.size() <= ending.size()) return NOT_FOUND;
    const Kernel *kernel = find_kernel(name.substr(0, name.size() - ending.size()));
    if (!kernel) return NOT_FOUND;
    unsigned &value = shared_bytes[name];
    value = kernel->shared_bytes;
    *address = reinterpret_cast<uint64_t>(&value);
    *bytes = sizeof value;
    return ok();
END
CALL(cuFuncGetAttribute(int *value, int which, const Kernel *kernel))
    *value = which == 0 ? kernel->threads : 0;
    return ok();
END
CALL(cuFuncSetAttribute(const Kernel *, int which, int value))
    return which == 8 && value > 227 * 1024 ? INVALID : ok();
END
CALL(cuLaunchKernel(const Kernel *kernel, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned, unsigned,
                    unsigned shared, Stream *stream, void **parameters, void **))
    if (int(threads) != kernel->threads || shared != kernel->shared_bytes) return INVALID;
    std::vector<std::vector<unsigned char>> given;
    for (size_t i = 0; i < kernel->sizes.size(); ++i) {
        auto *bytes = static_cast<unsigned char *>(parameters[i]);
        given.emplace_back(bytes, bytes + kernel->sizes[i]);
    }
    note((stream->recording ? "record " : "launch ") + kernel->name);
    stream->add([=, grid = std::vector<uint32_t>{x, y, z}] {
        launch(kernel, grid, given);
        fake_clock += 0.25;
    });
    return ok();
END

CALL(cuStreamBeginCapture_v2(Stream *stream, int))
    stream->recording = true;
    stream->recorded.clear();
    return ok();
END
CALL(cuStreamEndCapture(Stream *stream, std::vector<Work> **graph))
    stream->recording = false;
    *graph = new std::vector<Work>(std::move(stream->recorded));
    return ok();
END
CALL(cuGraphInstantiateWithFlags(std::vector<Work> **ready, std::vector<Work> *graph, unsigned long long))
    *ready = new std::vector<Work>(*graph);
    return ok();
END
CALL(cuGraphDestroy(std::vector<Work> *graph))
    delete graph;
    return ok();
END
CALL(cuGraphExecDestroy(std::vector<Work> *ready))
    delete ready;
    return ok();
END
CALL(cuGraphLaunch(std::vector<Work> *ready, Stream *stream))
    note("graph of " + std::to_string(ready->size()));
    for (const Work &work : *ready) stream->add(work);
    return ok();
END
