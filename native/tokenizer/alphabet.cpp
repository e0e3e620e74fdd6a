#include "tokenizer/alphabet.h"

#include <algorithm>
#include <stdexcept>

#include "tokenizer/char_classes.h"
#include "tokenizer/parallel.h"

namespace anneal {
namespace {

template <typename Visit>
void for_each_character(std::string_view text, const Visit& visit) {
  const auto* p = reinterpret_cast<const Byte*>(text.data());
  for (const Byte* end = p + text.size(); p < end;) {
    const Char c = char_at(p, end);
    visit(c.point);
    p += c.length;
  }
}

}  // namespace

std::vector<uint32_t> find_alphabet(WordCounts& words, const AlphabetOptions& options, int threads) {
  std::vector<std::vector<uint64_t>> counts(static_cast<size_t>(std::max(1, threads)));
  for_each_part(threads, WordCounts::kShards, [&](int thread, size_t shard) {
    std::vector<uint64_t>& own = counts[static_cast<size_t>(thread)];
    own.resize(kCodePoints + 1);
    words.shard(shard).for_each([&](std::string_view word, uint64_t count) {
      for_each_character(word, [&](uint32_t point) { own[point] += count; });
    });
  });
  std::vector<uint64_t> all(kCodePoints);
  for (const std::vector<uint64_t>& own : counts) {
    for (size_t point = 0; point < std::min(own.size(), all.size()); ++point) all[point] += own[point];
  }
  std::vector<uint32_t> alphabet;
  uint64_t total = 0;
  for (uint32_t point = 0; point < kCodePoints; ++point) {
    if (all[point] == 0) continue;
    alphabet.push_back(point);
    total += all[point];
  }
  std::stable_sort(alphabet.begin(), alphabet.end(), [&](uint32_t a, uint32_t b) { return all[a] > all[b]; });
  const size_t most = options.limit == 0 ? alphabet.size() : std::min(options.limit, alphabet.size());
  size_t kept = 0;
  for (uint64_t covered = 0; kept < most; covered += all[alphabet[kept++]]) {
    if (static_cast<double>(covered) >= options.coverage * static_cast<double>(total)) break;
  }
  alphabet.resize(kept);
  std::sort(alphabet.begin(), alphabet.end());
  return alphabet;
}

CharacterUnits::CharacterUnits(const std::vector<uint32_t>& alphabet) : unit_of_(kCodePoints + 1) {
  for (size_t i = 0; i < alphabet.size(); ++i) {
    if (alphabet[i] >= kCodePoints || (i > 0 && alphabet[i] <= alphabet[i - 1])) {
      throw std::invalid_argument("an alphabet has code points in rising order");
    }
    unit_of_[alphabet[i]] = static_cast<int32_t>(i + 1);
  }
}

void CharacterUnits::append(std::string_view word, std::vector<int32_t>& units) const {
  for_each_character(word, [&](uint32_t point) { units.push_back(unit_of_[point]); });
}

}  // namespace anneal
