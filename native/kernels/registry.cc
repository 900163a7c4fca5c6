#include "kernels/registry.h"

#include "kernels/tables.h"

namespace convtranspose {

#if defined(CONVTRANSPOSE_HAVE_AVX512) && defined(CONVTRANSPOSE_HAVE_AMX)
namespace {

// Put together here: the unit of an instruction set must not run code before main, on processors that lack it.
KernelTable with_amx(KernelTable table) {
  table.isa = "amx";
  table.terms = &kAmxKernels;
  return table;
}

}  // namespace
#endif

const KernelTable* kernel_table(Isa isa) {
  switch (isa) {
    case Isa::kBaseline:
      return &kBaselineKernels;
#if defined(CONVTRANSPOSE_HAVE_AVX2)
    case Isa::kAvx2:
      return &kAvx2Kernels;
#endif
#if defined(CONVTRANSPOSE_HAVE_AVX512)
    case Isa::kAvx512:
      return &kAvx512Kernels;
#endif
#if defined(CONVTRANSPOSE_HAVE_AVX512) && defined(CONVTRANSPOSE_HAVE_AMX)
    case Isa::kAmx: {
      static const KernelTable table = with_amx(kAvx512Kernels);
      return &table;
    }
#endif
#if defined(CONVTRANSPOSE_HAVE_NEON)
    case Isa::kNeon:
      return &kNeonKernels;
#endif
    default:
      return nullptr;
  }
}

const KernelTable& active_kernels() {
  Isa best = Isa::kBaseline;
  if (!active_isa(&best).ok()) return kBaselineKernels;
  // The processor may offer more than this compiler could: then the next set below.
  const KernelTable* table = kernel_table(best);
  for (auto isa = cpu_info().supported.rbegin(); table == nullptr && isa != cpu_info().supported.rend(); ++isa) {
    if (*isa < best) table = kernel_table(*isa);
  }
  return table != nullptr ? *table : kBaselineKernels;
}

}  // namespace convtranspose
