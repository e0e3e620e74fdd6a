// Words to ids, for one thread. Words that are not in the cache are cut where no merge joins characters, and
// the parts looked up like words; what the cache does not have is merged. Lookups wait for one another in a
// group, so that their places in the cache are fetched all at once.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>

#include "tokenizer/bpe_model.h"
#include "tokenizer/split.h"
#include "tokenizer/word_cache.h"

namespace anneal {

struct CutCharacter;

/// Ids of which the last ones were written through end(): memory that is not cleared first.
class IdBuffer {
 public:
  /// Room for `more` ids behind the last.
  int32_t* reserve(size_t more) {
    if (size_ + more > capacity_) {
      const size_t capacity = std::max(2 * capacity_, size_ + more);
      auto grown = std::make_unique_for_overwrite<int32_t[]>(capacity);
      std::copy_n(ids_.get(), size_, grown.get());
      ids_ = std::move(grown);
      capacity_ = capacity;
    }
    return ids_.get() + size_;
  }
  void set_end(const int32_t* end) { size_ = static_cast<size_t>(end - ids_.get()); }
  void push(int32_t id) {
    *reserve(1) = id;
    ++size_;
  }
  [[nodiscard]] size_t size() const { return size_; }
  [[nodiscard]] const int32_t* begin() const { return ids_.get(); }
  [[nodiscard]] const int32_t* end() const { return ids_.get() + size_; }
  void clear() { size_ = 0; }

 private:
  std::unique_ptr<int32_t[]> ids_;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

class WordEncoder {
 public:
  explicit WordEncoder(const BpeModel& model) : model_(model) {}

  /// Appends the ids of the words of a text.
  void append(SplitPattern pattern, std::string_view text);

  IdBuffer ids;

 private:
  static constexpr size_t kGroup = 64;

  /// What waits for its ids: a word or a part of one, or a character of which they are known.
  struct Pending {
    WordCache::Query query;
    const CutCharacter* known;
  };

  /// Adds the parts of a word to those that wait; returns how many wait.
  size_t cut(std::string_view word, const char* text_end, size_t waiting);
  /// Appends the ids of all that wait.
  void flush(size_t waiting);
  size_t look_up(const WordCache::Query& query, int32_t* out);
  /// What the cache does not have.
  size_t encode(const WordCache::Query& query, int32_t* out);

  const BpeModel& model_;
  WordCache cache_;
  BpeModel::Scratch scratch_;
  std::array<Pending, 4 * kGroup> pending_;
};

}  // namespace anneal
