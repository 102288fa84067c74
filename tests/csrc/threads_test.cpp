// The pool: each index once, whatever the number of threads, and results that do not depend on it.
#include "system/threads.h"

#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "check.h"
#include "given_threads.h"
#include "sparse/network.h"

using namespace edgedst;

namespace {

void check_covers(int count) {
  std::unique_ptr<std::atomic<int>[]> visits(new std::atomic<int>[count + 2]());
  std::atomic<bool> ranges_right{true};
  parallel_for(count, [&](int begin, int end) {
    if (begin < 0 || begin >= end || end > count) {
      ranges_right = false;
      return;
    }
    for (int i = begin; i < end; ++i) ++visits[i];
  });
  // Its writes are seen here without a lock of ours.
  bool once = ranges_right;
  for (int i = 0; i < count; ++i) once &= visits[i] == 1;
  expect(once, "parallel_for over %d with %d threads visits each index once", count, threads());
}

void check_each_index_comes_once() {
  for (int size : {1, 2, 3, 4, 7, 16}) {
    set_threads(size);
    expect(threads() == size, "threads() is %d after set_threads(%d)", threads(), size);
    for (int count = 0; count <= 70; ++count) check_covers(count);  // fewer than threads, too
    for (int count : {100, 255, 256, 257, 1000, 4099, 100003}) check_covers(count);
    parallel_for(-3, [](int, int) { expect(false, "parallel_for(-3) calls its body"); });
  }
  set_threads(1);
}

// Tasks that follow each other at once, before the workers sleep and when they do.
void check_tasks_in_a_row() {
  set_threads(3);
  for (int pause_us : {0, 50, 100, 150, 1000}) {
    for (int i = 0; i < 100; ++i) {
      check_covers(5 + i % 3);
      if (pause_us) usleep(pause_us);
    }
  }
  set_threads(1);
}

void check_pool_grows_and_shrinks() {
  for (int i = 0; i < 60; ++i) {
    const int size = 1 + i * 7 % 5;
    set_threads(size);
    if (i % 4 == 0) usleep(300);  // let the workers sleep: they must wake up to stop
    expect(threads() == size, "threads() is %d after set_threads(%d)", threads(), size);
    if (i % 3) check_covers(17);
  }
  set_threads(1);
}

void check_errors() {
  set_threads(2);
  for (int count : {0, -1, INT_MIN, kMostThreads + 1, INT_MAX}) {
    std::string message = "nothing";
    try {
      set_threads(count);
    } catch (const std::invalid_argument& error) {
      message = error.what();
    }
    const std::string want =
        "set_threads: " + std::to_string(count) + " is not a number of threads: expected 1 to 256";
    expect(message == want, "set_threads(%d) throws: %s", count, message.c_str());
    expect(threads() == 2, "set_threads(%d) leaves the pool as it was", count);
    check_covers(9);
  }

  // With the caller, a system that gives one more thread makes two.
  for (int given : {0, 1, 5}) {
    threads_to_give = given;
    std::string message = "nothing";
    try {
      set_threads(7);
    } catch (const std::runtime_error& error) {
      message = error.what();
    }
    threads_to_give = INT_MAX;
    const std::string want =
        "set_threads: the system gave " + std::to_string(given + 1) + " of 7 threads (";
    expect(message.compare(0, want.size(), want) == 0, "set_threads(7) throws: %s",
           message.c_str());
    expect(threads() == 1, "the pool is %d large when the system gave no thread", threads());
    check_covers(9);
    set_threads(3);
    check_covers(9);
  }

  try {
    set_threads(kMostThreads);
    check_covers(1000);
  } catch (const std::runtime_error& error) {
    std::printf("Not tested: %s\n", error.what());  // a container may allow fewer
  }
  set_threads(1);
}

// Everything that training writes, after three updates on real numbers with an evolution between.
std::vector<float> train(int thread_count) {
  set_threads(thread_count);
  Arena arena(4 << 20, false);
  Random random(3);
  const std::vector<int> sizes = {33, 65, 66, 3};
  const std::vector<uint32_t> nnz = {900, 2000, 150};
  TopologyWorkspace workspace(arena, "workspace", 65 * 66, 66, 66);
  Network network(arena, "network", sizes, nnz, true, Role::kLearner);
  Network target(arena, "target", sizes, nnz, true, Role::kAveraged);
  Activations activations(arena, "activations", sizes, 100);
  Gradients gradients(arena, "gradients", network.parameter_count());
  const Batch x = take_batch(arena, "x", 33, 100), y = take_batch(arena, "y", 3, 100),
              dy = take_batch(arena, "dy", 3, 100), dx = take_batch(arena, "dx", 28, 100);
  network.initialise(random, workspace);
  target.copy_from(network, workspace);
  std::vector<float> written;
  const auto record = [&written](const float* values, size_t count) {
    written.insert(written.end(), values, values + count);
  };
  for (int step = 1; step <= 3; ++step) {
    for (const Batch* batch : {&x, &dy})
      for (int row = 0; row < batch->rows; ++row)
        for (int b = 0; b < 100; ++b) batch->row(row)[b] = 2 * random.uniform() - 1;
    network.forward(x, activations, y);
    network.backward(x, activations, y, dy, &gradients, &dx, 5, workspace);
    network.adam_step(gradients, step, 1e-2, 2e-4, 0.9);
    target.polyak_update(network, 0.005f, workspace);
    record(gradients.data, gradients.count);
    for (const Batch* batch : {&y, &dx})
      for (int row = 0; row < batch->rows; ++row) record(batch->row(row), 100);
    for (const Layer& layer : network.layers) {
      record(layer.values, layer.nnz);
      record(layer.adam_m, layer.nnz);
      record(layer.adam_v, layer.nnz);
      record(layer.bias, layer.out);
    }
    for (const Layer& layer : target.layers) {
      record(layer.values, layer.nnz);
      record(layer.bias, layer.out);
    }
    network.evolve(random, 0.3, workspace);
  }
  set_threads(1);
  return written;
}

void check_results_are_bitwise_the_same() {
  int count;
  const Kernels* const* tables = available_kernels(&count);
  for (int i = 0; i < count; ++i) {
    select_kernels(tables[i]->name);
    for (const Form form : {Form::kPlain, Form::kGroups}) {
      pin_form(form);
      const std::vector<float> alone = train(1);
      for (int size : {2, 3, 4}) {
        const std::vector<float> together = train(size);
        expect(alone.size() == together.size() &&
                   std::memcmp(alone.data(), together.data(), alone.size() * sizeof(float)) == 0,
               "%s, %s: %d threads train to the same bits as one", tables[i]->name,
               form == Form::kPlain ? "plain" : "groups", size);
      }
    }
  }
  pin_form(Form::kChosen);
}

}  // namespace

int main() {
  check_each_index_comes_once();
  check_tasks_in_a_row();
  check_pool_grows_and_shrinks();
  check_errors();
  check_results_are_bitwise_the_same();
  return report();
}
