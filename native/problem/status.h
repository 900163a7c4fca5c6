// Outcome of a fallible core call. The core never throws, prints or aborts: every failure is one of these.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace convtranspose {

enum class StatusCode : std::uint8_t {
  kOk,
  kInvalidArgument,  // a field of the description is out of its range
  kUnsupported,      // legal, but no kernel here can run it (a forced algorithm that declines)
  kOutOfMemory,
  kAborted,
};

struct Status {
  StatusCode code = StatusCode::kOk;
  const char* argument = "";  // static string: the field that is wrong, in the spelling of the public API
  std::string message;        // what was expected and what came; empty when ok

  bool ok() const { return code == StatusCode::kOk; }

  static Status invalid(const char* argument, std::string message) {
    return {StatusCode::kInvalidArgument, argument, std::move(message)};
  }
  static Status unsupported(const char* argument, std::string message) {
    return {StatusCode::kUnsupported, argument, std::move(message)};
  }
  static Status out_of_memory(std::string message = "not enough memory") {
    return {StatusCode::kOutOfMemory, "", std::move(message)};
  }
};

}  // namespace convtranspose
