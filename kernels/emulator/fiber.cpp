// A switch saves what the platform's calling convention wants kept, exchanges the stacks, and restores: some 5 ns,
// where swapcontext would enter the operating system each time.
#include "emulator/fiber.hpp"

#include <cstdint>

#if defined(__x86_64__)

asm(R"(
.text
.globl evoke_switch_stacks
.type evoke_switch_stacks, @function
evoke_switch_stacks:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq (%rsi), %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size evoke_switch_stacks, .-evoke_switch_stacks
.section .note.GNU-stack,"",@progbits
.text
)");

#elif defined(__aarch64__)

asm(R"(
.text
.globl evoke_switch_stacks
.type evoke_switch_stacks, %function
evoke_switch_stacks:
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    ldr x9, [x1]
    mov sp, x9
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
.size evoke_switch_stacks, .-evoke_switch_stacks
)");

#else
#include <ucontext.h>
#endif

namespace evoke::emulator {

#if defined(__x86_64__) || defined(__aarch64__)

extern "C" void evoke_switch_stacks(void **from, void **to);

void prepare(Context &context, char *stack, size_t size, void (*entry)()) {
    const uintptr_t top = (reinterpret_cast<uintptr_t>(stack) + size) & ~uintptr_t(15);
#if defined(__x86_64__)
    // Six registers, then the address that the switch returns to. At entry the stack must be 8 off a multiple of 16,
    // as after a call.
    constexpr int SAVED = 6;
    auto *frame = reinterpret_cast<uintptr_t *>(top) - 2 - SAVED;
    for (int i = 0; i < SAVED; ++i) frame[i] = 0;
    frame[SAVED] = reinterpret_cast<uintptr_t>(entry);
    frame[SAVED + 1] = 0; // what would be the caller of `entry`
#else
    // 20 saved registers; the link register is the twelfth.
    constexpr int SAVED = 20, LINK = 11;
    auto *frame = reinterpret_cast<uintptr_t *>(top) - SAVED;
    for (int i = 0; i < SAVED; ++i) frame[i] = 0;
    frame[LINK] = reinterpret_cast<uintptr_t>(entry);
#endif
    context.stack_pointer = frame;
}

void switch_context(Context &from, Context &to) { evoke_switch_stacks(&from.stack_pointer, &to.stack_pointer); }

#else

namespace {
ucontext_t *own(Context &context) {
    if (!context.portable) context.portable = new ucontext_t;
    return static_cast<ucontext_t *>(context.portable);
}
} // namespace

void prepare(Context &context, char *stack, size_t size, void (*entry)()) {
    ucontext_t *c = own(context);
    getcontext(c);
    c->uc_stack.ss_sp = stack;
    c->uc_stack.ss_size = size;
    c->uc_link = nullptr;
    makecontext(c, entry, 0);
}

void switch_context(Context &from, Context &to) { swapcontext(own(from), own(to)); }

#endif

} // namespace evoke::emulator
