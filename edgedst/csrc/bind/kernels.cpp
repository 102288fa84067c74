// Python's view of the kernel choice, and the environment variables that make it.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <cstdlib>

#include "bind/checks.h"
#include "kernels/table.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace edgedst;

void bind_kernels(nb::module_& m) {
  int count;
  const Kernels* const* tables = available_kernels(&count);
  nb::list names;
  for (int i = 0; i < count; ++i) names.append(tables[i]->name);
  m.attr("isas") = nb::tuple(names);
  m.def("isa", [] { return kernels().name; });
  const auto set_isa = [names](const std::string& name) {
    EDGEDST_CHECK(select_kernels(name.c_str()), "this CPU cannot run the kernel path \"" + name +
                                                    "\"; it runs " + nb::str(names).c_str() + ".");
  };
  m.def("set_isa", set_isa, "name"_a);
  if (const char* wanted = std::getenv("EDGEDST_ISA"))
    EDGEDST_CHECK(select_kernels(wanted), std::string("EDGEDST_ISA: this CPU cannot run \"") +
                                              wanted + "\"; it runs " + nb::str(names).c_str() +
                                              ".");
  if (const char* wanted = std::getenv("EDGEDST_FORM")) {
    const std::string form = wanted;
    EDGEDST_CHECK(form == "plain" || form == "groups",
                  "EDGEDST_FORM: layers are packed as \"plain\" rows or as \"groups\", got \"" +
                      form + "\".");
    pin_form(form == "plain" ? Form::kPlain : Form::kGroups);
  }
}
