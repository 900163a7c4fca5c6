// The environment variables of the runtime, parsed: apart from getenv so that every spelling can be tested.
#pragma once

#include <vector>

#include "problem/status.h"
#include "runtime/cpu.h"

namespace convtranspose {

// CONVTRANSPOSE_ISA on a machine that supports `supported` (ascending, not empty). nullptr or empty text: no cap. A cap that
// the machine supports is itself the best instruction set under the cap.
Status parse_isa_cap(const char* text, const std::vector<Isa>& supported, Isa* isa);

// CONVTRANSPOSE_NUM_THREADS. nullptr or empty text leaves *threads as it is, and so does an error.
Status parse_thread_count(const char* text, int* threads);

}  // namespace convtranspose
