// A byte-pair vocabulary: a word's bytes (or characters) to ids. The pair of neighbours with the earliest
// merge is joined until no pair has one; of equal pairs the leftmost goes first.
//
// Work is done in the space of vocabulary ids, so that several merges may lead to the same token. Long words
// use a heap, so no input takes more than O(n log n).
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/text_batch.h"
#include "tokenizer/merge_table.h"

namespace anneal {

class CharacterCuts;

/// What a vocabulary is made of.
struct BpeModelParts {
  /// Left, right and resulting id of each merge, in turn.
  std::vector<int32_t> merges;
  /// Id of each byte value; where words start from characters: of those without an id of their own.
  std::vector<int32_t> byte_ids;
  /// Words start from characters (as SentencePiece has it), not from bytes.
  bool characters = false;
  /// A word that is a token is taken whole, whatever the merges say.
  bool whole_words = false;
  /// Text of the tokens by id, empty where an id is not used: needed with `characters` or `whole_words`.
  TextBatch tokens;
};

class BpeModel {
 public:
  /// Throws std::invalid_argument on parts that do not fit.
  explicit BpeModel(BpeModelParts parts);
  ~BpeModel();
  BpeModel(const BpeModel&) = delete;
  BpeModel& operator=(const BpeModel&) = delete;

  /// Memory that encode() uses again and again; one for each thread.
  struct Scratch {
    std::vector<int32_t> ids;
    std::vector<uint32_t> next, previous;
    std::vector<uint64_t> heap;
  };

  /// Writes the ids of a word to `out`, which has room for one for each byte; returns how many.
  size_t encode(std::string_view word, Scratch& scratch, int32_t* out) const;
  /// The same for a part of a word, which `whole_words` does not speak of.
  size_t merge(std::string_view part, Scratch& scratch, int32_t* out) const;

  /// Where words may be cut into parts. One that is not cut is no part, but a word.
  [[nodiscard]] const CharacterCuts& cuts() const { return *cuts_; }

 private:
  void find_characters();
  void find_unmerged(Scratch& scratch);
  void find_cuts(const std::vector<int32_t>& merges, Scratch& scratch);
  size_t merge_long(Scratch& scratch) const;
  size_t characters_of(std::string_view word, int32_t* ids) const;

  BpeModelParts parts_;
  MergeTable table_;
  std::vector<uint32_t> ascii_pair_ranks_;  // [128 * 128], by byte values
  std::vector<int32_t> character_ids_;      // by code point; -1: begins as its bytes
  // With `whole_words`: the tokens that merges do not make of their text.
  std::unordered_map<std::string_view, int32_t> unmerged_;
  std::unique_ptr<CharacterCuts> cuts_;
};

}  // namespace anneal
