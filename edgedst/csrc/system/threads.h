// A small pool of threads for loops over rows. Threads change who computes a row, never how:
// results are bitwise the same for every number of them.
#pragma once

namespace edgedst {

constexpr int kMostThreads = 256;

// Size the pool: count - 1 workers beside the caller, 1 for none. Throws std::invalid_argument for
// a count outside [1, kMostThreads] and std::runtime_error when the system gives no thread (the
// pool is then of size 1). What the workers' stacks will take is resident when it returns.
void set_threads(int count);
int threads();

using RangeFunction = void (*)(const void* context, int begin, int end);
void run_parallel(int count, RangeFunction function, const void* context);

// Calls body(begin, end) on disjoint contiguous ranges that cover [0, count), several a thread.
// Allocates nothing. `body` must not throw, nor call parallel_for; one caller at a time (the core's
// callers hold Python's lock).
template <class Body>
void parallel_for(int count, const Body& body) {
  run_parallel(
      count,
      [](const void* context, int begin, int end) {
        (*static_cast<const Body*>(context))(begin, end);
      },
      &body);
}

}  // namespace edgedst
