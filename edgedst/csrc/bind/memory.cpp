// Python's view of memory, random numbers, losses and replay; edgedst/_core.pyi documents it.
#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <new>

#include "bind/buffers.h"
#include "memory/arena.h"
#include "memory/batch.h"
#include "numbers/random.h"
#include "rl/losses.h"
#include "rl/replay.h"
#include "system/process.h"
#include "system/threads.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace edgedst {
namespace {

void bind_arena(nb::module_& m) {
  nb::class_<Arena>(m, "Arena")
      .def(
          "__init__",
          [](Arena* self, nb::object capacity_bytes) {
            const bool measuring = capacity_bytes.is_none();
            size_t bytes = 0;
            if (!measuring && !nb::try_cast(capacity_bytes, bytes))
              throw std::invalid_argument("Arena: capacity_bytes is " +
                                          std::string(nb::repr(capacity_bytes).c_str()) +
                                          ", expected a number of bytes, or None to measure");
            new (self) Arena(bytes, measuring);
          },
          "capacity_bytes"_a.none() = nb::none())
      .def("regions", &Arena::regions)
      .def_prop_ro("used_bytes", &Arena::used_bytes)
      .def_prop_ro("measuring", &Arena::measuring);
}

void bind_random(nb::module_& m) {
  nb::class_<Random>(m, "Random")
      .def(nb::init<uint64_t, uint32_t>(), "seed"_a, "stream"_a = 0)
      .def_rw("counter", &Random::counter)
      .def("integer", &Random::integer)
      .def(
          "uniform",
          [](Random& self, nb::handle values, double low, double high) {
            const BufferView<float> view(values, "uniform", "values", -1);
            const float start = static_cast<float>(low), width = static_cast<float>(high - low);
            for (size_t i = 0; i < view.size(); ++i)
              view.data()[i] = start + width * self.uniform();
          },
          "values"_a, "low"_a, "high"_a)
      .def(
          "normal",
          [](Random& self, nb::handle values, double sigma) {
            const BufferView<float> view(values, "normal", "values", -1);
            for (size_t i = 0; i < view.size(); ++i)
              view.data()[i] = static_cast<float>(sigma) * self.normal();
          },
          "values"_a, "sigma"_a);
}

// A memoryview of a Batch holds the Batch, which holds its Arena: no view outlives its memory.
int get_batch_buffer(PyObject* self, Py_buffer* view, int flags) {
  const Batch& batch = *nb::inst_ptr<Batch>(self);
  if (!batch.data) {
    PyErr_SetString(PyExc_BufferError, "a Batch on a measuring arena has no memory");
    view->obj = nullptr;
    return -1;
  }
  const Py_ssize_t bytes = static_cast<Py_ssize_t>(sizeof(float)) * batch.rows * batch.stride;
  return PyBuffer_FillInfo(view, self, batch.data, bytes, 0, flags);
}

PyType_Slot batch_slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(get_batch_buffer)},
                             {0, nullptr}};

void bind_batch(nb::module_& m) {
  nb::class_<Batch>(m, "Batch", nb::type_slots(batch_slots))
      .def(
          "__init__",
          [](Batch* self, Arena& arena, const std::string& name, int rows, int columns) {
            new (self) Batch(take_batch(arena, name, rows, columns));
          },
          "arena"_a, "name"_a, "rows"_a, "columns"_a, nb::keep_alive<1, 2>())
      .def_ro("rows", &Batch::rows)
      .def_ro("columns", &Batch::columns)
      .def_ro("stride", &Batch::stride)
      .def("slice", &Batch::slice, "start"_a, "stop"_a, nb::keep_alive<0, 1>())
      .def(
          "fill", [](const Batch& self, double value) { fill(self, static_cast<float>(value)); },
          "value"_a)
      .def_prop_ro("memory", [](nb::handle_t<Batch> self) {
        if (!nb::cast<const Batch&>(self).data)
          throw std::invalid_argument("memory: the batch is on a measuring arena and has none");
        const nb::object bytes = nb::steal(PyMemoryView_FromObject(self.ptr()));
        if (!bytes.is_valid()) throw nb::python_error();
        return bytes.attr("cast")("f");
      });
}

void bind_losses(nb::module_& m) {
  m.def(
      "smooth_actions",
      [](const Batch& actions, Random& random, double sigma, double clip) {
        smooth_actions(actions, random, static_cast<float>(sigma), static_cast<float>(clip));
      },
      "actions"_a, "random"_a, "sigma"_a, "clip"_a);
  m.def(
      "td_target",
      [](const Batch& reward, const Batch& terminated, const Batch& q_1, const Batch& q_2,
         double gamma,
         const Batch& y) { td_target(reward, terminated, q_1, q_2, static_cast<float>(gamma), y); },
      "reward"_a, "terminated"_a, "q_1"_a, "q_2"_a, "gamma"_a, "y"_a);
  m.def("fill_normal", &fill_normal, "batch"_a, "random"_a);
  m.def(
      "soft_td_target",
      [](const Batch& reward, const Batch& terminated, const Batch& q_1, const Batch& q_2,
         const Batch& log_prob, double alpha, double gamma, const Batch& y) {
        soft_td_target(reward, terminated, q_1, q_2, log_prob, static_cast<float>(alpha),
                       static_cast<float>(gamma), y);
      },
      "reward"_a, "terminated"_a, "q_1"_a, "q_2"_a, "log_prob"_a, "alpha"_a, "gamma"_a, "y"_a);
  m.def(
      "least_q",
      [](const Batch& q_1, const Batch& q_2, double scale, const Batch& dq_1, const Batch& dq_2) {
        return least_q(q_1, q_2, static_cast<float>(scale), dq_1, dq_2);
      },
      "q_1"_a, "q_2"_a, "scale"_a, "dq_1"_a, "dq_2"_a);
  m.def("mse_loss", &mse_loss, "q"_a, "y"_a, "dq"_a);
  m.def("mean", &mean, "q"_a);
}

// Bytes of `count` records; a range that no ring holds is refused before it can overflow.
int64_t record_bytes(const Replay& replay, const char* where, uint64_t count) {
  if (count > INT32_MAX)
    throw std::invalid_argument(std::string(where) + ": " + std::to_string(count) +
                                " rows at once, expected at most 2^31 - 1");
  return static_cast<int64_t>(count * replay.row_bytes());
}

void bind_replay(nb::module_& m) {
  nb::class_<Replay>(m, "Replay")
      .def(nb::init<Arena&, const std::string&, int, int, int, const std::string&,
                    const std::vector<std::pair<int, double>>&>(),
           "arena"_a, "name"_a, "capacity"_a, "observation_size"_a, "action_size"_a, "dtype"_a,
           "constants"_a = std::vector<std::pair<int, double>>(), nb::keep_alive<1, 2>())
      .def_static("row_bytes", nb::overload_cast<int, int, const std::string&>(&Replay::row_bytes),
                  "stored_size"_a, "action_size"_a, "dtype"_a)
      .def_prop_ro("capacity", &Replay::capacity)
      .def_prop_ro("constants", &Replay::constants)
      .def_prop_ro("transitions", &Replay::transitions)
      .def_prop_ro("rows_closed", &Replay::rows_closed)
      .def(
          "begin_episode",
          [](Replay& self, nb::handle observation) {
            const BufferView<const double> view(observation, "begin_episode", "observation",
                                                self.observation_size());
            self.begin_episode(view.data());
          },
          "observation"_a)
      .def(
          "add",
          [](Replay& self, nb::handle action, double reward, nb::handle next_observation,
             bool terminated, bool truncated) {
            const BufferView<const float> taken(action, "add", "action", self.action_size());
            const BufferView<const double> next(next_observation, "add", "next_observation",
                                                self.observation_size());
            self.add(taken.data(), static_cast<float>(reward), next.data(), terminated, truncated);
          },
          "action"_a, "reward"_a, "next_observation"_a, "terminated"_a, "truncated"_a)
      .def("sample", &Replay::sample, "random"_a, "critic_input"_a, "next_critic_input"_a,
           "reward"_a, "terminated"_a)
      .def(
          "read_rows",
          [](const Replay& self, uint64_t start, uint64_t count, nb::handle out) {
            const BufferView<uint8_t> view(out, "read_rows", "out",
                                           record_bytes(self, "read_rows", count));
            self.read_rows(start, count, view.data());
          },
          "start"_a, "count"_a, "out"_a)
      .def(
          "write_rows",
          [](Replay& self, uint64_t start, uint64_t count, nb::handle records) {
            const BufferView<const uint8_t> view(records, "write_rows", "records",
                                                 record_bytes(self, "write_rows", count));
            self.write_rows(start, count, view.data());
          },
          "start"_a, "count"_a, "records"_a)
      .def("open_row",
           [](const Replay& self) {
             const nb::object record = nb::steal(
                 PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(self.row_bytes())));
             if (!record.is_valid()) throw nb::python_error();
             self.open_row(reinterpret_cast<uint8_t*>(PyBytes_AS_STRING(record.ptr())));
             return record;
           })
      .def(
          "set_open_row",
          [](Replay& self, nb::handle record) {
            const BufferView<const uint8_t> view(record, "set_open_row", "record",
                                                 static_cast<int64_t>(self.row_bytes()));
            self.set_open_row(view.data());
          },
          "record"_a);
}

}  // namespace
}  // namespace edgedst

void bind_memory(nb::module_& m) {
  using namespace edgedst;
  m.def("set_threads", &set_threads, "count"_a);
  m.def("release_file_pages", &release_file_pages);
  m.def(
      "set_last_words",
      [](const nb::bytes& words) { set_last_words(std::string(words.c_str(), words.size())); },
      "words"_a);
  bind_arena(m);
  bind_random(m);
  bind_batch(m);
  bind_losses(m);
  bind_replay(m);
}
