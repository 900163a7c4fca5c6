// What the addon keeps per environment (the main thread or a worker thread), as the instance data of its napi_env.
#pragma once

#include <node_api.h>

#include "binding/async_queue.h"
#include "binding/errors.h"
#include "binding/memory.h"

namespace convtranspose::binding {

struct Instance {
  OutputMemory outputs{queue};
  AsyncQueue queue{outputs};
};

// Never nullptr inside a callback of the addon. JavaScript thread.
Instance& instance_of(napi_env env);

// Whether CONVTRANSPOSE_ISA and CONVTRANSPOSE_NUM_THREADS hold something usable. Looked at by the first call that computes
// or describes, not when the binary is loaded. Any thread.
bool check_settings(Failure* failure);

}  // namespace convtranspose::binding
