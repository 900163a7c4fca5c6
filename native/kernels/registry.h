// The kernels of each instruction set, for the planner, the tests and the benches, which all iterate this list.
#pragma once

#include "kernels/kernel.h"
#include "runtime/cpu.h"

namespace convtranspose {

// The table for `isa`, or nullptr if it was not compiled in. (Asking does not check that this machine can run it.)
const KernelTable* kernel_table(Isa isa);

// The table to use: the best one compiled in that the processor supports and that CONVTRANSPOSE_ISA allows.
// `isa` must be one that active_isa() returned.
const KernelTable& active_kernels();

}  // namespace convtranspose
