// Bindings of SAC's policy.
#include "rl/gaussian.h"

#include <nanobind/nanobind.h>

#include "bind/buffers.h"

namespace nb = nanobind;
using namespace nb::literals;

void bind_gaussian(nb::module_& m) {
  using namespace edgedst;
  m.def("squashed_actions", &squashed_actions, "head"_a, "noise"_a, "action"_a, "log_prob"_a);
  m.def(
      "squashed_gradient",
      [](const Batch& head, const Batch& noise, const Batch& action, const Batch& dq_1,
         const Batch& dq_2, double weight, const Batch& d_head) {
        squashed_gradient(head, noise, action, dq_1, dq_2, static_cast<float>(weight), d_head);
      },
      "head"_a, "noise"_a, "action"_a, "dq_1"_a, "dq_2"_a, "weight"_a, "d_head"_a);
  m.def(
      "mean_action",
      [](nb::handle head, nb::handle action) {
        const BufferView<float> made(action, "mean_action", "action", -1);
        const int count = static_cast<int>(made.size());
        const BufferView<const float> view(head, "mean_action", "head", 2 * count);
        mean_action(view.data(), count, made.data());
      },
      "head"_a, "action"_a);
  m.def(
      "sample_action",
      [](nb::handle head, Random& random, nb::handle action) {
        const BufferView<float> made(action, "sample_action", "action", -1);
        const int count = static_cast<int>(made.size());
        const BufferView<const float> view(head, "sample_action", "head", 2 * count);
        sample_action(view.data(), count, random, made.data());
      },
      "head"_a, "random"_a, "action"_a);
}
