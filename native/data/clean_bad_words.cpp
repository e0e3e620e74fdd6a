#include "data/clean_bad_words.h"

#include <stdexcept>

#include "data/clean_filters.h"
#include "data/stable_hash.h"
#include "data/unicode.h"

namespace anneal {
namespace {

constexpr uint32_t kPlanesWithCases = 0x20000;
constexpr uint32_t kDottedI = 0x130;  // its lower case is two characters
constexpr std::string_view kDottedLower = "i\u0307";
constexpr uint32_t kEnds = uint32_t{1} << 31;

/// Python's \w.
bool is_word(uint32_t point) {
  return point == '_' || (unicode_properties(point) & (kLetter | kNumber)) != 0;
}

char ascii_lower(char c) {
  return static_cast<char>(c | (static_cast<unsigned char>(c - 'A') < 26 ? 0x20 : 0));
}

}  // namespace

LowerCase::LowerCase(const std::vector<uint32_t>& pairs) : lower_(kPlanesWithCases) {
  for (uint32_t point = 0; point < kPlanesWithCases; ++point) lower_[point] = point;
  for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
    if (pairs[i] < kPlanesWithCases) lower_[pairs[i]] = pairs[i + 1];
  }
}

void LowerCase::apply(std::string_view text, std::string& out) const {
  out.clear();
  for (size_t at = 0; at < text.size();) {
    const size_t ascii = ascii_prefix(text.substr(at));
    const size_t begin = out.size();
    out.append(text.substr(at, ascii));
    for (size_t i = begin; i < out.size(); ++i) out[i] = ascii_lower(out[i]);
    at += ascii;
    while (at < text.size() && (text[at] & 0x80) != 0) {
      const uint32_t point = utf8_point(&text[at]);
      const uint32_t length = utf8_length(static_cast<unsigned char>(text[at]));
      const uint32_t lower = point < kPlanesWithCases ? lower_[point] : point;
      if (point == kDottedI) {
        out.append(kDottedLower);
      } else if (lower == point) {
        out.append(text.substr(at, length));
      } else {
        append_utf8(lower, out);
      }
      at += length;
    }
  }
}

WordFinder::WordFinder(const std::vector<std::string>& words, bool bordered) : bordered_(bordered) {
  for (const std::string& word : words) {
    if (word.empty()) throw std::invalid_argument("a word of a list is empty");
    for (const char c : word) {
      if (c != ascii_lower(c)) throw std::invalid_argument(word + ": not in lower case");
      uint8_t& of = classes_[static_cast<unsigned char>(c)];
      if (of == 0) of = static_cast<uint8_t>(num_classes_++);
    }
  }
  for (size_t c = 'A'; c <= 'Z'; ++c) classes_[c] = classes_[c | 0x20];

  // The tree of all words; state 0 is its root, and 0 says that there is no child.
  std::vector<uint32_t> children(num_classes_);
  outputs_.resize(1);
  for (const std::string& word : words) {
    size_t state = 0;
    for (const char c : word) {
      const size_t slot = state * num_classes_ + classes_[static_cast<unsigned char>(c)];
      if (children[slot] == 0) {
        children[slot] = static_cast<uint32_t>(outputs_.size());
        outputs_.emplace_back();
        children.resize(children.size() + num_classes_);
      }
      state = children[slot];
    }
    outputs_[state].length = static_cast<uint32_t>(word.size());
  }
  if (children.size() >= kEnds) throw std::invalid_argument("a list of words is too long");

  // Breadth first: where a state has no child, it goes on as its longest proper suffix that is a state does.
  std::vector<uint32_t> order = {0}, suffix(outputs_.size());
  next_.resize(children.size());
  for (size_t i = 0; i < order.size(); ++i) {
    const size_t state = order[i];
    for (size_t c = 0; c < num_classes_; ++c) {
      const uint32_t child = children[state * num_classes_ + c];
      const uint32_t fallback = state == 0 ? 0 : next_[suffix[state] * num_classes_ + c];
      next_[state * num_classes_ + c] = child != 0 ? child : fallback;
      if (child == 0) continue;
      suffix[child] = fallback;
      order.push_back(child);
      outputs_[child].next = outputs_[fallback].length > 0 ? fallback : outputs_[fallback].next;
    }
  }
  for (uint32_t& to : next_) {
    const bool ends = outputs_[to].length > 0 || outputs_[to].next > 0;
    to = static_cast<uint32_t>(to * num_classes_) | (ends ? kEnds : 0);
  }
}

std::optional<size_t> WordFinder::find(std::string_view text) const {
  uint32_t row = 0;
  for (size_t at = 0; at < text.size(); ++at) {
    row = next_[row + classes_[static_cast<unsigned char>(text[at])]];
    if ((row & kEnds) == 0) continue;
    row &= ~kEnds;
    if (const auto found = word_ending(text, at + 1, row / num_classes_)) return found;
  }
  return std::nullopt;
}

std::optional<size_t> WordFinder::word_ending(std::string_view text, size_t end, size_t state) const {
  if (bordered_ && end < text.size() && is_word(utf8_point(&text[end]))) return std::nullopt;
  for (; state != 0; state = outputs_[state].next) {
    const size_t length = outputs_[state].length;
    if (length == 0) continue;
    const size_t begin = end - length;
    if (!bordered_ || begin == 0 || !is_word(utf8_point(&text[previous_character(text, begin)])))
      return begin;
  }
  return std::nullopt;
}

namespace {

/// A number from 0 up to 1 that only the text and the seed decide.
double drawn(std::string_view text, uint64_t seed) {
  const uint64_t hash = mix_bits(stable_hash(text) ^ kStableOdd1, (seed * kStableOdd2) | 1);
  return static_cast<double>(hash >> 11) * 0x1p-53;
}

}  // namespace

std::optional<Drop> c4_badwords(const C4BadWords& rules, const CleanText& text, int language,
                                FilterScratch& scratch, Findings& findings) {
  const WordFinder* list =
      language < 0 ? rules.default_list.get() : rules.lists[static_cast<size_t>(language)].get();
  if (list == nullptr) return std::nullopt;
  std::string_view view = text.view();
  if (!text.ascii()) {
    rules.lower_case->apply(view, scratch.lowered);
    view = scratch.lowered;
  }
  const auto place = list->find(view);
  if (!place || drawn(text.view(), rules.seed) < rules.keep_fraction) return std::nullopt;
  findings.add(kC4BadWords, *place);
  return Drop{kC4BadWords, 1};
}

}  // namespace anneal
