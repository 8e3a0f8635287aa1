// Fibers: one for each CUDA thread, switched by hand on one OS thread.
#pragma once

#include <cstddef>

namespace evoke::emulator {

// Enough for the deepest kernel's registers and the emulator's own frames under it.
constexpr size_t FIBER_STACK = 128 * 1024;

// A suspended flow of execution.
struct Context {
    void *stack_pointer = nullptr;
#if !defined(__x86_64__) && !defined(__aarch64__)
    void *portable = nullptr; // a ucontext_t, where the switch is not written in assembly
#endif
};

// Makes `context` ready to run `entry`, which never returns, on the stack that ends at `stack + size`.
void prepare(Context &context, char *stack, size_t size, void (*entry)());

// Goes on with `to`; returns when somebody switches back to `from`.
void switch_context(Context &from, Context &to);

} // namespace evoke::emulator
