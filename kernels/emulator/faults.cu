// Kernels that are wrong on purpose, one rule each: tests/emulator.rs launches them and reads the report. Each has a switch:
// with `fault` 0 it is right, so that what the test sees is the fault and not the kernel.
#include "primitives/async_copy.cuh"
#include "primitives/warp.cuh"

using namespace evoke;

constexpr int THREADS = 64;

// Writes what another thread of the block wrote to shared memory.
EVOKE_KERNEL(fault_missing_barrier, THREADS, 0, Global<float> out, int fault) {
    EVOKE_SHARED(float, values, THREADS);
    values.store(thread(), 0.0f);
    sync_block();
    values.store(thread(), float(thread()));
    if (!fault) sync_block();
    out.store(thread(), values.load(THREADS - 1 - thread()));
}

// Half of each warp goes to another shuffle.
EVOKE_KERNEL(fault_divergent_shuffle, THREADS, 0, Global<float> out, int fault) {
    float value = float(thread());
    if (fault && lane() < 16) value = shuffle_xor(value, 1);
    else value = shuffle_xor(value, 2);
    out.store(thread(), value);
}

// Reads the target of a copy that nobody waited for.
EVOKE_KERNEL(fault_missing_copy_wait, THREADS, 0, Global<float> out, Global<const float> in, int fault) {
    EVOKE_SHARED(float, values, 4 * THREADS);
    copy_async(values, 4 * thread(), in, size_t(4) * thread(), true);
    copy_async_commit();
    if (!fault) copy_async_wait<0>();
    sync_block();
    out.store(thread(), values.load(thread()));
}

// Waits for the copies of the stage before last, and reads the last one's.
EVOKE_KERNEL(fault_wrong_copy_wait, THREADS, 0, Global<float> out, Global<const float> in, int fault) {
    EVOKE_SHARED(float, values, 8 * THREADS);
    for (int stage = 0; stage < 2; ++stage) {
        copy_async(values, 4 * (stage * THREADS + thread()), in, size_t(4) * thread(), true);
        copy_async_commit();
    }
    if (fault) copy_async_wait<1>();
    else copy_async_wait<0>();
    sync_block();
    out.store(thread(), values.load(4 * THREADS + thread()));
}

EVOKE_KERNEL(fault_out_of_bounds, THREADS, 0, Global<float> out, Global<const float> in, int fault) {
    out.store(thread(), in.load(thread() + (fault ? 1 : 0)));
}

EVOKE_KERNEL(fault_shared_out_of_bounds, THREADS, 0, Global<float> out, int fault) {
    EVOKE_SHARED(float, values, THREADS);
    EVOKE_SHARED(float, others, THREADS);
    others.store(thread(), 1.0f);
    values.store(thread() + (fault ? 1 : 0), 1.0f); // the next array lies behind this one
    out.store(thread(), others.load(thread()));
}

EVOKE_KERNEL(fault_misaligned, THREADS, 0, Global<float> out, Global<const float> in, int fault) {
    const auto pair = in.load_vec<2>(fault ? 1 : 0);
    out.store(thread(), pair.at[0]);
}

EVOKE_KERNEL(fault_uninitialised_read, THREADS, 0, Global<float> out, int fault) {
    EVOKE_SHARED(float, values, THREADS);
    if (!fault || thread() != 5) values.store(thread(), 1.0f);
    sync_block();
    out.store(thread(), values.load(thread()));
}

// A barrier that the last warp never reaches.
EVOKE_KERNEL(fault_unreached_barrier, THREADS, 0, Global<float> out, int fault) {
    if (!fault || warp() == 0) sync_block();
    out.store(thread(), 1.0f);
}

// A named barrier of both warps, which one of them counts as its own.
EVOKE_KERNEL(fault_named_barrier, THREADS, 0, Global<float> out, int fault) {
    EVOKE_SHARED(float, values, THREADS);
    values.store(thread(), 0.0f);
    sync_block();
    values.store(thread(), 1.0f);
    sync_named(1, fault ? THREADS / 2 : THREADS);
    out.store(thread(), values.load(THREADS - 1 - thread()));
}

EVOKE_KERNEL(fault_two_writers, THREADS, 0, Global<float> out, int fault) {
    out.store(fault ? thread() / 2 : thread(), float(thread()));
}

EVOKE_KERNEL(fault_two_writers_of_shared, THREADS, 0, Global<float> out, int fault) {
    EVOKE_SHARED(float, values, THREADS);
    values.store(fault ? thread() / 2 * 2 : thread(), 1.0f);
    sync_block();
    out.store(thread(), fault ? 1.0f : values.load(thread()));
}

// Talks to another thread through global memory within a launch.
EVOKE_KERNEL(fault_global_race, THREADS, 0, Global<float> out, int fault) {
    out.store(thread(), float(thread()));
    sync_block();
    if (fault) out.store(thread(), out.load(THREADS - 1 - thread()));
}

EVOKE_KERNEL(fault_writes_an_input, THREADS, 0, Global<float> out, Global<const float> in, int fault) {
    out.store(thread(), in.load(thread()));
    if (fault) Global<float>{in.address}.store(thread(), 0.0f);
}
