// Every kernel of every instruction set that this machine can run, against plain loops over the definitions of kernel.h.
#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "bfloat16.h"
#include "kernels/kernel.h"
#include "kernels/kernel_set.h"
#include "kernels/registry.h"
#include "runtime/cpu.h"

using namespace convtranspose;

namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

bool same_bits(float a, float b) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  return std::memcmp(&a, &b, sizeof(float)) == 0;
}

void for_each_table(const std::function<void(const KernelTable&)>& body) {
  for (Isa isa : cpu_info().supported) {
    const KernelTable* table = kernel_table(isa);
    if (table == nullptr) continue;
    INFO("instruction set " << table->isa);
    body(*table);
  }
}

// Memory between guard regions, `offset` floats beyond a 64-byte boundary.
class Guarded {
 public:
  Guarded(std::size_t size, std::size_t offset) : size_(size), storage_(size + 2 * kGuard + 16, kMark) {
    std::size_t start = kGuard;
    while (reinterpret_cast<std::uintptr_t>(storage_.data() + start) % 64 != 0) ++start;
    start_ = start + offset;
    REQUIRE(start_ + size + 16 <= storage_.size());
  }
  float* data() { return storage_.data() + start_; }
  const float* data() const { return storage_.data() + start_; }
  float& operator[](std::size_t i) { return storage_[start_ + i]; }
  std::size_t size() const { return size_; }
  void fill(float value) { std::fill(data(), data() + size_, value); }
  bool guards_intact() const {
    for (std::size_t i = 0; i < storage_.size(); ++i) {
      if ((i < start_ || i >= start_ + size_) && !same_bits(storage_[i], kMark)) return false;
    }
    return true;
  }
  static constexpr float kMark = -12345.675f;

 private:
  static constexpr std::size_t kGuard = 64;
  std::size_t size_;
  std::size_t start_ = 0;
  std::vector<float> storage_;
};

// What a kernel only reads: its last float is the last of a page, and the next page cannot be touched.
class Source {
 public:
  explicit Source(std::size_t size) : size_(size) {
    const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t whole = (size * sizeof(float) + page - 1) / page * page;
    mapped_ = whole + page;
    base_ = static_cast<char*>(mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    REQUIRE(base_ != MAP_FAILED);
    REQUIRE(mprotect(base_ + whole, page, PROT_NONE) == 0);
    data_ = reinterpret_cast<float*>(base_ + whole) - size;
  }
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;
  ~Source() { munmap(base_, mapped_); }
  const float* data() const { return data_; }
  float& operator[](std::size_t i) { return data_[i]; }
  std::size_t size() const { return size_; }

 private:
  std::size_t size_;
  std::size_t mapped_ = 0;
  char* base_ = nullptr;
  float* data_ = nullptr;
};

using Random = std::mt19937;

template <class Floats>
void randomize(Floats& values, Random& random) {
  std::normal_distribution<float> normal;
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = normal(random);
}

// What a kernel does to one sum: a fused product where the instruction set has one.
float add_product(const KernelTable& table, float a, float b, float sum) {
  if (std::string(table.isa) != "baseline") return std::fma(a, b, sum);
  const volatile float product = a * b;  // rounded by itself, whatever the compiler would like
  return sum + product;
}

struct TileCase {
  int channels;
  int taps;
  std::size_t src_slack;  // floats beyond the last one, which moves src against the cache lines
  bool accumulate;
};

const TileCase kTileCases[] = {{1, 1, 0, false},  {1, 1, 3, true},    {2, 1, 5, false}, {7, 1, 1, true},
                               {33, 1, 7, false}, {1, 2, 2, false},   {3, 3, 1, true},  {5, 4, 9, false},
                               {16, 4, 0, true},  {17, 5, 11, false}, {2, 27, 13, true}};

// kSteps: channels kernels with some of the taps that weights are kept for.
enum class Family { kWide, kChannels, kSteps, kMixed };

// Whether a row takes part in tap t: mixed kernels have subsets of the rows for their last taps.
bool has_tap(const TileKernel& kernel, const TileCase& shape, const std::int64_t (&subset_taps)[3], int row, int t) {
  const int block = row / (kernel.mr / 4);
  std::int64_t first = shape.taps;
  for (const std::int64_t taps : subset_taps) first -= taps;
  if (t < first) return true;
  if (t < first + subset_taps[0]) return block == 0 || block == 2;
  if (t < first + subset_taps[0] + subset_taps[1]) return block <= 1;
  return block == 0;
}

void check_tile(const KernelTable& table, const TileKernel& kernel, Family family, const TileCase& shape, Random& random) {
  const bool wide = family == Family::kWide || family == Family::kMixed;
  const std::int64_t weights_width = wide ? kernel.mr : kernel.nr;
  const std::int64_t steps = std::int64_t{shape.channels} * shape.taps;
  // Of the last taps of a mixed kernel, one in five each belongs to some of the rows.
  std::int64_t subset_taps[3] = {};
  if (family == Family::kMixed) {
    subset_taps[0] = (shape.taps + 3) / 5;
    subset_taps[1] = (shape.taps + 2) / 5;
    subset_taps[2] = (shape.taps + 1) / 5;
  }
  // Place of the weight of a row (or column) in those of a channel, by tap.
  std::vector<std::vector<std::int64_t>> place(shape.taps);
  std::int64_t channel_weights = 0;
  for (int t = 0; t < shape.taps; ++t) {
    for (std::int64_t i = 0; i < weights_width; ++i) {
      const bool present = family != Family::kMixed || has_tap(kernel, shape, subset_taps, static_cast<int>(i), t);
      place[t].push_back(present ? channel_weights++ : -1);
    }
    if (family == Family::kSteps) channel_weights += t % 3 * weights_width;  // of taps that are left out
  }
  Source weights(shape.channels * channel_weights);  // aligned to 64 bytes if the width is
  randomize(weights, random);

  // Offsets in any order, two of them equal, and beginning below zero: src points into the middle of its buffer.
  std::vector<ptrdiff_t> tap_offset(shape.taps), row_offset(kernel.mr);
  for (int t = 0; t < shape.taps; ++t) tap_offset[t] = (t * 19) % 31 - 11;
  for (int i = 0; i < kernel.mr; ++i) row_offset[i] = ((i * 7) % 5) * 41 - 50;
  const ptrdiff_t channel_stride = kernel.nr + 37;
  ptrdiff_t lowest = 0, highest = 0;  // of the src elements that the definition reads
  bool first = true;
  auto reads = [&](ptrdiff_t at) {
    lowest = first ? at : std::min(lowest, at);
    highest = first ? at : std::max(highest, at);
    first = false;
  };
  for (int t = 0; t < shape.taps; ++t) {
    if (wide) {
      reads(tap_offset[t]);
      reads((shape.channels - 1) * channel_stride + tap_offset[t] + kernel.nr - 1);
    } else {
      for (int i = 0; i < kernel.mr; ++i) {
        reads(row_offset[i] + tap_offset[t]);
        reads(row_offset[i] + tap_offset[t] + shape.channels - 1);
      }
    }
  }
  Source src(highest - lowest + 1 + shape.src_slack);
  randomize(src, random);
  const float* origin = src.data() - lowest;

  const ptrdiff_t tile_stride = kernel.nr + 16;
  Guarded tile(kernel.mr * tile_stride, 0);
  randomize(tile, random);
  std::vector<float> before(tile.data(), tile.data() + tile.size());

  TileArgs args{};
  args.src = origin;
  args.tap_offset = tap_offset.data();
  args.row_offset = wide ? nullptr : row_offset.data();
  args.src_channel_stride = wide ? channel_stride : 0;
  args.weights = weights.data();
  args.channels = shape.channels;
  args.taps = shape.taps - subset_taps[0] - subset_taps[1] - subset_taps[2];
  args.subset_taps = subset_taps;
  args.tile = tile.data();
  args.tile_stride = tile_stride;
  args.accumulate = shape.accumulate;
  std::vector<TapStep> taken;
  if (family == Family::kSteps) {
    for (int t = 0; t < shape.taps; ++t) taken.push_back({tap_offset[t], place[t][0]});
    args.steps = taken.data();
    args.weights_channel_stride = channel_weights;
    args.tap_offset = nullptr;
  }
  (family == Family::kSteps ? kernel.steps_fn : kernel.fn)(&args);

  bool exact = true, close = true, untouched = true;
  for (int i = 0; i < kernel.mr; ++i) {
    for (int j = 0; j < kernel.nr; ++j) {
      float sum = 0.0f;
      double precise = 0.0, magnitude = 0.0;
      for (int c = 0; c < shape.channels; ++c) {
        for (int t = 0; t < shape.taps; ++t) {
          const std::int64_t at = place[t][wide ? i : j];
          if (at < 0) continue;
          const float w = weights[c * channel_weights + at];
          const float x = origin[wide ? c * channel_stride + tap_offset[t] + j : row_offset[i] + tap_offset[t] + c];
          sum = add_product(table, w, x, sum);
          precise += double{w} * double{x};
          magnitude += std::fabs(double{w} * double{x});
        }
      }
      const float old = before[i * tile_stride + j];
      if (shape.accumulate) {
        sum = old + sum;
        precise += double{old};
        magnitude += std::fabs(double{old});
      }
      const float got = tile[i * tile_stride + j];
      exact = exact && same_bits(got, sum);
      close = close && std::fabs(double{got} - precise) <= std::ldexp(double(steps + 1), -24) * magnitude;
    }
    for (ptrdiff_t j = kernel.nr; j < tile_stride; ++j) {
      untouched = untouched && same_bits(tile[i * tile_stride + j], before[i * tile_stride + j]);
    }
  }
  CHECK(exact);
  CHECK(close);
  CHECK(untouched);
  CHECK(tile.guards_intact());
}

float reference_clamp(float v, float lower, float upper) {
  if (v < lower) v = lower;
  if (v > upper) v = upper;
  return v;
}

const Epilogue kLimits[] = {{-kInfinity, kInfinity}, {0.0f, kInfinity}, {-0.5f, 0.75f}, {0.0f, 0.0f}};

// Normal values, now and then a special one.
void randomize_special(Source& values, Random& random) {
  randomize(values, random);
  const float special[] = {
      kNaN, kInfinity, -kInfinity, -0.0f, 0.0f, std::numeric_limits<float>::denorm_min(), std::numeric_limits<float>::max()};
  for (std::size_t i = random() % 3; i < values.size(); i += 1 + random() % 7) values[i] = special[random() % 7];
}

}  // namespace

TEST_CASE("every instruction set that the processor supports and the compiler knows has a table") {
  CHECK(kernel_table(Isa::kBaseline) != nullptr);
  for_each_table([](const KernelTable& table) {
    CHECK(kernel_count(table) <= kMaxKernels);
    for (int number = 0; number < kernel_count(table); ++number) CHECK(std::string(kernel_name(table, number)) != "");
    CHECK(table.lanes >= 4);
    CHECK(table.wide_count > 0);
    CHECK(table.channels_count > 0);
    CHECK(table.rows_count > 0);
    int phases = 0, outputs = 1;  // of the kernel before
    for (int i = 0; i < table.rows_count; ++i) {
      const RowKernel& kernel = table.rows[i];
      CHECK(kernel.phases == (outputs == 1 ? phases + 1 : phases));
      CHECK((outputs == 1 || kernel.outputs < outputs));
      CHECK(kernel.nr % table.lanes == 0);
      std::string name = "rows" + std::to_string(kernel.phases) + "x" + std::to_string(kernel.nr / table.lanes);
      if (kernel.outputs > 1) name.append("x").append(std::to_string(kernel.outputs));
      CHECK(kernel.name == name);
      phases = kernel.phases;
      outputs = kernel.outputs;
    }
    CHECK(outputs == 1);
  });
#if defined(__x86_64__)
  CHECK(kernel_table(Isa::kNeon) == nullptr);
  CHECK(std::string(kernel_table(Isa::kAvx2)->isa) == "avx2");
  CHECK(std::string(kernel_table(Isa::kAvx512)->isa) == "avx512");
  CHECK(kernel_table(Isa::kAvx512)->terms == nullptr);
  if (const KernelTable* table = kernel_table(Isa::kAmx); table != nullptr) {
    CHECK(std::string(table->isa) == "amx");
    CHECK(table->terms != nullptr);
    CHECK(table->wide == kernel_table(Isa::kAvx512)->wide);
  }
#elif defined(__aarch64__)
  CHECK(kernel_table(Isa::kAvx2) == nullptr);
  CHECK(kernel_table(Isa::kAvx512) == nullptr);
  CHECK(kernel_table(Isa::kAmx) == nullptr);
  CHECK(std::string(kernel_table(Isa::kNeon)->isa) == "neon");
#endif
}

TEST_CASE("the active table belongs to the active instruction set") {
  Isa isa = Isa::kBaseline;
  REQUIRE(active_isa(&isa).ok());
  CHECK(&active_kernels() == kernel_table(isa));
}

TEST_CASE("tables keep their order and have a kernel for every number of rows") {
  for_each_table([](const KernelTable& table) {
    auto ordered = [&](const TileKernel* kernels, int count) {
      for (int i = 0; i < count; ++i) {
        INFO("kernel " << kernels[i].name);
        CHECK(kernels[i].nr % table.lanes == 0);
        CHECK(kernels[i].name == std::to_string(kernels[i].mr) + "x" + std::to_string(kernels[i].nr / table.lanes));
        if (i == 0) continue;
        const bool descends =
            kernels[i - 1].mr > kernels[i].mr || (kernels[i - 1].mr == kernels[i].mr && kernels[i - 1].nr > kernels[i].nr);
        CHECK(descends);
      }
    };
    auto has = [](const TileKernel* kernels, int count, int mr, int nr) {
      return std::any_of(kernels, kernels + count, [&](const TileKernel& k) { return k.mr == mr && k.nr == nr; });
    };
    ordered(table.wide, table.wide_count);
    for (int mr = 1; mr <= table.wide[0].mr; ++mr) CHECK(has(table.wide, table.wide_count, mr, table.lanes));
    for (int i = 0; i < table.mixed_count; ++i) {
      const TileKernel& kernel = table.mixed[i];
      INFO("kernel " << kernel.name);
      CHECK(kernel.mr % 4 == 0);
      CHECK(kernel.name == "mixed" + std::to_string(kernel.mr) + "x" + std::to_string(kernel.nr / table.lanes));
      CHECK(has(table.mixed, table.mixed_count, kernel.mr, table.lanes));
      if (i > 0) {
        const TileKernel& before = table.mixed[i - 1];
        CHECK((before.mr > kernel.mr || (before.mr == kernel.mr && before.nr > kernel.nr)));
      }
    }
    ordered(table.channels, table.channels_count);
    for (int i = 0; i < table.channels_count; ++i) {
      for (int mr = 1; mr <= table.channels[0].mr; ++mr) {
        CHECK(has(table.channels, table.channels_count, mr, table.channels[i].nr));
      }
    }
  });
}

TEST_CASE("tile kernels give the bits of one sum in order of channels and taps") {
  Random random(1);
  for_each_table([&](const KernelTable& table) {
    const auto check = [&](Family family, const TileKernel* kernels, int count) {
      for (int k = 0; k < count; ++k) {
        for (const TileCase& shape : kTileCases) {
          INFO("family " << static_cast<int>(family) << " " << kernels[k].name << " channels " << shape.channels << " taps "
                         << shape.taps);
          check_tile(table, kernels[k], family, shape, random);
        }
      }
    };
    check(Family::kWide, table.wide, table.wide_count);
    check(Family::kChannels, table.channels, table.channels_count);
    check(Family::kSteps, table.channels, table.channels_count);
    check(Family::kMixed, table.mixed, table.mixed_count);
  });
}

TEST_CASE("copy_rows copies, puts zeros around and touches nothing else") {
  Random random(5);
  for_each_table([&](const KernelTable& table) {
    for (const int rows : {0, 1, 3}) {
      for (const int before : {0, 1, 5, 19}) {
        for (const int after : {0, 2, 33}) {
          for (int count = 0; count <= 70; count += count < 40 ? 1 : 9) {
            const ptrdiff_t src_stride = count + 3, dst_stride = before + count + after + 2;
            Source src(rows == 0 ? 0 : (rows - 1) * src_stride + count);
            randomize(src, random);
            Guarded dst(rows == 0 ? 0 : (rows - 1) * dst_stride + before + count + after, count % 16);
            dst.fill(7.0f);
            const CopyRowsArgs args{src.data(), src_stride, dst.data(), dst_stride, rows, before, count, after};
            table.copy_rows(&args);
            int wrong = 0;
            for (std::size_t at = 0; at < dst.size(); ++at) {
              const ptrdiff_t row = static_cast<ptrdiff_t>(at) / dst_stride;
              const ptrdiff_t j = static_cast<ptrdiff_t>(at) % dst_stride - before;
              const bool between = j >= count + after;
              const float expected = between ? 7.0f : j >= 0 && j < count ? src[row * src_stride + j] : 0.0f;
              wrong += !same_bits(dst[at], expected);
            }
            INFO("rows " << rows << " before " << before << " count " << count << " after " << after);
            CHECK(wrong == 0);
            CHECK(dst.guards_intact());
          }
        }
      }
    }
  });
}

TEST_CASE("rows_copy copies rows and what follows them, block by block, and touches nothing else") {
  Random random(12);
  for_each_table([&](const KernelTable& table) {
    for (const int count : {0, 1, 7, 16, 33}) {
      for (const int tail_count : {0, 1, 5}) {
        for (const int blocks : {1, 3}) {
          for (const bool stream : {false, true}) {
            constexpr int kRows = 3;
            const ptrdiff_t src_stride = count + 2, src_block = kRows * src_stride + 5;
            const ptrdiff_t dst_stride = count + tail_count + 3, dst_block = kRows * dst_stride + 7;
            Source src(blocks * src_block), tail(blocks * kRows * tail_count);
            randomize(src, random);
            randomize(tail, random);
            Guarded dst(blocks * dst_block, count % 4);
            std::fill(dst.data(), dst.data() + dst.size(), 7.0f);
            const RowsCopyArgs args{src.data(), src_stride, count,  tail.data(), tail_count, dst.data(),
                                    dst_stride, kRows,      stream, blocks,      src_block,  dst_block};
            table.rows_copy(&args);
            table.stream_fence();
            std::vector<float> expected(dst.size(), 7.0f);
            for (int b = 0; b < blocks; ++b) {
              for (int r = 0; r < kRows; ++r) {
                float* const row = expected.data() + b * dst_block + r * dst_stride;
                for (int i = 0; i < count; ++i) row[i] = src[b * src_block + r * src_stride + i];
                for (int i = 0; i < tail_count; ++i) row[count + i] = tail[(b * kRows + r) * tail_count + i];
              }
            }
            INFO("count " << count << " tail " << tail_count << " blocks " << blocks << " stream " << stream);
            CHECK(std::equal(expected.begin(), expected.end(), dst.data()));
            CHECK(dst.guards_intact());
          }
        }
      }
    }
  });
}

// What the joint kernels compute for one tile, by itself.
struct JointTile {
  const WinogradRowsArgs* args;
  int height_taps;

  float value(int f, int q, int p, std::int64_t t) const {
    return args->src[f][q * args->height_stride[f] + p * args->width_stride[f] + t];
  }
  float height(int f, int p, std::int64_t t) const {
    if (height_taps == 0) return value(f, 0, p, t);
    if (height_taps == 1) return value(f, args->coefficient, p, t);
    if (args->coefficient == 1) return value(f, 1, p, t) - (value(f, 0, p, t) + value(f, 2, p, t));
    return value(f, 0, p, t) + (args->mask_height[t] == 0 ? 0.0f : value(f, 2, p, t - args->shift));
  }
  float width(int f, int taps, int j, std::int64_t t) const {
    if (j == 1) return taps == 1 ? height(f, 1, t) : height(f, 1, t) - (height(f, 0, t) + height(f, 2, t));
    const float own = args->own[f][t] == 0 ? 0.0f : height(f, 0, t);
    return taps == 1 ? own : own + (args->left[f][t] == 0 ? 0.0f : height(f, 2, t - 1));
  }
};

TEST_CASE("Winograd's joint kernels transform along height and width, finish and interleave") {
  Random random(15);
  for_each_table([&](const KernelTable& table) {
    for (int k = 0; k < table.winograd_rows_count; ++k) {
      const WinogradRowsKernel& kernel = table.winograd_rows[k];
      for (const std::int64_t count : {1, 7, 16, 17, 40}) {
        for (const std::int64_t shift : {1, 5, 23}) {
          for (const int variant : {0, 1, 2, 3}) {  // of coefficient, and whether `over` is wanted
            const std::int64_t room = shift + 1 + 16;
            const ptrdiff_t width_stride = room + count + 16 + 3, height_stride = 3 * width_stride + 1;
            std::vector<float> values[2];
            for (auto& v : values) {
              v.resize(static_cast<std::size_t>(room + 3 * height_stride + 16));
              randomize(v, random);
            }
            const auto masks = static_cast<std::size_t>(count + 17);
            std::vector<std::uint32_t> mask(masks), own[2], left[2];
            const auto draw = [&](std::vector<std::uint32_t>* m) {
              m->resize(masks);
              for (auto& one : *m) one = random() % 2 == 0 ? 0u : ~0u;
            };
            draw(&mask);
            for (int f = 0; f < 2; ++f) {
              draw(&own[f]);
              draw(&left[f]);
            }
            const auto vector = static_cast<std::size_t>(table.lanes);
            Guarded dst(4 * (static_cast<std::size_t>(count) + vector), static_cast<std::size_t>(shift % 4));
            Guarded over0(static_cast<std::size_t>(count) + vector, 1), over1(static_cast<std::size_t>(count) + vector, 2);
            const Epilogue epilogue{-0.5f, 1.5f};
            WinogradRowsArgs args;
            for (int f = 0; f < 2; ++f) {
              args.src[f] = values[f].data() + room;
              args.height_stride[f] = height_stride;
              args.width_stride[f] = width_stride;
              args.own[f] = own[f].data();
              args.left[f] = left[f].data();
            }
            args.coefficient = kernel.height_taps == 0 ? 0 : variant % 2;
            args.count = count;
            args.shift = shift;
            args.mask_height = mask.data() + 1;
            args.dst = dst.data();
            const bool wanted = variant >= 2;
            args.over[0] = wanted ? over0.data() : nullptr;
            args.over[1] = wanted ? over1.data() : nullptr;
            args.bias = 0.25f;
            args.epilogue = &epilogue;
            kernel.fn(&args);
            INFO(kernel.name << " count " << count << " shift " << shift << " variant " << variant);
            const JointTile tile{&args, kernel.height_taps};
            int wrong = 0;
            for (std::int64_t t = 0; t < count; ++t) {
              for (int f = 0; f < 2; ++f) {
                for (int j = 0; j < 2; ++j) {
                  const float y = std::min(std::max(tile.width(f, kernel.taps[f], j, t) + 0.25f, -0.5f), 1.5f);
                  wrong += !same_bits(dst[static_cast<std::size_t>(4 * t + 2 * j + f)], y);
                }
                if (wanted && kernel.taps[f] == 2) wrong += !same_bits(args.over[f][t], tile.height(f, 2, t));
              }
            }
            CHECK(wrong == 0);
            CHECK(dst.guards_intact());
            CHECK(over0.guards_intact());
            CHECK(over1.guards_intact());
          }
        }
      }
    }
  });
}

TEST_CASE("overlap_add adds what pixels give to blocks, and the bias") {
  Random random(14);
  for_each_table([&](const KernelTable& table) {
    for (const std::int64_t floats : {1, 2, 3, 6, 8, 12, 15, 16, 17, 24, 40}) {
      for (const std::int64_t whole : {0, 1, 2, 3, 4, 5, 9}) {
        for (const std::int64_t cut : {0, 1, 3}) {
          for (const std::int64_t blocks : {1, 2, 7}) {
            const std::int64_t cut_floats = cut == 0 ? 0 : 1 + (floats + whole) % floats;
            const ptrdiff_t pitch = floats + 5;
            const auto vectors = static_cast<std::size_t>(table.lanes);
            std::vector<std::unique_ptr<Source>> memory;
            std::vector<const float*> sources;
            for (std::int64_t s = 0; s < whole + cut; ++s) {
              // Whole sources are read a vector further; cut ones end with what they give.
              const auto end = static_cast<std::size_t>((blocks - 1) * pitch + (s < whole ? floats : cut_floats));
              memory.push_back(std::make_unique<Source>(s < whole ? end + vectors : end));
              randomize(*memory.back(), random);
              sources.push_back(memory.back()->data());
            }
            Source bias(static_cast<std::size_t>(floats) + vectors);
            randomize(bias, random);
            Guarded dst(static_cast<std::size_t>(blocks * floats) + vectors, static_cast<std::size_t>(floats % 5));
            const OverlapAddArgs args{sources.data(), whole,  cut,         cut_floats, pitch,
                                      blocks,         floats, bias.data(), dst.data()};
            table.overlap_add(&args);
            INFO("floats " << floats << " whole " << whole << " cut " << cut << " blocks " << blocks);
            int wrong = 0;
            for (std::int64_t q = 0; q < blocks; ++q) {
              for (std::int64_t f = 0; f < floats; ++f) {
                float sum = 0.0f;
                for (std::int64_t s = 0; s < whole + cut; ++s) {
                  if (s < whole || f < cut_floats) sum += sources[static_cast<std::size_t>(s)][q * pitch + f];
                }
                sum += bias[static_cast<std::size_t>(f)];
                wrong += !same_bits(dst[static_cast<std::size_t>(q * floats + f)], sum);
              }
            }
            CHECK(wrong == 0);
            CHECK(dst.guards_intact());
          }
        }
      }
    }
  });
}

TEST_CASE("row_store interleaves phases, adds the bias or those of the phases and clamps") {
  Random random(2);
  for_each_table([&](const KernelTable& table) {
    for (int phases : {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 16, 17, 33}) {
      for (int count = 0; count <= 70 + 8 * phases; count += count < 70 ? 1 : 37) {
        const int per_phase = (count + phases - 1) / phases;
        const ptrdiff_t phase_stride = per_phase + table.lanes + count % 5;
        // One vector more than the last phase has values may be read, and no more.
        Source tile((phases - 1) * phase_stride + per_phase + table.lanes);
        randomize_special(tile, random);
        Guarded dst(count, count % 16);
        dst.fill(7.0f);
        const Epilogue& limits = kLimits[count % 4];
        const float bias = count % 3 == 0 ? 0.0f : 0.375f;
        Source biases(phases);
        randomize(biases, random);
        const bool several = phases <= 8 && count % 2 == 0;
        for (const RowStoreFn row_store : {table.row_store, table.row_store_past}) {
          const bool past = row_store == table.row_store_past;
          if (row_store == nullptr || (past && count % 16 != 0)) continue;  // dst would not begin on a line
          dst.fill(7.0f);
          const RowStoreArgs args{tile.data(), phase_stride, phases,  count,
                                  dst.data(),  bias,         &limits, several ? biases.data() : nullptr};
          row_store(&args);
          if (past) table.stream_fence();
          int wrong = 0;
          for (int o = 0; o < count; ++o) {
            const float sum = tile[(o % phases) * phase_stride + o / phases] + (several ? biases[o % phases] : bias);
            wrong += !same_bits(dst[o], reference_clamp(sum, limits.lower, limits.upper));
          }
          INFO("phases " << phases << " count " << count << (past ? " past the caches" : ""));
          CHECK(wrong == 0);
          CHECK(dst.guards_intact());
        }
      }
    }
  });
}

TEST_CASE("row_store stores rows of channels, each with its own bias") {
  Random random(21);
  for_each_table([&](const KernelTable& table) {
    for (int phases : {1, 2, 3, 8, 10}) {
      for (int count : {1, 7, 16, 28, 33, 64, 80}) {
        const int rows = 1 + count % 4;
        const int per_phase = (count + phases - 1) / phases;
        const ptrdiff_t tile_stride = per_phase + table.lanes + 3, phase_stride = rows * tile_stride;
        const ptrdiff_t dst_stride = count + 16 - count % 16;  // a row that begins on a line is followed by such rows
        Source tile((phases - 1) * phase_stride + (rows - 1) * tile_stride + per_phase + table.lanes);
        randomize_special(tile, random);
        Source biases(rows);
        randomize(biases, random);
        Guarded dst((rows - 1) * dst_stride + count, count % 16);
        const Epilogue& limits = kLimits[count % 4];
        for (const RowStoreFn row_store : {table.row_store, table.row_store_past}) {
          const bool past = row_store == table.row_store_past;
          if (row_store == nullptr || (past && count % 16 != 0)) continue;
          dst.fill(7.0f);
          RowStoreArgs args{tile.data(), phase_stride, phases, count, dst.data(), 0.0f, &limits, biases.data()};
          args.bias_phase = 0;
          args.bias_row = 1;
          args.rows = rows;
          args.tile_stride = tile_stride;
          args.dst_stride = dst_stride;
          row_store(&args);
          if (past) table.stream_fence();
          int wrong = 0;
          for (int i = 0; i < rows; ++i) {
            for (int o = 0; o < dst_stride && i * dst_stride + o < (rows - 1) * dst_stride + count; ++o) {
              const float expected =
                  o < count ? reference_clamp(tile[(o % phases) * phase_stride + i * tile_stride + o / phases] + biases[i],
                                              limits.lower, limits.upper)
                            : 7.0f;
              wrong += !same_bits(dst[i * dst_stride + o], expected);
            }
          }
          INFO("phases " << phases << " count " << count << " rows " << rows << (past ? " past the caches" : ""));
          CHECK(wrong == 0);
          CHECK(dst.guards_intact());
        }
      }
    }
  });
}

TEST_CASE("pixel_store adds the bias of each column and clamps") {
  Random random(3);
  for_each_table([&](const KernelTable& table) {
    for (int rows : {0, 1, 3, 8}) {
      for (int columns = 0; columns <= 70; ++columns) {
        const bool lines = columns % 16 == 0;
        const ptrdiff_t tile_stride = columns + columns % 3, dst_stride = columns + (lines ? columns % 32 : columns % 5);
        const std::size_t tile_size = rows == 0 ? 0 : (rows - 1) * tile_stride + columns;
        const std::size_t dst_size = rows == 0 ? 0 : (rows - 1) * dst_stride + columns;
        Source tile(tile_size), bias(columns);
        Guarded dst(dst_size, columns % 16);
        randomize_special(tile, random);
        randomize(bias, random);
        const Epilogue& limits = kLimits[columns % 4];
        const PixelStoreArgs args{tile.data(), tile_stride, rows, columns, dst.data(), dst_stride, bias.data(), &limits};
        for (const PixelStoreFn pixel_store : {table.pixel_store, table.pixel_store_past}) {
          const bool past = pixel_store == table.pixel_store_past;
          if (pixel_store == nullptr || (past && !lines)) continue;
          dst.fill(7.0f);
          pixel_store(&args);
          if (past) table.stream_fence();
          int wrong = 0;
          for (int i = 0; i < rows; ++i) {
            for (int j = 0; j < dst_stride && std::size_t(i * dst_stride + j) < dst_size; ++j) {
              float expected = 7.0f;  // between the rows nothing is written
              if (j < columns) expected = reference_clamp(tile[i * tile_stride + j] + bias[j], limits.lower, limits.upper);
              wrong += !same_bits(dst[i * dst_stride + j], expected);
            }
          }
          INFO("rows " << rows << " columns " << columns << (past ? " past the caches" : ""));
          CHECK(wrong == 0);
          CHECK(dst.guards_intact());
        }
      }
    }
  });
}

TEST_CASE("transpose moves every value once") {
  for_each_table([&](const KernelTable& table) {
    auto check = [&](int rows, int columns, bool stream = false) {
      const ptrdiff_t src_stride = columns + rows % 3, dst_stride = rows + (stream ? columns % 4 * 16 : columns % 4);
      Source src((rows - 1) * src_stride + columns);
      Guarded dst((columns - 1) * dst_stride + rows, stream ? 0 : columns % 16);
      for (std::size_t i = 0; i < src.size(); ++i) src[i] = static_cast<float>(i);
      dst.fill(-1.0f);
      const TransposeArgs args{src.data(), src_stride, dst.data(), dst_stride, rows, columns, stream};
      table.transpose(&args);
      if (stream) table.stream_fence();
      int wrong = 0;
      for (int j = 0; j < columns; ++j) {
        for (int i = 0; i < dst_stride && std::size_t(j * dst_stride + i) < dst.size(); ++i) {
          wrong += dst[j * dst_stride + i] != (i < rows ? src[i * src_stride + j] : -1.0f);
        }
      }
      INFO("rows " << rows << " columns " << columns << (stream ? " past the caches" : ""));
      CHECK(wrong == 0);
      CHECK(dst.guards_intact());
    };
    for (int rows = 1; rows <= 40; ++rows) {
      for (int columns = 1; columns <= 40; ++columns) check(rows, columns);
    }
    if (table.stream != nullptr) {
      for (int rows = 16; rows <= 48; rows += 16) {
        for (int columns = 1; columns <= 40; ++columns) check(rows, columns, true);
      }
    }
    check(64, 130);
    check(129, 65);
  });
}

TEST_CASE("transpose_store moves every value once, adds the bias of its column and clamps") {
  Random random(4);
  for_each_table([&](const KernelTable& table) {
    auto check = [&](int rows, int columns, ptrdiff_t dst_gap, const Epilogue& limits) {
      const ptrdiff_t src_stride = columns + rows % 3, dst_stride = rows + dst_gap;
      Source src(static_cast<std::size_t>((rows - 1) * src_stride + columns)), bias(static_cast<std::size_t>(columns));
      Guarded dst(static_cast<std::size_t>((columns - 1) * dst_stride + rows), static_cast<std::size_t>(columns % 16));
      randomize_special(src, random);
      randomize(bias, random);
      dst.fill(7.0f);
      const TransposeStoreArgs args{{src.data(), src_stride, dst.data(), dst_stride, rows, columns}, bias.data(), &limits};
      table.transpose_store(&args);
      int wrong = 0;
      for (std::size_t at = 0; at < dst.size(); ++at) {
        const std::size_t i = at % static_cast<std::size_t>(dst_stride), j = at / static_cast<std::size_t>(dst_stride);
        float expected = 7.0f;  // between the rows nothing is written
        if (i < static_cast<std::size_t>(rows)) {
          const float value = src[i * static_cast<std::size_t>(src_stride) + j] + bias[j];
          expected = reference_clamp(value, limits.lower, limits.upper);
        }
        wrong += !same_bits(dst[at], expected);
      }
      INFO("rows " << rows << " columns " << columns);
      CHECK(wrong == 0);
      CHECK(dst.guards_intact());
    };
    for (int rows = 1; rows <= 36; ++rows) {
      for (int columns = 1; columns <= 36; ++columns) {
        check(rows, columns, columns % 4, kLimits[(rows + columns) % 4]);
      }
    }
    check(129, 65, 3, kLimits[1]);
  });
}

namespace {

struct RowCase {
  int joint;
  std::vector<int> singles;  // of phase f: singles[f % size]; none if empty
};

const RowCase kRowCases[] = {{1, {}}, {4, {}}, {0, {3}}, {0, {0}}, {2, {1, 0, 2}}, {5, {0, 1}}};

// Three rows of two kinds; the second kind has the steps of the first from another place on.
void check_row(const KernelTable& table, const RowKernel& kernel, const RowCase& shape, int count, bool stream,
               const Epilogue& limits, Random& random) {
  constexpr int kRows = 3, kKinds = 2;
  const int positions = (count + kernel.phases - 1) / kernel.phases;
  const int outputs = kernel.outputs;
  std::vector<std::int64_t> singles;
  for (int f = 0; f < kernel.phases && !shape.singles.empty(); ++f)
    singles.push_back(shape.singles[f % shape.singles.size()]);
  std::int64_t step_count = shape.joint;
  for (const std::int64_t n : singles) step_count += n;
  const ptrdiff_t src_row = positions + 3;
  Source src(step_count * 7 + src_row + positions + kernel.nr), weights(step_count * kernel.phases * outputs + 1);
  randomize(src, random);
  randomize(weights, random);
  std::vector<TapStep> steps[kKinds];
  RowSteps kinds[kKinds];
  for (int kind = 0; kind < kKinds; ++kind) {
    for (std::int64_t t = 0; t < step_count; ++t) {
      steps[kind].push_back({(t * 5) % 7 + t * 6, (t * 3 + kind) % step_count * kernel.phases * outputs});
    }
    kinds[kind] = {steps[kind].data(), shape.joint, singles.empty() ? nullptr : singles.data()};
  }
  const int dst_row = stream ? (count + 15) / 16 * 16 : count + count % 3;
  const int dst_stride = kRows * dst_row + (stream ? 16 : count % 5);
  Guarded dst(dst_stride * outputs, stream ? 0 : count % 16);
  dst.fill(7.0f);
  std::vector<float> bias;
  for (int o = 0; o < outputs; ++o) bias.push_back(0.375f - static_cast<float>(o));
  const RowArgs args{src.data(), weights.data(), kinds,      kKinds,      kRows,   src_row, count,
                     dst.data(), dst_row,        dst_stride, bias.data(), &limits, stream};
  kernel.fn(&args);
  if (stream) table.stream_fence();
  int wrong = 0;
  for (int o = 0; o < outputs; ++o) {
    for (int i = 0; i < dst_stride; ++i) {
      const int r = i / std::max(dst_row, 1), column = i % std::max(dst_row, 1);
      float expected = 7.0f;
      if (r < kRows && column < count) {
        const int f = column % kernel.phases, j = column / kernel.phases + static_cast<int>(r / kKinds * src_row);
        float sum = 0.0f;
        std::int64_t t = 0;
        const auto add = [&](int factor) {
          const TapStep& step = steps[r % kKinds][t];
          sum = add_product(table, weights[step.weights + factor * outputs + o], src[step.src + j], sum);
        };
        for (; t < shape.joint; ++t) add(f);
        for (int g = 0; g < kernel.phases && !singles.empty(); ++g) {
          for (std::int64_t n = singles[g]; n > 0; --n, ++t) {
            if (g == f) add(0);
          }
        }
        expected = reference_clamp(sum + bias[o], limits.lower, limits.upper);
      }
      wrong += !same_bits(dst[o * dst_stride + i], expected);
    }
  }
  CHECK(wrong == 0);
  CHECK(dst.guards_intact());
}

}  // namespace

TEST_CASE("row kernels give the bits of one sum in order of steps, finished and interleaved") {
  Random random(5);
  for_each_table([&](const KernelTable& table) {
    for (int k = 0; k < table.rows_count; ++k) {
      const RowKernel& kernel = table.rows[k];
      const int whole = kernel.phases * kernel.nr;
      for (const RowCase& shape : kRowCases) {
        for (int count = 0; count <= 2 * whole + 3; count += count < 40 ? 1 : 13) {
          INFO(kernel.name << " joint " << shape.joint << " count " << count);
          check_row(table, kernel, shape, count, false, kLimits[count % 4], random);
          check_row(table, kernel, shape, count, true, kLimits[count % 4], random);
        }
      }
    }
  });
}

TEST_CASE("pixel kernels give every channel the bits of its own sum in order of steps") {
  Random random(6);
  for_each_table([&](const KernelTable& table) {
    for (const bool stream : {false, true}) {
      for (const int step_count : {0, 1, 4, 9}) {
        for (int pixels = 1; pixels <= 19; pixels += 1 + pixels / 9) {
          for (int channels = stream ? 16 : 1; channels <= 48; channels += stream ? 16 : 1 + channels / 17) {
            const ptrdiff_t src_stride = channels + channels % 3;
            const ptrdiff_t dst_stride = stream ? 2 * channels : channels + channels % 5;
            std::vector<TapStep> steps;
            for (int t = 0; t < step_count; ++t) steps.push_back({(t * 3) % 4 * src_stride, (t * 5) % 9 * channels});
            Source src(step_count == 0 ? 0 : (pixels + 2) * src_stride + channels), weights(9 * channels), bias(channels);
            if (step_count > 0 && step_count < 4) steps[0].src = 3 * src_stride;  // the last float is read in any case
            randomize(src, random);
            randomize(weights, random);
            randomize(bias, random);
            Guarded dst((pixels - 1) * dst_stride + channels, stream ? 0 : channels % 16);
            dst.fill(7.0f);
            const Epilogue& limits = kLimits[channels % 4];
            const PixelArgs args{src.data(), weights.data(), steps.data(), step_count,  src_stride, pixels,
                                 channels,   dst.data(),     dst_stride,   bias.data(), &limits,    stream};
            table.pixels.fn(&args);
            if (stream) table.stream_fence();
            int wrong = 0;
            for (int j = 0; j < pixels; ++j) {
              for (int c = 0; c < dst_stride && std::size_t(j * dst_stride + c) < dst.size(); ++c) {
                float sum = 0.0f;
                for (const TapStep& step : steps) {
                  if (c >= channels) break;
                  sum = add_product(table, weights[step.weights + c], src[step.src + j * src_stride + c], sum);
                }
                const float expected = c < channels ? reference_clamp(sum + bias[c], limits.lower, limits.upper) : 7.0f;
                wrong += !same_bits(dst[j * dst_stride + c], expected);
              }
            }
            INFO("steps " << step_count << " pixels " << pixels << " channels " << channels << " stream " << stream);
            CHECK(wrong == 0);
            CHECK(dst.guards_intact());
          }
        }
      }
    }
  });
}

TEST_CASE("lane kernels give every float the bits of its own sum in order of steps and taps") {
  Random random(12);
  int checked = 0;
  for_each_table([&](const KernelTable& table) {
    if (table.lane.fn == nullptr) return;
    const int lanes = table.lanes;
    for (const bool stream : {false, true}) {
      for (const int vectors : {1, 3, 4}) {
        for (const int step_count : {0, 1, 4}) {
          const int period = 2 + vectors * 5, floats = vectors * lanes, longest = 19 * floats;
          for (int count = 0; count <= longest; count += count < 2 * floats ? 1 + count / 8 : 3 * floats / 2 + 1) {
            std::vector<LaneStep> steps;
            int listed = 0;  // vectors of weights and lanes
            for (int s = 0; s < vectors * step_count; ++s) {
              steps.push_back({s * 7 % 11, listed * lanes, listed * lanes, 1 + s % 3});
              listed += 1 + s % 3;
            }
            // The last vector of src that is read ends where src does.
            Source src(step_count == 0 ? 0 : 10 + (count / floats) * period + lanes), weights(listed * lanes), bias(floats);
            std::vector<std::int32_t> list;
            for (int i = 0; i < listed * lanes; ++i) list.push_back(i % 11 == 3 ? -1 : i * 5 % 7 % lanes);
            randomize(src, random);
            randomize(weights, random);
            randomize(bias, random);
            Guarded dst(count, stream ? 0 : count % 16);
            dst.fill(7.0f);
            const Epilogue& limits = kLimits[count % 4];
            const LaneArgs args{src.data(), weights.data(), list.data(), steps.data(), step_count, vectors,
                                period,     count,          dst.data(),  bias.data(),  &limits,    stream};
            table.lane.fn(&args);
            if (stream) table.stream_fence();
            int wrong = 0;
            for (int at = 0; at < count; ++at) {
              const int q = at / floats, v = at % floats / lanes, lane = at % lanes;
              float sum = 0.0f;
              for (int s = v * step_count; s < (v + 1) * step_count; ++s) {
                const LaneStep& step = steps[s];
                for (int i = lane; i < step.taps * lanes; i += lanes) {
                  const std::int32_t from = list[step.lanes + i];
                  const float x = from < 0 ? 0.0f : src[step.src + q * period + from];
                  sum = add_product(table, weights[step.weights + i], x, sum);
                }
              }
              wrong += !same_bits(dst[at], reference_clamp(sum + bias[at % floats], limits.lower, limits.upper));
            }
            INFO("vectors " << vectors << " steps " << step_count << " count " << count << " stream " << stream);
            CHECK(wrong == 0);
            CHECK(dst.guards_intact());
            ++checked;
          }
        }
      }
    }
  });
  if (active_kernels().lane.fn != nullptr) CHECK(checked > 300);
}

namespace {

struct WindowCase {
  int phases, taps[2], shift;
};
constexpr WindowCase kWindowCases[] = {{1, {1, 0}, 0}, {1, {2, 0}, 0}, {1, {3, 0}, 0}, {2, {1, 1}, 0}, {2, {2, 1}, 0},
                                       {2, {2, 2}, 0}, {2, {1, 1}, 1}, {2, {1, 2}, 1}, {2, {2, 2}, 1}};

void check_windows(const KernelTable& table, const WindowCase& shape, int step_count, int pixels, int channels, bool stream,
                   Random& random) {
  constexpr int kRows = 3, kPoints = 7;
  const ptrdiff_t src_stride = 16 * (1 + step_count % 2), tap_stride = 32;
  // A row holds what the pixels read and no more: from the last tap of the first one to the first tap of the last.
  const int below = std::max(shape.taps[0] - 1, shape.taps[1] - 1 - shape.shift), above = shape.shift;
  std::vector<std::unique_ptr<Source>> sources;
  std::vector<const float*> rows;
  for (int r = 0; r < kRows; ++r) {
    sources.push_back(std::make_unique<Source>((below + pixels - 1 + above) * src_stride + 16));
    randomize(*sources.back(), random);
    rows.push_back(sources.back()->data() + below * src_stride - 5);
  }
  Source weights(kPoints * 16 + 2 * tap_stride), bias(channels);
  randomize(weights, random);
  randomize(bias, random);
  std::vector<WindowStep> steps;
  for (int s = 0; s < step_count; ++s) steps.push_back({s % kRows, 0, {s % kPoints * 16, (s * 3 + 1) % kPoints * 16}});
  const ptrdiff_t dst_phase = stream ? 16 : channels + 1, dst_stride = 2 * dst_phase;
  Guarded dst((pixels - 1) * dst_stride + (shape.phases - 1) * dst_phase + channels, stream ? 0 : 3);
  dst.fill(7.0f);
  const Epilogue& limits = kLimits[pixels % 4];
  const WindowArgs args{rows.data(), 5,          src_stride, weights.data(), tap_stride,  steps.data(), step_count, pixels,
                        channels,    dst.data(), dst_stride, dst_phase,      bias.data(), &limits,      stream};
  table.windows[shape.phases - 1].fn[shape.shift][shape.taps[0] + shape.taps[1] - shape.phases](&args);
  if (stream) table.stream_fence();
  Guarded expected(dst.size(), 0);
  expected.fill(7.0f);
  for (int f = 0; f < shape.phases; ++f) {
    for (int j = 0; j < pixels; ++j) {
      for (int c = 0; c < channels; ++c) {
        float sum = 0.0f;
        for (const WindowStep& step : steps) {
          for (int t = 0; t < shape.taps[f]; ++t) {
            sum = add_product(table, weights[step.weights[f] + t * tap_stride + c],
                              rows[step.row][5 + (j + f * shape.shift - t) * src_stride + c], sum);
          }
        }
        expected[j * dst_stride + f * dst_phase + c] = reference_clamp(sum + bias[c], limits.lower, limits.upper);
      }
    }
  }
  int wrong = 0;
  for (std::size_t i = 0; i < dst.size(); ++i) wrong += !same_bits(dst[i], expected[i]);
  INFO("phases " << shape.phases << " taps " << shape.taps[0] << " " << shape.taps[1] << " shift " << shape.shift
                 << " steps " << step_count << " pixels " << pixels << " channels " << channels << " stream " << stream);
  CHECK(wrong == 0);
  CHECK(dst.guards_intact());
}

}  // namespace

TEST_CASE("window kernels give every output the bits of one sum in order of steps and taps") {
  Random random(7);
  for_each_table([&](const KernelTable& table) {
    for (const WindowCase& shape : kWindowCases) {
      for (const int step_count : {0, 1, 8}) {
        for (int pixels = 1; pixels <= 35; pixels += 1 + pixels / 9) {
          for (const int channels : {16, 1, 7, 8, 13})
            check_windows(table, shape, step_count, pixels, channels, false, random);
          if (table.stream != nullptr) check_windows(table, shape, step_count, pixels, 16, true, random);
        }
      }
    }
  });
}

TEST_CASE("spread: the channels of each group in all lanes of its outputs") {
  Random random(8);
  for_each_table([&](const KernelTable& table) {
    for (const int outputs : {1, 2, 4, 8, 16, 48}) {
      for (int inputs = 1; inputs <= 8; ++inputs) {
        const int most = std::max(1, 16 / outputs);
        for (int groups = 1; groups <= most; ++groups) {
          constexpr int kPixels = 3;
          const ptrdiff_t src_stride = groups * inputs + 2;
          Source src((kPixels - 1) * src_stride + groups * inputs);
          randomize(src, random);
          Guarded dst(kPixels * inputs * 16, 0);
          const SpreadArgs args{src.data(), src_stride, kPixels, inputs, outputs, groups, dst.data(), 1 << 20};
          table.spread(&args);
          int wrong = 0;
          for (int j = 0; j < kPixels; ++j) {
            for (int i = 0; i < inputs; ++i) {
              for (int l = 0; l < 16; ++l) {
                const int group = std::min(l / outputs, groups - 1);
                wrong += !same_bits(dst[(j * inputs + i) * 16 + l], src[j * src_stride + group * inputs + i]);
              }
            }
          }
          INFO("outputs " << outputs << " inputs " << inputs << " groups " << groups);
          CHECK(wrong == 0);
          CHECK(dst.guards_intact());
        }
      }
    }
  });
}

TEST_CASE("stream copies whole lines") {
  for_each_table([&](const KernelTable& table) {
    if (table.stream == nullptr) return;
    for (int count = 0; count <= 160; count += 16) {
      Source src(count);
      for (int i = 0; i < count; ++i) src[i] = static_cast<float>(i);
      Guarded dst(count, 0);
      dst.fill(-1.0f);
      table.stream(src.data(), dst.data(), count);
      table.stream_fence();
      CHECK(std::equal(src.data(), src.data() + count, dst.data()));
      CHECK(dst.guards_intact());
    }
  });
}

// ---- Term kernels -------------------------------------------------------------------------------------------------------

namespace {

void for_each_terms(const std::function<void(const TermKernels&)>& body) {
  for_each_table([&](const KernelTable& table) {
    if (table.terms != nullptr) body(*table.terms);
  });
}

std::uint16_t element_of(const float* data, std::ptrdiff_t at) {
  std::uint16_t value;
  std::memcpy(&value, reinterpret_cast<const char*>(data) + at * 2, sizeof value);
  return value;
}

void set_element(float* data, std::ptrdiff_t at, std::uint16_t value) {
  std::memcpy(reinterpret_cast<char*>(data) + at * 2, &value, sizeof value);
}

const std::uint16_t* elements(const float* data) { return reinterpret_cast<const std::uint16_t*>(data); }

// What stays of a Guarded that nobody has written to.
std::uint16_t mark_at(std::ptrdiff_t at) { return element_of(&Guarded::kMark, at % 2); }

struct TermCase {
  int blocks;
  int taps;
  bool accumulate;
  ptrdiff_t tile_gap;     // floats between rows of the tile
  std::size_t misplaced;  // floats by which src stands beside the lines of the caches
};

const TermCase kTermCases[] = {{1, 1, false, 0, 0},  {1, 1, true, 16, 0}, {1, 2, false, 5, 0}, {1, 3, true, 0, 2},
                               {1, 4, false, 48, 0}, {2, 1, true, 1, 0},  {2, 4, false, 0, 6}, {3, 2, true, 0, 0},
                               {5, 3, false, 16, 0}, {9, 4, true, 32, 0}};

// What a kernel makes of its sums.
enum class Sums { kScaled, kUnscaled };

// `exact`: small integers, whose sums have no roundings.
void check_terms(const TermKernels& terms, const TermKernel& kernel, const TermCase& shape, Sums sums, bool exact,
                 Random& random) {
  std::normal_distribution<float> normal;
  const auto value = [&] {
    return nearest_bfloat16(exact ? static_cast<float>(static_cast<int>(random() % 7) - 3) : normal(random));
  };
  // Taps in any order, two at the same place, before and behind the first position.
  std::vector<ptrdiff_t> tap_offset;
  for (int t = 0; t < shape.taps; ++t) tap_offset.push_back(((t * 5) % 3 - 1) * 3 * kTermBlock);
  // The matrices of inputs are a little apart, the second behind the third, and two of them share positions.
  const ptrdiff_t first_position[kMostTermRows] = {3, 39, 22, 9, 4};
  const ptrdiff_t positions = 39 + kTermSquare + 3;  // with what taps reach
  const ptrdiff_t term_stride = positions * kTermBlock;
  const ptrdiff_t channel_stride = kernel.terms * term_stride + 2 * kTermBlock;
  const ptrdiff_t src_size = (shape.blocks - 1) * channel_stride + kernel.terms * term_stride;
  Source src(static_cast<std::size_t>(src_size) / 2 + shape.misplaced);
  for (ptrdiff_t i = 0; i < src_size; ++i) set_element(&src[0], i, value());
  const int width = kernel.columns * kTermSquare;
  // Four columns are two and two, some way apart.
  const ptrdiff_t columns = std::min(kernel.columns, 2);
  const ptrdiff_t pair_size = shape.blocks * shape.taps * kernel.terms * columns * kTermElements;
  const ptrdiff_t pair_stride = pair_size + 3 * kTermElements;
  const ptrdiff_t weights_size = (kernel.columns - columns) / 2 * pair_stride + pair_size;
  const ptrdiff_t term_weights = kTermBlock * width;  // of kernels that split
  Source weights(static_cast<std::size_t>(weights_size) / 2);
  for (ptrdiff_t i = 0; i < weights_size; ++i) set_element(&weights[0], i, value());
  // What kernels that split read in place of them.
  Source values(static_cast<std::size_t>(kernel.splits ? shape.blocks * shape.taps * term_weights : 0));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = exact ? static_cast<float>(static_cast<int>(random() % 7) - 3) : normal(random);
    const ptrdiff_t of_tap = static_cast<ptrdiff_t>(i) / term_weights * term_weights;
    for (int k = 0; k < kernel.terms; ++k) {
      set_element(&weights[0], of_tap * kernel.terms + k * term_weights + static_cast<ptrdiff_t>(i) - of_tap,
                  term_of(values[i], k));
    }
  }
  Guarded scratch(kernel.splits ? kSplitScratch / 2 : 0, 0);

  const bool unscaled = sums == Sums::kUnscaled;
  const ptrdiff_t tile_stride = width + (unscaled ? shape.tile_gap / kTermSquare * kTermSquare : shape.tile_gap);
  const std::size_t tile_size = static_cast<std::size_t>((kTermSquare - 1) * tile_stride + width);
  std::vector<Guarded> tiles;
  std::vector<std::vector<float>> before;
  for (int r = 0; r < kMostTermRows; ++r) {
    tiles.emplace_back(tile_size, unscaled ? 0 : r);
    for (std::size_t i = 0; i < tile_size; ++i) {
      tiles.back()[i] = exact ? static_cast<float>(random() % 100) : normal(random);
    }
    before.emplace_back(tiles.back().data(), tiles.back().data() + tile_size);
  }

  TermArgs args{};
  for (int r = 0; r < kernel.rows; ++r) {
    args.src[r] = elements(src.data()) + first_position[r] * kTermBlock;
    args.tile[r] = tiles[static_cast<std::size_t>(r)].data();
  }
  args.src_term_stride = term_stride;
  args.src_channel_stride = channel_stride;
  args.tap_offset = tap_offset.data();
  if (kernel.splits) {
    args.values = values.data();
    args.scratch = reinterpret_cast<std::uint16_t*>(scratch.data());
  } else {
    args.weights = elements(weights.data());
  }
  args.weights_stride = pair_stride;
  args.channel_blocks = shape.blocks;
  args.taps = shape.taps;
  args.tile_stride = tile_stride;
  args.scale = 0.25f;
  args.accumulate = shape.accumulate;
  args.unscaled = unscaled;
  const double scale = unscaled ? 1.0 : 0.25;
  terms.begin();
  kernel.fn(&args);
  terms.end();
  CHECK(scratch.guards_intact());
  if (kernel.splits) {  // the bits of a kernel that reads terms
    const TermKernel& whole = terms.multiply[(kMostTerms - 1) * kTermSizes];
    args.weights = elements(weights.data());
    for (int r = 0; r < kernel.rows; ++r) {
      std::vector<float> tile = before[static_cast<std::size_t>(r)];
      args.src[0] = elements(src.data()) + first_position[r] * kTermBlock;
      args.tile[0] = tile.data();
      terms.begin();
      whole.fn(&args);
      terms.end();
      CHECK(std::equal(tile.begin(), tile.end(), tiles[static_cast<std::size_t>(r)].data(), same_bits));
    }
  }

  int wrong = 0, touched = 0;
  for (int r = 0; r < kMostTermRows; ++r) {
    Guarded& tile = tiles[static_cast<std::size_t>(r)];
    for (int i = 0; i < kTermSquare; ++i) {
      for (ptrdiff_t j = 0; j < tile_stride && i * tile_stride + j < static_cast<ptrdiff_t>(tile.size()); ++j) {
        const float old = before[static_cast<std::size_t>(r)][static_cast<std::size_t>(i * tile_stride + j)];
        const float got = tile[static_cast<std::size_t>(i * tile_stride + j)];
        if (r >= kernel.rows || j >= width) {
          touched += !same_bits(got, old);
          continue;
        }
        double sum = 0.0, magnitude = 0.0;
        for (int c = 0; c < shape.blocks * kTermBlock; ++c) {
          for (int t = 0; t < shape.taps; ++t) {
            for (int k = 0; k < kernel.terms; ++k) {
              const ptrdiff_t from = first_position[r] * kTermBlock + k * term_stride + c / kTermBlock * channel_stride +
                                     tap_offset[t] + i * kTermBlock + c % kTermBlock;
              for (int l = 0; k + l < kernel.terms; ++l) {
                const ptrdiff_t column = j / kTermSquare;
                const ptrdiff_t matrix = ((c / kTermBlock * shape.taps + t) * kernel.terms + l) * columns + column % columns;
                const ptrdiff_t at = column / columns * pair_stride + matrix * kTermElements +
                                     (c % kTermBlock / 2 * kTermSquare + j % kTermSquare) * 2 + c % 2;
                const double product =
                    double{float_of(element_of(src.data(), from))} * double{float_of(element_of(weights.data(), at))};
                sum += product;
                magnitude += std::fabs(product);
              }
            }
          }
        }
        const double expected = (shape.accumulate ? double{old} : 0.0) + scale * sum;
        const double roundings = 1.0 + shape.blocks * shape.taps * kTermBlock * kernel.terms * (kernel.terms + 1) / 2;
        const double bound = exact ? 0.0 : roundings * 0x1p-24 * (scale * magnitude + std::fabs(double{old}));
        wrong += !(std::fabs(double{got} - expected) <= bound);
      }
    }
    CHECK(tile.guards_intact());
  }
  CHECK(wrong == 0);
  CHECK(touched == 0);
}

}  // namespace

TEST_CASE("term kernels: every number of terms has the same sizes, in their order, with names that say them") {
  for_each_terms([](const TermKernels& terms) {
    const char* const products[] = {"bf16", "bf16x3", "bf16x6"};
    constexpr int kSizes[kTermSizes][2] = {{1, 1}, {1, 2}, {2, 1}, {2, 2}, {4, 1}, {1, 4}};
    const int reading = kMostTerms * kTermSizes;
    REQUIRE(terms.count == reading + kMostTermRows);
    for (int i = 0; i < terms.count; ++i) {
      const TermKernel& kernel = terms.multiply[i];
      CHECK(kernel.splits == (i >= reading));
      CHECK(kernel.terms == (kernel.splits ? kMostTerms : i / kTermSizes + 1));
      CHECK(kernel.rows == (kernel.splits ? i - reading + 1 : kSizes[i % kTermSizes][0]));
      CHECK(kernel.columns == (kernel.splits ? 1 : kSizes[i % kTermSizes][1]));
      if (!kernel.splits) CHECK(term_kernel_row(kernel.terms, kernel.rows, kernel.columns) == i);
      CHECK(kernel.name == std::string(products[kernel.terms - 1]) + (kernel.splits ? "-split-" : "-") +
                               std::to_string(kernel.rows) + "x" + std::to_string(kernel.columns));
    }
  });
}

TEST_CASE("term kernels add up the products of terms, and touch nothing else") {
  Random random(8);
  for_each_terms([&](const TermKernels& terms) {
    for (int k = 0; k < terms.count; ++k) {
      for (const TermCase& shape : kTermCases) {
        for (const Sums sums : {Sums::kScaled, Sums::kUnscaled}) {
          if (sums == Sums::kUnscaled && terms.multiply[k].splits) continue;
          for (const bool exact : {true, false}) {
            INFO(terms.multiply[k].name << " blocks " << shape.blocks << " taps " << shape.taps << " accumulate "
                                        << shape.accumulate << " unscaled " << (sums == Sums::kUnscaled) << " exact "
                                        << exact);
            check_terms(terms, terms.multiply[k], shape, sums, exact, random);
          }
        }
      }
    }
  });
}

TEST_CASE("term kernels count subnormal terms and products as zero, and keep what is normal to its ends") {
  for_each_terms([](const TermKernels& terms) {
    struct Case {
      std::uint16_t x, w;
      float expected;
    };
    const Case cases[] = {
        {0x0001, nearest_bfloat16(0x1p100f), 0.0f},                           // a subnormal input
        {nearest_bfloat16(0x1p100f), 0x8001, 0.0f},                           // weight
        {nearest_bfloat16(0x1p-70f), nearest_bfloat16(0x1p-60f), 0.0f},       // product
        {nearest_bfloat16(0x1p-70f), nearest_bfloat16(0x1p-56f), 0x1p-126f},  // the least of all
        {nearest_bfloat16(0x1p60f), nearest_bfloat16(-0x1p40f), -0x1p100f},   // the largest there are
        {nearest_bfloat16(0x1p-119f), nearest_bfloat16(0x1p40f), 0x1p-79f},   // of a subnormal float
        {nearest_bfloat16(0x1p60f), nearest_bfloat16(0x1p-109f), 0x1p-49f},   // and of such a weight
    };
    for (const Case& each : cases) {
      Source src(kTermElements / 2), weights(kTermElements / 2);
      for (int i = 0; i < kTermElements / 2; ++i) src[i] = weights[i] = 0.0f;
      set_element(&src[0], 5 * kTermBlock + 7, each.x);                 // position 5, channel 7
      set_element(&weights[0], (3 * kTermSquare + 9) * 2 + 1, each.w);  // channel 7, output 9
      Guarded tile(kTermSquare * kTermSquare, 0);
      const ptrdiff_t offset = 0;
      TermArgs args{};
      args.src[0] = elements(src.data());
      args.tap_offset = &offset;
      args.weights = elements(weights.data());
      args.channel_blocks = args.taps = 1;
      args.tile[0] = tile.data();
      args.tile_stride = kTermSquare;
      args.scale = 1.0f;
      terms.begin();
      terms.multiply[0].fn(&args);
      terms.end();
      for (int i = 0; i < kTermSquare * kTermSquare; ++i) {
        REQUIRE(tile[static_cast<std::size_t>(i)] == (i == 5 * kTermSquare + 9 ? each.expected : 0.0f));
      }
    }
  });
}

namespace {

// Values of every kind that splitting has to do with, below 2^30.
float splittable(Random& random) {
  std::normal_distribution<float> normal;
  const float special[] = {0.0f,
                           -0.0f,
                           std::numeric_limits<float>::denorm_min(),
                           -0x1.fffffcp-127f,  // the largest subnormal number
                           0x1p-126f,
                           -0x1.fffffep29f,  // the largest of all
                           0x1.01p0f,        // between two numbers of bfloat16: to even
                           -0x1.03p0f,
                           0x1.fffffep0f,  // rounds to the next power of two
                           0x1.010101p-20f,
                           -0x1.7ffffep10f};
  const auto kind = random() % 4;
  if (kind == 0) return special[random() % (sizeof special / sizeof *special)];
  if (kind == 1) return std::ldexp(normal(random), static_cast<int>(random() % 160) - 140);
  return normal(random);
}

}  // namespace

TEST_CASE("split: each term is the nearest of what is left, and three are the whole") {
  Random random(9);
  for_each_terms([&](const TermKernels& kernels) {
    for (int terms = 1; terms <= kMostTerms; ++terms) {
      for (int channels = 1; channels <= kTermBlock; ++channels) {
        for (const int rows : {0, 1, 2, 7}) {
          const ptrdiff_t src_stride = channels + rows % 3;
          const ptrdiff_t dst_stride = kTermBlock * (1 + channels % 3),
                          term_stride = (rows + channels % 2) * dst_stride + 64;
          // No channel beyond the last is read.
          Source src(rows == 0 ? 0 : static_cast<std::size_t>((rows - 1) * src_stride + channels));
          for (std::size_t i = 0; i < src.size(); ++i) src[i] = splittable(random);
          for (int i = 0; i + 1 < rows; ++i) {  // nor anything between the rows
            for (ptrdiff_t j = channels; j < src_stride; ++j) src[static_cast<std::size_t>(i * src_stride + j)] = kNaN;
          }
          Guarded dst(static_cast<std::size_t>(terms * term_stride) / 2, 0);
          dst.fill(Guarded::kMark);
          const TermSplitArgs args{
              src.data(), src_stride,  rows,    channels, terms, reinterpret_cast<uint16_t*>(dst.data()),
              dst_stride, term_stride, 0x1p30f, 0x1p30f};
          INFO("terms " << terms << " channels " << channels << " rows " << rows);
          CHECK(kernels.split(&args));
          int wrong = 0, inexact = 0, touched = 0;
          for (ptrdiff_t at = 0; at < terms * term_stride; ++at) {
            const ptrdiff_t k = at / term_stride, i = at % term_stride / dst_stride, c = at % term_stride % dst_stride;
            const std::uint16_t got = element_of(dst.data(), at);
            if (i >= rows || c >= kTermBlock) {
              touched += got != mark_at(at);
              continue;
            }
            const float value = c < channels ? src[static_cast<std::size_t>(i * src_stride + c)] * 0x1p30f : 0.0f;
            wrong += got != term_of(value, static_cast<int>(k));
            if (k + 1 < kMostTerms) continue;
            double sum = 0.0;
            for (ptrdiff_t l = 0; l <= k; ++l) sum += double{float_of(element_of(dst.data(), at - l * term_stride))};
            inexact += sum != double{value};
          }
          CHECK(wrong == 0);
          CHECK(inexact == 0);
          CHECK(touched == 0);
          CHECK(dst.guards_intact());
        }
      }
    }
  });
}

TEST_CASE("split says whether every magnitude was below the limit") {
  for_each_terms([](const TermKernels& kernels) {
    for (const float limit : {0x1p30f, 1.0f, 0x1p-100f}) {
      for (const int channels : {1, 15, 16, 17, 31, 32}) {
        const ptrdiff_t src_stride = channels + 1;
        constexpr int kRows = 3;
        for (int at = 0; at < kRows * channels; ++at) {
          const float below = std::nextafter(limit, 0.0f);
          const std::pair<float, bool> cases[] = {
              {kNaN, false},       {-kNaN, false}, {kInfinity, false},
              {-kInfinity, false}, {limit, false}, {-limit, false},
              {below, true},       {-below, true}, {std::numeric_limits<float>::max(), false}};
          for (const auto& [value, fine] : cases) {
            Source src(static_cast<std::size_t>(kRows * src_stride));
            for (std::size_t i = 0; i < src.size(); ++i) {  // beyond the channels: does not count
              src[i] = static_cast<ptrdiff_t>(i) % src_stride == channels ? kInfinity : limit / 2;
            }
            src[static_cast<std::size_t>(at / channels * src_stride + at % channels)] = value;
            for (int terms = 1; terms <= kMostTerms; ++terms) {
              Guarded dst(static_cast<std::size_t>(kMostTerms * kRows * kTermBlock) / 2, 0);
              const TermSplitArgs args{
                  src.data(), src_stride,         kRows, channels, terms, reinterpret_cast<uint16_t*>(dst.data()),
                  kTermBlock, kRows * kTermBlock, 1.0f,  limit};
              REQUIRE(kernels.split(&args) == fine);
              REQUIRE(dst.guards_intact());
            }
          }
        }
      }
    }
  });
}

TEST_CASE("split_weights: the order of the kernels, each term the nearest of what is left") {
  Random random(10);
  for_each_terms([&](const TermKernels& kernels) {
    for (int terms = 1; terms <= kMostTerms; ++terms) {
      for (int columns = 1; columns <= 2; ++columns) {
        for (const float scale : {1.0f, 0x1p40f, 0x1p-10f}) {
          const int width = columns * kTermSquare;
          Source src(static_cast<std::size_t>(kTermBlock * width));
          std::normal_distribution<float> normal;
          for (std::size_t i = 0; i < src.size(); ++i) {
            src[i] = scale > 1.0f ? splittable(random) : i % 13 == 0 ? 0x1.01p3f : normal(random);
          }
          Guarded dst(static_cast<std::size_t>(terms * columns * kTermElements) / 2, terms);
          const TermWeightsArgs args{src.data(), columns, terms, reinterpret_cast<uint16_t*>(dst.data()), scale};
          kernels.split_weights(&args);
          int wrong = 0, inexact = 0;
          for (int c = 0; c < kTermBlock; ++c) {
            for (int j = 0; j < width; ++j) {
              const float value = src[static_cast<std::size_t>(c * width + j)] * scale;
              double sum = 0.0;
              for (int k = 0; k < terms; ++k) {
                const ptrdiff_t at =
                    (k * columns + j / kTermSquare) * kTermElements + (c / 2 * kTermSquare + j % kTermSquare) * 2 + c % 2;
                const std::uint16_t got = element_of(dst.data(), at);
                wrong += got != term_of(value, k);
                sum += double{float_of(got)};
              }
              inexact += terms == kMostTerms && sum != double{value};
            }
          }
          INFO("terms " << terms << " columns " << columns << " scale " << scale);
          CHECK(wrong == 0);
          CHECK(inexact == 0);
          CHECK(dst.guards_intact());
        }
      }
    }
  });
}

TEST_CASE("split_planes and split_pixels: positions where output channels stand, each term the nearest of what is left") {
  Random random(12);
  const auto check = [&](const TermKernels& kernels, bool pixels) {
    for (int terms = 1; terms <= kMostTerms; ++terms) {
      for (int columns = 1; columns <= 2; ++columns) {
        for (int positions = 1; positions <= 40; ++positions) {
          for (const int channels : {1, 2, 3, 4, 15, 16, 17, 31, 32}) {
            const int first_matrix = (positions + channels) % 4;
            const ptrdiff_t run = pixels ? channels : positions, runs = pixels ? positions : channels;
            const ptrdiff_t src_stride = run + positions % 3;
            const ptrdiff_t of_block = terms * columns * kTermElements;
            const ptrdiff_t group_stride = of_block * (1 + channels % 2) + (channels % 3) * kTermElements;
            const int matrices = (positions + kTermSquare - 1) / kTermSquare;
            const int groups = (first_matrix + matrices + columns - 1) / columns;
            // No channel or position beyond the last is read.
            Source src(static_cast<std::size_t>((runs - 1) * src_stride + run));
            for (std::size_t i = 0; i < src.size(); ++i) {
              const bool between = static_cast<ptrdiff_t>(i) % src_stride >= run;
              src[i] = between ? kNaN : splittable(random);
            }
            const ptrdiff_t size = (groups - 1) * group_stride + of_block;
            Guarded dst(static_cast<std::size_t>(size) / 2, 0);
            dst.fill(Guarded::kMark);
            const TermPlanesArgs args{
                src.data(),   src_stride, positions,    channels, terms,  reinterpret_cast<uint16_t*>(dst.data()),
                first_matrix, columns,    group_stride, 0x1p30f,  0x1p30f};
            INFO("terms " << terms << " columns " << columns << " positions " << positions << " channels " << channels);
            CHECK((pixels ? kernels.split_pixels : kernels.split_planes)(&args));
            std::vector<bool> belongs(static_cast<std::size_t>(size));
            int wrong = 0, inexact = 0, touched = 0;
            for (int i = 0; i < matrices * kTermSquare; ++i) {
              const ptrdiff_t m = first_matrix + i / kTermSquare;
              for (int c = 0; c < kTermBlock; ++c) {
                const bool present = i < positions && c < channels;
                const ptrdiff_t from = pixels ? i * src_stride + c : c * src_stride + i;
                const float value = present ? src[static_cast<std::size_t>(from)] * 0x1p30f : 0.0f;
                double sum = 0.0;
                for (int k = 0; k < terms; ++k) {
                  const ptrdiff_t at = m / columns * group_stride + (k * columns + m % columns) * kTermElements +
                                       (c / 2 * kTermSquare + i % kTermSquare) * 2 + c % 2;
                  const std::uint16_t got = element_of(dst.data(), at);
                  belongs[static_cast<std::size_t>(at)] = true;
                  wrong += got != term_of(value, k);
                  sum += double{float_of(got)};
                }
                inexact += terms == kMostTerms && sum != double{value};
              }
            }
            for (ptrdiff_t at = 0; at < size; ++at) {
              touched += !belongs[static_cast<std::size_t>(at)] && element_of(dst.data(), at) != mark_at(at);
            }
            CHECK(wrong == 0);
            CHECK(inexact == 0);
            CHECK(touched == 0);
            CHECK(dst.guards_intact());
          }
        }
      }
    }
  };
  for_each_terms([&](const TermKernels& kernels) {
    for (const bool pixels : {false, true}) check(kernels, pixels);
  });
}

TEST_CASE("split_planes and split_pixels say whether every magnitude was below the limit") {
  for_each_terms([](const TermKernels& kernels) {
    for (const float limit : {0x1p30f, 1.0f, 0x1p-100f}) {
      const float below = std::nextafter(limit, 0.0f);
      const std::pair<float, bool> cases[] = {
          {kNaN, false},       {-kNaN, false}, {kInfinity, false},
          {-kInfinity, false}, {limit, false}, {-limit, false},
          {below, true},       {-below, true}, {std::numeric_limits<float>::max(), false}};
      for (const int channels : {1, 2, 7, 31, 32}) {
        for (const int positions : {1, 15, 16, 17, 33}) {
          for (int at = 0; at < 2 * channels * positions; at += at % 7 + 1) {
            const auto& [value, fine] = cases[at % (sizeof cases / sizeof *cases)];
            const bool pixels = at >= channels * positions;
            const int run = pixels ? channels : positions, runs = pixels ? positions : channels;
            const ptrdiff_t src_stride = run + 1;
            Source src(static_cast<std::size_t>(runs * src_stride));
            for (std::size_t i = 0; i < src.size(); ++i) {  // behind each run: does not count
              src[i] = static_cast<ptrdiff_t>(i) % src_stride == run ? kInfinity : limit / 2;
            }
            const int which = at % (channels * positions);
            src[static_cast<std::size_t>(which / run * src_stride + which % run)] = value;
            for (int terms = 1; terms <= kMostTerms; ++terms) {
              Guarded dst(static_cast<std::size_t>(terms * 2 * kTermElements * 2) / 2, 0);
              const TermPlanesArgs args{src.data(), src_stride, positions,
                                        channels,   terms,      reinterpret_cast<uint16_t*>(dst.data()),
                                        0,          2,          terms * 2 * kTermElements,
                                        1.0f,       limit};
              REQUIRE((pixels ? kernels.split_pixels : kernels.split_planes)(&args) == fine);
              REQUIRE(dst.guards_intact());
            }
          }
        }
      }
    }
  });
}

TEST_CASE("overlap adds up what neighbours give to the same outputs") {
  Random random(13);
  const std::vector<std::int64_t> shifts[] = {{0},
                                              {3},
                                              {16},
                                              {40},
                                              {0, 1},
                                              {0, 2},
                                              {1, 2},
                                              {0, 17},
                                              {5, 37},
                                              {0, 1, 2},
                                              {0, 2, 4},
                                              {1, 16, 33},
                                              {0, 1, 2, 3},
                                              {0, 3, 6, 9, 12},
                                              {2, 3, 20, 21, 50},
                                              {0, 1, 2, 3, 4, 5},
                                              {7, 14, 21, 28, 35, 42}};
  for_each_terms([&](const TermKernels& kernels) {
    for (const std::vector<std::int64_t>& shift : shifts) {
      for (const std::int64_t count : {1, 2, 7, 15, 16, 17, 20, 31, 32, 33, 47, 50, 64, 100}) {
        for (const int extra : {0, 1, 5, 16, 40}) {  // beyond what the last tap gives to
          for (const bool accumulate : {false, true}) {
            const auto taps = static_cast<std::int64_t>(shift.size());
            const std::int64_t rows = 1 + (count + extra + taps) % 3;
            const std::int64_t size = count + shift.back() + extra;
            const ptrdiff_t src_row = count + count % 2 * 5, src_stride = (rows - 1) * src_row + count + 3;
            // Nothing beyond the last input of the last row of the last tap is read.
            Source src(static_cast<std::size_t>((taps - 1) * src_stride + (rows - 1) * src_row + count));
            for (std::size_t i = 0; i < src.size(); ++i) src[i] = kNaN;
            std::normal_distribution<float> normal;
            for (std::int64_t t = 0; t < taps; ++t) {
              for (std::int64_t i = 0; i < rows; ++i) {
                for (std::int64_t x = 0; x < count; ++x) {
                  src[static_cast<std::size_t>(t * src_stride + i * src_row + x)] = normal(random);
                }
              }
            }
            // What is written beyond `size` is less than a vector, whose values stay (accumulate) or are zeros.
            const std::int64_t vectors = (size + kTermSquare - 1) / kTermSquare * kTermSquare;
            const ptrdiff_t dst_row = vectors + 8;
            Guarded dst(static_cast<std::size_t>((rows - 1) * dst_row + vectors), static_cast<std::size_t>(count % 5));
            randomize(dst, random);
            const std::vector<float> before(dst.data(), dst.data() + dst.size());
            const TermOverlapArgs args{src.data(), src_stride, src_row, rows, count, shift.data(),
                                       taps,       dst.data(), dst_row, size, 0.25f, accumulate};
            kernels.overlap(&args);
            INFO("taps " << taps << " last shift " << shift.back() << " count " << count << " size " << size
                         << " accumulate " << accumulate);
            int wrong = 0, touched = 0;
            for (std::int64_t at = 0; at < static_cast<std::int64_t>(dst.size()); ++at) {
              const std::int64_t i = at / dst_row, x = at % dst_row;
              const float got = dst[static_cast<std::size_t>(at)], old = before[static_cast<std::size_t>(at)];
              if (x >= vectors) {
                touched += !same_bits(got, old);
                continue;
              }
              if (x >= size) {
                wrong += got != old && !(got == 0.0f && !accumulate);
                continue;
              }
              double sum = 0.0, magnitude = std::fabs(double{old});
              for (std::int64_t t = 0; t < taps; ++t) {
                const std::int64_t from = x - shift[static_cast<std::size_t>(t)];
                if (from < 0 || from >= count) continue;
                const double value = double{src[static_cast<std::size_t>(t * src_stride + i * src_row + from)]};
                sum += value;
                magnitude += std::fabs(value);
              }
              const double expected = (accumulate ? double{old} : 0.0) + 0.25 * sum;
              wrong += !(std::fabs(double{got} - expected) <= static_cast<double>(taps) * 0x1p-24 * magnitude);
            }
            CHECK(wrong == 0);
            CHECK(touched == 0);
            CHECK(dst.guards_intact());
          }
        }
      }
    }
  });
}

namespace {

// Jobs of splitting ahead: where they read and write, and what they are to leave there.
struct AheadJobs {
  static constexpr ptrdiff_t kStride = 40;  // floats from plane to plane, or from pixel to pixel; rows follow each other

  AheadJobs(const std::vector<int>& lengths, int terms, Random& random, TermSource source = TermSource::kPlanes)
      : term_stride((terms % 2 + 1) * kTermElements),
        dst(static_cast<std::size_t>(lengths.size() + 1) * static_cast<std::size_t>(kMostTerms * 2 * kTermElements) / 2, 0) {
    dst.fill(Guarded::kMark);
    ahead.source = source;
    ahead.src_stride = source == TermSource::kRows ? kTermBlock : kStride;
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      const ptrdiff_t run = source == TermSource::kPlanes   ? kTermSquare
                            : source == TermSource::kPixels ? 2 * lengths[i]
                                                            : kTermBlock;
      const ptrdiff_t runs = source == TermSource::kPlanes   ? 2 * lengths[i]
                             : source == TermSource::kPixels ? kTermSquare
                                                             : lengths[i];
      src.push_back(std::make_unique<Source>(static_cast<std::size_t>((runs - 1) * ahead.src_stride + run)));
      Source& values = *src.back();
      for (std::size_t at = 0; at < values.size(); ++at) {
        values[at] = static_cast<ptrdiff_t>(at) % ahead.src_stride < run ? splittable(random) : kNaN;
      }
      jobs.push_back({values.data(), matrix(i), lengths[i]});
    }
    ahead.now = jobs.empty() ? TermSplitJob{nullptr, nullptr, 0} : jobs[0];
    ahead.next = jobs.data() + (jobs.empty() ? 0 : 1);
    ahead.end = jobs.data() + jobs.size();
    ahead.term_stride = term_stride;
    ahead.terms = terms;
    ahead.scale = 0x1p30f;
    ahead.limit = 0x1p30f;
    ahead.fine = true;
    ahead.at_once = 2;
  }
  uint16_t* matrix(std::size_t job) {
    return reinterpret_cast<uint16_t*>(dst.data()) + job * static_cast<std::size_t>(kMostTerms * 2 * kTermElements);
  }
  bool done() const { return ahead.now.left == 0; }
  std::int64_t left() const {
    std::int64_t left = ahead.now.left;
    for (const TermSplitJob* job = ahead.next; job != ahead.end; ++job) left += job->left;
    return left;
  }

  // Elements that are not what they should be, once all is done.
  int wrong() {
    std::vector<std::uint16_t> expected(dst.size() * 2);
    for (std::size_t at = 0; at < expected.size(); ++at) expected[at] = mark_at(static_cast<ptrdiff_t>(at));
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      const bool rows = ahead.source == TermSource::kRows, planes = ahead.source == TermSource::kPlanes;
      for (ptrdiff_t c = 0; c < (rows ? kTermBlock : 2 * jobs[i].left); ++c) {
        for (ptrdiff_t x = 0; x < (rows ? jobs[i].left : kTermSquare); ++x) {
          const ptrdiff_t from = planes ? c * ahead.src_stride + x : x * ahead.src_stride + c;
          const float value = (*src[i])[static_cast<std::size_t>(from)] * ahead.scale;
          for (int k = 0; k < ahead.terms; ++k) {
            const ptrdiff_t in_matrix = rows ? x * kTermBlock + c : (c / 2 * kTermSquare + x) * 2 + c % 2;
            const ptrdiff_t at = matrix(i) - matrix(0) + k * term_stride + in_matrix;
            expected[static_cast<std::size_t>(at)] = term_of(value, k);
          }
        }
      }
    }
    int count = 0;
    for (std::size_t at = 0; at < expected.size(); ++at) {
      count += element_of(dst.data(), static_cast<ptrdiff_t>(at)) != expected[at];
    }
    return count;
  }

  ptrdiff_t term_stride;
  std::vector<std::unique_ptr<Source>> src;
  Guarded dst;
  std::vector<TermSplitJob> jobs;
  TermSplitAhead ahead{};
};

// Operands of a call of a term kernel, and its sums.
struct TermCall {
  static constexpr int kBlocks = 2;

  TermCall(const TermKernel& kernel, Random& random)
      : src(static_cast<std::size_t>(kMostTermRows * kBlocks * kMostTerms * kTermElements) / 2),
        weights(static_cast<std::size_t>(kBlocks * kMostTerms * 4 * kTermElements) / 2),
        tile(static_cast<std::size_t>(kMostTermRows * kTermSquare * 4 * kTermSquare), 0) {
    std::normal_distribution<float> normal;
    for (std::size_t i = 0; i < 2 * src.size(); ++i)
      set_element(&src[0], static_cast<ptrdiff_t>(i), nearest_bfloat16(normal(random)));
    for (std::size_t i = 0; i < 2 * weights.size(); ++i) {
      set_element(&weights[0], static_cast<ptrdiff_t>(i), nearest_bfloat16(normal(random)));
    }
    tile.fill(0.0f);
    for (int r = 0; r < kernel.rows; ++r) {
      args.src[r] = elements(src.data()) + r * kBlocks * kMostTerms * kTermElements;
      args.tile[r] = tile.data() + r * kTermSquare * 4 * kTermSquare;
    }
    args.src_term_stride = kTermElements;
    args.src_channel_stride = kMostTerms * kTermElements;
    args.tap_offset = &no_shift;
    args.weights = elements(weights.data());
    args.weights_stride = kBlocks * kMostTerms * 2 * kTermElements;
    args.channel_blocks = kBlocks;
    args.taps = 1;
    args.tile_stride = 4 * kTermSquare;
    args.unscaled = true;
  }

  ptrdiff_t no_shift = 0;
  Source src, weights;
  Guarded tile;
  TermArgs args{};
};

}  // namespace

TEST_CASE("term kernels split ahead what they are given, and their sums stay the same") {
  Random random(14);
  for_each_terms([&](const TermKernels& terms) {
    for (int row = 0; row < terms.count; ++row) {
      const TermKernel& kernel = terms.multiply[row];
      if (kernel.splits) continue;  // weights, and nothing else
      const bool splits = kernel.rows * kernel.columns == 4 && kernel.rows < 4;
      for (const std::vector<int>& lengths : std::vector<std::vector<int>>{
               {}, {1}, {2}, {3}, {16}, {16, 16}, {1, 1, 1, 1, 1, 1}, {5, 16, 3}, {16, 16, 16, 16, 16, 16}}) {
        for (const auto& [source, at_once] : std::vector<std::pair<TermSource, int>>{{TermSource::kPlanes, 2},
                                                                                     {TermSource::kPlanes, 4},
                                                                                     {TermSource::kPixels, 2},
                                                                                     {TermSource::kPixels, 4},
                                                                                     {TermSource::kRows, 1},
                                                                                     {TermSource::kRows, 2},
                                                                                     {TermSource::kRows, 3},
                                                                                     {TermSource::kRows, 4}}) {
          if (source == TermSource::kPixels &&
              std::any_of(lengths.begin(), lengths.end(), [](int n) { return n % 2 != 0; })) {
            continue;
          }
          TermCall call(kernel, random);
          terms.begin();
          kernel.fn(&call.args);
          const std::vector<float> expected(call.tile.data(), call.tile.data() + call.tile.size());
          AheadJobs jobs(lengths, kernel.terms, random, source);
          const std::int64_t all = jobs.left();
          jobs.ahead.at_once = at_once;
          jobs.ahead.lines = at_once;  // of what is there: asking for it is all that can be seen
          jobs.ahead.fetch = elements(call.src.data());
          call.tile.fill(0.0f);
          call.args.ahead = &jobs.ahead;
          kernel.fn(&call.args);
          const std::int64_t left = jobs.left();
          for (int more = 0; more < 2; ++more) kernel.fn(&call.args);
          terms.finish_ahead(&jobs.ahead);
          terms.end();
          INFO(kernel.name << " jobs " << lengths.size() << " source " << static_cast<int>(source) << " at once "
                           << at_once);
          CHECK(std::equal(expected.begin(), expected.end(), call.tile.data(), same_bits));
          CHECK((splits ? left < all || all == 0 : left == all));
          CHECK(jobs.done());
          CHECK(jobs.ahead.fine);
          CHECK(jobs.wrong() == 0);
          CHECK(jobs.dst.guards_intact());
          CHECK(call.tile.guards_intact());
        }
      }
    }
  });
}

TEST_CASE("splitting ahead says whether every magnitude was below the limit, whoever met it") {
  Random random(15);
  for_each_terms([&](const TermKernels& terms) {
    for (int row = 0; row < terms.count; ++row) {
      const TermKernel& kernel = terms.multiply[row];
      if (kernel.splits) continue;
      for (const float special : {kNaN, kInfinity, -kInfinity, 0x1p30f, -0x1p30f}) {
        for (std::size_t job = 0; job < 3; ++job) {
          for (const std::size_t at :
               {std::size_t{0}, std::size_t{15 + AheadJobs::kStride}, std::size_t{9 + 30 * AheadJobs::kStride}}) {
            for (const int way : {0, 1, 2, 3}) {
              const bool by_kernel = way % 2 == 0, pixels = way >= 2;
              TermCall call(kernel, random);
              AheadJobs jobs({16, 16, 16}, kernel.terms, random, pixels ? TermSource::kPixels : TermSource::kPlanes);
              (*jobs.src[job])[pixels ? at % AheadJobs::kStride * AheadJobs::kStride + at / AheadJobs::kStride : at] =
                  special;
              call.args.ahead = &jobs.ahead;
              terms.begin();
              for (int calls = by_kernel ? 3 : 0; calls > 0; --calls) kernel.fn(&call.args);
              terms.end();
              terms.finish_ahead(&jobs.ahead);
              CHECK(!jobs.ahead.fine);
              CHECK(jobs.done());
            }
          }
        }
      }
    }
  });
}
