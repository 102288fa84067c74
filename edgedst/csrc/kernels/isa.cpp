// Which kernel table runs: the best that this CPU has, or the one that EDGEDST_ISA names (tests,
// comparisons).
#include <cstdlib>
#include <cstring>

#include "kernels/table.h"

namespace edgedst {

extern const Kernels kernels_scalar;
#if defined(EDGEDST_X86)
extern const Kernels kernels_sse2, kernels_avx2, kernels_avx512;
#elif defined(EDGEDST_AARCH64)
extern const Kernels kernels_neon;
#else
extern const Kernels kernels_generic;
#endif

const Kernels* const* available_kernels(int* count) {
  static const Kernels* tables[4];
  static const int found = [] {
    int n = 0;
    tables[n++] = &kernels_scalar;
#if defined(EDGEDST_X86)
    __builtin_cpu_init();
    tables[n++] = &kernels_sse2;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
      tables[n++] = &kernels_avx2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw"))
      tables[n++] = &kernels_avx512;
#elif defined(EDGEDST_AARCH64)
    tables[n++] = &kernels_neon;
#else
    tables[n++] = &kernels_generic;
#endif
    return n;
  }();
  *count = found;
  return tables;
}

namespace {

const Kernels* find(const char* name) {
  int count;
  const Kernels* const* tables = available_kernels(&count);
  for (int i = 0; i < count; ++i)
    if (std::strcmp(tables[i]->name, name) == 0) return tables[i];
  return nullptr;
}

const Kernels* best() {
  int count;
  const Kernels* const* tables = available_kernels(&count);
  return tables[count - 1];
}

const Kernels* selected = nullptr;

}  // namespace

const Kernels& kernels() {
  if (!selected) selected = best();
  return *selected;
}

bool select_kernels(const char* name) {
  const Kernels* table = find(name);
  if (table) selected = table;
  return table != nullptr;
}

}  // namespace edgedst
