// The plans of a layer by call, bounded, least recently used out first. Not thread-safe: the layer locks.
#pragma once

#include <cstddef>
#include <list>
#include <unordered_map>
#include <utility>

#include "problem/problem.h"

namespace convtranspose {

struct CallSpecHash {
  std::size_t operator()(const CallSpec& call) const;
};

template <typename Value>
class PlanCache {
 public:
  explicit PlanCache(std::size_t capacity) : capacity_(capacity) {}

  // nullptr if there is none; otherwise the entry becomes the most recently used. Allocates nothing.
  Value* find(const CallSpec& call) {
    // The same call over and over, the rule: no hash for it.
    if (!entries_.empty() && entries_.front().first == call) return &entries_.front().second;
    const auto found = index_.find(call);
    if (found == index_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, found->second);
    return &found->second->second;
  }

  // The call must not be in the cache yet.
  Value* insert(const CallSpec& call, Value value) {
    entries_.emplace_front(call, std::move(value));
    try {
      index_.emplace(call, entries_.begin());
    } catch (...) {
      entries_.pop_front();
      throw;
    }
    if (entries_.size() > capacity_) {
      index_.erase(entries_.back().first);
      entries_.pop_back();
    }
    return &entries_.front().second;
  }

  template <typename Visit>
  void for_each(Visit visit) {
    for (auto& entry : entries_) visit(entry.second);
  }

 private:
  using Entries = std::list<std::pair<CallSpec, Value>>;
  std::size_t capacity_;
  Entries entries_;
  std::unordered_map<CallSpec, typename Entries::iterator, CallSpecHash> index_;
};

}  // namespace convtranspose
