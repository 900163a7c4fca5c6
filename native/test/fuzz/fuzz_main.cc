// One fuzzer: libFuzzer around the target that FUZZ_TARGET names. At the end it prints how often each algorithm ran.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "targets.h"

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  std::atexit([] {
    for (const auto& [name, count] : convtranspose::fuzzed_runs()) {
      std::fprintf(stderr, "ran %s %llu\n", name.c_str(), static_cast<unsigned long long>(count));
    }
  });
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string failure = convtranspose::FUZZ_TARGET(data, size);
  if (!failure.empty()) {
    std::fprintf(stderr, "%s\n", failure.c_str());
    std::abort();
  }
  return 0;
}
