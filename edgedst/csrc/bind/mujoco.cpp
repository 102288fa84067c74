// Python's view of the MuJoCo host; edgedst/_core.pyi documents it.
#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bind/buffers.h"
#include "mujoco/host.h"

namespace nb = nanobind;

namespace edgedst {
namespace {

nb::bytes state(MujocoHost& host) {
  nb::object out =
      nb::steal(PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(host.state_bytes())));
  if (!out.is_valid()) throw nb::python_error();
  host.state(reinterpret_cast<unsigned char*>(PyBytes_AsString(out.ptr())));
  return nb::borrow<nb::bytes>(out);
}

}  // namespace
}  // namespace edgedst

void bind_mujoco(nb::module_& module) {
  using namespace edgedst;
  nb::register_exception_translator(
      [](const std::exception_ptr& pointer, void*) {
        try {
          std::rethrow_exception(pointer);
        } catch (const MujocoLibraryError& error) {
          PyErr_SetString(PyExc_OSError, error.what());
        }
      },
      nullptr);

  nb::class_<MujocoHost>(module, "MujocoHost")
      .def(nb::init<const std::string&, const std::string&, const std::string&,
                    const std::map<std::string, int64_t>&, const std::vector<std::string>&>(),
           nb::arg("library"), nb::arg("model_file"), nb::arg("task"), nb::arg("state_bits"),
           nb::arg("factors") = std::vector<std::string>())
      .def_prop_ro("observation_size",
                   [](MujocoHost& host) { return host.task().observation_size; })
      .def_prop_ro("action_size", [](MujocoHost& host) { return host.task().action_size; })
      .def_prop_ro("step_seconds", [](MujocoHost& host) { return host.task().step_seconds(); })
      .def_prop_ro("observation",
                   [](nb::handle_t<MujocoHost> self) {
                     auto& host = nb::cast<MujocoHost&>(self);
                     return view(self, host.observation(), host.task().observation_size);
                   })
      .def_prop_ro("position",
                   [](nb::handle_t<MujocoHost> self) {
                     auto& host = nb::cast<MujocoHost&>(self);
                     return view(self, host.position(), host.task().qpos_size);
                   })
      .def_prop_ro("constants", &MujocoHost::constants)
      .def_prop_ro("idle_factors", &MujocoHost::idle_factors)
      .def(
          "multiply",
          [](MujocoHost& host, nb::handle factors) {
            const BufferView<const double> view(factors, "multiply", "factors",
                                                static_cast<int>(host.factor_count()));
            host.multiply(view.data());
          },
          nb::arg("factors"))
      .def("reset", &MujocoHost::reset, nb::arg("seed"))
      .def(
          "step",
          [](MujocoHost& host, nb::handle action) {
            const BufferView<const float> view(action, "step", "action", host.task().action_size);
            bool terminated = false;
            const double reward = host.step(view.data(), &terminated);
            return nb::make_tuple(reward, terminated);
          },
          nb::arg("action"))
      .def("state", state)
      .def(
          "set_state",
          [](MujocoHost& host, nb::handle state) {
            const BufferView<const uint8_t> view(state, "set_state", "state", -1);
            host.set_state(view.data(), view.size());
          },
          nb::arg("state"))
      .def(
          "set_position_velocity",
          [](MujocoHost& host, nb::handle qpos, nb::handle qvel) {
            constexpr const char* kWhere = "set_position_velocity";
            const BufferView<const double> position(qpos, kWhere, "qpos", host.task().qpos_size);
            const BufferView<const double> velocity(qvel, kWhere, "qvel", host.task().qvel_size);
            host.set_position_velocity(position.data(), velocity.data());
          },
          nb::arg("qpos"), nb::arg("qvel"))
      .def("take_warnings", &MujocoHost::take_warnings);
}
