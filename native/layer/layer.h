// A layer: raw weights, their packed forms by layout, and a bounded cache of plans. Free of Node; thread-safe throughout.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "problem/problem.h"
#include "runtime/thread_pool.h"

namespace convtranspose {

struct RejectedAlgorithm {
  std::string name;    // "gemm"
  std::string reason;  // "kernel differs from stride"
};

// What will run and why; read from the very plan that runs.
struct Explanation {
  std::string algorithm;                    // "direct-wide"
  std::string choice;                       // the word of the `algorithm` option that forces it: "direct"
  std::string isa;                          // "avx512"
  std::vector<std::string> kernels;         // names as counted: "direct-wide/avx512/8x3"
  std::string reason;                       // why this one
  std::vector<RejectedAlgorithm> rejected;  // in the order of the list
  std::string precision;                    // what runs: "highest"
  std::vector<std::string> fused;           // what is done to the sums before they are stored: "bias", "tanh"
  std::vector<std::string> notes;           // "precision 'high' runs as 'highest': ..."
  double flops = 0;                         // effective
  double estimated_seconds = 0;             // of the planner's model, one thread
  std::int64_t phases = 0;
  std::int64_t tasks = 0;
  std::int64_t workspace_bytes = 0;                                  // per thread
  std::int64_t shared_bytes = 0;                                     // of all threads of a call together, beside that
  std::vector<std::pair<std::string, std::int64_t>> packed_weights;  // layout -> bytes, all that the layer holds now
  std::vector<std::pair<std::string, std::int64_t>> blocking;        // name -> size
};

// Whether a call is so short, at most about a millisecond wherever it runs, that it should not wait for longer ones. By
// operations and by the memory that it touches, weights included, of a validated problem; never by a clock.
bool is_short(const Problem& problem);

class Layer {
 public:
  // Copies weights and bias (bias may be nullptr when !spec.has_bias).
  static Status create(const LayerSpec& spec, const float* weights, const float* bias, std::shared_ptr<Layer>* layer);

  // The same, but draws what is nullptr as PyTorch does by default after torch.manual_seed(seed).
  static Status create_seeded(const LayerSpec& spec, const float* weights, const float* bias, std::uint32_t seed,
                              std::shared_ptr<Layer>* layer);

  // Borrows them instead: they must outlive the layer and every job made from it. For the functional form.
  static Status borrow(const LayerSpec& spec, const float* weights, const float* bias, std::shared_ptr<Layer>* layer);

  ~Layer();

  const LayerSpec& spec() const;
  const float* weights() const;
  const float* bias() const;  // nullptr without bias

  // What one run reads and writes, all with the alignment of a float. src and dst hold exactly the elements that validate()
  // accepted; dst overlaps nothing that is read.
  struct Pointers {
    const float* src;
    float* dst;
    const float* residual = nullptr;  // as many elements as dst, or nullptr for none
    const float* slopes = nullptr;    // [out_channels] for Activation::kPrelu
    bool fresh = false;               // as RunArgs::fresh; results do not depend on it
    // Pages of dst may not be there yet. start() has them made by tasks of their own: a kernel may store to all channels at
    // once, and where the system is slow to give pages, an abort would wait for all of them.
    bool untouched = false;
  };

  // Plans and packs ahead.
  Status prepare(const CallSpec& call);

  // Synchronous: plans and packs if need be, then runs with the calling thread and up to threads-1 of the pool (0: default).
  Status run(const CallSpec& call, const Pointers& pointers, int threads);

  // On pool threads, at most `threads` at once (0: default): plans and packs if need be, then computes; with compute ==
  // false it only plans and packs. The job keeps the layer alive; what the pointers point at must outlive it. `settled` is
  // called once, on the thread that finished the job: a pool thread, or this one if the system refuses to start any. The job
  // that is returned is there to be aborted, which takes effect within about one task, also while weights are packed; it is
  // nullptr, and `settled` has been called, where there is no memory for it.
  static std::shared_ptr<Job> start(std::shared_ptr<Layer> layer, const CallSpec& call, bool compute, Pointers pointers,
                                    int threads, std::function<void(const Status&)> settled);

  Status explain(const CallSpec& call, Explanation* explanation);

  std::int64_t packed_bytes() const;

 private:
  friend class AsyncLayerJob;
  struct Impl;
  explicit Layer(std::unique_ptr<Impl> impl);
  static Status make(const LayerSpec& spec, const float* weights, const float* bias, bool borrows, std::uint32_t seed,
                     std::shared_ptr<Layer>* layer);
  std::unique_ptr<Impl> impl_;
};

}  // namespace convtranspose
