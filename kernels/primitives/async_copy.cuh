// Copies from global to shared memory that go on while the warp computes (cp.async, sm_80 and up).
//
// The emulator moves nothing before the wait, and reports whoever touches the target before.
#pragma once

#include "primitives/memory.cuh"

namespace evoke {

// Bytes of one asynchronous copy: the widest, and the only one that bypasses L1.
constexpr int COPY_BYTES = 16;

#ifdef EVOKE_EMULATED

template <class T>
inline void copy_async(Shared<T> to, int i, Global<const T> from, size_t j, bool valid EVOKE_AT) {
    emulator::copy_async(to.offset(i), to.begin, to.end, valid ? from.address + j * sizeof(T) : 0, at);
}
template <class T> inline void copy_async(SharedPlace<T> to, Global<const T> from, bool valid EVOKE_AT) {
    emulator::copy_async(to.offset, to.begin, to.end, valid ? from.address : 0, at);
}
inline void copy_async_commit() { emulator::copy_async_commit(); }
template <int PENDING> inline void copy_async_wait() { emulator::copy_async_wait(PENDING); }

#else

// 16 bytes from `from` to `to`, or zeros where not `valid`: then nothing is read, wherever `from` points.
template <class T> EVOKE_DEVICE void copy_async(SharedPlace<T> to, Global<const T> from, bool valid) {
    const int bytes = valid ? COPY_BYTES : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to.address), "l"(from.pointer), "r"(bytes)
                 : "memory");
}
// The same by number: elements from `j` of `from` to elements from `i` of `to`.
template <class T> EVOKE_DEVICE void copy_async(Shared<T> to, int i, Global<const T> from, size_t j, bool valid) {
    copy_async(place_of(to, i), valid ? from + j : from, valid);
}
// Closes the group of all copies since the last commit.
EVOKE_DEVICE void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most PENDING of this thread's newest groups are under way.
template <int PENDING> EVOKE_DEVICE void copy_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

#endif

} // namespace evoke
