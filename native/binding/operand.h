// Where one operand of an asynchronous call lies while the call is in flight.
//
// A result for which the caller gave no array gets a block of this package when its call leaves the queue, and becomes an
// array when it has been computed: a call that waits holds no memory for it.
//
// Memory that cannot vanish is used in place: a SharedArrayBuffer (which cannot be detached or shrunk; the array is kept
// alive) and blocks of this package (their native reference is held, whatever JavaScript does with the array; worker threads
// get none, see memory.h). Any other
// array belongs to JavaScript alone, which may detach or resize it at any time, so that its elements are copied to or from a
// block of this package, in slices, looking at the array afresh for each. Everything here is for the JavaScript thread;
// pool threads see only data().
#pragma once

#include <napi.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "binding/errors.h"
#include "runtime/buffer_pool.h"

namespace convtranspose::binding {

class OutputMemory;

class Operand {
 public:
  // A result of `elements` > 0 elements that is to be made; `name` as below.
  void bind_result(const char* name, std::int64_t elements);

  // Takes note of a Float32Array of at least `elements` elements; `name` is a static string, its public name.
  bool bind(napi_env env, napi_value array, const char* name, std::int64_t elements, Failure* failure);

  // Whether it is a result, for which the caller gave no array; after stage(), whether pages of it may not be there yet.
  bool is_result() const { return is_result_; }
  bool untouched() const { return is_result_ && block_ != nullptr && !block_->touched(); }

  const char* name() const { return name_; }
  std::int64_t elements() const { return static_cast<std::int64_t>(bytes_ / sizeof(float)); }

  // Before stage(): where the elements were when bound, for comparing addresses. After it: where the call finds them.
  float* data() const { return data_; }

  // Gets the block of a foreign operand, or of a result.
  bool stage(Failure* failure);

  // Makes the Float32Array of a result that has been computed, without copying where the runtime allows it; nothing for
  // other operands. Call before copy_out().
  bool make_array(napi_env env, OutputMemory& outputs, Failure* failure);

  // The array of a result once it has been made and copied(), else undefined.
  napi_value result(napi_env env) const;

  // Copies up to *budget bytes from the array to the block, or the other way, and takes them off the budget. False if the
  // array has been detached or has shrunk. Call until copied().
  bool copy_in(napi_env env, std::size_t* budget, Failure* failure) { return copy(env, true, budget, failure); }
  bool copy_out(napi_env env, std::size_t* budget, Failure* failure) { return copy(env, false, budget, failure); }
  bool copied() const { return !foreign_ || done_ == bytes_; }

 private:
  bool copy(napi_env env, bool in, std::size_t* budget, Failure* failure);

  const char* name_ = "";
  float* data_ = nullptr;
  std::size_t bytes_ = 0;
  std::size_t done_ = 0;  // bytes copied
  bool is_result_ = false;
  bool foreign_ = false;                // the elements of an array of JavaScript's go through a block
  Napi::Reference<Napi::Value> array_;  // of shared and foreign memory, and of a result that has been computed
  std::shared_ptr<Buffer> block_;       // of our own memory, and of staged memory
};

}  // namespace convtranspose::binding
