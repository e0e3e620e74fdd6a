// Filters that look at lines: C4's (Raffel et al. 2020, section 2.2, with the rules of its code) and
// FineWeb's (Penedo et al. 2024, section 3.5).
#include <algorithm>
#include <array>
#include <cstring>

#include "data/clean_filters.h"
#include "data/unicode.h"

namespace anneal {
namespace {

constexpr std::string_view kKelvin = "\u212A";  // its lower case is an ordinary k
constexpr std::string_view kJavascript = "javascript", kLoremIpsum = "lorem ipsum";
constexpr std::array<std::string_view, 6> kPolicies = {"terms of use", "privacy policy", "cookie policy",
                                                       "uses cookies", "use of cookies", "use cookies"};

bool contains(std::string_view text, std::string_view phrase) {
  return memmem(text.data(), text.size(), phrase.data(), phrase.size()) != nullptr;
}

/// As Python's lower(), as far as ASCII letters come of it.
void lower_case(std::string_view text, std::string& out) {
  out.assign(text);
  for (char& c : out) c = static_cast<char>(c | (static_cast<unsigned char>(c - 'A') < 26 ? 0x20 : 0));
  for (size_t at = out.find(kKelvin); at != std::string::npos; at = out.find(kKelvin, at)) {
    out.replace(at, kKelvin.size(), 1, 'k');
  }
}

/// Sentences of a line: each ends with terminal punctuation and a closing quote; a full stop after a single
/// capital letter ends one only if nothing else does. What follows the last one is not counted. This is the
/// splitter that datatrove uses for languages without one of their own.
size_t count_sentences(std::string_view line, const ByteBits& stops, size_t offset) {
  const auto after = [&](size_t at) { return at + utf8_length(static_cast<unsigned char>(line[at])); };
  const auto next_stop = [&](size_t at) { return stops.next(offset + at, offset + line.size()) - offset; };
  size_t sentences = 0;
  for (size_t begin = 0; begin < line.size();) {
    size_t end = line.size();      // where the punctuation begins
    size_t initial = line.size();  // the last full stop after a capital letter
    for (size_t at = next_stop(after(begin)); at < line.size(); at = next_stop(after(at))) {
      const size_t before = previous_character(line, at);
      if (line[at] == '.' && before >= begin &&
          (unicode_properties(utf8_point(&line[before])) & kUpper) != 0) {
        initial = at;
        continue;
      }
      end = at;
      break;
    }
    if (end == line.size()) end = initial;
    if (end == line.size()) break;
    while (end < line.size() && stops.at(offset + end)) end = after(end);
    if (end < line.size()) {
      const uint32_t quote = utf8_point(&line[end]);
      if (quote == '"' || quote == '\'' || quote == 0x201D) end = after(end);
    }
    ++sentences;
    begin = end;
  }
  return sentences;
}

/// Bytes of a citation mark ("[12]", "[edit]", "[citation needed]") at the beginning of the text, or 0.
size_t citation_length(std::string_view text) {
  for (const std::string_view name : {"[edit]", "[citation needed]"}) {
    if (text.starts_with(name)) return name.size();
  }
  size_t at = 1;
  while (at < text.size()) {
    const uint32_t properties = unicode_properties(utf8_point(&text[at]));
    if (text[at] == ']') return at + 1;
    if ((properties & kDecimal) == 0) return 0;
    at += utf8_length(static_cast<unsigned char>(text[at]));
  }
  return 0;
}

/// Copies the line without citation marks; returns how many there were.
uint32_t remove_citations(std::string_view line, std::string& out) {
  uint32_t removed = 0;
  out.clear();
  for (size_t at = line.find('['); at != std::string_view::npos; at = line.find('[')) {
    const size_t length = citation_length(line.substr(at));
    out.append(line.substr(0, length == 0 ? at + 1 : at));
    line.remove_prefix(at + std::max<size_t>(length, 1));
    removed += length == 0 ? 0 : 1;
  }
  out.append(line);
  return removed;
}

/// What C4 has to know of a line before it is cut: white-space words, and whether one is too long.
struct LineWords {
  int64_t count = 0;
  bool too_long = false;
};

LineWords line_words(const CleanText& text, const ByteBits& space, Span line, int64_t longest) {
  LineWords words;
  for (size_t at = line.begin; at < line.end; ++at) {
    const size_t end = space.next(at, line.end);
    if (end > at) ++words.count;
    if (longest >= 0 && static_cast<int64_t>(end - at) > longest) {
      const size_t length = text.characters(text.view().substr(at, end - at));
      words.too_long = words.too_long || static_cast<int64_t>(length) > longest;
    }
    at = end;
  }
  return words;
}

bool ends_properly(std::string_view line) {
  constexpr std::string_view kEnds = ".?!\"'";
  return !line.empty() && kEnds.find(line.back()) != std::string_view::npos && !line.ends_with("...");
}

}  // namespace

std::optional<Drop> c4(const C4& rules, CleanText& text, FilterScratch& scratch, Findings& findings) {
  const ByteClasses& classes = text.classes();
  // Most documents hold none of the phrases, and of others most lines: those are not looked at for them.
  const bool phrases = may_hold_phrase(text.view());
  const bool kelvin = !text.ascii() && contains(text.view(), kKelvin);
  std::string& out = scratch.text;
  out.clear();
  int64_t sentences = 0;
  for (const Span whole : text.split_lines()) {
    const Span span = text.strip(whole);
    const auto remove = [&](Rule rule) { findings.add(rule, out.size()); };
    const LineWords words = line_words(text, classes.space, span, rules.max_word_length);
    if (words.too_long) {
      remove(kC4MaxWordLength);
      continue;
    }
    std::string_view line = text.view(span);
    uint32_t citations = 0;
    if (rules.remove_citations && line.find('[') != std::string_view::npos) {
      citations = remove_citations(line, scratch.line);
      if (citations > 0) line = scratch.line;
    }
    if (rules.no_terminal_punct && !ends_properly(line)) {
      if (!line.empty()) remove(kC4TerminalPunct);
      continue;
    }
    if (words.count < rules.min_words_per_line) {
      if (!line.empty()) remove(kC4MinWords);
      continue;
    }
    const bool look = kelvin || citations > 0 || (phrases && may_hold_phrase(line));
    if (look) lower_case(line, scratch.lowered);
    const auto has = [&](std::string_view phrase) { return look && contains(scratch.lowered, phrase); };
    if (rules.lorem_ipsum && has(kLoremIpsum)) return Drop{kC4LoremIpsum, 1};
    if (rules.javascript && has(kJavascript)) {
      remove(kC4Javascript);
      continue;
    }
    if (rules.curly_bracket && line.find('{') != std::string_view::npos) return Drop{kC4CurlyBracket, 1};
    if (rules.policy && std::ranges::any_of(kPolicies, has)) {
      remove(kC4Policy);
      continue;
    }
    if (rules.min_num_sentences != -1) {
      size_t count = 0;
      if (citations == 0) {
        count = count_sentences(line, classes.stop, span.begin);
      } else {
        scratch.part.assign(line);
        count = count_sentences(scratch.part.view(), scratch.part.classes().stop, 0);
      }
      sentences += static_cast<int64_t>(std::max<size_t>(count, 1));
    }
    if (citations > 0) findings.add(kC4Citations, out.size(), citations);
    out.append(line);
    out.push_back('\n');
  }
  if (sentences < rules.min_num_sentences) return Drop{kC4MinSentences, static_cast<double>(sentences)};
  // The lines are stripped, but a citation mark at the end of one may have had white space before it.
  scratch.part.assign(out);
  const Span kept = scratch.part.strip({0, static_cast<uint32_t>(out.size())});
  out.assign(scratch.part.view(kept));
  return std::nullopt;
}

std::optional<Drop> fineweb(const Fineweb& rules, CleanText& text, FilterScratch& scratch) {
  const ByteClasses& classes = text.classes();
  const std::string_view view = text.view();
  std::vector<Span>& lines = scratch.parts;
  lines.clear();
  size_t punctuated = 0, short_lines = 0;
  for (const Span line : text.lines()) {
    if (text.strip(line).size() == 0) continue;
    lines.push_back(line);
    punctuated += classes.stop.at(previous_character(view, line.end)) ? 1 : 0;
    const auto length = static_cast<int64_t>(text.characters(text.view(line)));
    short_lines += length <= rules.short_line_length ? 1 : 0;
  }
  if (lines.empty()) return Drop{kEmpty, 0};
  const auto all = static_cast<double>(lines.size());
  double ratio = static_cast<double>(punctuated) / all;
  if (ratio < rules.line_punct_thr && !(ratio == 0 && rules.line_punct_exclude_zero)) {
    return Drop{kLinePunctRatio, ratio};
  }
  ratio = static_cast<double>(short_lines) / all;
  if (ratio > rules.short_line_thr) return Drop{kShortLineRatio, ratio};

  const size_t line_feeds = text.lines().size() - 1;
  const auto others = static_cast<double>(text.characters() - line_feeds);
  ratio = static_cast<double>(find_duplicates(text, lines, scratch).characters) / others;
  if (ratio > rules.char_duplicates_ratio) return Drop{kCharDupRatio, ratio};

  ratio = static_cast<double>(line_feeds) / static_cast<double>(text.count_words());
  if (ratio > rules.new_line_ratio) return Drop{kListRatio, ratio};
  return std::nullopt;
}

}  // namespace anneal
