#include "tokenizer/bpe_model.h"

#include <algorithm>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>

#include "tokenizer/char_classes.h"
#include "tokenizer/character_cuts.h"
#include "tokenizer/merge_word.h"
#include "tokenizer/reachable_merges.h"
#include "tokenizer/whole_characters.h"

namespace anneal {
namespace {

constexpr uint32_t kNoRank = MergeTable::kNoRank;

const Byte* bytes_of(std::string_view text) { return reinterpret_cast<const Byte*>(text.data()); }

/// The code point of a text that is one character, else kInvalid.
uint32_t only_character(std::string_view text) {
  if (text.empty()) return kInvalid;
  const Char c = char_at(bytes_of(text), bytes_of(text) + text.size());
  return c.length == text.size() ? c.point : kInvalid;
}

/// What words start from.
CharacterCuts::Units units_of(const BpeModelParts& parts) {
  CharacterCuts::Units units;
  for (size_t byte = 0; byte < 256; ++byte) {
    units.emplace_back(parts.byte_ids[byte], std::string(1, static_cast<char>(byte)));
  }
  for (size_t id = 0; parts.characters && id < parts.tokens.size(); ++id) {
    const std::string_view token = parts.tokens[id];
    if (only_character(token) != kInvalid) units.emplace_back(static_cast<int32_t>(id), token);
  }
  return units;
}

BpeModelParts checked(BpeModelParts parts) {
  if (parts.byte_ids.size() != 256) {
    throw std::invalid_argument("a vocabulary has an id for each of 256 bytes: got " +
                                std::to_string(parts.byte_ids.size()));
  }
  std::vector<int32_t> unit_ids;
  for (const auto& [id, text] : units_of(parts)) {
    if (id < 0) throw std::invalid_argument("the id of a byte is negative");
    unit_ids.push_back(id);
  }
  parts.merges = reachable_merges(std::move(parts.merges), unit_ids);
  return parts;
}

}  // namespace

BpeModel::BpeModel(BpeModelParts parts) : parts_(checked(std::move(parts))), table_(parts_.merges) {
  const std::vector<int32_t> merges = std::move(parts_.merges);
  ascii_pair_ranks_.resize(size_t{128} * 128);
  for (size_t i = 0; i < ascii_pair_ranks_.size(); ++i) {
    ascii_pair_ranks_[i] = table_.rank(parts_.byte_ids[i >> 7], parts_.byte_ids[i & 127]);
  }
  if (parts_.characters) {
    find_characters();
  } else {
    character_ids_ = whole_characters(table_, merges, parts_.byte_ids);
  }
  Scratch scratch;
  if (parts_.whole_words) find_unmerged(scratch);
  find_cuts(merges, scratch);
}

BpeModel::~BpeModel() = default;

void BpeModel::find_characters() {
  character_ids_.assign(kCodePoints + 1, -1);
  for (size_t id = 0; id < parts_.tokens.size(); ++id) {
    if (const uint32_t point = only_character(parts_.tokens[id]); point != kInvalid) {
      character_ids_[point] = static_cast<int32_t>(id);
    }
  }
}

void BpeModel::find_unmerged(Scratch& scratch) {
  std::vector<int32_t> ids;
  for (size_t id = 0; id < parts_.tokens.size(); ++id) {
    const std::string_view token = parts_.tokens[id];
    if (token.empty()) continue;
    ids.resize(token.size());
    if (merge(token, scratch, ids.data()) == 1 && ids[0] == static_cast<int32_t>(id)) continue;
    unmerged_.emplace(token, static_cast<int32_t>(id));
  }
}

void BpeModel::find_cuts(const std::vector<int32_t>& merges, Scratch& scratch) {
  std::vector<std::string_view> whole;
  for (const auto& [token, id] : unmerged_) whole.push_back(token);
  cuts_ = std::make_unique<CharacterCuts>(
      merges, units_of(parts_), whole,
      [&](std::string_view part, int32_t* out) { return merge(part, scratch, out); });
}

size_t BpeModel::encode(std::string_view word, Scratch& scratch, int32_t* out) const {
  if (!unmerged_.empty()) {
    if (const auto found = unmerged_.find(word); found != unmerged_.end()) {
      *out = found->second;
      return 1;
    }
  }
  return merge(word, scratch, out);
}

size_t BpeModel::merge(std::string_view part, Scratch& scratch, int32_t* out) const {
  const Byte* bytes = bytes_of(part);
  const bool in_bytes =
      !parts_.characters && std::all_of(bytes, bytes + part.size(), [](Byte byte) { return byte < 0x80; });
  if (part.size() > kMaxMergedWord) {
    scratch.ids.resize(part.size());
    scratch.ids.resize(characters_of(part, scratch.ids.data()));
    const size_t length = merge_long(scratch);
    std::copy_n(scratch.ids.begin(), length, out);
    return length;
  }
  PairKeys keys;
  if (in_bytes) {
    for (size_t i = 0; i < part.size(); ++i) out[i] = parts_.byte_ids[bytes[i]];
    for (size_t i = 0; i + 1 < part.size(); ++i) {
      keys.of[i] = PairKeys::key(ascii_pair_ranks_[bytes[i] << 7 | bytes[i + 1]], i);
    }
    return merge_word(table_, out, keys, part.size());
  }
  const size_t length = characters_of(part, out);
  for (size_t i = 0; i + 1 < length; ++i) keys.of[i] = PairKeys::key(table_.rank(out[i], out[i + 1]), i);
  return merge_word(table_, out, keys, length);
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
