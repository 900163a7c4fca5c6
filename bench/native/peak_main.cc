// Prints the peak of single-precision multiply-adds in GFLOP/s:  peak [isa] [threads] [seconds]
#include <cstdio>
#include <cstdlib>
#include <string>

#include "peak.h"

int main(int argc, char** argv) {
  const std::string isa = argc > 1 ? argv[1] : convtranspose::bench::best_peak_isa();
  const int threads = argc > 2 ? std::atoi(argv[2]) : 1;
  const double seconds = argc > 3 ? std::atof(argv[3]) : 0.1;
  const double gflops = convtranspose::bench::measure_peak(isa, threads, seconds);
  if (gflops == 0) {
    std::fprintf(stderr, "peak: this machine or build cannot run \"%s\"\n", isa.c_str());
    return 1;
  }
  std::printf("%.2f\n", gflops);
  return 0;
}
