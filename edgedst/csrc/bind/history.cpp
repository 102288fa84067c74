// Python's view of what the networks see of an episode.
#include "rl/history.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include "bind/buffers.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace edgedst {
namespace {

template <class T>
T& with_memory(T& object) {
  if (!object.state()) throw std::invalid_argument("an object on a measuring arena has no memory");
  return object;
}

template <class Number>
nb::list numbers_of(const Normalizer& normalizer, Number number) {
  nb::list values;
  for (int i = 0; i < normalizer.size(); ++i) values.append(number(i));
  return values;
}

}  // namespace
}  // namespace edgedst

void bind_history(nb::module_& m) {
  using namespace edgedst;
  nb::class_<Normalizer>(m, "Normalizer")
      .def(nb::init<Arena&, const std::string&, int, double>(), "arena"_a, "name"_a, "size"_a,
           "clip"_a, nb::keep_alive<1, 2>())
      .def_prop_ro("size", &Normalizer::size)
      .def_prop_ro("clip", &Normalizer::clip)
      .def_prop_ro(
          "count",
          [](const Normalizer& self) { return static_cast<int64_t>(with_memory(self).count()); })
      .def_prop_ro("mean",
                   [](const Normalizer& self) {
                     return numbers_of(with_memory(self), [&](int i) { return self.mean(i); });
                   })
      .def_prop_ro("scale",
                   [](const Normalizer& self) {
                     return numbers_of(with_memory(self), [&](int i) { return self.scale(i); });
                   })
      .def_prop_ro("state",
                   [](nb::handle self) {
                     const Normalizer& normalizer = nb::cast<const Normalizer&>(self);
                     return view(self, normalizer.state(),
                                 Normalizer::state_size(normalizer.size()));
                   })
      .def(
          "add",
          [](Normalizer& self, nb::handle observation) {
            with_memory(self).add(
                BufferView<const double>(observation, "add", "observation", self.size()).data());
          },
          "observation"_a)
      .def(
          "copy_from",
          [](Normalizer& self, const Normalizer& other) {
            if (self.size() != other.size())
              throw std::invalid_argument("copy_from: the other one is of " +
                                          std::to_string(other.size()) +
                                          " observations, expected " + std::to_string(self.size()));
            with_memory(self).copy_from(with_memory(other));
          },
          "other"_a);
  nb::class_<History>(m, "History")
      .def(nb::init<Arena&, const std::string&, int, int, int>(), "arena"_a, "name"_a,
           "observation_size"_a, "action_size"_a, "history"_a, nb::keep_alive<1, 2>())
      .def_static("input_size", &History::input_size, "observation_size"_a, "action_size"_a,
                  "history"_a)
      .def_prop_ro("size", &History::size)
      .def_prop_ro("state",
                   [](nb::handle self) {
                     const History& history = nb::cast<const History&>(self);
                     return view(self, history.state(), history.size());
                   })
      .def(
          "begin",
          [](History& self, nb::handle observation) {
            with_memory(self).begin(BufferView<const double>(observation, "begin", "observation",
                                                             self.observation_size())
                                        .data());
          },
          "observation"_a)
      .def(
          "add",
          [](History& self, nb::handle action, nb::handle observation) {
            const BufferView<const float> done(action, "add", "action", self.action_size());
            const BufferView<const double> seen(observation, "add", "observation",
                                                self.observation_size());
            with_memory(self).add(done.data(), seen.data());
          },
          "action"_a, "observation"_a);
}
