#include "emulator/registry.hpp"

#include <deque>

namespace evoke::emulator {

namespace {
// A function's static, so that it is there whichever file registers first; a deque, so that kernels never move.
std::deque<Kernel> &kernels() {
    static std::deque<Kernel> all;
    return all;
}
} // namespace

void Registration::add(Kernel kernel) { kernels().push_back(std::move(kernel)); }

const Kernel *find_kernel(const std::string &name) {
    for (const Kernel &kernel : kernels())
        if (kernel.name == name) return &kernel;
    return nullptr;
}

size_t kernel_count() { return kernels().size(); }

const Kernel &kernel_at(size_t i) { return kernels()[i]; }

} // namespace evoke::emulator
