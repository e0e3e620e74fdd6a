#include "tokenizer/added_tokens.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "tokenizer/char_classes.h"

namespace anneal {
namespace {

Byte byte_of(char c) { return static_cast<Byte>(c); }

/// The last character of the text, which is not empty.
Char last_char(std::string_view text) {
  const auto* end = reinterpret_cast<const Byte*>(text.data()) + text.size();
  for (size_t length = std::min<size_t>(4, text.size()); length > 1; --length) {
    const Char c = char_at(end - length, end);
    if (c.length == length) return c;
  }
  return char_at(end - 1, end);
}

Char first_char(std::string_view text) {
  const auto* begin = reinterpret_cast<const Byte*>(text.data());
  return char_at(begin, begin + text.size());
}

bool is_word(uint32_t point) {
  static const CodePointTable words = membership(unicode::kWordCharacters);
  return words[point] != 0;
}

size_t spaces_before(std::string_view text) {
  size_t spaces = 0;
  while (spaces < text.size()) {
    const Char c = last_char(text.substr(0, text.size() - spaces));
    if ((char_classes()[c.point] & kSpace) == 0) break;
    spaces += c.length;
  }
  return spaces;
}

size_t spaces_after(std::string_view text) {
  size_t spaces = 0;
  while (spaces < text.size()) {
    const Char c = first_char(text.substr(spaces));
    if ((char_classes()[c.point] & kSpace) == 0) break;
    spaces += c.length;
  }
  return spaces;
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)), token_at_node_(1, -1) {
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const std::string& text = tokens_[i].text;
    uint32_t node = 0;
    for (const char c : text) {
      const auto [edge, is_new] =
          edges_.emplace(uint64_t{node} << 8 | byte_of(c), static_cast<uint32_t>(token_at_node_.size()));
      if (is_new) token_at_node_.push_back(-1);
      node = edge->second;
    }
    token_at_node_[node] = static_cast<int32_t>(i);
    has_plain_ = has_plain_ || !tokens_[i].special;
    const size_t first = byte_of(text[0]);
    first_.set(first);
    for (size_t second = 0; second < 256; ++second) {
      if (text.size() == 1 || second == byte_of(text[1])) first_two_.set(first << 8 | second);
    }
    only_first_ = i == 0 || only_first_ == static_cast<int>(first) ? static_cast<int>(first) : -2;
  }
}

size_t AddedTokens::next_start(std::string_view text, size_t from) const {
  if (only_first_ >= 0) {
    const void* found = std::memchr(text.data() + from, only_first_, text.size() - from);
    return found == nullptr ? text.size()
                            : static_cast<size_t>(static_cast<const char*>(found) - text.data());
  }
  for (; from + 1 < text.size(); ++from) {
    if (first_two_[static_cast<size_t>(byte_of(text[from])) << 8 | byte_of(text[from + 1])]) return from;
  }
  return from < text.size() && first_[byte_of(text[from])] ? from : text.size();
}

int32_t AddedTokens::longest_at(std::string_view text, size_t at) const {
  int32_t longest = -1;
  uint32_t node = 0;
  for (; at < text.size(); ++at) {
    const auto edge = edges_.find(uint64_t{node} << 8 | byte_of(text[at]));
    if (edge == edges_.end()) break;
    node = edge->second;
    if (token_at_node_[node] >= 0) longest = token_at_node_[node];
  }
  return longest;
}

void AddedTokens::split(std::string_view text, bool with_specials, std::vector<Piece>& pieces) const {
  pieces.clear();
  size_t done = 0;  // text before is in `pieces`
  for (size_t at = next_start(text, 0); at < text.size(); at = next_start(text, at)) {
    const int32_t index = longest_at(text, at);
    if (index < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(index)];
    size_t start = at;
    size_t stop = at + token.text.size();
    // The search goes on behind the token, even where spaces after it were taken along.
    at = stop;
    if (token.special && !with_specials) continue;
    if (token.single_word && ((start > 0 && is_word(last_char(text.substr(0, start)).point)) ||
                              (stop < text.size() && is_word(first_char(text.substr(stop)).point)))) {
      continue;
    }
    if (token.lstrip) start = std::max(start - spaces_before(text.substr(0, start)), done);
    if (token.rstrip) stop += spaces_after(text.substr(stop));
    if (done < start) pieces.push_back({text.substr(done, start - done), -1});
    pieces.push_back({text.substr(start, stop - start), token.id});
    done = stop;
  }
  if (done < text.size()) pieces.push_back({text.substr(done), -1});
}

}  // namespace anneal
