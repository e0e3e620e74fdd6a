// Tokens that are looked for in text before it is cut into words, found as Hugging Face `tokenizers` finds
// them: from the left, of those that begin at one place the longest.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace anneal {

struct AddedToken {
  std::string text;
  int32_t id = 0;
  /// Found only where no word character stands beside it.
  bool single_word = false;
  /// Takes the spaces before (after) it along.
  bool lstrip = false, rstrip = false;
  /// Looked for in the normalized text, itself normalized.
  bool normalized = false;
  bool special = false;
};

class AddedTokens {
 public:
  explicit AddedTokens(std::vector<AddedToken> tokens);

  /// A stretch of text, or a token where `id` is not negative.
  struct Piece {
    std::string_view text;
    int32_t id;
  };
  /// Whether split() could find anything.
  [[nodiscard]] bool finds_any(bool with_specials) const {
    return with_specials ? !tokens_.empty() : has_plain_;
  }
  /// Replaces `pieces` by those of `text`. Without specials these tokens are left in the text that they are.
  void split(std::string_view text, bool with_specials, std::vector<Piece>& pieces) const;

 private:
  /// Index and length of the longest token at a position; -1 when there is none.
  [[nodiscard]] int32_t longest_at(std::string_view text, size_t at) const;
  [[nodiscard]] size_t next_start(std::string_view text, size_t from) const;

  std::vector<AddedToken> tokens_;
  bool has_plain_ = false;
  std::unordered_map<uint64_t, uint32_t> edges_;  // node << 8 | byte
  std::vector<int32_t> token_at_node_;            // -1: none ends here
  // First bytes of the tokens, and first two, where a token of one byte has all.
  std::bitset<256> first_;
  std::bitset<65536> first_two_;
  int only_first_ = -1;  // the first byte of all tokens
};

}  // namespace anneal
