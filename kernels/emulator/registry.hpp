// The emulated kernels by name, each with how its parameters are passed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace evoke {
template <class T> struct Global;
}

namespace evoke::emulator {

// One parameter as a letter: `r` a tensor that is read, `w` one that is written, `i` a 32-bit integer, `f` a float,
// `l` a 64-bit integer, `s` a struct passed by value. Launches are checked against it, so that both sides agree on
// order and types.
template <class T> struct Letter {
    static_assert(std::is_trivially_copyable_v<T> && std::is_class_v<T>, "no kernel parameter of this type");
    static constexpr char value = 's';
};
template <class T> struct Letter<Global<T>> {
    static constexpr char value = std::is_const_v<T> ? 'r' : 'w';
};
template <> struct Letter<int> {
    static constexpr char value = 'i';
};
template <> struct Letter<unsigned> {
    static constexpr char value = 'i';
};
template <> struct Letter<float> {
    static constexpr char value = 'f';
};
template <> struct Letter<uint64_t> {
    static constexpr char value = 'l';
};

struct Kernel {
    std::string name;
    std::string file;
    std::string signature;
    std::vector<size_t> sizes; // bytes of each parameter
    int threads;
    unsigned shared_bytes;
    void *function;
    // Calls the function with parameters at these addresses, as cuLaunchKernel's kernelParams.
    void (*call)(void *function, const void *const *parameters);
};

// `nullptr` where there is no kernel of this name.
const Kernel *find_kernel(const std::string &name);
size_t kernel_count();
const Kernel &kernel_at(size_t i);

struct Registration {
    template <class... A>
    Registration(const char *name, void (*function)(A...), int threads, unsigned shared_bytes, const char *file) {
        add({name, file, std::string{Letter<A>::value...}, {sizeof(A)...}, threads, shared_bytes,
             reinterpret_cast<void *>(function), &invoke<A...>});
    }

  private:
    static void add(Kernel kernel);

    template <class... A> static void invoke(void *function, const void *const *parameters) {
        invoke_at<A...>(function, parameters, std::index_sequence_for<A...>());
    }
    template <class... A, size_t... I>
    static void invoke_at(void *function, const void *const *parameters, std::index_sequence<I...>) {
        reinterpret_cast<void (*)(A...)>(function)(*static_cast<const A *>(parameters[I])...);
    }
};

} // namespace evoke::emulator
