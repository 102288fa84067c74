// Random layers and networks through every kernel table: shapes, densities, topologies, batches,
// forms, ranges, threads.
//
//   fuzz_test              the cases that each build runs
//   fuzz_test SEED COUNT   COUNT others; case i is `fuzz_test SEED+i 1`, which a failure names
#include <cstdlib>

#include "given_threads.h"
#include "layer_case.h"
#include "network_case.h"
#include "system/threads.h"
#include "tables.h"

using namespace edgedst;

namespace {

constexpr uint64_t kSeed = 1;
constexpr long kCases = 80;

int between(Random& random, int low, int high) {
  return low + static_cast<int>(random.below(high - low + 1));
}

// Mostly small: their edges are near. Some as large as a paper's layer.
int draw_size(Random& random) {
  const uint32_t kind = random.below(8);
  return kind < 5   ? between(random, 1, 20)
         : kind < 7 ? between(random, 1, 70)
                    : between(random, 1, 300);
}

std::vector<uint32_t> draw_positions(int in, int out, Random& random) {
  enum { kUniform, kAll, kNone, kFewRows, kFewColumns, kBand, kGroups, kKinds };
  const uint32_t kind = random.below(kKinds);
  const float density = random.below(2) ? random.uniform() : 0.1f * random.uniform();
  const int width = between(random, 1, in);
  std::vector<bool> row_used(out), column_used(in);
  for (int row = 0; row < out; ++row) row_used[row] = random.uniform() < density;
  for (int column = 0; column < in; ++column) column_used[column] = random.uniform() < density;
  std::vector<uint32_t> chosen;
  for (int row = 0; row < out; ++row) {
    for (int column = 0; column < in; ++column) {
      const int from_band = (column - row % in + in) % in;
      const bool connected = kind == kUniform      ? random.uniform() < density
                             : kind == kAll        ? true
                             : kind == kNone       ? false
                             : kind == kFewRows    ? row_used[row]
                             : kind == kFewColumns ? column_used[column]
                             : kind == kBand       ? from_band < width
                                                   : column_used[(column + row / 4) % in];
      if (connected) chosen.push_back(static_cast<uint32_t>(row * in + column));
    }
  }
  return chosen;
}

void check_layer(Random& random) {
  const int in = draw_size(random), out = draw_size(random);
  const int batch = random.below(4) ? between(random, 1, 40) : between(random, 1, 300);
  const Form form = static_cast<Form>(random.below(3));
  const LayerCase c(in, out, batch, draw_positions(in, out, random), form, false, random);
  for (int i = 0; i < 3; ++i) {
    const int groups = c.forward->count(), groups_t = c.transposed->count();
    const int first = between(random, 0, groups), last = between(random, first, groups);
    const int first_t = between(random, 0, groups_t), last_t = between(random, first_t, groups_t);
    const int first_row = random.below(2) ? between(random, 0, in) : 0;
    const bool with_bias = random.below(2);
    const Epilogue epilogue = static_cast<Epilogue>(random.below(3));
    for (const Kernels* table : all_tables()) {
      check_spmm(*table, c, false, with_bias, epilogue, first, last, 0);
      check_spmm(*table, c, true, with_bias, epilogue, first_t, last_t, first_row);
      check_sddmm(*table, c, first, last);
      check_spmm_t_sddmm(*table, c, true, first_t, last_t);
      check_gather(*table, c, first_t, last_t);
      check_spmv(*table, c, random.below(2) ? Epilogue::kLinear : Epilogue::kRelu);
    }
  }
}

void check_network(Random& random) {
  const int layers = between(random, 1, NetworkCase::kMostLayers);
  const int batch =
      random.below(4) ? between(random, 1, 20) : between(random, 1, NetworkCase::kMostSamples);
  std::vector<int> sizes = {between(random, 1, NetworkCase::kMostUnits)};
  std::vector<uint32_t> nnz;
  for (int l = 0; l < layers; ++l) {
    sizes.push_back(between(random, 1, NetworkCase::kMostUnits));
    const uint32_t all = static_cast<uint32_t>(sizes[l] * sizes[l + 1]);
    nnz.push_back(random.below(4) ? 1 + random.below(all) : all);
  }
  const Form form = static_cast<Form>(random.below(3));
  const int thread_count = between(random, 1, 3);
  std::string name =
      "batch " + std::to_string(batch) + ", " + std::to_string(thread_count) + " threads";
  for (int l = 0; l < layers; ++l)
    name += ", " + std::to_string(sizes[l]) + " -> " + std::to_string(sizes[l + 1]) + " of " +
            std::to_string(nnz[l]);
  set_threads(thread_count);
  pin_form(form);
  int count;
  const Kernels* const* tables = available_kernels(&count);
  const uint64_t seed = random.integer();
  for (int i = 0; i < count; ++i) {
    select_kernels(tables[i]->name);
    Random same(seed);  // each table sees the same numbers
    NetworkCase(tables[i]->name + (", " + name), sizes, nnz, batch, same).run(3);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 1 && argc != 3) {
    std::fprintf(stderr, "Usage: fuzz_test [SEED COUNT]\n");
    return 2;
  }
  const uint64_t seed = argc == 3 ? std::strtoull(argv[1], nullptr, 10) : kSeed;
  const long count = argc == 3 ? std::strtol(argv[2], nullptr, 10) : kCases;
  std::printf("fuzz_test %llu %ld\n", static_cast<unsigned long long>(seed), count);
  for (long i = 0; i < count; ++i) {
    const long failed = tally.failed;
    Random random(seed + i);
    check_layer(random);
    check_network(random);
    if (tally.failed > failed)
      std::printf("  by fuzz_test %llu 1\n", static_cast<unsigned long long>(seed + i));
  }
  set_threads(1);
  return report();
}
