// Memory as kernels see it: global tensors and the block's shared memory, by element index.
//
// On a GPU both are bare pointers. In the emulator every access is checked: bounds and alignment, races, reads of
// what nobody has written. Kernels never communicate through global memory within a launch.
#pragma once

#include <cstring>

#include "primitives/base.cuh"

namespace evoke {

// A tensor in global memory; `const T` where the kernel only reads it. Null where the tensor is absent.
template <class T> struct Global;

// Elements of the block's shared memory.
template <class T> struct Shared;

// One element of shared memory by its address alone, 32 bits on a GPU: what a thread finds once and moves in a loop.
template <class T> struct SharedPlace;

#ifdef EVOKE_EMULATED

template <class T> struct Global {
    using Value = std::remove_const_t<T>;
    uint64_t address; // tagged with the buffer it belongs to, see emulator/global_memory.hpp

    explicit operator bool() const { return address != 0; }
    Global operator+(ptrdiff_t elements) const { return {address + uint64_t(elements * ptrdiff_t(sizeof(T)))}; }
    Global further(ptrdiff_t bytes) const { return {address + uint64_t(bytes)}; }

    Value load(size_t i EVOKE_AT) const { return load_vec<1>(i, at).at[0]; }
    void store(size_t i, Value value EVOKE_AT) const { store_vec<1>(i, Vec<Value, 1>{{value}}, at); }

    template <int N> Vec<Value, N> load_vec(size_t i EVOKE_AT) const {
        return *static_cast<const Vec<Value, N> *>(
            emulator::global_read(address + i * sizeof(T), N * sizeof(T), at));
    }
    template <int N> void store_vec(size_t i, Vec<Value, N> value EVOKE_AT) const {
        static_assert(!std::is_const_v<T>, "this tensor is read only");
        *static_cast<Vec<Value, N> *>(emulator::global_write(address + i * sizeof(T), N * sizeof(T), at)) = value;
    }
};

template <class T> struct Shared {
    static_assert(sizeof(T) >= emulator::SHARED_GRAIN, "shared memory is watched in units of this size");
    uint32_t start, begin, end; // bytes: this element, and the array it must stay in

    Shared operator+(int elements) const { return {uint32_t(start + elements * int(sizeof(T))), begin, end}; }

    T load(int i EVOKE_AT) const { return load_vec<1>(i, at).at[0]; }
    void store(int i, T value EVOKE_AT) const { store_vec<1>(i, Vec<T, 1>{{value}}, at); }

    template <int N> Vec<T, N> load_vec(int i EVOKE_AT) const {
        return *static_cast<const Vec<T, N> *>(emulator::shared_read(offset(i), begin, end, N * sizeof(T), at));
    }
    template <int N> void store_vec(int i, Vec<T, N> value EVOKE_AT) const {
        *static_cast<Vec<T, N> *>(emulator::shared_write(offset(i), begin, end, N * sizeof(T), at)) = value;
    }
    uint32_t offset(int i) const { return uint32_t(start + i * int(sizeof(T))); }
    // The same bytes as elements of another type.
    template <class U> Shared<U> as() const { return {start, begin, end}; }
};

template <class T> struct SharedPlace {
    uint32_t offset, begin, end; // bytes

    SharedPlace moved(int elements) const { return {uint32_t(offset + elements * int(sizeof(T))), begin, end}; }
    SharedPlace turned(int elements) const { return {uint32_t(offset ^ elements * int(sizeof(T))), begin, end}; }
};
template <class T> inline SharedPlace<T> place_of(Shared<T> array, int i) {
    return {array.offset(i), array.begin, array.end};
}

// EVOKE_SHARED(T, name, count): an array of the block, its size known to the compiler.
#define EVOKE_SHARED(T, name, count)                                                                                   \
    const ::evoke::Shared<T> name = ::evoke::emulator::shared_array<::evoke::Shared<T>>(                               \
        #name, (count) * sizeof(T), ::evoke::At::here())
// EVOKE_SHARED_DYNAMIC(name): the bytes that the kernel's declaration asks for, to be cut with Carve.
#define EVOKE_SHARED_DYNAMIC(name)                                                                                     \
    const ::evoke::Shared<uint16_t> name = ::evoke::emulator::shared_dynamic<::evoke::Shared<uint16_t>>()

EVOKE_DEVICE void sync_block(EVOKE_AT_ONLY) { emulator::block_barrier(at); }
// Barrier `id` (1 to 15) of `count` threads: whole warps.
EVOKE_DEVICE void sync_named(int id, int count EVOKE_AT) { emulator::named_barrier(id, count, at); }

#else

template <class T> struct Global {
    using Value = std::remove_const_t<T>;
    T *pointer;

    EVOKE_DEVICE explicit operator bool() const { return pointer != nullptr; }
    EVOKE_DEVICE Global operator+(ptrdiff_t elements) const { return {pointer + elements}; }
    EVOKE_DEVICE Global further(ptrdiff_t bytes) const {
        return {reinterpret_cast<T *>(reinterpret_cast<uintptr_t>(pointer) + bytes)};
    }

    EVOKE_DEVICE Value load(size_t i) const { return pointer[i]; }
    EVOKE_DEVICE void store(size_t i, Value value) const { pointer[i] = value; }
    template <int N> EVOKE_DEVICE Vec<Value, N> load_vec(size_t i) const {
        return *reinterpret_cast<const Vec<Value, N> *>(pointer + i);
    }
    template <int N> EVOKE_DEVICE void store_vec(size_t i, Vec<Value, N> value) const {
        *reinterpret_cast<Vec<Value, N> *>(pointer + i) = value;
    }
};

template <class T> struct Shared {
    T *pointer;

    EVOKE_DEVICE Shared operator+(int elements) const { return {pointer + elements}; }
    EVOKE_DEVICE T load(int i) const { return pointer[i]; }
    EVOKE_DEVICE void store(int i, T value) const { pointer[i] = value; }
    template <int N> EVOKE_DEVICE Vec<T, N> load_vec(int i) const {
        return *reinterpret_cast<const Vec<T, N> *>(pointer + i);
    }
    template <int N> EVOKE_DEVICE void store_vec(int i, Vec<T, N> value) const {
        *reinterpret_cast<Vec<T, N> *>(pointer + i) = value;
    }
    template <class U> EVOKE_DEVICE Shared<U> as() const { return {reinterpret_cast<U *>(pointer)}; }
};

template <class T> struct SharedPlace {
    uint32_t address;

    EVOKE_DEVICE SharedPlace moved(int elements) const { return {address + uint32_t(elements * int(sizeof(T)))}; }
    // The place whose address differs in the bits of so many elements: a permutation by XOR, within aligned memory.
    EVOKE_DEVICE SharedPlace turned(int elements) const { return {address ^ uint32_t(elements * int(sizeof(T)))}; }
};
template <class T> EVOKE_DEVICE SharedPlace<T> place_of(Shared<T> array, int i) {
    return {static_cast<uint32_t>(__cvta_generic_to_shared(array.pointer + i))};
}

#define EVOKE_SHARED(T, name, count)                                                                                   \
    __shared__ alignas(16) T name##_storage[count];                                                                    \
    const ::evoke::Shared<T> name { name##_storage }
#define EVOKE_SHARED_DYNAMIC(name)                                                                                     \
    extern __shared__ __align__(128) uint16_t evoke_dynamic_shared[];                                                  \
    const ::evoke::Shared<uint16_t> name { evoke_dynamic_shared }

EVOKE_DEVICE void sync_block() { __syncthreads(); }
EVOKE_DEVICE void sync_named(int id, int count) { asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(count) : "memory"); }

#endif

// The same tensor, to be read only.
template <class T> EVOKE_DEVICE Global<const T> read_only(Global<T> tensor) {
#ifdef EVOKE_EMULATED
    return {tensor.address};
#else
    return {tensor.pointer};
#endif
}

// As store_vec of 16 bytes, in one instruction whatever the compiler makes of the value's parts: it splits the copy of a
// struct whose 16-bit elements were computed one by one.
template <class T> EVOKE_DEVICE void store_wide(Global<T> to, size_t i, Vec<T, WIDE<T>> value EVOKE_AT) {
#ifdef EVOKE_EMULATED
    to.template store_vec<WIDE<T>>(i, value, at);
#else
    uint32_t words[4];
    memcpy(words, &value, sizeof words);
    asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(to.pointer + i), "r"(words[0]), "r"(words[1]),
                 "r"(words[2]), "r"(words[3])
                 : "memory");
#endif
}

// Cuts dynamic shared memory into arrays, in the order of the calls. Every array's bytes must be a multiple of 16.
struct Carve {
    Shared<uint16_t> rest;

    template <class T> EVOKE_DEVICE Shared<T> take(int count) {
        const Shared<T> taken = rest.as<T>();
        rest = rest + int(count * sizeof(T) / sizeof(uint16_t));
#ifdef EVOKE_EMULATED
        return {taken.start, taken.start, uint32_t(taken.start + count * sizeof(T))};
#else
        return taken;
#endif
    }
};

} // namespace evoke
