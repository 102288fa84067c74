// Python's view of the MuJoCo host; edgedst/_core.pyi documents it.
#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "mujoco_host.h"

namespace nb = nanobind;

namespace edgedst {
namespace {

// A contiguous buffer for the length of a call, without allocation.
class View {
 public:
  View(nb::handle object, const char* what, char format, Py_ssize_t item_bytes, int64_t count) {
    if (PyObject_GetBuffer(object.ptr(), &buffer_, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS) != 0)
      throw nb::python_error();
    const char* given = buffer_.format != nullptr ? buffer_.format : "B";
    if (given[0] == '@' || given[0] == '=' || given[0] == '<') ++given;
    const bool bytes = format == 'B' && buffer_.itemsize == 1;
    if (!(bytes || (given[0] == format && given[1] == '\0')) ||
        (count >= 0 && buffer_.len != count * item_bytes)) {
      const std::string sentence = std::string(what) + " holds " +
                                   std::to_string(buffer_.len / buffer_.itemsize) +
                                   " items of format '" + given + "', " + std::to_string(count) +
                                   " of format '" + format + "' were expected.";
      PyBuffer_Release(&buffer_);
      throw nb::value_error(sentence.c_str());
    }
  }
  ~View() { PyBuffer_Release(&buffer_); }
  View(const View&) = delete;
  View& operator=(const View&) = delete;
  template <typename T>
  const T* as() const {
    return static_cast<const T*>(buffer_.buf);
  }
  size_t bytes() const { return static_cast<size_t>(buffer_.len); }

 private:
  Py_buffer buffer_;
};

nb::object observation(MujocoHost& host) {
  const Py_ssize_t bytes = host.task().observation_size * static_cast<Py_ssize_t>(sizeof(double));
  nb::object raw = nb::steal(
      PyMemoryView_FromMemory(reinterpret_cast<char*>(host.observation()), bytes, PyBUF_WRITE));
  if (!raw.is_valid()) throw nb::python_error();
  return raw.attr("cast")("d");
}

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
                    const std::map<std::string, int64_t>&>(),
           nb::arg("library"), nb::arg("model_file"), nb::arg("task"), nb::arg("state_bits"))
      .def_prop_ro("observation_size",
                   [](MujocoHost& host) { return host.task().observation_size; })
      .def_prop_ro("action_size", [](MujocoHost& host) { return host.task().action_size; })
      // The memoryview is into the host: it keeps the host alive.
      .def_prop_ro("observation", observation, nb::keep_alive<0, 1>())
      .def_prop_ro("constants", &MujocoHost::constants)
      .def("reset", &MujocoHost::reset, nb::arg("seed"))
      .def(
          "step",
          [](MujocoHost& host, nb::handle action) {
            const View view(action, "action", 'f', sizeof(float), host.task().action_size);
            bool terminated = false;
            const double reward = host.step(view.as<float>(), &terminated);
            return nb::make_tuple(reward, terminated);
          },
          nb::arg("action"))
      .def("state", state)
      .def(
          "set_state",
          [](MujocoHost& host, nb::handle state) {
            const View view(state, "state", 'B', 1, -1);
            host.set_state(view.as<unsigned char>(), view.bytes());
          },
          nb::arg("state"))
      .def(
          "set_position_velocity",
          [](MujocoHost& host, nb::handle qpos, nb::handle qvel) {
            const View position(qpos, "qpos", 'd', sizeof(double), host.task().qpos_size);
            const View velocity(qvel, "qvel", 'd', sizeof(double), host.task().qvel_size);
            host.set_position_velocity(position.as<double>(), velocity.as<double>());
          },
          nb::arg("qpos"), nb::arg("qvel"))
      .def("take_warnings", &MujocoHost::take_warnings);
}
