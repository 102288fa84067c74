// The part of Python's Network that reads and writes its layers' weights and moments.
#include <nanobind/nanobind.h>
#include <nanobind/stl/vector.h>

#include "bind/buffers.h"
#include "bind/checks.h"
#include "sparse/network.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace edgedst {
namespace {

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
  EDGEDST_CHECK(nnz >= least && nnz <= layer.capacity,
                network.name + ": layer " + std::to_string(index) + " takes " +
                    std::to_string(least) + " to " + std::to_string(layer.capacity) +
                    " weights, got " + std::to_string(nnz) + ".");
  const uint64_t all = static_cast<uint64_t>(layer.in) * layer.out;
  for (int64_t k = 0; k < nnz; ++k)
    EDGEDST_CHECK(
        workspace.indices[k] < all && (k == 0 || workspace.indices[k] > workspace.indices[k - 1]),
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
        const size_t size = count(layer);
        EDGEDST_CHECK(layer.role == Role::kLearner || data(layer),
                      std::string(name) + ": a target has no moments.");
        return view(self, data(layer), size);
      },
      "layer"_a);
}

}  // namespace
}  // namespace edgedst

using namespace edgedst;

void bind_layers(nb::class_<Network>& network) {
  network
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
      .def("pack", pack_checked, "layer"_a, "workspace"_a, "nnz"_a);
  const auto weights = [](const Layer& l) { return static_cast<size_t>(l.nnz); };
  const auto outputs = [](const Layer& l) { return static_cast<size_t>(l.out); };
  def_array(network, "values", weights, [](Layer& l) { return l.values; });
  def_array(network, "adam_m", weights, [](Layer& l) { return l.adam_m; });
  def_array(network, "adam_v", weights, [](Layer& l) { return l.adam_v; });
  def_array(network, "bias", outputs, [](Layer& l) { return l.bias; });
  def_array(network, "bias_adam_m", outputs, [](Layer& l) { return l.bias_adam_m; });
  def_array(network, "bias_adam_v", outputs, [](Layer& l) { return l.bias_adam_v; });
  const auto normalised = [](const Layer& l) {
    EDGEDST_CHECK(l.running_mean, "the layer has no batch normalisation.");
    return static_cast<size_t>(l.out);
  };
  def_array(network, "running_mean", normalised, [](Layer& l) { return l.running_mean; });
  def_array(network, "running_variance", normalised, [](Layer& l) { return l.running_variance; });
}
