// Wheels only (EDGEDST_PORTABLE): what newer headers refer to and Debian 11's libraries do not
// have, defined here for this module alone. A definition of ours is hidden, so nobody else's code
// sees it.
#if defined(EDGEDST_PORTABLE)

#include <dlfcn.h>

#include <cstdlib>
#include <new>

#define EDGEDST_HIDDEN __attribute__((visibility("hidden")))

// glibc 2.32. Zero means that there may be other threads: std::shared_ptr then counts with atomic
// instructions.
extern "C" EDGEDST_HIDDEN char __libc_single_threaded;
char __libc_single_threaded = 0;

// libstdc++ 3.4.29: what `std::vector` calls for a size that no memory has.
namespace std {
[[noreturn]] EDGEDST_HIDDEN void __throw_bad_array_new_length() { throw bad_array_new_length(); }
}  // namespace std

// libstdc++ of GCC 11 (CXXABI 1.3.13): a std::exception_ptr is copied and destroyed inline there,
// by these two. Here they are made of the constructor and destructor that every libstdc++ has. They
// are asked of the library by name: the linker would take the inline ones, which call these two.
#define EDGEDST_EXCEPTION_PTR "_ZNSt15__exception_ptr13exception_ptr"

static void* libstdcxx(const char* name) {
  static void* const library = dlopen("libstdc++.so.6", RTLD_LAZY | RTLD_NOLOAD);
  void* const function = library != nullptr ? dlsym(library, name) : nullptr;
  if (function == nullptr) std::abort();  // this module is linked with it
  return function;
}

extern "C" {
EDGEDST_HIDDEN void edgedst_add_reference(void*) noexcept
    __asm__(EDGEDST_EXCEPTION_PTR "9_M_addrefEv");
EDGEDST_HIDDEN void edgedst_release(void*) noexcept __asm__(EDGEDST_EXCEPTION_PTR "10_M_releaseEv");

void edgedst_add_reference(void* pointer) noexcept {
  using Copy = void (*)(void* copy, const void* pointer);
  static const auto copy = reinterpret_cast<Copy>(libstdcxx(EDGEDST_EXCEPTION_PTR "C1ERKS0_"));
  void* counted;  // never destroyed, so it stays counted
  copy(&counted, pointer);
}

void edgedst_release(void* pointer) noexcept {
  using Destroy = void (*)(void* pointer);
  static const auto destroy = reinterpret_cast<Destroy>(libstdcxx(EDGEDST_EXCEPTION_PTR "D1Ev"));
  destroy(pointer);
}
}

#endif
