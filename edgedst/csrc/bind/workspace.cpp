// Python's view of what a network works in: activations, gradients, the topology workspace.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bind/buffers.h"
#include "sparse/network.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace edgedst {
namespace {

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

void bind_workspace(nb::module_& m) {
  nb::class_<Activations>(m, "Activations")
      .def(nb::init<Arena&, const std::string&, const std::vector<int>&, int, bool,
                    std::optional<size_t>>(),
           "arena"_a, "name"_a, "sizes"_a, "columns"_a, "batch_statistics"_a = false,
           "over"_a.none() = nb::none(), nb::keep_alive<1, 2>());
  nb::class_<Gradients>(m, "Gradients")
      .def(nb::init<Arena&, const std::string&, size_t>(), "arena"_a, "name"_a, "count"_a,
           nb::keep_alive<1, 2>())
      .def_prop_ro("memory", [](nb::handle_t<Gradients> self) {
        const auto& gradients = nb::cast<Gradients&>(self);
        return view(self, gradients.data, gradients.count);
      });
  auto workspace = nb::class_<TopologyWorkspace>(m, "TopologyWorkspace");
  workspace.def(nb::init<Arena&, const std::string&, uint32_t, int, int, std::optional<size_t>>(),
                "arena"_a, "name"_a, "nnz"_a, "rows"_a, "columns"_a, "over"_a.none() = nb::none(),
                nb::keep_alive<1, 2>());
  def_scratch(workspace, "indices", [](TopologyWorkspace& w) { return w.indices; });
  def_scratch(workspace, "values", [](TopologyWorkspace& w) { return w.values; });
  def_scratch(workspace, "adam_m", [](TopologyWorkspace& w) { return w.adam_m; });
  def_scratch(workspace, "adam_v", [](TopologyWorkspace& w) { return w.adam_v; });
}
