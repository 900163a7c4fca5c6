// What an algorithm is to the planner and to a run.
//
// The planner asks each algorithm of the list to plan a problem; it declines with a reason a user can read, or returns an
// Execution: an immutable recipe that knows its cost, its workspace, the layout of the weights it wants and its tasks.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "algorithms/weight_facts.h"
#include "kernels/kernel.h"
#include "kernels/kernel_set.h"
#include "pack/packed_form.h"
#include "problem/problem.h"
#include "runtime/cpu.h"

namespace convtranspose {

struct PlanRequest {
  Problem original;  // as asked
  Problem problem;   // canonical: what algorithms compute
  const KernelTable* kernels;
  CacheInfo caches;
  WeightFacts weights;
  // Channels accumulated in registers before a sum is added to the tile: one value for all algorithms of SumOrder::kChunks,
  // derived from the layer alone.
  std::int64_t channel_chunk;
  std::int64_t workspace_limit;  // bytes per thread
};

// Memory of one run. The pointers hold what the canonical problem describes.
struct RunArgs {
  const float* src;
  float* dst;
  const float* bias;     // [out_channels], or nullptr
  const float* weights;  // packed in Execution::packed_form(), or raw if it has none
  const float* raw_weights;
  const float* residual;  // added to dst before the activation, where it has an element for each of dst's; or nullptr
  const float* slopes;    // [out_channels] of kPrelu, else nullptr
  std::byte* shared;      // Execution::shared_bytes(), 64-byte aligned, contents unspecified when the run begins
  // Set by a task that meets input which its algorithm is not for (see Execution::notes). The run then ends after the stage,
  // and is made again with the direct algorithms.
  std::atomic<bool>* refused;
  bool fresh = false;  // dst is memory that the caches are not expected to hold: nobody has used it for this output before
};

// Per-thread scratch of a run. `tag` survives between the tasks that one thread runs for the same run, as long as no other
// run used the memory in between; it is -1 otherwise. A task that leaves something reusable in `data` names it there.
//
// `used` collects which kernels were called.
struct Workspace {
  std::byte* data;  // 64-byte aligned, Execution::workspace_bytes() large
  std::int64_t* tag;
  KernelSet* used;
};

class Execution {
 public:
  virtual ~Execution() = default;

  virtual const PackedForm* packed_form() const = 0;  // of the weights; nullptr: uses the raw ones

  // A run is a list of stages, one after the other; a stage is a number of independent tasks, cut from the problem and never
  // from the threads.
  virtual int stages() const { return 1; }
  virtual std::int64_t tasks(int stage) const = 0;
  virtual std::size_t workspace_bytes() const = 0;        // per thread, the same for all stages
  virtual std::size_t shared_bytes() const { return 0; }  // of RunArgs::shared: what stages hand on to later ones
  virtual void run_task(const RunArgs& args, int stage, std::int64_t task, Workspace workspace) const noexcept = 0;

  double estimated_seconds = 0.0;                              // one thread, weights packed
  KernelSet kernels;                                           // that run; none: plain code of the baseline
  std::vector<std::pair<std::string, std::int64_t>> blocking;  // for explain()
  std::int64_t phases = 0;
  Precision precision = Precision::kHighest;  // what the results keep
  std::vector<std::string> notes;             // for explain()
};

// In which order the products of an output are added. Algorithms of the same order agree to the bit. Where results must not
// depend on sizes (CallSpec::invariant), the planner keeps to one order for a layer.
enum class SumOrder {
  kChunks,     // chunk of channels, channel, kernel position (PlanRequest::channel_chunk)
  kStrips,     // offset group, chunk of channels, channel, kernel position: see pack/strip_weights.h
  kTaps,       // channel, kernel position (under `invariant`; else in an order of the problem's own)
  kTiles,      // by tiles of inputs: see winograd.cc
  kTerms,      // by terms of bfloat16: see amx.cc
  kOverlap,    // by terms of bfloat16 and rows of the kernel: see amx_overlap.cc
  kPositions,  // kernel position by kernel position, the channels of each: see direct_overlap.cc
  kExact,      // in double precision
};

// Why an algorithm does not run a problem, in words for the user.
struct Decline {
  std::string reason;
  bool for_workspace = false;  // a larger workspace_limit would do
};

class Algorithm {
 public:
  virtual ~Algorithm() = default;
  virtual const char* name() const = 0;        // "direct-wide"
  virtual AlgorithmChoice choice() const = 0;  // the option that forces it
  virtual SumOrder order() const = 0;
  // nullptr and a reason when it cannot or should not run the problem.
  virtual std::unique_ptr<Execution> plan(const PlanRequest& request, Decline* decline) const = 0;
};

// The algorithms, best first where estimates tie, reference last.
const Algorithm& depthwise();
const Algorithm& direct_few();
const Algorithm& direct_residues();
const Algorithm& direct_wide();
const Algorithm& direct_channels();
const Algorithm& gemm();
const Algorithm& winograd();
const Algorithm& amx();
const Algorithm& amx_overlap();
const Algorithm& direct_overlap();
const Algorithm& reference();

}  // namespace convtranspose
