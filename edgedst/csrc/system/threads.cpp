#include "system/threads.h"

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
constexpr size_t kTouchedBytes = 6 * 1024;  // of a stack, by the deepest task: noise, 5 KB
constexpr int kLarge = 3, kWhole = 4;       // three quarters of the items go in large shares
constexpr int kSmallShares = 2;             // for each thread
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

// Which share of which task is next, in one word: whoever comes late cannot take one of the next
// task. A task without shares ends the workers.
struct Ticket {
  uint32_t generation;
  uint16_t shares, next;

  static Ticket from(uint64_t word) {
    return {static_cast<uint32_t>(word >> 32), static_cast<uint16_t>(word >> 16),
            static_cast<uint16_t>(word)};
  }
  uint64_t word() const { return uint64_t{generation} << 32 | uint32_t{shares} << 16 | next; }
};

struct Pool {
  int size = 1;  // with the caller
  pthread_t workers[kMostThreads];

  // The task: written by the caller while every share of the last one is done, published by the
  // ticket.
  RangeFunction function = nullptr;
  const void* context = nullptr;
  int count = 0;
  int parts = 0;
  std::atomic<uint64_t> ticket{0};
  std::atomic<int> done{0};
  Bell started, finished;

  Ticket current() const { return Ticket::from(ticket.load()); }

  void publish(int shares) {
    done.store(0);
    ticket.store(Ticket{current().generation + 1, static_cast<uint16_t>(shares), 0}.word());
    started.ring();
  }

  // One large share for each thread, then the rest in small ones: the cores of a board, or of a
  // busy machine, are not equally fast. A thread that sleeps is not waited for: its share is taken.
  int shares() const { return parts * (1 + kSmallShares); }

  void run_share(int share) const {
    const int large = static_cast<int>(int64_t{count} * kLarge / (kWhole * parts));
    if (share < parts) return run_range(large * share, large * (share + 1));
    const int64_t begin = int64_t{large} * parts, rest = count - begin;
    const int small = share - parts, smalls = parts * kSmallShares;
    run_range(begin + rest * small / smalls, begin + rest * (small + 1) / smalls);
  }

  void run_range(int64_t begin, int64_t end) const {
    if (begin < end) function(context, static_cast<int>(begin), static_cast<int>(end));
  }

  // Takes shares of the task until none is left.
  void work_on(uint32_t task) {
    uint64_t word = ticket.load();
    for (;;) {
      Ticket next = Ticket::from(word);
      if (next.generation != task || next.next == next.shares) return;
      const int share = next.next++;
      if (!ticket.compare_exchange_weak(word, next.word())) continue;
      run_share(share);
      if (done.fetch_add(1) + 1 == next.shares) finished.ring();
      word = ticket.load();
    }
  }
};

// Never destroyed: at exit the workers may still wait on it.
Pool& pool() {
  static Pool& instance = *new Pool;
  return instance;
}

uint32_t generation_at_birth[kMostThreads];

// A worker that sleeps through its tasks would touch its stack some day, long after the plan.
__attribute__((noinline)) void touch_stack() {
  volatile char frame[kTouchedBytes];
  for (size_t i = 0; i < sizeof frame; i += 1024) frame[i] = 0;
}

void* work(void* argument) {
  uint32_t seen = *static_cast<const uint32_t*>(argument);
  Pool& p = pool();
  touch_stack();
  p.done.fetch_add(1);
  p.finished.ring();
  for (;;) {
    p.started.wait([&] { return p.current().generation != seen; });
    const Ticket task = p.current();
    if (task.shares == 0) return nullptr;
    seen = task.generation;
    p.work_on(seen);
  }
}

void stop(Pool& p) {
  if (p.size == 1) return;
  p.publish(0);
  for (int i = 1; i < p.size; ++i) pthread_join(p.workers[i], nullptr);
  p.size = 1;
}

int start_worker(Pool& p, int part) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  const long least = sysconf(_SC_THREAD_STACK_MIN);
  pthread_attr_setstacksize(&attributes, std::max<size_t>(kStackBytes, least > 0 ? least : 0));
  generation_at_birth[part] = p.current().generation;
  const int error = pthread_create(&p.workers[part], &attributes, work, &generation_at_birth[part]);
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
  p.done.store(0);
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
  p.finished.wait([&] { return p.done.load() == count - 1; });
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
  const int shares = p.shares();
  p.publish(shares);
  p.work_on(p.current().generation);
  p.finished.wait([&] { return p.done.load() == shares; });
}

}  // namespace edgedst
