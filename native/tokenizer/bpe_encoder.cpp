#include "tokenizer/bpe_encoder.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <queue>
#include <stdexcept>
#include <string>

#include "tokenizer/byte_units.h"
#include "tokenizer/parallel.h"
#include "tokenizer/word_hash.h"

namespace anneal {
namespace {

/// From this many bytes on a word is merged with a heap instead of by looking for the best pair each time.
constexpr size_t kLongWord = 64;
constexpr int32_t kNoRank = INT32_MAX;

}  // namespace

/// (left id, right id) -> (rank, id of the result): open addressing, at most half full.
class BpeEncoder::MergeTable {
 public:
  struct Merge {
    uint64_t key = kFree;
    int32_t rank = kNoRank;
    int32_t result = 0;
  };

  explicit MergeTable(size_t merges) : slots_(std::bit_ceil(std::max<size_t>(16, merges * 2 + 1))) {}

  /// The first merge of a pair counts.
  void add(int32_t left, int32_t right, int32_t rank, int32_t result) {
    Merge& slot = slots_[index(pair_key(left, right))];
    if (slot.key == kFree) slot = {pair_key(left, right), rank, result};
  }

  /// rank is kNoRank when the pair is not merged.
  [[nodiscard]] const Merge& find(int32_t left, int32_t right) const {
    return slots_[index(pair_key(left, right))];
  }

 private:
  static constexpr uint64_t kFree = UINT64_MAX;  // ids are not negative, so no pair has this key

  [[nodiscard]] size_t index(uint64_t key) const {
    const size_t mask = slots_.size() - 1;
    size_t i = hash_pair(key) & mask;
    while (slots_[i].key != key && slots_[i].key != kFree) i = (i + 1) & mask;
    return i;
  }

  std::vector<Merge> slots_;
};

/// A cached word, in one cache line.
struct alignas(64) BpeEncoder::Slot {
  static constexpr size_t kMaxBytes = 22;
  static constexpr size_t kMaxIds = 8;
  uint64_t hash;
  uint8_t num_bytes;  // 0: empty
  uint8_t num_ids;
  char bytes[kMaxBytes];
  int32_t ids[kMaxIds];
};

/// Direct-mapped: a new word takes the place of the one that was there, so the size is fixed.
class BpeEncoder::WordCache {
 public:
  WordCache() : slots_(kSlots) {}

  [[nodiscard]] Slot& slot(uint64_t hash) { return slots_[hash & (kSlots - 1)]; }

  std::vector<int32_t> word;  // scratch of the thread

 private:
  static constexpr size_t kSlots = size_t{1} << 15;  // 2 MiB
  std::vector<Slot> slots_;
};

BpeEncoder::BpeEncoder(SplitPattern pattern, std::vector<int32_t> merges, std::vector<int32_t> ids,
                       int threads)
    : pattern_(pattern), byte_ids_(256) {
  const size_t num_merges = merges.size() / 2;
  if (merges.size() % 2 != 0 || ids.size() != 256 + num_merges) {
    throw std::invalid_argument("a byte-pair vocabulary has 256 bytes and one id for each merge: got " +
                                std::to_string(num_merges) + " merges and " + std::to_string(ids.size()) +
                                " ids");
  }
  for (const int32_t id : ids) {
    if (id < 0) throw std::invalid_argument("a vocabulary id is negative");
  }
  for (size_t byte = 0; byte < 256; ++byte) byte_ids_[byte] = ids[kByteUnits[byte]];
  table_ = std::make_unique<MergeTable>(num_merges);
  for (size_t i = 0; i < num_merges; ++i) {
    const auto left = static_cast<size_t>(merges[2 * i]);
    const auto right = static_cast<size_t>(merges[2 * i + 1]);
    if (left >= ids.size() || right >= ids.size()) {
      throw std::invalid_argument("merge " + std::to_string(i) + " names a unit that does not exist");
    }
    table_->add(ids[left], ids[right], static_cast<int32_t>(i), ids[256 + i]);
  }
  for (int i = 0; i < 1 + std::max(1, threads); ++i) caches_.push_back(std::make_unique<WordCache>());
}

BpeEncoder::~BpeEncoder() = default;

std::vector<int32_t> BpeEncoder::encode(std::string_view text) const {
  const std::lock_guard lock(encode_mutex_);
  std::vector<int32_t> ids;
  append(text, *caches_.front(), ids);
  return ids;
}

EncodedBatch BpeEncoder::encode_batch(const TextBatch& documents) const {
  const std::lock_guard lock(batch_mutex_);
  // Neighbouring documents form parts of about this size: large enough to keep threads from meeting often.
  constexpr size_t kPartBytes = size_t{1} << 18;
  std::vector<size_t> starts;
  size_t part_bytes = kPartBytes;
  for (size_t i = 0; i < documents.size(); ++i) {
    if (part_bytes >= kPartBytes) {
      starts.push_back(i);
      part_bytes = 0;
    }
    part_bytes += documents[i].size();
  }
  const size_t parts = starts.size();
  starts.push_back(documents.size());

  std::vector<std::vector<int32_t>> part_ids(parts);
  EncodedBatch batch;
  std::vector<double>& ends = batch.ends;
  ends.assign(documents.size(), 0.0);
  for_each_part(static_cast<int>(caches_.size()) - 1, parts, [&](int thread, size_t part) {
    std::vector<int32_t>& out = part_ids[part];
    for (size_t i = starts[part]; i < starts[part + 1]; ++i) {
      append(documents[i], *caches_[static_cast<size_t>(thread) + 1], out);
      ends[i] = static_cast<double>(out.size());
    }
  });

  size_t total = 0;
  for (size_t part = 0; part < parts; ++part) {
    for (size_t i = starts[part]; i < starts[part + 1]; ++i) ends[i] += static_cast<double>(total);
    total += part_ids[part].size();
  }
  batch.ids.reserve(total);
  for (std::vector<int32_t>& part : part_ids) {
    batch.ids.insert(batch.ids.end(), part.begin(), part.end());
    part = {};
  }
  return batch;
}

void BpeEncoder::append(std::string_view text, WordCache& cache, std::vector<int32_t>& out) const {
  for_each_word(pattern_, text, [&](std::string_view bytes) {
    const uint64_t hash = hash_word(bytes);
    Slot& slot = cache.slot(hash);
    if (slot.hash == hash && slot.num_bytes == bytes.size() &&
        std::memcmp(slot.bytes, bytes.data(), bytes.size()) == 0) {
      out.insert(out.end(), slot.ids, slot.ids + slot.num_ids);
      return;
    }
    cache.word.clear();
    for (const char byte : bytes) cache.word.push_back(byte_ids_[static_cast<unsigned char>(byte)]);
    const size_t before = out.size();
    if (bytes.size() < kLongWord) {
      merge_short(cache.word, out);
    } else {
      merge_long(cache.word, out);
    }
    const size_t num_ids = out.size() - before;
    if (bytes.size() <= Slot::kMaxBytes && num_ids <= Slot::kMaxIds) {
      slot.hash = hash;
      slot.num_bytes = static_cast<uint8_t>(bytes.size());
      slot.num_ids = static_cast<uint8_t>(num_ids);
      std::memcpy(slot.bytes, bytes.data(), bytes.size());
      std::copy(out.end() - static_cast<ptrdiff_t>(num_ids), out.end(), slot.ids);
    }
  });
}

void BpeEncoder::merge_short(std::vector<int32_t>& word, std::vector<int32_t>& out) const {
  // ranks[i] belongs to the pair (word[i], word[i + 1]).
  int32_t ranks[kLongWord];
  size_t length = word.size();
  const auto rank_at = [&](size_t i) {
    return i + 1 < length ? table_->find(word[i], word[i + 1]).rank : kNoRank;
  };
  for (size_t i = 0; i < length; ++i) ranks[i] = rank_at(i);
  while (length > 1) {
    const auto best = static_cast<size_t>(std::min_element(ranks, ranks + length - 1) - ranks);
    if (ranks[best] == kNoRank) break;
    word[best] = table_->find(word[best], word[best + 1]).result;
    word.erase(word.begin() + static_cast<ptrdiff_t>(best) + 1);
    std::copy(ranks + best + 2, ranks + length, ranks + best + 1);
    --length;
    ranks[best] = rank_at(best);
    if (best > 0) ranks[best - 1] = rank_at(best - 1);
  }
  out.insert(out.end(), word.begin(), word.end());
}

void BpeEncoder::merge_long(std::vector<int32_t>& word, std::vector<int32_t>& out) const {
  struct Candidate {
    int32_t rank;
    uint32_t position;
    int32_t left, right;
    bool operator>(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : position > other.position;
    }
  };
  constexpr int32_t kGone = -1;
  if (word.size() > UINT32_MAX) throw std::length_error("a word is longer than 4 GiB");
  const auto length = static_cast<uint32_t>(word.size());
  std::vector<uint32_t> next(length);
  std::vector<uint32_t> previous(length);
  std::vector<Candidate> candidates;
  candidates.reserve(length);
  const auto candidate = [&](uint32_t left, uint32_t right) -> Candidate {
    return {table_->find(word[left], word[right]).rank, left, word[left], word[right]};
  };
  for (uint32_t i = 0; i < length; ++i) {
    next[i] = i + 1;
    previous[i] = i == 0 ? length : i - 1;
    if (i + 1 == length) break;
    if (const Candidate c = candidate(i, i + 1); c.rank != kNoRank) candidates.push_back(c);
  }
  std::priority_queue queue(std::greater<Candidate>(), std::move(candidates));
  const auto push = [&](uint32_t left, uint32_t right) {
    if (const Candidate c = candidate(left, right); c.rank != kNoRank) queue.push(c);
  };
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    const uint32_t right = next[top.position];
    // Stale when either side has been merged since.
    if (right == length || word[top.position] != top.left || word[right] != top.right) continue;
    word[top.position] = table_->find(top.left, top.right).result;
    word[right] = kGone;
    next[top.position] = next[right];
    if (next[right] < length) {
      previous[next[right]] = top.position;
      push(top.position, next[right]);
    }
    if (previous[top.position] < length) push(previous[top.position], top.position);
  }
  std::copy_if(word.begin(), word.end(), std::back_inserter(out), [](int32_t id) { return id != kGone; });
}

}  // namespace anneal
