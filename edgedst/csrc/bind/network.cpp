// Bindings of the networks and of the kernel choice: arguments are checked here, before the core
// touches memory.
#include "sparse/network.h"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdlib>
#include <stdexcept>

#include "bind/buffers.h"
#include "sparse/topology.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace edgedst {
namespace {

constexpr int kMostFeatures = 65535;  // columns are stored in 16 bits

using Observation = nb::ndarray<const double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Action = nb::ndarray<float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

int get_region_buffer(PyObject* self, Py_buffer* view, int flags) {
  const Region& region = *nb::inst_ptr<Region>(self);
  return PyBuffer_FillInfo(view, self, region.data, static_cast<Py_ssize_t>(region.bytes), 0,
                           flags);
}

PyType_Slot region_slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(get_region_buffer)},
                              {0, nullptr}};

void check(bool ok, const std::string& sentence) {
  if (!ok) throw std::invalid_argument(sentence);
}

std::string shape(const Batch& batch) {
  return "(" + std::to_string(batch.rows) + ", " + std::to_string(batch.columns) + ")";
}

void check_rows(const char* what, const Batch& batch, int rows, const Network& network) {
  check(batch.rows == rows, std::string(what) + " of " + network.name + " has " +
                                std::to_string(batch.rows) + " features (shape " + shape(batch) +
                                "), the network has " + std::to_string(rows) + ".");
}

void check_pass(const Network& network, const Batch& x, const Activations& activations,
                const Batch& y) {
  check(activations.sizes == network.sizes,
        "activations were made for other layer sizes than those of " + network.name + ".");
  check_rows("x", x, network.sizes.front(), network);
  check_rows("y", y, network.sizes.back(), network);
  const int columns = activations.hidden.empty() ? x.columns : activations.hidden.front().columns;
  check(x.columns == columns && y.columns == columns,
        network.name + ": x " + shape(x) + " and y " + shape(y) +
            " must have the columns of the activations, " + std::to_string(columns) + ".");
}

Layer& layer_of(Network& network, int layer) {
  check(layer >= 0 && layer < static_cast<int>(network.layers.size()),
        network.name + " has layers 0 to " + std::to_string(network.layers.size() - 1) + ", got " +
            std::to_string(layer) + ".");
  return network.layers[layer];
}

void check_workspace(const Network& network, const TopologyWorkspace& workspace) {
  for (const Layer& layer : network.layers) {
    check(workspace.capacity >= layer.capacity && workspace.width >= std::max(layer.in, layer.out),
          "the workspace holds " + std::to_string(workspace.capacity) + " weights of at most " +
              std::to_string(workspace.width) + " features; " + network.name + " needs " +
              std::to_string(layer.capacity) + " and " +
              std::to_string(std::max(layer.in, layer.out)) + ".");
  }
}

void check_trainable(const Network& network) {
  check(network.layers.front().adam_m != nullptr,
        network.name + " is a target network: it has no moments and no gradients.");
}

void check_pair(const Network& source, const Network& target, const TopologyWorkspace& workspace) {
  check(source.sizes == target.sizes,
        "target " + target.name + " and source " + source.name + " differ in layer sizes.");
  check(target.layers.front().role != Role::kLearner,
        target.name + " is not a target network (make it with target=True).");
  for (size_t l = 0; l < target.layers.size(); ++l)
    check(source.layers[l].budget == target.layers[l].budget,
          "target " + target.name + " and source " + source.name + " differ in nnz of layer " +
              std::to_string(l) + ".");
  check_workspace(target, workspace);
}

void construct(Network* self, Arena& arena, const std::string& name, const std::vector<int>& sizes,
               const std::vector<int64_t>& nnz, const std::string& output, bool target,
               bool averaged) {
  check(sizes.size() >= 2 && nnz.size() + 1 == sizes.size(),
        name + ": expected one nnz for each layer between two sizes, got " +
            std::to_string(sizes.size()) + " sizes and " + std::to_string(nnz.size()) + " nnz.");
  check(output == "linear" || output == "tanh",
        name + ": output must be \"linear\" or \"tanh\", got \"" + output + "\".");
  std::vector<uint32_t> counts;
  for (size_t l = 0; l < nnz.size(); ++l) {
    for (int features : {sizes[l], sizes[l + 1]})
      check(features >= 1 && features <= kMostFeatures,
            name + ": a layer has 1 to " + std::to_string(kMostFeatures) + " features, got " +
                std::to_string(features) + ".");
    const int64_t all = static_cast<int64_t>(sizes[l]) * sizes[l + 1];
    check(nnz[l] >= 1 && nnz[l] <= all && all <= 0xfffffffe,
          name + ": layer " + std::to_string(l) + " has room for 1 to " + std::to_string(all) +
              " weights, got " + std::to_string(nnz[l]) + ".");
    counts.push_back(static_cast<uint32_t>(nnz[l]));
  }
  const Role role = !target ? Role::kLearner : averaged ? Role::kAveraged : Role::kCopied;
  new (self) Network(arena, name, sizes, counts, output == "tanh", role);
}

void backward(Network& network, const Batch& x, Activations& activations, const Batch& y,
              const Batch& dy, TopologyWorkspace& workspace, Gradients* gradients, const Batch* dx,
              int dx_first_row) {
  check_trainable(network);
  check_workspace(network, workspace);
  check_pass(network, x, activations, y);
  check_rows("dy", dy, network.sizes.back(), network);
  check(dy.columns == y.columns, network.name + ": dy must have the columns of y.");
  check(!gradients || gradients->count >= network.parameter_count(),
        network.name + " has " + std::to_string(network.parameter_count()) +
            " parameters, the gradients have room for " +
            std::to_string(gradients ? gradients->count : 0) + ".");
  if (dx) {
    check(dx_first_row >= 0 && dx_first_row < x.rows, "dx_first_row must be a row of x, 0 to " +
                                                          std::to_string(x.rows - 1) + ", got " +
                                                          std::to_string(dx_first_row) + ".");
    check_rows("dx", *dx, x.rows - dx_first_row, network);
    check(dx->columns == x.columns, network.name + ": dx must have the columns of x.");
  }
  network.backward(x, activations, y, dy, gradients, dx, dx_first_row, workspace);
}

void act(const Network& network, const Observation& observation, const Action& action,
         Activations& activations) {
  check(activations.sizes == network.sizes && activations.sample,
        "act: activations must have the sizes of " + network.name + " and columns=1.");
  check(observation.shape(0) == static_cast<size_t>(network.sizes.front()),
        "act: the observation has " + std::to_string(observation.shape(0)) + " numbers, " +
            network.name + " has " + std::to_string(network.sizes.front()) + " inputs.");
  check(action.shape(0) == static_cast<size_t>(network.sizes.back()),
        "act: the action has " + std::to_string(action.shape(0)) + " numbers, " + network.name +
            " has " + std::to_string(network.sizes.back()) + " outputs.");
  network.act(observation.data(), action.data(), activations);
}

std::vector<uint32_t> positions(Network& network, int index) {
  const Layer& layer = layer_of(network, index);
  std::vector<uint32_t> out;
  const Groups groups = layer.forward_view();
  for (int g = 0; g < groups.count; ++g) {
    for (int p = 1; p < kPatterns; ++p) {
      for (uint32_t i = groups.column_start[g * kPatterns + p];
           i < groups.column_start[g * kPatterns + p + 1]; ++i) {
        for (int lane = 0; lane < kGroupRows; ++lane)
          if (p >> lane & 1)
            out.push_back(static_cast<uint32_t>(g * kGroupRows + lane) * layer.in +
                          groups.columns[i]);
      }
    }
  }
  return out;
}

void pack_checked(Network& network, int index, TopologyWorkspace& workspace, int64_t nnz) {
  const Layer& layer = layer_of(network, index);
  check_workspace(network, workspace);
  const int64_t least = layer.role == Role::kLearner ? layer.budget : 0;
  check(nnz >= least && nnz <= layer.capacity,
        network.name + ": layer " + std::to_string(index) + " takes " + std::to_string(least) +
            " to " + std::to_string(layer.capacity) + " weights, got " + std::to_string(nnz) + ".");
  const uint64_t all = static_cast<uint64_t>(layer.in) * layer.out;
  for (int64_t k = 0; k < nnz; ++k)
    check(workspace.indices[k] < all && (k == 0 || workspace.indices[k] > workspace.indices[k - 1]),
          network.name + ": layer " + std::to_string(index) +
              " has indices that are not ascending positions below " + std::to_string(all) + ".");
  network.pack(index, workspace, static_cast<uint32_t>(nnz));
}

// A memoryview of one of a layer's arrays: def_array(name, count of the layer, where it lies).
template <class Count, class Data>
void def_array(nb::class_<Network>& c, const char* name, Count count, Data data) {
  c.def(
      name,
      [count, data, name](nb::handle_t<Network> self, int index) {
        Layer& layer = layer_of(nb::cast<Network&>(self), index);
        check(layer.role == Role::kLearner || data(layer),
              std::string(name) + ": a target has no moments.");
        return view(self, data(layer), count(layer));
      },
      "layer"_a);
}

// A memoryview of one of the workspace's arrays.
template <class Data>
void def_scratch(nb::class_<TopologyWorkspace>& c, const char* name, Data data) {
  c.def_prop_ro(name, [data](nb::handle_t<TopologyWorkspace> self) {
    auto& workspace = nb::cast<TopologyWorkspace&>(self);
    return view(self, data(workspace), workspace.capacity);
  });
}

}  // namespace
}  // namespace edgedst

using namespace edgedst;

void bind_network(nb::module_& m) {
  int count;
  const Kernels* const* tables = available_kernels(&count);
  nb::list names;
  for (int i = 0; i < count; ++i) names.append(tables[i]->name);
  m.attr("isas") = nb::tuple(names);
  m.def("isa", [] { return kernels().name; });
  const auto set_isa = [names](const std::string& name) {
    check(select_kernels(name.c_str()), "this CPU cannot run the kernel path \"" + name +
                                            "\"; it runs " + nb::str(names).c_str() + ".");
  };
  m.def("set_isa", set_isa, "name"_a);
  if (const char* wanted = std::getenv("EDGEDST_ISA"))
    check(select_kernels(wanted), std::string("EDGEDST_ISA: this CPU cannot run \"") + wanted +
                                      "\"; it runs " + nb::str(names).c_str() + ".");
  if (const char* wanted = std::getenv("EDGEDST_FORM")) {
    const std::string form = wanted;
    check(form == "plain" || form == "groups",
          "EDGEDST_FORM: layers are packed as \"plain\" rows or as \"groups\", got \"" + form +
              "\".");
    pin_form(form == "plain" ? Form::kPlain : Form::kGroups);
  }

  nb::class_<Region>(m, "_Region", nb::type_slots(region_slots));
  nb::class_<Activations>(m, "Activations")
      .def(nb::init<Arena&, const std::string&, const std::vector<int>&, int>(), "arena"_a,
           "name"_a, "sizes"_a, "columns"_a, nb::keep_alive<1, 2>());
  nb::class_<Gradients>(m, "Gradients")
      .def(nb::init<Arena&, const std::string&, size_t>(), "arena"_a, "name"_a, "count"_a,
           nb::keep_alive<1, 2>())
      .def_prop_ro("memory", [](nb::handle_t<Gradients> self) {
        const auto& gradients = nb::cast<Gradients&>(self);
        return view(self, gradients.data, gradients.count);
      });
  auto workspace = nb::class_<TopologyWorkspace>(m, "TopologyWorkspace");
  workspace.def(nb::init<Arena&, const std::string&, uint32_t, int, int>(), "arena"_a, "name"_a,
                "nnz"_a, "rows"_a, "columns"_a, nb::keep_alive<1, 2>());
  def_scratch(workspace, "indices", [](TopologyWorkspace& w) { return w.indices; });
  def_scratch(workspace, "values", [](TopologyWorkspace& w) { return w.values; });
  def_scratch(workspace, "adam_m", [](TopologyWorkspace& w) { return w.adam_m; });
  def_scratch(workspace, "adam_v", [](TopologyWorkspace& w) { return w.adam_v; });

  auto network = nb::class_<Network>(m, "Network");
  network
      .def("__init__", construct, "arena"_a, "name"_a, "sizes"_a, "nnz"_a, "output"_a,
           "target"_a = false, "averaged"_a = true, nb::keep_alive<1, 2>())
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
      .def(
          "initialise",
          [](Network& n, Random& random, TopologyWorkspace& workspace) {
            check_trainable(n);
            check_workspace(n, workspace);
            n.initialise(random, workspace);
          },
          "random"_a, "workspace"_a)
      .def(
          "copy_from",
          [](Network& n, const Network& source, TopologyWorkspace& workspace) {
            check_pair(source, n, workspace);
            n.copy_from(source, workspace);
          },
          "source"_a, "workspace"_a)
      .def(
          "forward",
          [](const Network& n, const Batch& x, Activations& activations, const Batch& y) {
            check_pass(n, x, activations, y);
            n.forward(x, activations, y);
          },
          "x"_a, "activations"_a, "y"_a)
      .def("backward", backward, "x"_a, "activations"_a, "y"_a, "dy"_a, "workspace"_a,
           "gradients"_a.none(), "dx"_a.none() = nb::none(), "dx_first_row"_a = 0)
      .def(
          "adam_step",
          [](Network& n, const Gradients& gradients, int64_t step, double learning_rate,
             double weight_decay, double beta_1, double beta_2, double epsilon) {
            check_trainable(n);
            check(step >= 1, "adam_step counts steps from 1, got " + std::to_string(step) + ".");
            check(gradients.count >= n.parameter_count(),
                  n.name + " has " + std::to_string(n.parameter_count()) +
                      " parameters, the gradients have room for " +
                      std::to_string(gradients.count) + ".");
            n.adam_step(gradients, step, learning_rate, weight_decay, beta_1, beta_2, epsilon);
          },
          "gradients"_a, "step"_a, "learning_rate"_a, "weight_decay"_a, "beta_1"_a = 0.9,
          "beta_2"_a = 0.999, "epsilon"_a = 1e-8)
      .def(
          "evolve",
          [](Network& n, Random& random, double drop_fraction, TopologyWorkspace& workspace) {
            check_trainable(n);
            check_workspace(n, workspace);
            check(drop_fraction >= 0 && drop_fraction <= 1,
                  "drop_fraction is a share in [0, 1], got " + std::to_string(drop_fraction) + ".");
            return n.evolve(random, drop_fraction, workspace);
          },
          "random"_a, "drop_fraction"_a, "workspace"_a)
      .def("act", act, "observation"_a, "action"_a, "activations"_a)
      .def(
          "positions",
          [](Network& n, int layer) { return nb::list(nb::cast(positions(n, layer))); }, "layer"_a)
      .def(
          "unpack",
          [](Network& n, int layer, TopologyWorkspace& workspace) {
            check_workspace(n, workspace);
            return unpack(layer_of(n, layer), workspace);
          },
          "layer"_a, "workspace"_a)
      .def("pack", pack_checked, "layer"_a, "workspace"_a, "nnz"_a)
      .def(
          "link",
          [](Network& n, const Network& source, bool linked, TopologyWorkspace& workspace) {
            check_pair(source, n, workspace);
            n.link(source, linked, workspace);
          },
          "source"_a, "linked"_a, "workspace"_a);
  const auto weights = [](const Layer& l) { return static_cast<size_t>(l.nnz); };
  const auto outputs = [](const Layer& l) { return static_cast<size_t>(l.out); };
  def_array(network, "values", weights, [](Layer& l) { return l.values; });
  def_array(network, "adam_m", weights, [](Layer& l) { return l.adam_m; });
  def_array(network, "adam_v", weights, [](Layer& l) { return l.adam_v; });
  def_array(network, "bias", outputs, [](Layer& l) { return l.bias; });
  def_array(network, "bias_adam_m", outputs, [](Layer& l) { return l.bias_adam_m; });
  def_array(network, "bias_adam_v", outputs, [](Layer& l) { return l.bias_adam_v; });
  m.def(
      "polyak_update",
      [](const Network& source, Network& target, float tau, TopologyWorkspace& workspace) {
        check_pair(source, target, workspace);
        check(target.layers.front().role == Role::kAveraged,
              target.name +
                  " is a target for copies (averaged=False): it has no room for the "
                  "union of two topologies.");
        target.polyak_update(source, tau, workspace);
      },
      "source"_a, "target"_a, "tau"_a, "workspace"_a);
}
