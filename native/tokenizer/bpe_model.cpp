#include "tokenizer/bpe_model.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>

#include "tokenizer/char_classes.h"

namespace anneal {
namespace {

/// From this many units on a word is merged with a heap instead of by looking for the best pair each time.
constexpr size_t kLongWord = 96;
constexpr uint32_t kNoRank = MergeTable::kNoRank;

const Byte* bytes_of(std::string_view text) { return reinterpret_cast<const Byte*>(text.data()); }

}  // namespace

BpeModel::BpeModel(BpeModelParts parts) : parts_(std::move(parts)), table_(parts_.merges) {
  if (parts_.byte_ids.size() != 256) {
    throw std::invalid_argument("a vocabulary has an id for each of 256 bytes: got " +
                                std::to_string(parts_.byte_ids.size()));
  }
  for (const int32_t id : parts_.byte_ids) {
    if (id < 0) throw std::invalid_argument("the id of a byte is negative");
  }
  parts_.merges = {};
  byte_pair_ranks_.resize(size_t{256} * 256);
  for (size_t i = 0; i < byte_pair_ranks_.size(); ++i) {
    byte_pair_ranks_[i] = table_.rank(parts_.byte_ids[i >> 8], parts_.byte_ids[i & 255]);
  }
  const TextBatch& tokens = parts_.tokens;
  if (parts_.whole_words) {
    by_text_.reserve(tokens.size());
    for (size_t id = 0; id < tokens.size(); ++id) {
      if (!tokens[id].empty()) by_text_.emplace(tokens[id], static_cast<int32_t>(id));
    }
  }
  if (!parts_.characters) return;
  character_ids_.assign(kCodePoints + 1, -1);
  for (size_t id = 0; id < tokens.size(); ++id) {
    const std::string_view token = tokens[id];
    if (token.empty()) continue;
    const Char c = char_at(bytes_of(token), bytes_of(token) + token.size());
    if (c.length == token.size() && c.point != kInvalid) character_ids_[c.point] = static_cast<int32_t>(id);
  }
}

size_t BpeModel::encode(std::string_view word, Scratch& scratch, int32_t* out) const {
  if (parts_.whole_words) {
    if (const auto found = by_text_.find(word); found != by_text_.end()) {
      *out = found->second;
      return 1;
    }
  }
  uint32_t ranks[kLongWord];
  if (word.size() <= kLongWord) {
    if (parts_.characters) {
      const size_t length = characters_of(word, out);
      for (size_t i = 0; i + 1 < length; ++i) ranks[i] = table_.rank(out[i], out[i + 1]);
      return merge_short(out, ranks, length);
    }
    const Byte* bytes = bytes_of(word);
    for (size_t i = 0; i < word.size(); ++i) out[i] = parts_.byte_ids[bytes[i]];
    for (size_t i = 0; i + 1 < word.size(); ++i) ranks[i] = byte_pair_ranks_[bytes[i] << 8 | bytes[i + 1]];
    return merge_short(out, ranks, word.size());
  }
  scratch.ids.resize(word.size());
  if (parts_.characters) {
    scratch.ids.resize(characters_of(word, scratch.ids.data()));
  } else {
    std::transform(word.begin(), word.end(), scratch.ids.begin(),
                   [&](char byte) { return parts_.byte_ids[static_cast<Byte>(byte)]; });
  }
  const size_t length = merge_long(scratch);
  std::copy_n(scratch.ids.begin(), length, out);
  return length;
}

size_t BpeModel::characters_of(std::string_view word, int32_t* ids) const {
  const Byte* end = bytes_of(word) + word.size();
  size_t length = 0;
  for (const Byte* p = bytes_of(word); p < end;) {
    const Char c = char_at(p, end);
    if (const int32_t id = character_ids_[c.point]; id >= 0) {
      ids[length++] = id;
    } else {
      for (uint32_t i = 0; i < c.length; ++i) ids[length++] = parts_.byte_ids[p[i]];
    }
    p += c.length;
  }
  return length;
}

/// `ranks[i]` belongs to the pair of ids i and i + 1.
size_t BpeModel::merge_short(int32_t* ids, uint32_t* ranks, size_t length) const {
  while (length > 1) {
    size_t best = 0;
    uint32_t best_rank = ranks[0];
    for (size_t i = 1; i + 1 < length; ++i) {
      const bool better = ranks[i] < best_rank;
      best_rank = better ? ranks[i] : best_rank;
      best = better ? i : best;
    }
    if (best_rank == kNoRank) break;
    ids[best] = table_.result(best_rank);
    std::memmove(ids + best + 1, ids + best + 2, (length - best - 2) * sizeof(*ids));
    --length;
    if (best + 1 < length) {
      std::memmove(ranks + best, ranks + best + 1, (length - best - 1) * sizeof(*ranks));
      ranks[best] = table_.rank(ids[best], ids[best + 1]);
    }
    if (best > 0) ranks[best - 1] = table_.rank(ids[best - 1], ids[best]);
  }
  return length;
}

size_t BpeModel::merge_long(Scratch& scratch) const {
  constexpr int32_t kGone = -1;
  auto& [ids, next, previous, heap] = scratch;
  if (ids.size() >= UINT32_MAX) throw std::length_error("a word is longer than 4 GiB");
  const auto length = static_cast<uint32_t>(ids.size());
  next.resize(length);
  previous.resize(length);
  heap.clear();
  // Candidates are rank, then position: the smallest comes first. A pair that changed since has another rank.
  const auto candidate = [&](uint32_t left, uint32_t right, const auto& add) {
    const uint32_t rank = table_.rank(ids[left], ids[right]);
    if (rank != kNoRank) add(static_cast<uint64_t>(rank) << 32 | left);
  };
  for (uint32_t i = 0; i < length; ++i) {
    next[i] = i + 1;
    previous[i] = i == 0 ? length : i - 1;
    if (i + 1 < length) candidate(i, i + 1, [&](uint64_t c) { heap.push_back(c); });
  }
  const auto later = std::greater<uint64_t>();
  std::make_heap(heap.begin(), heap.end(), later);
  const auto push = [&](uint64_t c) {
    heap.push_back(c);
    std::push_heap(heap.begin(), heap.end(), later);
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    const auto position = static_cast<uint32_t>(heap.back());
    const auto rank = static_cast<uint32_t>(heap.back() >> 32);
    heap.pop_back();
    if (ids[position] == kGone) continue;
    const uint32_t right = next[position];
    if (right == length || table_.rank(ids[position], ids[right]) != rank) continue;
    ids[position] = table_.result(rank);
    ids[right] = kGone;
    next[position] = next[right];
    if (next[right] < length) {
      previous[next[right]] = position;
      candidate(position, next[right], push);
    }
    if (previous[position] < length) candidate(previous[position], position, push);
  }
  return static_cast<size_t>(std::remove(ids.begin(), ids.end(), kGone) - ids.begin());
}

}  // namespace anneal
