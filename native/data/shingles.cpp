#include "data/shingles.h"

#include <algorithm>

#include "data/sha1.h"
#include "data/stable_hash.h"
#include "data/unicode.h"

namespace anneal {
namespace {

/// The finaliser of MurmurHash3.
uint32_t mixed(uint32_t hash) {
  hash = (hash ^ hash >> 16) * 0x85EBCA6B;
  hash = (hash ^ hash >> 13) * 0xC2B2AE35;
  return hash ^ hash >> 16;
}

}  // namespace

const std::vector<uint32_t>& Shingler::shingles(std::string_view text) {
  words_.find(text);
  if (hash_ != ShingleHash::kRolling) {
    hash_texts();
    return shingles_;
  }
  if (unit_ == ShingleUnit::kWord) {
    words();
  } else {
    characters();
  }
  roll();
  return shingles_;
}

void Shingler::words() {
  units_.resize(words_.places().size());
  std::ranges::transform(words_.places(), units_.begin(), [&](auto place) { return words_.hash(place); });
}

void Shingler::characters() {
  units_.clear();
  for (const PlainWords::Place place : words_.places()) {
    if (!units_.empty()) units_.push_back(stable_hash(" "));
    const std::string_view word = words_.word(place);
    for (size_t at = 0; at < word.size();) {
      const uint32_t bytes = utf8_length(static_cast<unsigned char>(word[at]));
      units_.push_back(stable_hash_padded(word.data() + at, bytes));
      at += bytes;
    }
  }
}

/// The hash of a run is the polynomial of its units' hashes mod 2^64, mixed: it rolls on by one product.
void Shingler::roll() {
  constexpr uint64_t kBase = 0x9E3779B97F4A7C15u;
  constexpr uint64_t kMix = 0xD6E8FEB86659FD93u;
  const size_t length = std::min(length_, units_.size());
  shingles_.resize(length == 0 ? 0 : units_.size() - length + 1);
  uint64_t leading = 1;  // kBase^(length - 1)
  for (size_t i = 1; i < length; ++i) leading *= kBase;
  uint64_t hash = 0;
  for (size_t i = 0; i + 1 < length; ++i) hash = hash * kBase + units_[i];
  for (size_t i = 0; i < shingles_.size(); ++i) {
    hash = hash * kBase + units_[i + length - 1];
    const auto mixed_hash = static_cast<uint32_t>(mix_bits(hash, kMix));
    shingles_[i] = mixed_hash + (mixed_hash == 0 ? 1 : 0);
    hash -= units_[i] * leading;
  }
}

void Shingler::hash_texts() {
  joined_.clear();
  begins_.clear();
  ends_.clear();
  shingles_.clear();
  const auto add_unit = [&](std::string_view bytes) {
    begins_.push_back(joined_.size());
    joined_ += bytes;
    ends_.push_back(joined_.size());
  };
  for (const PlainWords::Place place : words_.places()) {
    const std::string_view word = words_.word(place);
    if (unit_ == ShingleUnit::kWord) {
      if (!begins_.empty()) joined_ += ' ';
      add_unit(word);
      continue;
    }
    if (!begins_.empty()) add_unit(" ");
    for (size_t at = 0; at < word.size();) {
      const uint32_t bytes = utf8_length(static_cast<unsigned char>(word[at]));
      add_unit(word.substr(at, bytes));
      at += bytes;
    }
  }
  if (begins_.empty()) return;
  const size_t length = std::min(length_, begins_.size());
  const std::string_view all = joined_;
  for (size_t i = 0; i + length <= begins_.size(); ++i) {
    const uint32_t hash = sha1_hash32(all.substr(begins_[i], ends_[i + length - 1] - begins_[i]));
    shingles_.push_back(hash_ == ShingleHash::kMixedSha1 ? mixed(hash) : hash);
  }
}

}  // namespace anneal
