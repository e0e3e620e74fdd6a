#include "tokenizer/word_counts.h"

#include <algorithm>
#include <new>
#include <stdexcept>
#include <utility>

#include "tokenizer/parallel.h"

namespace anneal {

char* GrowingBytes::extend(size_t count) {
  if (count > capacity_ - size_) {
    const size_t capacity = std::max<size_t>({size_ + count, capacity_ + capacity_ / 2, 1024});
    char* moved = static_cast<char*>(std::realloc(data_.get(), capacity));
    if (moved == nullptr) throw std::bad_alloc();
    static_cast<void>(data_.release());
    data_.reset(moved);
    capacity_ = capacity;
  }
  char* end = data_.get() + size_;
  size_ += count;
  return end;
}

uint64_t WordShard::append(std::string_view word, uint64_t count) {
  if (word.size() > UINT32_MAX) throw std::length_error("a word of more than 4 GiB");
  const uint64_t place = entries_.size() + 1;
  char* entry = entries_.extend(12 + word.size());
  const auto length = static_cast<uint32_t>(word.size());
  std::memcpy(entry, &count, sizeof count);
  std::memcpy(entry + 8, &length, sizeof length);
  std::memcpy(entry + 12, word.data(), word.size());
  ++words_;
  return place;
}

void WordShard::grow() {
  std::vector<uint64_t>(std::max<size_t>(64, slots_.size() * 2)).swap(slots_);
  const size_t mask = slots_.size() - 1;
  for_each([&](std::string_view word, uint64_t) {
    const uint64_t hash = hash_word(word);
    size_t i = hash & mask;
    while (slots_[i] != 0) i = (i + 1) & mask;
    const auto place = static_cast<uint64_t>(word.data() - 12 - entries_.data()) + 1;
    slots_[i] = (hash << kTagShift >> (64 - kTagBits) << kPlaceBits) | place;
  });
}

size_t WordCounts::words() const {
  size_t sum = 0;
  for (const WordShard& shard : shards_) sum += shard.words();
  return sum;
}

void WordCounts::absorb(std::span<const std::unique_ptr<WordCounts>> others, int threads) {
  for_each_part(threads, kShards, [&](int, size_t i) {
    WordShard& into = shards_[i];
    for (const auto& other : others) {
      WordShard from = std::exchange(other->shards_[i], {});
      if (from.words() > into.words()) std::swap(from, into);
      from.for_each([&](std::string_view word, uint64_t count) { into.add(word, hash_word(word), count); });
    }
  });
}

std::vector<size_t> WordCounts::histogram(size_t most) const {
  std::vector<size_t> words(most + 2);
  for (const WordShard& shard : shards_) {
    shard.for_each([&](std::string_view, uint64_t count) { ++words[std::min<uint64_t>(count, most + 1)]; });
  }
  return words;
}

void WordCounts::drop_below(uint64_t count, int threads) {
  for_each_part(threads, kShards, [&](int, size_t i) {
    const WordShard all = std::exchange(shards_[i], {});
    all.for_each([&](std::string_view word, uint64_t occurred) {
      if (occurred >= count) shards_[i].add(word, hash_word(word), occurred);
    });
  });
}

}  // namespace anneal
