// What is read out of MuJoCo's printouts; MuJoCo itself is not needed.
#include "mujoco/search.h"

#include <cstdio>
#include <stdexcept>
#include <vector>

#include "check.h"

using namespace edgedst;

namespace {

using Numbers = std::vector<double>;

void check_numbers_of_mjdata_stand_under_their_name() {
  const std::string text = "\nQPOS\n  1 -2.5e-3\n 0.10000000000000001\n\nQVEL\n\nXQPOS\n 7\n";
  expect(numbers_under(text, "QPOS") == (Numbers{1, -2.5e-3, 0.1}), "numbers on several lines");
  expect(numbers_under(text, "QVEL").empty(), "a name without numbers has none");
  expect(numbers_under(text, "POS").empty(), "the end of a name is no name");
}

void check_numbers_of_mjmodel_stand_beside_their_name_with_each_part() {
  const std::string text =
      "BODY 0:\n  name  body_mass\n  body_mass   0 \n  body_subtreemass 9\n\n"
      "BODY 1:\n  body_mass   3.5 \n  body_massive 4\n  body_inertia  \n  5\n  dof_damping 1 2";
  expect(numbers_beside(text, "body_mass") == (Numbers{0, 3.5}), "those of each body");
  expect(numbers_beside(text, "body_inertia").empty(), "not those of the next line");
  expect(numbers_beside(text, "dof_damping") == (Numbers{1, 2}), "the text's end ends a line");
  expect(numbers_beside(text, "mass").empty(), "the end of a name is no name");
}

void check_a_printout_is_read_back_and_an_empty_one_is_told() {
  const MemoryFile file;
  bool told = false;
  try {
    file.text();
  } catch (const std::runtime_error&) {
    told = true;
  }
  expect(told, "an empty printout is an error");
  std::FILE* const printed = std::fopen(file.path(), "w");
  expect(printed != nullptr, "%s can be opened", file.path());
  if (printed == nullptr) return;
  for (int line = 0; line < 2000; ++line) std::fprintf(printed, "  body_mass %d\n", line);
  std::fclose(printed);
  const size_t count = numbers_beside("\n" + file.text(), "body_mass").size();
  expect(count == 2000, "%zu of 2000 lines came back", count);
}

}  // namespace

int main() {
  check_numbers_of_mjdata_stand_under_their_name();
  check_numbers_of_mjmodel_stand_beside_their_name_with_each_part();
  check_a_printout_is_read_back_and_an_empty_one_is_told();
  return report();
}
