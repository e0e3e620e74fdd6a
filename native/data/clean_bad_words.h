// C4's bad words: whether a text holds a word of a list, in any case, as a whole.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace anneal {

/// Lower case of Unicode, code point by code point.
class LowerCase {
 public:
  /// Upper and lower case in turn; what is not among them is its own lower case.
  explicit LowerCase(const std::vector<uint32_t>& pairs);
  /// The valid UTF-8 text in lower case, as Python's lower() has it but for a sigma at the end of a word.
  void apply(std::string_view text, std::string& out) const;

 private:
  std::vector<uint32_t> lower_;  // by code point of the two planes that have cases
};

/// Looks for all words of a list at once: an automaton of Aho and Corasick (1975) over bytes, all of its
/// transitions in one table.
class WordFinder {
 public:
  /// With `bordered`, a word counts only between characters that are neither letter, number nor underscore
  /// (Python's \W), or the ends of the text. Throws std::invalid_argument if a word is empty or holds a
  /// capital letter of ASCII.
  WordFinder(const std::vector<std::string>& words, bool bordered);

  /// Where the word begins that ends first; `text` is valid UTF-8. Capital letters of ASCII count as small
  /// ones, others do not: a text beyond ASCII is brought to lower case before.
  [[nodiscard]] std::optional<size_t> find(std::string_view text) const;

 private:
  /// A word that ends in a state, or the next shorter one that ends there as well.
  struct Output {
    uint32_t length = 0;  // bytes; 0: none
    uint32_t next = 0;    // the state of the next one; 0: none
  };
  [[nodiscard]] std::optional<size_t> word_ending(std::string_view text, size_t end, size_t state) const;

  bool bordered_;
  size_t num_classes_ = 1;
  std::array<uint8_t, 256> classes_{};  // of bytes; 0: in no word
  /// By state and class: the next state times num_classes_, kEnds set where a word ends there.
  std::vector<uint32_t> next_;
  std::vector<Output> outputs_;
};

}  // namespace anneal
