// Evaluation rows in training documents, by n-grams of words (13 as in GPT-3's appendix C) and by equal
// words.
//
// Words are those of data/words.h: no case, no punctuation, no white space. A row of fewer words than n, but
// at least `min_words`, counts as one n-gram of its own length; a shorter one is only found in a document
// that has its words and no others. A document may be of several parts, each ended by U+001E (the messages of
// a conversation): then a row is also found where one part, or several that follow each other, has its words
// and no others.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "data/text_batch.h"

namespace anneal {

struct ContaminationOptions {
  int ngram;
  int min_words;
  int sets;
  int threads;
};

/// What is taken out of a contaminated document: the n-grams it shares, and as many bytes around each, to the
/// border of a word; pieces that remain with fewer than `min_piece` bytes go too.
struct CutOptions {
  size_t margin;
  size_t min_piece;
};

struct ContaminationCheck {
  /// Documents times sets: the greatest share of one row's n-grams that the document has; 1 for equal words.
  std::vector<double> shares;
  /// The n-grams themselves, document after document; numbers of this object. Documents count from 0.
  std::vector<uint32_t> documents;
  std::vector<uint32_t> grams;
  /// With cutting: all documents; those that reach the threshold, cut.
  std::optional<TextBatch> texts;
};

/// By row: documents that have an n-gram of it, documents that have equal words (or parts that have), the
/// share of its n-grams that any document has, and the greatest share that one document has.
struct Overlap {
  std::vector<double> documents, exact, share, best;
};

class Contamination {
 public:
  explicit Contamination(const ContaminationOptions& options) : options_(options) {}

  /// Rows of a set, in order; all sets before the first check.
  void add(const TextBatch& rows, int set);

  /// A document reaches the threshold when its share of some set does.
  [[nodiscard]] ContaminationCheck check(const TextBatchView& batch, double threshold,
                                         const std::optional<CutOptions>& cut);

  /// Counts the n-grams of documents (as check gave them, some documents left out) towards the overlap.
  void tally(std::span<const uint32_t> documents, std::span<const uint32_t> grams);
  [[nodiscard]] Overlap overlap();

 private:
  struct Row {
    int set;
    std::vector<uint32_t> grams;  // distinct; none for a row that is too short
  };
  struct Slot {
    uint64_t hash;
    uint32_t gram;
  };
  struct Scratch;

  uint32_t gram_of(uint64_t hash);
  void seal();
  [[nodiscard]] const Slot* find(uint64_t hash) const;
  [[nodiscard]] std::span<const uint32_t> rows_of(uint32_t gram) const;
  void check_document(std::string_view text, Scratch& scratch, double* shares) const;
  void check_parts(std::string_view text, Scratch& scratch, double* shares) const;
  void cut_document(std::string_view text, const Scratch& scratch, const CutOptions& cut, double threshold,
                    TextBatch& out) const;

  ContaminationOptions options_;
  std::vector<Row> rows_;
  std::unordered_map<uint64_t, uint32_t> numbers_;  // by hash
  std::vector<std::vector<uint32_t>> gram_rows_;    // until sealed
  std::vector<size_t> lengths_;                     // of n-grams that occur
  size_t longest_ = 0;                              // words of a row
  bool sealed_ = false;

  std::vector<Slot> slots_;       // open addressing; gram kNone is free
  std::vector<uint64_t> filter_;  // a bit for each hash: most n-grams are nowhere in the table
  int filter_shift_ = 0;
  std::vector<uint32_t> first_row_, row_list_;  // rows of each n-gram

  std::vector<bool> seen_;  // by n-gram
  std::vector<double> row_documents_, row_exact_, row_best_;
};

}  // namespace anneal
