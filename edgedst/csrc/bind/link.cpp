// Python's view of what passes between two processes.
#include "link/link.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include "bind/buffers.h"

namespace nb = nanobind;
using namespace nb::literals;

void bind_link(nb::module_& m) {
  using namespace edgedst;
  nb::class_<Cells>(m, "Cells")
      .def(nb::init<Arena&, const std::string&, int>(), "arena"_a, "name"_a, "count"_a,
           nb::keep_alive<1, 2>())
      .def("__getitem__", &Cells::get, "index"_a)
      .def("__setitem__", &Cells::set, "index"_a, "value"_a);
  nb::class_<Ring>(m, "Ring")
      .def(nb::init<Arena&, const std::string&, int, int>(), "arena"_a, "name"_a, "records"_a,
           "record_bytes"_a, nb::keep_alive<1, 2>())
      .def_prop_ro("capacity", &Ring::capacity)
      .def_prop_ro("waiting", &Ring::waiting)
      .def(
          "put",
          [](Ring& self, nb::handle record) {
            return self.put(
                BufferView<const uint8_t>(record, "put", "record", self.record_bytes()).data());
          },
          "record"_a)
      .def(
          "get",
          [](Ring& self, nb::handle record) {
            return self.get(
                BufferView<uint8_t>(record, "get", "record", self.record_bytes()).data());
          },
          "record"_a);
  nb::class_<Mailbox>(m, "Mailbox")
      .def(nb::init<Arena&, const std::string&, bool>(), "arena"_a, "name"_a, "writer"_a,
           nb::keep_alive<1, 2>())
      .def_prop_ro("mine", &Mailbox::mine)
      .def("publish", &Mailbox::publish)
      .def("take", &Mailbox::take);
}
