// Python's view of threads and of this process.
#include <nanobind/nanobind.h>

#include "system/process.h"
#include "system/threads.h"

namespace nb = nanobind;
using namespace nb::literals;

void bind_system(nb::module_& m) {
  using namespace edgedst;
  m.def("set_threads", &set_threads, "count"_a);
  m.def("release_file_pages", &release_file_pages);
  m.def("forbid_huge_pages", &forbid_huge_pages);
  m.def("lock_memory", &lock_memory);
  m.def(
      "hold_name",
      [](const nb::bytes& name) { return hold_name(std::string(name.c_str(), name.size())); },
      "name"_a);
  m.def(
      "set_last_words",
      [](const nb::bytes& words) { set_last_words(std::string(words.c_str(), words.size())); },
      "words"_a);
}
