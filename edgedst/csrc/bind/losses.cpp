// Python's view of what lies between the networks in an update.
#include "rl/losses.h"

#include <nanobind/nanobind.h>

namespace nb = nanobind;
using namespace nb::literals;

void bind_losses(nb::module_& m) {
  using namespace edgedst;
  m.def(
      "smooth_actions",
      [](const Batch& actions, Random& random, double sigma, double clip) {
        smooth_actions(actions, random, static_cast<float>(sigma), static_cast<float>(clip));
      },
      "actions"_a, "random"_a, "sigma"_a, "clip"_a);
  m.def("td_target", &td_target, "reward"_a, "discount"_a, "q_1"_a, "q_2"_a, "y"_a);
  m.def("fill_normal", &fill_normal, "batch"_a, "random"_a);
  m.def(
      "soft_td_target",
      [](const Batch& reward, const Batch& discount, const Batch& q_1, const Batch& q_2,
         const Batch& log_prob, double alpha, const Batch& y) {
        soft_td_target(reward, discount, q_1, q_2, log_prob, static_cast<float>(alpha), y);
      },
      "reward"_a, "discount"_a, "q_1"_a, "q_2"_a, "log_prob"_a, "alpha"_a, "y"_a);
  m.def(
      "least_q",
      [](const Batch& q_1, const Batch& q_2, double scale, const Batch& dq_1, const Batch& dq_2) {
        return least_q(q_1, q_2, static_cast<float>(scale), dq_1, dq_2);
      },
      "q_1"_a, "q_2"_a, "scale"_a, "dq_1"_a, "dq_2"_a);
  m.def("mse_loss", &mse_loss, "q"_a, "y"_a, "dq"_a);
  m.def("mean", &mean, "q"_a);
}
