// Distinct words and how often each occurred, in about 30 bytes a word beside its own.
//
// Words are spread over 64 shards by their hash, so that tables of several threads are added up shard by
// shard, in parallel, and memory grows and is freed in small steps. A shard holds its words one after
// another, each with its count and length before it, and a table of slots: 24 bits of the hash and the place
// of the word.
#pragma once

#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "tokenizer/word_hash.h"

namespace anneal {

/// Bytes that grow at the end. realloc moves large blocks by their pages, so growth neither copies nor holds
/// two copies at a time.
class GrowingBytes {
 public:
  [[nodiscard]] char* data() const { return data_.get(); }
  [[nodiscard]] size_t size() const { return size_; }
  /// Room for `count` more bytes at the end, to be written by the caller.
  char* extend(size_t count);

 private:
  struct Free {
    void operator()(char* data) const { std::free(data); }
  };
  std::unique_ptr<char, Free> data_;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

class WordShard {
 public:
  void add(std::string_view word, uint64_t hash, uint64_t count) {
    if ((words_ + 1) * 4 > slots_.size() * 3) grow();
    const uint64_t tag = hash << kTagShift >> (64 - kTagBits) << kPlaceBits;
    const size_t mask = slots_.size() - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
      const uint64_t slot = slots_[i];
      if (slot == 0) {
        slots_[i] = tag | append(word, count);
        return;
      }
      if ((slot & ~kPlaceMask) != tag) continue;
      char* entry = entries_.data() + (slot & kPlaceMask) - 1;
      if (text(entry) == word) {
        const uint64_t sum = load_number<uint64_t>(entry) + count;
        std::memcpy(entry, &sum, sizeof sum);
        return;
      }
    }
  }

  [[nodiscard]] size_t words() const { return words_; }

  /// Calls visit(word, count) for each word, in the order in which they came.
  template <typename Visit>
  void for_each(Visit&& visit) const {
    const char* end = entries_.data() + entries_.size();
    for (const char* entry = entries_.data(); entry != end;) {
      const std::string_view word = text(entry);
      visit(word, load_number<uint64_t>(entry));
      entry = word.data() + word.size();
    }
  }

 private:
  static constexpr int kTagShift = 6;  // the bits above choose the shard
  static constexpr int kTagBits = 24;
  static constexpr int kPlaceBits = 64 - kTagBits;
  static constexpr uint64_t kPlaceMask = (uint64_t{1} << kPlaceBits) - 1;

  /// An entry: count (8 bytes), length (4 bytes), the word.
  static std::string_view text(const char* entry) { return {entry + 12, load_number<uint32_t>(entry + 8)}; }

  /// Place of the new entry, from 1.
  uint64_t append(std::string_view word, uint64_t count);
  void grow();

  std::vector<uint64_t> slots_;  // 0: free
  GrowingBytes entries_;
  size_t words_ = 0;
};

class WordCounts {
 public:
  static constexpr size_t kShards = 64;

  void add(std::string_view word) {
    const uint64_t hash = hash_word(word);
    shards_[hash >> 58].add(word, hash, 1);
  }

  [[nodiscard]] size_t words() const;
  [[nodiscard]] WordShard& shard(size_t i) { return shards_[i]; }

  /// Adds the counts of the others to this and empties them.
  void absorb(std::span<const std::unique_ptr<WordCounts>> others, int threads);

  /// Words by how often they occurred: element c counts the words with count c, the last one all above.
  [[nodiscard]] std::vector<size_t> histogram(size_t most) const;

  /// Removes the words that occurred less often than `count`.
  void drop_below(uint64_t count, int threads);

 private:
  std::array<WordShard, kShards> shards_;
};

}  // namespace anneal
