// The kernel tables that a test compares: all that this CPU can run, and the sixteen-lane ones
// lowered to what it has, for machines without AVX-512 (CMakeLists.txt, EDGEDST_WIDE).
#pragma once

#include <vector>

#include "kernels/table.h"

namespace edgedst {

extern const Kernels kernels_wide;

// Not selectable, unlike available_kernels(): only its functions can be called.
inline bool wide_runs() {
#if defined(EDGEDST_X86)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  return true;
#endif
}

inline std::vector<const Kernels*> all_tables() {
  int count;
  const Kernels* const* available = available_kernels(&count);
  std::vector<const Kernels*> tables(available, available + count);
  if (wide_runs()) tables.push_back(&kernels_wide);
  return tables;
}

}  // namespace edgedst
