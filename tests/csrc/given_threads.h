// The system's threads as a test wants them: with room for the sanitizer's frames, and no more of
// them than the test allows. Include it in one file of a program.
#pragma once

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>

namespace edgedst {

inline int threads_to_give = INT_MAX;

}  // namespace edgedst

// Called by the core instead of the system's.
extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                              void* (*function)(void*), void* argument) noexcept {
  if (edgedst::threads_to_give == 0) return EAGAIN;
  --edgedst::threads_to_give;
#if defined(__SANITIZE_ADDRESS__)
  // A kernel's frame takes a few hundred bytes. Instrumented it takes up to 300 KB, far more than
  // the stack that the pool gives a worker.
  pthread_attr_setstacksize(const_cast<pthread_attr_t*>(attributes), 1 << 20);
#endif
  static const auto create =
      reinterpret_cast<decltype(&pthread_create)>(dlsym(RTLD_NEXT, "pthread_create"));
  return create(thread, attributes, function, argument);
}
