// Python's view of memory and of random numbers.
#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <new>

#include "bind/buffers.h"
#include "memory/arena.h"
#include "memory/batch.h"
#include "numbers/random.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace edgedst {
namespace {

int get_region_buffer(PyObject* self, Py_buffer* view, int flags) {
  const Region& region = *nb::inst_ptr<Region>(self);
  return PyBuffer_FillInfo(view, self, region.data, static_cast<Py_ssize_t>(region.bytes), 0,
                           flags);
}

PyType_Slot region_slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(get_region_buffer)},
                              {0, nullptr}};

void bind_arena(nb::module_& m) {
  nb::class_<Arena>(m, "Arena")
      .def(
          "__init__",
          [](Arena* self, nb::object capacity_bytes, int file) {
            const bool measuring = capacity_bytes.is_none();
            size_t bytes = 0;
            if (!measuring && !nb::try_cast(capacity_bytes, bytes))
              throw std::invalid_argument("Arena: capacity_bytes is " +
                                          std::string(nb::repr(capacity_bytes).c_str()) +
                                          ", expected a number of bytes, or None to measure");
            new (self) Arena(bytes, measuring, file);
          },
          "capacity_bytes"_a.none() = nb::none(), "file"_a = -1)
      .def("regions", &Arena::regions)
      .def_prop_ro("used_bytes", &Arena::used_bytes)
      .def_prop_ro("measuring", &Arena::measuring);
}

void bind_random(nb::module_& m) {
  nb::class_<Random>(m, "Random")
      .def(nb::init<uint64_t, uint32_t>(), "seed"_a, "stream"_a = 0)
      .def_rw("counter", &Random::counter)
      .def("integer", &Random::integer)
      .def(
          "uniform",
          [](Random& self, nb::handle values, double low, double high) {
            const BufferView<float> view(values, "uniform", "values", -1);
            const float start = static_cast<float>(low), width = static_cast<float>(high - low);
            for (size_t i = 0; i < view.size(); ++i)
              view.data()[i] = start + width * self.uniform();
          },
          "values"_a, "low"_a, "high"_a)
      .def(
          "normal",
          [](Random& self, nb::handle values, double sigma) {
            const BufferView<float> view(values, "normal", "values", -1);
            for (size_t i = 0; i < view.size(); ++i)
              view.data()[i] = static_cast<float>(sigma) * self.normal();
          },
          "values"_a, "sigma"_a)
      .def(
          "disturb",
          [](Random& self, nb::handle values, nb::handle sigmas) {
            const BufferView<double> view(values, "disturb", "values", -1);
            const BufferView<const double> sigma(sigmas, "disturb", "sigmas",
                                                 static_cast<int64_t>(view.size()));
            for (size_t i = 0; i < view.size(); ++i)
              if (sigma.data()[i] != 0)
                view.data()[i] += sigma.data()[i] * static_cast<double>(self.normal());
          },
          "values"_a, "sigmas"_a);
}

// A memoryview of a Batch holds the Batch, which holds its Arena: no view outlives its memory.
int get_batch_buffer(PyObject* self, Py_buffer* view, int flags) {
  const Batch& batch = *nb::inst_ptr<Batch>(self);
  if (!batch.data) {
    PyErr_SetString(PyExc_BufferError, "a Batch on a measuring arena has no memory");
    view->obj = nullptr;
    return -1;
  }
  const Py_ssize_t bytes = static_cast<Py_ssize_t>(sizeof(float)) * batch.rows * batch.stride;
  return PyBuffer_FillInfo(view, self, batch.data, bytes, 0, flags);
}

PyType_Slot batch_slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(get_batch_buffer)},
                             {0, nullptr}};

void bind_batch(nb::module_& m) {
  nb::class_<Batch>(m, "Batch", nb::type_slots(batch_slots))
      .def(
          "__init__",
          [](Batch* self, Arena& arena, const std::string& name, int rows, int columns) {
            new (self) Batch(take_batch(arena, name, rows, columns));
          },
          "arena"_a, "name"_a, "rows"_a, "columns"_a, nb::keep_alive<1, 2>())
      .def_ro("rows", &Batch::rows)
      .def_ro("columns", &Batch::columns)
      .def_ro("stride", &Batch::stride)
      .def("slice", &Batch::slice, "start"_a, "stop"_a, nb::keep_alive<0, 1>())
      .def(
          "fill", [](const Batch& self, double value) { fill(self, static_cast<float>(value)); },
          "value"_a)
      .def_prop_ro("memory", [](nb::handle_t<Batch> self) {
        if (!nb::cast<const Batch&>(self).data)
          throw std::invalid_argument("memory: the batch is on a measuring arena and has none");
        const nb::object bytes = nb::steal(PyMemoryView_FromObject(self.ptr()));
        if (!bytes.is_valid()) throw nb::python_error();
        return bytes.attr("cast")("f");
      });
}

// The columns of one batch, then those of the other.
void join(const Batch& first, const Batch& second, const Batch& joint) {
  require_memory("join", "first", first);
  require_shape("join", "second", second, first.rows, second.columns);
  require_shape("join", "joint", joint, first.rows, first.columns + second.columns);
  for (int r = 0; r < joint.rows; ++r)
    std::copy_n(second.row(r), second.columns,
                std::copy_n(first.row(r), first.columns, joint.row(r)));
  clear_padding(joint);
}

void split(const Batch& joint, const Batch& first, const Batch& second) {
  require_memory("split", "first", first);
  require_shape("split", "second", second, first.rows, second.columns);
  require_shape("split", "joint", joint, first.rows, first.columns + second.columns);
  for (int r = 0; r < joint.rows; ++r) {
    std::copy_n(joint.row(r), first.columns, first.row(r));
    std::copy_n(joint.row(r) + first.columns, second.columns, second.row(r));
  }
  clear_padding(first);
  clear_padding(second);
}

}  // namespace
}  // namespace edgedst

void bind_memory(nb::module_& m) {
  using namespace edgedst;
  m.def("join", join, "first"_a, "second"_a, "joint"_a);
  m.def("split", split, "joint"_a, "first"_a, "second"_a);
  nb::class_<Region>(m, "_Region", nb::type_slots(region_slots));
  bind_arena(m);
  bind_batch(m);
  bind_random(m);
}
