// Every kernel for one instruction set: the compiler's flags choose the vector width, EDGEDST_ISA
// names the table.
#include "kernels/backward.h"
#include "kernels/batch_norm.h"
#include "kernels/elementwise.h"
#include "kernels/normals.h"
#include "kernels/product.h"
#include "kernels/single_sample.h"
#include "kernels/table.h"
#include "kernels/weight_gradient.h"

namespace edgedst {

#define EDGEDST_TABLE_(isa) kernels_##isa
#define EDGEDST_TABLE(isa) EDGEDST_TABLE_(isa)
#define EDGEDST_NAME_(isa) #isa
#define EDGEDST_NAME(isa) EDGEDST_NAME_(isa)

extern const Kernels EDGEDST_TABLE(EDGEDST_ISA);
const Kernels EDGEDST_TABLE(EDGEDST_ISA) = {EDGEDST_NAME(EDGEDST_ISA),
                                            spmm,
                                            sddmm,
                                            spmm_t_sddmm,
                                            row_sums,
                                            batch_norm,
                                            batch_norm_back,
                                            spmv,
                                            gather,
                                            tanh,
                                            adam,
                                            polyak,
                                            select_band,
                                            zero_below,
                                            normals};

}  // namespace edgedst
