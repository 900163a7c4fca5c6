// The table of each instruction set. Which of them are compiled in is the registry's business.
#pragma once

#include "kernels/kernel.h"

namespace convtranspose {

extern const KernelTable kBaselineKernels;
extern const KernelTable kAvx2Kernels;
extern const KernelTable kAvx512Kernels;
extern const KernelTable kNeonKernels;
extern const TermKernels kAmxKernels;  // beside those for AVX-512

}  // namespace convtranspose
