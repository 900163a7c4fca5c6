#include "runtime/environment.h"

#include <cstring>
#include <string>

#include "runtime/thread_pool.h"

namespace convtranspose {

Status parse_isa_cap(const char* text, const std::vector<Isa>& supported, Isa* isa) {
  *isa = supported.back();
  if (text == nullptr || *text == '\0') return {};
  for (const Isa candidate : supported) {
    if (std::strcmp(text, isa_name(candidate)) == 0) {
      *isa = candidate;
      return {};
    }
  }
  std::string expected;
  for (const Isa candidate : supported) expected += (expected.empty() ? "" : ", ") + std::string(isa_name(candidate));
  return Status::invalid("CONVTRANSPOSE_ISA",
                         "expected an instruction set that this machine supports (" + expected + "), got '" + text + "'");
}

Status parse_thread_count(const char* text, int* threads) {
  if (text == nullptr || *text == '\0') return {};
  int value = 0;
  const char* next = text;
  for (; *next >= '0' && *next <= '9' && value <= kMaxThreads; ++next) value = value * 10 + (*next - '0');
  if (*next != '\0' || value < 1 || value > kMaxThreads) {
    return Status::invalid("CONVTRANSPOSE_NUM_THREADS",
                           "expected an integer from 1 to " + std::to_string(kMaxThreads) + ", got '" + text + "'");
  }
  *threads = value;
  return {};
}

}  // namespace convtranspose
