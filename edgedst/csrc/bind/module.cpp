// The Python module: what edgedst/_core.pyi promises. Each part of the core has a binding file of
// its own.
#include <nanobind/nanobind.h>

namespace nb = nanobind;

void bind_system(nb::module_& m);
void bind_kernels(nb::module_& m);
void bind_memory(nb::module_& m);
void bind_history(nb::module_& m);
void bind_replay(nb::module_& m);
void bind_losses(nb::module_& m);
void bind_gaussian(nb::module_& m);
void bind_workspace(nb::module_& m);
void bind_network(nb::module_& m);
void bind_link(nb::module_& m);
void bind_mujoco(nb::module_& m);

NB_MODULE(_core, m) {
  bind_system(m);
  bind_kernels(m);
  bind_memory(m);
  bind_history(m);
  bind_replay(m);
  bind_losses(m);
  bind_gaussian(m);
  bind_workspace(m);
  bind_network(m);
  bind_link(m);
  bind_mujoco(m);
}
