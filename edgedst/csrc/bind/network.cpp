// Python's view of the networks: arguments are checked here, before the core touches memory.
#include "sparse/network.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bind/buffers.h"
#include "bind/checks.h"
#include "rl/history.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace edgedst {
namespace {

void construct(Network* self, Arena& arena, const std::string& name, const std::vector<int>& sizes,
               const std::vector<int64_t>& nnz, const std::string& output, bool target,
               bool averaged, bool batch_norm) {
  check_layers(name, sizes, nnz);
  EDGEDST_CHECK(output == "linear" || output == "tanh",
                name + ": output must be \"linear\" or \"tanh\", got \"" + output + "\".");
  EDGEDST_CHECK(!batch_norm || !target, name + ": a target has no batch normalisation.");
  const Role role = !target ? Role::kLearner : averaged ? Role::kAveraged : Role::kCopied;
  new (self)
      Network(arena, name, sizes, {nnz.begin(), nnz.end()}, output == "tanh", role, batch_norm);
}

void backward(Network& network, const Batch& x, Activations& activations, const Batch& y,
              const Batch& dy, TopologyWorkspace& workspace, Gradients* gradients, const Batch* dx,
              int dx_first_row) {
  check_trainable(network);
  check_workspace(network, workspace);
  check_pass(network, x, activations, y);
  check_rows("dy", dy, network.sizes.back(), network);
  EDGEDST_CHECK(dy.columns == y.columns, network.name + ": dy must have the columns of y.");
  EDGEDST_CHECK(gradients || activations.normal.empty(),
                network.name + ": a pass with statistics of its own needs gradients.");
  if (gradients) check_gradients(network, *gradients);
  if (dx) {
    EDGEDST_CHECK(dx_first_row >= 0 && dx_first_row < x.rows,
                  "dx_first_row must be a row of x, 0 to " + std::to_string(x.rows - 1) + ", got " +
                      std::to_string(dx_first_row) + ".");
    check_rows("dx", *dx, x.rows - dx_first_row, network);
    EDGEDST_CHECK(dx->columns == x.columns, network.name + ": dx must have the columns of x.");
  }
  network.backward(x, activations, y, dy, gradients, dx, dx_first_row, workspace);
}

void act(const Network& network, nb::handle observation, nb::handle action,
         Activations& activations) {
  EDGEDST_CHECK(activations.sizes == network.sizes && activations.sample,
                "act: activations must have the sizes of " + network.name + " and columns=1.");
  EDGEDST_CHECK(!network.batch_norm(), "act: " + network.name + " has batch normalisation.");
  const BufferView<const double> seen(observation, "act", "observation", network.sizes.front());
  const BufferView<float> done(action, "act", "action", network.sizes.back());
  network.act(seen.data(), done.data(), activations);
}

void act_on(const Network& network, const History& history, const Normalizer* normalizer,
            nb::handle action, Activations& activations) {
  EDGEDST_CHECK(activations.sizes == network.sizes && activations.sample,
                "act_on: activations must have the sizes of " + network.name + " and columns=1.");
  EDGEDST_CHECK(!network.batch_norm(), "act_on: " + network.name + " has batch normalisation.");
  EDGEDST_CHECK(history.size() == network.sizes.front() && history.state(),
                "act_on: the history must have the " + std::to_string(network.sizes.front()) +
                    " features that " + network.name + " takes, and memory.");
  EDGEDST_CHECK(
      !normalizer || (normalizer->size() == history.observation_size() && normalizer->state()),
      "act_on: the normalizer must have the history's observations, and memory.");
  const BufferView<float> done(action, "act_on", "action", network.sizes.back());
  network.act(history.see(normalizer), done.data(), activations);
}

}  // namespace
}  // namespace edgedst

using namespace edgedst;

// Parts of the class with files of their own, so that no unit needs much memory to compile.
void bind_layers(nb::class_<Network>& network);
void bind_topology(nb::module_& m, nb::class_<Network>& network);

void bind_network(nb::module_& m) {
  auto network = nb::class_<Network>(m, "Network");
  network
      .def("__init__", construct, "arena"_a, "name"_a, "sizes"_a, "nnz"_a, "output"_a,
           "target"_a = false, "averaged"_a = true, "batch_norm"_a = false, nb::keep_alive<1, 2>())
      .def_ro("name", &Network::name)
      .def_prop_ro("sizes", [](const Network& n) { return nb::tuple(nb::cast(n.sizes)); })
      .def_prop_ro("nnz",
                   [](const Network& n) {
                     nb::list counts;
                     for (const Layer& layer : n.layers) counts.append(layer.nnz);
                     return nb::tuple(counts);
                   })
      .def_prop_ro("parameter_count", &Network::parameter_count)
      .def_prop_ro("linked", &Network::linked)
      .def_prop_ro("batch_norm", &Network::batch_norm)
      .def(
          "forward",
          [](Network& n, const Batch& x, Activations& activations, const Batch& y) {
            check_pass(n, x, activations, y);
            n.forward(x, activations, y);
          },
          "x"_a, "activations"_a, "y"_a)
      .def("backward", backward, "x"_a, "activations"_a, "y"_a, "dy"_a, "workspace"_a,
           "gradients"_a.none(), "dx"_a.none() = nb::none(), "dx_first_row"_a = 0)
      .def(
          "adam_step",
          [](Network& n, const Gradients& gradients, int64_t step, double learning_rate,
             double weight_decay, double beta_1) {
            check_trainable(n);
            EDGEDST_CHECK(step >= 1,
                          "adam_step counts steps from 1, got " + std::to_string(step) + ".");
            check_gradients(n, gradients);
            n.adam_step(gradients, step, learning_rate, weight_decay, beta_1);
          },
          "gradients"_a, "step"_a, "learning_rate"_a, "weight_decay"_a, "beta_1"_a = 0.9)
      .def("act", act, "observation"_a, "action"_a, "activations"_a)
      .def("act_on", act_on, "history"_a, "normalizer"_a.none(), "action"_a, "activations"_a);
  bind_layers(network);
  bind_topology(m, network);
}
