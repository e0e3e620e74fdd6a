#include "tokenizer/bpe_model.h"

#include <algorithm>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>

#include "tokenizer/char_classes.h"
#include "tokenizer/merge_word.h"
#include "tokenizer/whole_characters.h"

namespace anneal {
namespace {

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
  const std::vector<int32_t> merges = std::move(parts_.merges);
  ascii_pair_ranks_.resize(size_t{128} * 128);
  for (size_t i = 0; i < ascii_pair_ranks_.size(); ++i) {
    ascii_pair_ranks_[i] = table_.rank(parts_.byte_ids[i >> 7], parts_.byte_ids[i & 127]);
  }
  const TextBatch& tokens = parts_.tokens;
  if (parts_.whole_words) {
    by_text_.reserve(tokens.size());
    for (size_t id = 0; id < tokens.size(); ++id) {
      if (!tokens[id].empty()) by_text_.emplace(tokens[id], static_cast<int32_t>(id));
    }
  }
  if (!parts_.characters) {
    character_ids_ = whole_characters(table_, merges, parts_.byte_ids);
    return;
  }
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
  const Byte* bytes = bytes_of(word);
  const bool in_bytes =
      !parts_.characters && std::all_of(bytes, bytes + word.size(), [](Byte byte) { return byte < 0x80; });
  if (word.size() > kMaxMergedWord) {
    scratch.ids.resize(word.size());
    scratch.ids.resize(characters_of(word, scratch.ids.data()));
    const size_t length = merge_long(scratch);
    std::copy_n(scratch.ids.begin(), length, out);
    return length;
  }
  PairRanks ranks;
  if (in_bytes) {
    for (size_t i = 0; i < word.size(); ++i) out[i] = parts_.byte_ids[bytes[i]];
    for (size_t i = 0; i + 1 < word.size(); ++i)
      ranks.of[i] = ascii_pair_ranks_[bytes[i] << 7 | bytes[i + 1]];
    return merge_word(table_, out, ranks, word.size());
  }
  const size_t length = characters_of(word, out);
  for (size_t i = 0; i + 1 < length; ++i) ranks.of[i] = table_.rank(out[i], out[i + 1]);
  return merge_word(table_, out, ranks, length);
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
