// Descriptions cross from JavaScript as the slots of a Float64Array. One list per description names the slots, bounds them
// and says where they go; the names are exported, and TypeScript fills the slots by them.
#pragma once

#include <node_api.h>

#include <vector>

#include "binding/errors.h"
#include "problem/problem.h"

namespace convtranspose::binding {

// Arrays of the slot names, in order. JavaScript thread.
napi_value layer_field_names(napi_env env);
napi_value call_field_names(napi_env env);

// Copies every slot of the Float64Array once (it may lie in shared memory), checks that each is representable, and fills
// `spec`. Whether the values make sense together is validate()'s business. Runs no JavaScript, allocates nothing if all is
// well.
bool read_layer_spec(napi_env env, napi_value slots, LayerSpec* spec, Failure* failure);
bool read_call_spec(napi_env env, napi_value slots, CallSpec* spec, Failure* failure);

// The last call of a layer that was read and found valid.
struct CallMemo {
  std::vector<double> slots;  // empty: none yet
  CallSpec call;
};

// The call that the slots describe, which validate() accepts for the layer; nullptr with a failure. Slots equal to the last
// ones are not looked at again. Valid until the memo is used again. Runs no JavaScript; allocates only at the first use.
const CallSpec* read_valid_call(napi_env env, napi_value slots, const LayerSpec& layer, CallMemo* memo, Failure* failure);

}  // namespace convtranspose::binding
