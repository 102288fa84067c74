// Python's view of the replay.
#include "rl/replay.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bind/buffers.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace edgedst {
namespace {

// Bytes of `count` records; a range that no ring holds is refused before it can overflow.
int64_t record_bytes(const Replay& replay, const char* where, uint64_t count) {
  if (count > INT32_MAX)
    throw std::invalid_argument(std::string(where) + ": " + std::to_string(count) +
                                " rows at once, expected at most 2^31 - 1");
  return static_cast<int64_t>(count * replay.row_bytes());
}

}  // namespace
}  // namespace edgedst

void bind_replay(nb::module_& m) {
  using namespace edgedst;
  nb::class_<Replay>(m, "Replay")
      .def(nb::init<Arena&, const std::string&, int, int, int, const std::string&,
                    const std::vector<std::pair<int, double>>&, int>(),
           "arena"_a, "name"_a, "capacity"_a, "observation_size"_a, "action_size"_a, "dtype"_a,
           "constants"_a = std::vector<std::pair<int, double>>(), "history"_a = 0,
           nb::keep_alive<1, 2>())
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
      .def_prop_ro("offset", &Replay::offset)
      .def(
          "set_offset",
          [](Replay& self, nb::handle offset) {
            self.set_offset(
                BufferView<const double>(offset, "set_offset", "offset", self.observation_size())
                    .data());
          },
          "offset"_a)
      .def_prop_ro("pinned", &Replay::pinned)
      .def_prop_ro("demonstrations", &Replay::demonstrations)
      .def("pin", &Replay::pin)
      .def("set_pinned", &Replay::set_pinned, "rows"_a)
      .def("sample", &Replay::sample, "random"_a, "critic_input"_a, "next_critic_input"_a,
           "reward"_a, "discount"_a, "normalizer"_a.none() = nb::none(), "demonstrations"_a = 0,
           "n_steps"_a = 1, "gamma"_a = 1.0f)
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
             self.open_row(reinterpret_cast<uint8_t*>(PyBytes_AsString(record.ptr())));
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
