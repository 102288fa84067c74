#include "threads.h"

#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <stdexcept>
#include <string>

namespace edgedst {
namespace {

// Kernels keep their accumulators in registers: 64 KB is plenty, and the memory budget counts every
// stack.
constexpr size_t kStackBytes = 64 * 1024;
constexpr auto kSpin =
    std::chrono::microseconds(100);  // more than the pauses within one update; waking up takes 60

inline void pause_cpu() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Waits for done() a short while without sleeping; false when it did not come.
template <class Done>
bool spin_until(const Done& done) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 32; ++i) {
      if (done()) return true;
      pause_cpu();
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

// A flag that one side raises and the other spins for, then sleeps on. The raiser looks for
// sleepers after it raised, the sleeper looks at the flag after it said so, both in one total
// order: one of them sees the other.
class Bell {
 public:
  template <class Done>
  void wait(const Done& done) {
    if (spin_until(done)) return;
    std::unique_lock<std::mutex> lock(mutex_);
    sleepers_.fetch_add(1);
    condition_.wait(lock, done);
    sleepers_.fetch_sub(1);
  }

  void ring() {
    if (sleepers_.load() == 0) return;
    {
      std::lock_guard<std::mutex> lock(mutex_);
    }
    condition_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable condition_;
  std::atomic<int> sleepers_{0};
};

constexpr int kShares = 8, kFirstShare = 6;  // a part's range, in eighths: six, then one by one

struct Pool {
  int size = 1;  // with the caller
  pthread_t workers[kMostThreads];

  // The task: written by the caller while no worker runs, published by `generation`.
  RangeFunction function = nullptr;
  const void* context = nullptr;
  int count = 0;
  int parts = 0;
  bool stopping = false;
  std::atomic<uint32_t> generation{0};
  std::atomic<int> running{0};
  std::atomic<int> next_share{0};
  Bell started, finished;

  // Each part begins with the same large range. The rest goes in small shares to whoever is free:
  // the cores of a board, or of a busy machine, are not equally fast.
  void run_part(int part) {
    const int first = count / parts * kFirstShare / kShares;
    const int rest = count - first * parts;
    const int shares = std::min(rest, parts * (kShares - kFirstShare));
    if (first > 0) function(context, first * part, first * (part + 1));
    const int begin = first * parts;
    for (int64_t i; (i = next_share.fetch_add(1)) < shares;)
      function(context, begin + static_cast<int>(i * rest / shares),
               begin + static_cast<int>((i + 1) * rest / shares));
  }

  void publish() {
    running.store(size - 1);
    next_share.store(0);
    generation.fetch_add(1);
    started.ring();
  }
};

// Never destroyed: at exit the workers may still wait on it.
Pool& pool() {
  static Pool& instance = *new Pool;
  return instance;
}

struct Worker {
  int part;
  uint32_t generation;  // the last one before it was born
};
Worker newborn[kMostThreads];

void* work(void* argument) {
  const Worker worker = *static_cast<const Worker*>(argument);
  Pool& p = pool();
  uint32_t seen = worker.generation;
  for (;;) {
    p.started.wait([&] { return p.generation.load() != seen; });
    ++seen;
    const bool stopping = p.stopping;
    if (!stopping && worker.part < p.parts) p.run_part(worker.part);
    if (p.running.fetch_sub(1) == 1) p.finished.ring();
    if (stopping) return nullptr;
  }
}

void stop(Pool& p) {
  if (p.size == 1) return;
  p.stopping = true;
  p.publish();
  for (int i = 1; i < p.size; ++i) pthread_join(p.workers[i], nullptr);
  p.stopping = false;
  p.size = 1;
}

int start_worker(Pool& p, int part) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  const long least = sysconf(_SC_THREAD_STACK_MIN);
  pthread_attr_setstacksize(&attributes, std::max<size_t>(kStackBytes, least > 0 ? least : 0));
  newborn[part] = {part, p.generation.load()};
  const int error = pthread_create(&p.workers[part], &attributes, work, &newborn[part]);
  pthread_attr_destroy(&attributes);
  return error;
}

}  // namespace

void set_threads(int count) {
  if (count < 1 || count > kMostThreads)
    throw std::invalid_argument("set_threads: " + std::to_string(count) +
                                " is not a number of threads: expected 1 to " +
                                std::to_string(kMostThreads));
  Pool& p = pool();
  if (count == p.size) return;
  stop(p);
  // Workers inherit a mask without signals: SIGTERM and Ctrl-C are the main thread's.
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  int error = 0;
  while (p.size < count && error == 0) {
    error = start_worker(p, p.size);
    if (error == 0) ++p.size;
  }
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  if (error != 0) {
    const int got = p.size;
    stop(p);
    throw std::runtime_error("set_threads: the system gave " + std::to_string(got) + " of " +
                             std::to_string(count) + " threads (" + std::strerror(error) + ")");
  }
}

int threads() { return pool().size; }

void run_parallel(int count, RangeFunction function, const void* context) {
  if (count <= 0) return;
  Pool& p = pool();
  if (p.size == 1 || count == 1) {
    function(context, 0, count);
    return;
  }
  p.function = function;
  p.context = context;
  p.count = count;
  p.parts = std::min(p.size, count);
  p.publish();
  p.run_part(0);
  p.finished.wait([&p] { return p.running.load() == 0; });
}

}  // namespace edgedst
