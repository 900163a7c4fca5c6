#include "runtime/counters.h"

#include <map>
#include <mutex>

#include "runtime/os_thread.h"

namespace convtranspose {
namespace {

struct Counters {
  std::mutex mutex;
  std::map<std::string, std::atomic<std::uint64_t>> by_name;  // nodes never move
};

// Never destroyed: pool threads count until the process ends.
Counters& counters() {
  static Counters* const all = [] {
    Counters* made = new Counters;
    at_fork([] { counters().mutex.lock(); }, [] { counters().mutex.unlock(); }, [] { counters().mutex.unlock(); });
    return made;
  }();
  return *all;
}

}  // namespace

std::atomic<std::uint64_t>* counter(const std::string& name) {
  Counters& all = counters();
  const std::lock_guard<std::mutex> lock(all.mutex);
  return &all.by_name.try_emplace(name, 0).first->second;
}

std::vector<std::pair<std::string, std::uint64_t>> read_counters() {
  Counters& all = counters();
  const std::lock_guard<std::mutex> lock(all.mutex);
  std::vector<std::pair<std::string, std::uint64_t>> counts;
  for (const auto& [name, count] : all.by_name) {
    const std::uint64_t value = count.load(std::memory_order_relaxed);
    if (value != 0) counts.emplace_back(name, value);
  }
  return counts;
}

void reset_counters() {
  Counters& all = counters();
  const std::lock_guard<std::mutex> lock(all.mutex);
  for (auto& entry : all.by_name) entry.second.store(0, std::memory_order_relaxed);
}

}  // namespace convtranspose
