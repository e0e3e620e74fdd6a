#include "data/contamination.h"

#include <algorithm>
#include <bit>
#include <stdexcept>
#include <utility>

#include "data/stable_hash.h"
#include "data/words.h"
#include "tokenizer/parallel.h"

namespace anneal {
namespace {

/// Documents that a thread takes at a time.
constexpr size_t kPart = 16;
constexpr uint32_t kNone = UINT32_MAX;
constexpr uint64_t kBase = 0x9E3779B97F4A7C15u;
/// Ends a part of a document (U+001E, ASCII's record separator).
constexpr char kPartEnd = '\x1e';

struct Word {
  uint64_t hash;
  size_t begin, end;
};

void words_of(std::string_view text, PlainWords& scratch, std::vector<Word>& words) {
  scratch.find(text);
  words.clear();
  for (const PlainWords::Place place : scratch.places()) {
    words.push_back({scratch.hash(place), place.begin, place.end});
  }
}

/// The polynomial of the words' hashes, with the number of words mixed in.
uint64_t finished(uint64_t polynomial, size_t length) {
  return mix_bits(polynomial + length * 0xC2B2AE3D27D4EB4Fu, 0xD6E8FEB86659FD93u);
}

/// Of all words together. `whole` keeps it apart from the n-gram of the same words.
uint64_t whole_hash(std::span<const Word> words) {
  uint64_t polynomial = 0;
  for (const Word& word : words) polynomial = polynomial * kBase + word.hash;
  return ~finished(polynomial, words.size());
}

/// Calls visit(hash, index of the first word) for each run of `length` words.
template <typename Visit>
void for_each_gram(std::span<const Word> words, size_t length, const Visit& visit) {
  if (words.size() < length) return;
  uint64_t leading = 1;  // kBase^(length - 1)
  for (size_t i = 1; i < length; ++i) leading *= kBase;
  uint64_t polynomial = 0;
  for (size_t i = 0; i < words.size(); ++i) {
    if (i >= length) polynomial -= words[i - length].hash * leading;
    polynomial = polynomial * kBase + words[i].hash;
    if (i + 1 >= length) visit(finished(polynomial, length), i + 1 - length);
  }
}

/// How many words stand before the end of each part, parts without words left out.
void find_parts(std::string_view text, std::span<const Word> words, std::vector<size_t>& ends) {
  ends.clear();
  for (size_t at = text.find(kPartEnd); at != text.npos; at = text.find(kPartEnd, at + 1)) {
    const auto end = std::ranges::lower_bound(words, at, {}, &Word::begin);
    const auto before = static_cast<size_t>(end - words.begin());
    if (before > (ends.empty() ? 0 : ends.back())) ends.push_back(before);
  }
  if (words.size() > (ends.empty() ? 0 : ends.back())) ends.push_back(words.size());
}

template <typename T>
void sort_unique(std::vector<T>& values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
}

}  // namespace

/// Memory of one thread, and what was found in its current document.
struct Contamination::Scratch {
  struct Hit {
    uint32_t gram;
    size_t first, last;  // words
  };
  PlainWords plain;
  std::vector<Word> words;
  std::vector<size_t> parts;
  std::vector<Hit> hits;
  std::vector<uint32_t> grams;                    // distinct
  std::vector<std::pair<size_t, size_t>> runs;    // of parts with the words of a row: first and last word
  std::unordered_map<uint32_t, uint32_t> counts;  // n-grams by row
};

uint32_t Contamination::gram_of(uint64_t hash) {
  const auto [found, is_new] = numbers_.try_emplace(hash, static_cast<uint32_t>(gram_rows_.size()));
  if (is_new) gram_rows_.emplace_back();
  return found->second;
}

void Contamination::add(const TextBatch& rows, int set) {
  if (sealed_) throw std::invalid_argument("evaluation rows cannot be added after the first check");
  PlainWords scratch;
  std::vector<Word> words;
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto number = static_cast<uint32_t>(rows_.size());
    Row row{.set = set, .grams = {}};
    words_of(rows[i], scratch, words);
    longest_ = std::max(longest_, words.size());
    if (words.size() >= static_cast<size_t>(options_.min_words)) {
      const size_t length = std::min(words.size(), static_cast<size_t>(options_.ngram));
      lengths_.push_back(length);
      for_each_gram(words, length, [&](uint64_t hash, size_t) { row.grams.push_back(gram_of(hash)); });
      sort_unique(row.grams);
    }
    for (const uint32_t gram : row.grams) gram_rows_[gram].push_back(number);
    // The whole row is one more entry, which stands in no row's list of n-grams.
    if (!words.empty()) gram_rows_[gram_of(whole_hash(words))].push_back(number);
    rows_.push_back(std::move(row));
  }
  sort_unique(lengths_);
}

void Contamination::seal() {
  if (sealed_) return;
  sealed_ = true;
  const size_t grams = gram_rows_.size();
  slots_.assign(std::bit_ceil(2 * grams + 2), {0, kNone});
  const int filter_bits = std::max(6, static_cast<int>(std::bit_width(16 * grams)));
  filter_shift_ = 64 - filter_bits;
  filter_.assign(size_t{1} << (filter_bits - 6), 0);
  for (const auto& [hash, gram] : numbers_) {
    size_t slot = hash & (slots_.size() - 1);
    while (slots_[slot].gram != kNone) slot = (slot + 1) & (slots_.size() - 1);
    slots_[slot] = {hash, gram};
    const uint64_t bit = hash >> filter_shift_;
    filter_[bit >> 6] |= uint64_t{1} << (bit & 63);
  }
  for (const std::vector<uint32_t>& rows : gram_rows_) {
    first_row_.push_back(static_cast<uint32_t>(row_list_.size()));
    row_list_.insert(row_list_.end(), rows.begin(), rows.end());
  }
  first_row_.push_back(static_cast<uint32_t>(row_list_.size()));
  numbers_ = {};
  gram_rows_ = {};
  seen_.assign(grams, false);
  row_documents_.assign(rows_.size(), 0);
  row_exact_.assign(rows_.size(), 0);
  row_best_.assign(rows_.size(), 0);
}

const Contamination::Slot* Contamination::find(uint64_t hash) const {
  const uint64_t bit = hash >> filter_shift_;
  if ((filter_[bit >> 6] >> (bit & 63) & 1) == 0) return nullptr;
  for (size_t slot = hash & (slots_.size() - 1); slots_[slot].gram != kNone;
       slot = (slot + 1) & (slots_.size() - 1)) {
    if (slots_[slot].hash == hash) return &slots_[slot];
  }
  return nullptr;
}

std::span<const uint32_t> Contamination::rows_of(uint32_t gram) const {
  return std::span(row_list_).subspan(first_row_[gram], first_row_[gram + 1] - first_row_[gram]);
}

void Contamination::check_document(std::string_view text, Scratch& scratch, double* shares) const {
  words_of(text, scratch.plain, scratch.words);
  scratch.hits.clear();
  scratch.grams.clear();
  scratch.counts.clear();
  scratch.runs.clear();
  for (const size_t length : lengths_) {
    for_each_gram(scratch.words, length, [&](uint64_t hash, size_t first) {
      const Slot* slot = find(hash);
      if (slot == nullptr) return;
      scratch.hits.push_back({slot->gram, first, first + length - 1});
      scratch.grams.push_back(slot->gram);
    });
  }
  sort_unique(scratch.grams);
  for (const uint32_t gram : scratch.grams) {
    for (const uint32_t row : rows_of(gram)) ++scratch.counts[row];
  }
  for (const auto& [row, count] : scratch.counts) {
    double& share = shares[rows_[row].set];
    share = std::max(share, static_cast<double>(count) / static_cast<double>(rows_[row].grams.size()));
  }
  check_parts(text, scratch, shares);
}

void Contamination::check_parts(std::string_view text, Scratch& scratch, double* shares) const {
  find_parts(text, scratch.words, scratch.parts);
  const std::span<const Word> words = scratch.words;
  const size_t grams = scratch.grams.size();
  size_t begin = 0;
  for (size_t first = 0; first < scratch.parts.size(); begin = scratch.parts[first++]) {
    for (size_t last = first; last < scratch.parts.size(); ++last) {
      const size_t length = scratch.parts[last] - begin;
      if (length > longest_) break;
      const Slot* slot = find(whole_hash(words.subspan(begin, length)));
      if (slot == nullptr) continue;
      scratch.runs.emplace_back(begin, begin + length - 1);
      scratch.grams.push_back(slot->gram);
      for (const uint32_t row : rows_of(slot->gram)) shares[rows_[row].set] = 1;
    }
  }
  std::sort(scratch.grams.begin() + static_cast<ptrdiff_t>(grams), scratch.grams.end());
  scratch.grams.erase(std::unique(scratch.grams.begin() + static_cast<ptrdiff_t>(grams), scratch.grams.end()),
                      scratch.grams.end());
}

void Contamination::cut_document(std::string_view text, const Scratch& scratch, const CutOptions& cut,
                                 double threshold, TextBatch& out) const {
  const auto reaches = [&](uint32_t gram) {
    return std::ranges::any_of(rows_of(gram), [&](uint32_t row) {
      return static_cast<double>(scratch.counts.at(row)) >=
             threshold * static_cast<double>(rows_[row].grams.size());
    });
  };
  const std::vector<Word>& words = scratch.words;
  std::vector<std::pair<size_t, size_t>> spans;
  const auto take_out = [&](size_t first_word, size_t last_word) {
    const size_t low = words[first_word].begin - std::min(words[first_word].begin, cut.margin);
    const size_t high = words[last_word].end + cut.margin;
    // The first word that begins at `low` or later, the last one that ends at `high` or earlier.
    const auto first = std::ranges::lower_bound(words, low, {}, &Word::begin);
    const auto last = std::ranges::upper_bound(words, high, {}, &Word::end) - 1;
    spans.emplace_back(first->begin, last->end);
  };
  for (const auto& [first, last] : scratch.runs) {
    if (first == 0 && last + 1 == words.size()) return out.add({});
    take_out(first, last);
  }
  for (const Scratch::Hit& hit : scratch.hits) {
    if (reaches(hit.gram)) take_out(hit.first, hit.last);
  }
  std::sort(spans.begin(), spans.end());
  std::string kept;
  size_t copied = 0;
  const auto keep = [&](size_t end) {
    if (end <= copied || end - copied < cut.min_piece) return;
    if (!kept.empty()) kept += "\n\n";
    kept += text.substr(copied, end - copied);
  };
  for (const auto& [begin, end] : spans) {
    keep(begin);
    copied = std::max(copied, end);
  }
  keep(text.size());
  out.add(kept);
}

ContaminationCheck Contamination::check(const TextBatchView& batch, double threshold,
                                        const std::optional<CutOptions>& cut) {
  seal();
  const auto sets = static_cast<size_t>(options_.sets);
  struct Part {
    std::vector<uint32_t> documents, grams;
    TextBatch texts;
  };
  std::vector<Part> parts((batch.size() + kPart - 1) / kPart);
  std::vector<Scratch> scratch(static_cast<size_t>(options_.threads));
  ContaminationCheck result;
  result.shares.resize(batch.size() * sets);
  for_each_part(options_.threads, parts.size(), [&](int thread, size_t number) {
    Part& part = parts[number];
    Scratch& own = scratch[static_cast<size_t>(thread)];
    for (size_t i = number * kPart; i < std::min(batch.size(), (number + 1) * kPart); ++i) {
      double* shares = result.shares.data() + i * sets;
      check_document(batch[i], own, shares);
      part.documents.insert(part.documents.end(), own.grams.size(), static_cast<uint32_t>(i));
      part.grams.insert(part.grams.end(), own.grams.begin(), own.grams.end());
      if (!cut) continue;
      if (own.grams.empty() || *std::max_element(shares, shares + sets) < threshold) {
        part.texts.add(batch[i]);
      } else {
        cut_document(batch[i], own, *cut, threshold, part.texts);
      }
    }
  });
  if (cut) result.texts.emplace();
  for (const Part& part : parts) {
    result.documents.insert(result.documents.end(), part.documents.begin(), part.documents.end());
    result.grams.insert(result.grams.end(), part.grams.begin(), part.grams.end());
    for (size_t i = 0; i < part.texts.size(); ++i) result.texts->add(part.texts[i]);
  }
  return result;
}

void Contamination::tally(std::span<const uint32_t> documents, std::span<const uint32_t> grams) {
  seal();
  if (documents.size() != grams.size())
    throw std::invalid_argument("as many documents as n-grams are needed");
  std::unordered_map<uint32_t, uint32_t> counts;
  for (size_t begin = 0; begin < documents.size();) {
    size_t end = begin;
    counts.clear();
    for (; end < documents.size() && documents[end] == documents[begin]; ++end) {
      const uint32_t gram = grams[end];
      if (gram >= seen_.size())
        throw std::invalid_argument("an n-gram that these evaluation sets do not have");
      seen_[gram] = true;
      for (const uint32_t row : rows_of(gram)) {
        const bool whole = !std::ranges::binary_search(rows_[row].grams, gram);
        uint32_t& count = counts[row];
        if (!whole) ++count;
        if (whole) row_exact_[row] += 1;
        if (whole) row_best_[row] = 1;
      }
    }
    for (const auto& [row, count] : counts) {
      row_documents_[row] += 1;
      if (count == 0) continue;
      const double share = static_cast<double>(count) / static_cast<double>(rows_[row].grams.size());
      row_best_[row] = std::max(row_best_[row], share);
    }
    begin = end;
  }
}

Overlap Contamination::overlap() {
  seal();
  Overlap result{.documents = row_documents_, .exact = row_exact_, .share = {}, .best = row_best_};
  for (size_t row = 0; row < rows_.size(); ++row) {
    const std::vector<uint32_t>& grams = rows_[row].grams;
    const auto seen = std::ranges::count_if(grams, [&](uint32_t gram) { return seen_[gram]; });
    const double all = static_cast<double>(std::max<size_t>(1, grams.size()));
    result.share.push_back(row_exact_[row] > 0 ? 1 : static_cast<double>(seen) / all);
  }
  return result;
}

}  // namespace anneal
