#include "algorithms/term_scale.h"

#include "algorithms/limits.h"

namespace convtranspose {
namespace {

constexpr int kMinWeightExponent = -50;  // of the largest weight, so that the factor back is a normal number
constexpr int kMaxWeightExponent = 17;   // and so is the last bit of the smallest one, 2^-149, when it is brought up
constexpr std::int64_t kTermKernelPoints = 4096;

}  // namespace

int terms_of(Precision precision) { return precision == Precision::kHighest ? 3 : precision == Precision::kHigh ? 2 : 1; }

Precision precision_of(int terms) {
  return terms == 3 ? Precision::kHighest : terms == 2 ? Precision::kHigh : Precision::kMedium;
}

std::string decline_terms(const PlanRequest& request) {
  const std::string phased = decline_phased(request);
  if (!phased.empty()) return phased;
  if (request.kernels->terms == nullptr) return "there is no AMX, or CONVTRANSPOSE_ISA excludes it";
  if (!request.weights.finite) return "the weights hold an infinity or a NaN";
  if (request.weights.exponent > kMaxWeightExponent || request.weights.exponent < kMinWeightExponent) {
    return "the largest weight is near 2^" + std::to_string(request.weights.exponent) +
           ", where terms of products could overflow or vanish";
  }
  if (request.problem.kernel_points() > kTermKernelPoints) {
    return "the kernel has more than " + std::to_string(kTermKernelPoints) + " positions";
  }
  return "";
}

std::string decline_packed_terms(const Problem& problem, int terms, std::int64_t elements) {
  const double multiple = static_cast<double>(elements) / static_cast<double>(problem.weights_elements());
  if (multiple <= (terms == 3 ? kMaxPackedMultiple : kMaxPackedMultipleHigh)) return "";
  return "too few channels per group: packed, its weights would take " + std::to_string(std::llround(multiple)) +
         " times their memory";
}

std::string refusal_note() {
  return "inputs that hold an infinity, a NaN or a magnitude of 2^" + std::to_string(kInputExponent) +
         " or more run as algorithm 'direct'";
}

}  // namespace convtranspose
