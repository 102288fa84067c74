// Every kernel of a packed layer, of every table that this CPU can run, at every edge. Plain C++,
// so that it runs on a board and under an emulator without Python.

#include "layer_case.h"
#include "tables.h"

using namespace edgedst;

namespace {

// All that a network asks of a layer's kernels, and each group alone, as a thread may be given it.
void check_layer(const Kernels& table, const LayerCase& c) {
  const int groups = c.forward->count(), groups_t = c.transposed->count();
  check_spmm(table, c, false, true, Epilogue::kLinear, 0, groups, 0);
  check_spmm(table, c, false, true, Epilogue::kRelu, 0, groups, 0);
  check_spmm(table, c, true, false, Epilogue::kReluMask, 0, groups_t, 0);
  check_sddmm(table, c, 0, groups);
  for (bool both : {true, false}) check_spmm_t_sddmm(table, c, both, 0, groups_t);
  check_spmv(table, c, Epilogue::kLinear);
  check_spmv(table, c, Epilogue::kRelu);
  check_gather(table, c, 0, groups_t);
  for (int g = 0; g < groups; ++g) {
    check_spmm(table, c, false, true, Epilogue::kRelu, g, g + 1, 0);
    check_sddmm(table, c, g, g + 1);
  }
  for (int g = 0; g < groups_t; ++g) check_spmm_t_sddmm(table, c, true, g, g + 1);
  // A critic's dx begins at the action's first row, which need not begin a group.
  for (int first_row : {1, 2, 3, 5, c.in - 1}) {
    if (first_row < 1 || first_row >= c.in) continue;
    const int skipped = first_row / kGroupRows;
    check_spmm(table, c, true, false, Epilogue::kLinear, skipped, groups_t, first_row);
    check_gather(table, c, skipped, groups_t);
  }
}

// Which of a layer's positions are connected.
template <class Connected>
std::vector<uint32_t> positions(int in, int out, Connected connected) {
  std::vector<uint32_t> chosen;
  for (int row = 0; row < out; ++row)
    for (int column = 0; column < in; ++column)
      if (connected(row, column)) chosen.push_back(static_cast<uint32_t>(row * in + column));
  return chosen;
}

void check_shape(int in, int out, int batch) {
  Random random(static_cast<uint64_t>(in) << 32 | static_cast<uint32_t>(out << 10 | batch));
  const auto all = [](int, int) { return true; };
  const auto share = [&random](double density) {
    return [&random, density](int, int) { return random.uniform() < density; };
  };
  const std::vector<uint32_t> topologies[] = {
      {},
      {static_cast<uint32_t>(in * out - 1)},
      positions(in, out, share(0.1)),
      positions(in, out, share(0.5)),
      positions(in, out, [](int row, int) { return row % 3 == 1; }),        // empty rows
      positions(in, out, [](int, int column) { return column % 4 == 2; }),  // empty columns
      positions(in, out, all),
  };
  const auto check = [&](const std::vector<uint32_t>& topology, Form form, bool zero_weights) {
    const LayerCase c(in, out, batch, topology, form, zero_weights, random);
    for (const Kernels* table : all_tables()) check_layer(*table, c);
  };
  for (Form form : {Form::kPlain, Form::kGroups}) {
    for (const std::vector<uint32_t>& topology : topologies) check(topology, form, false);
    check(positions(in, out, all), form, true);
  }
}

// Every pattern's bucket, of 0 to 9 columns, before one of the group's other rows. One row more
// begins a group whose weights follow.
void check_buckets() {
  constexpr int in = 12, out = kGroupRows + 1;
  Random random(5);
  for (int pattern = 1; pattern < kPatterns; ++pattern) {
    for (int columns = 0; columns <= 9; ++columns) {
      const auto connected = [&](int row, int column) {
        return row == kGroupRows || (((column < columns) == (pattern >> row & 1)) && column < 11);
      };
      const LayerCase c(in, out, 1, positions(in, out, connected), Form::kGroups, false, random);
      for (const Kernels* table : all_tables()) check_layer(*table, c);
    }
  }
}

// A NaN passes ReLU, in one sample's action as in a batch, and its mask on the way back; what is
// not connected to it knows nothing of it.
template <class Connected>
void check_nan(Form form, Connected connected) {
  constexpr int in = 11, out = 9, batch = 17;
  Random random(7);
  const LayerCase c(in, out, batch, positions(in, out, connected), form, false, random, true);
  for (const Kernels* table : all_tables()) check_layer(*table, c);
}

}  // namespace

int main() {
  for (const Kernels* table : all_tables()) std::printf("%s ", table->name);
  std::printf("\n");
  // One sample, up to one past a vector of each width; rows up to one past two groups.
  for (int batch : {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33})
    for (int out : {1, 2, 3, 4, 5, 9}) check_shape(11, out, batch);
  // As many columns as a weight gradient takes at once, twice, three times, and each number more.
  for (int in = 1; in <= 25; ++in)
    for (int out : {1, 3, 4, 6}) check_shape(in, out, 7);
  // Each number of vectors that tiles may have to share, the paper's batch of 100 among them.
  for (int batch = 18; batch <= 66; ++batch) check_shape(10, 6, batch);
  for (int batch : {100, 112, 113, 224, 225, 256}) check_shape(17, 6, batch);
  check_shape(64, 66, 100);
  check_buckets();
  for (Form form : {Form::kPlain, Form::kGroups}) {
    check_nan(form, [](int, int) { return true; });
    check_nan(form, [](int row, int column) { return (row + column) % 2 == 0; });
    check_nan(form, [](int row, int column) { return row % kGroupRows == 3 || column % 3 > 0; });
  }
  return report();
}
