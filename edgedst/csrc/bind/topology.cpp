// The part of Python's Network that changes topology, and a target's following of its source.
#include <nanobind/nanobind.h>

#include "bind/checks.h"
#include "sparse/network.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace edgedst;

void bind_topology(nb::module_& m, nb::class_<Network>& network) {
  network
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
          "evolve",
          [](Network& n, Random& random, double drop_fraction, TopologyWorkspace& workspace) {
            check_trainable(n);
            check_workspace(n, workspace);
            EDGEDST_CHECK(
                drop_fraction >= 0 && drop_fraction <= 1,
                "drop_fraction is a share in [0, 1], got " + std::to_string(drop_fraction) + ".");
            return n.evolve(random, drop_fraction, workspace);
          },
          "random"_a, "drop_fraction"_a, "workspace"_a)
      .def(
          "link",
          [](Network& n, const Network& source, bool linked, TopologyWorkspace& workspace) {
            check_pair(source, n, workspace);
            n.link(source, linked, workspace);
          },
          "source"_a, "linked"_a, "workspace"_a);
  m.def(
      "polyak_update",
      [](const Network& source, Network& target, float tau, TopologyWorkspace& workspace) {
        check_pair(source, target, workspace);
        EDGEDST_CHECK(target.layers.front().role == Role::kAveraged,
                      target.name +
                          " is a target for copies (averaged=False): it has no room for the "
                          "union of two topologies.");
        target.polyak_update(source, tau, workspace);
      },
      "source"_a, "target"_a, "tau"_a, "workspace"_a);
}
