#include "tokenizer/bpe_trainer.h"

#include <algorithm>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "data/utf8.h"
#include "tokenizer/byte_units.h"
#include "tokenizer/nfc.h"
#include "tokenizer/parallel.h"
#include "tokenizer/spaces.h"

namespace anneal {
namespace {

/// Neighbouring documents form parts of about this size: large enough to keep threads from meeting often.
constexpr size_t kPartBytes = size_t{1} << 17;
/// With a bound on the words, they are looked at each time that this many bytes for each of them have come:
/// at fixed places of the text, so that what is dropped does not depend on the threads.
constexpr uint64_t kBytesAWord = 16;
/// Counts that the choice of what to drop tells apart.
constexpr size_t kMostCounts = 1 << 16;

void byte_units_of(std::string_view word, std::vector<int32_t>& units) {
  for (const char byte : word) units.push_back(kByteUnits[static_cast<unsigned char>(byte)]);
}

}  // namespace

/// Texts of the units, which no merge may make a second time.
struct BpeTrainer::NewTokens {
  std::vector<std::string> texts;
  std::unordered_set<std::string> known;

  /// Whether the two joined are a new token, which is the next unit then.
  bool add(int32_t left, int32_t right) {
    std::string joined = texts[static_cast<size_t>(left)] + texts[static_cast<size_t>(right)];
    if (!known.insert(joined).second) return false;
    texts.push_back(std::move(joined));
    return true;
  }
};

BpeTrainer::BpeTrainer(const TrainerOptions& options) : options_(options) {
  options_.threads = std::max(1, options.threads);
  for (int i = 0; i < options_.threads; ++i) counts_.push_back(std::make_unique<WordCounts>());
}

void BpeTrainer::feed(const TextBatch& documents) {
  std::vector<size_t> starts{0};
  for (size_t i = 0, begin = 0; i < documents.size(); ++i) {
    if (documents.ends[i] - begin < kPartBytes && i + 1 < documents.size()) continue;
    starts.push_back(i + 1);
    begin = documents.ends[i];
  }
  for_each_part(options_.threads, starts.size() - 1, [&](int thread, size_t part) {
    WordCounts& counts = *counts_[static_cast<size_t>(thread)];
    std::string composed, replaced;
    for (size_t i = starts[part]; i < starts[part + 1]; ++i) {
      const std::string_view text = prepared(documents[i], composed, replaced);
      for_each_word(options_.pattern, text, [&](std::string_view word) { counts.add(word); });
    }
  });
  if (options_.max_words == 0) return;
  bytes_since_prune_ += documents.bytes.size();
  if (bytes_since_prune_ >= kBytesAWord * options_.max_words) prune();
}

std::string_view BpeTrainer::prepared(std::string_view text, std::string& composed,
                                      std::string& replaced) const {
  if (options_.nfc) text = to_nfc(text, composed);
  if (text.empty() || (options_.prefix.empty() && options_.space.empty())) return text;
  replaced = options_.prefix;
  if (options_.space.empty()) return replaced.append(text);
  append_with_spaces(text, options_.space, replaced);
  return replaced;
}

void BpeTrainer::gather() { counts_.front()->absorb(std::span(counts_).subspan(1), options_.threads); }

void BpeTrainer::prune() {
  gather();
  bytes_since_prune_ = 0;
  WordCounts& all = *counts_.front();
  size_t words = all.words();
  if (words <= options_.max_words) return;
  const std::vector<size_t> with_count = all.histogram(kMostCounts);
  uint64_t least = 1;
  while (words > options_.max_words / 2 && least < with_count.size() - 1) words -= with_count[least++];
  all.drop_below(least, options_.threads);
  ++totals_.prunings;
  totals_.dropped_below = std::max(totals_.dropped_below, least);
}

WordTotals BpeTrainer::totals() {
  gather();
  totals_.distinct = counts_.front()->words();
  return totals_;
}

std::vector<uint32_t> BpeTrainer::alphabet(const AlphabetOptions& options) {
  gather();
  return find_alphabet(*counts_.front(), options, options_.threads);
}

std::vector<int32_t> BpeTrainer::train(const TrainOptions& options, const std::atomic<bool>& cancelled) {
  gather();
  WordCounts& words = *counts_.front();
  if (options.min_word_count > 1) words.drop_below(options.min_word_count, options_.threads);
  if (options.base != nullptr && options.alphabet != nullptr) {
    throw std::invalid_argument("a vocabulary that goes on from another has its units");
  }
  NewTokens tokens;
  for (size_t i = 0; i < options.taken.size(); ++i) tokens.known.emplace(options.taken[i]);
  MergeSearch search{options.merges, options.min_frequency, options_.threads, byte_units_of, 256, {}};
  search.accept = [&tokens](int32_t left, int32_t right) { return tokens.add(left, right); };
  if (options.base != nullptr) return train_on(*options.base, search, tokens, cancelled);
  if (options.alphabet != nullptr) return train_over(*options.alphabet, search, tokens, cancelled);
  tokens.texts.resize(256);
  for (size_t byte = 0; byte < 256; ++byte) tokens.texts[kByteUnits[byte]] = static_cast<char>(byte);
  return find_merges(words, search, cancelled);
}

std::vector<int32_t> BpeTrainer::train_on(const BaseVocabulary& base, MergeSearch& search, NewTokens& tokens,
                                          const std::atomic<bool>& cancelled) {
  const BpeModel model(base.model);
  search.units_of = [&model](std::string_view word, std::vector<int32_t>& units) {
    BpeModel::Scratch scratch;
    units.resize(word.size());
    units.resize(model.encode(word, scratch, units.data()));
  };
  search.first_result = base.first_result;
  tokens.texts.resize(static_cast<size_t>(search.first_result));
  for (size_t id = 0; id < std::min(base.model.tokens.size(), tokens.texts.size()); ++id) {
    tokens.texts[id] = base.model.tokens[id];
  }
  tokens.known.insert(tokens.texts.begin(), tokens.texts.end());
  return find_merges(*counts_.front(), search, cancelled);
}

std::vector<int32_t> BpeTrainer::train_over(const std::vector<uint32_t>& alphabet, MergeSearch& search,
                                            NewTokens& tokens, const std::atomic<bool>& cancelled) {
  const CharacterUnits units_of(alphabet);
  search.units_of = [&units_of](std::string_view word, std::vector<int32_t>& units) {
    units_of.append(word, units);
  };
  search.first_result = static_cast<int32_t>(alphabet.size()) + 1;
  tokens.texts.emplace_back();
  for (const uint32_t point : alphabet) append_utf8(point, tokens.texts.emplace_back());
  search.accept = [&tokens](int32_t left, int32_t right) {
    return left != 0 && right != 0 && tokens.add(left, right);
  };
  return find_merges(*counts_.front(), search, cancelled);
}

}  // namespace anneal
