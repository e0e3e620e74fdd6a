#include "data/cleaner.h"

#include <algorithm>
#include <limits>
#include <span>
#include <stdexcept>

#include "data/clean_filters.h"
#include "data/clean_language.h"
#include "data/clean_patterns.h"
#include "data/clean_repair.h"
#include "data/clean_text.h"
#include "data/unicode.h"
#include "tokenizer/parallel.h"

namespace anneal {
namespace {

constexpr size_t kPartBytes = 1 << 18;
/// What a document of more bytes has taken is given back after its batch.
constexpr size_t kLongDocument = 8 * kPartBytes;
/// An excerpt is about this many bytes, a third of them before the place that it shows.
constexpr size_t kExcerptBytes = 160;

/// The text around a place, cut at characters.
std::string_view excerpt(std::string_view text, size_t place) {
  place = std::min(place, text.size());
  size_t begin = place - std::min(place, kExcerptBytes / 3);
  size_t end = std::min(text.size(), begin + kExcerptBytes);
  while (begin > 0 && begin < text.size() && is_continuation(text[begin])) --begin;
  while (end < text.size() && is_continuation(text[end])) ++end;
  return text.substr(begin, end - begin);
}

struct Example {
  uint32_t document;
  uint16_t rule;
  std::string text;
};

}  // namespace

/// What the documents of a part came to.
struct Cleaner::Part {
  size_t begin = 0, end = 0;  // documents
  TextBatch texts;
  std::vector<Example> examples;
  std::vector<double> changed_documents, changes;

  void reset(size_t from, size_t num_rules) {
    begin = end = from;
    texts.bytes.clear();
    texts.ends.clear();
    examples.clear();
    changed_documents.assign(num_rules, 0);
    changes.assign(num_rules, 0);
  }
};

/// Cleans one document after the other; one for each thread.
class Cleaner::DocumentCleaner {
 public:
  DocumentCleaner(const CleanRules& rules, size_t examples, size_t num_rules)
      : rules_(rules), examples_(examples), shown_(num_rules) {}

  void run(const TextBatchView& batch, Part& part, CleanedBatch& out) {
    std::ranges::fill(shown_, 0);
    part_ = &part;
    for (size_t i = part.begin; i < part.end; ++i) {
      document_ = static_cast<uint32_t>(i);
      findings_.clear();
      seen_ = 0;
      language_ = {};
      const std::optional<Drop> drop = clean(batch[i]);
      out.languages[i] = static_cast<int16_t>(language_.index);
      out.changed[i] = text_.view() != batch[i] ? 1 : 0;
      out.verdicts[i] = drop ? static_cast<uint16_t>(drop->rule + 1) : 0;
      out.measures[i] = drop ? drop->measure : std::numeric_limits<double>::quiet_NaN();
      part.texts.add(text_.view());
      if (drop) {
        // What was changed in it does not matter any more.
        while (!part.examples.empty() && part.examples.back().document == document_) {
          --shown_[part.examples.back().rule];
          part.examples.pop_back();
        }
        show(drop->rule, left_or_original(batch[i]), place_of(drop->rule));
        continue;
      }
      for (const Findings::Change& change : findings_.changes) {
        part.changed_documents[change.rule] += 1;
        part.changes[change.rule] += change.count;
      }
    }
  }

 private:
  std::optional<Drop> clean(std::string_view document) {
    repair(document);
    if (auto drop = check_lengths()) return drop;
    if (auto drop = check_language()) return drop;
    if (auto drop = filter()) return drop;
    if (auto drop = replace_patterns()) return drop;
    // Characters that a rule left side by side may compose.
    if (rules_.nfc && !text_.ascii()) {
      size_t first = 0;
      if (normalize_nfc(text_.view(), scratch_.text, first) > 0) text_.assign(scratch_.text);
    }
    if (text_.view().empty()) return Drop{kEmpty, 0};
    return std::nullopt;
  }

  void repair(std::string_view document) {
    if (valid_utf8_prefix(document) == document.size()) {
      text_.assign(document);
    } else {
      scratch_.text.clear();
      const size_t first = valid_utf8_prefix(document);
      const size_t replaced = append_valid_utf8(document, scratch_.text);
      findings_.add(kInvalidUtf8, first, static_cast<uint32_t>(replaced));
      take_changed();
    }
    if (rules_.mojibake && !text_.ascii() && repair_mojibake(text_.view(), scratch_.text, findings_)) {
      take_changed();
    }
    if (rules_.control_characters && remove_controls(text_.view(), scratch_.text, findings_)) take_changed();
    if (rules_.nfc && !text_.ascii()) {
      size_t first = 0;
      if (const size_t count = normalize_nfc(text_.view(), scratch_.text, first); count > 0) {
        findings_.add(kNfc, first, static_cast<uint32_t>(count));
        take_changed();
      }
    }
    if ((!rules_.boilerplate_lines.empty() || rules_.max_line_length > 0) &&
        remove_lines(text_.view(), rules_.boilerplate_lines, rules_.max_line_length, scratch_.text,
                     findings_)) {
      take_changed();
    }
  }

  std::optional<Drop> check_lengths() {
    if (rules_.min_document_length == 0 && rules_.max_document_length == 0) return std::nullopt;
    const auto length = static_cast<int64_t>(text_.characters());
    const auto measure = static_cast<double>(length);
    if (length < rules_.min_document_length) return Drop{kMinDocumentLength, measure};
    if (rules_.max_document_length > 0 && length > rules_.max_document_length) {
      return Drop{kMaxDocumentLength, measure};
    }
    return std::nullopt;
  }

  std::optional<Drop> check_language() {
    if (!rules_.detector) return std::nullopt;
    language_ = rules_.detector->detect(text_.view(), language_scratch_);
    const bool wanted = rules_.languages.empty() ||
                        (language_.index >= 0 && rules_.languages[static_cast<size_t>(language_.index)]);
    if (!wanted) return Drop{kLanguage, language_.score};
    if (language_.score < rules_.min_language_score) return Drop{kLanguageScore, language_.score};
    return std::nullopt;
  }

  [[nodiscard]] bool applies(const std::vector<bool>& languages) const {
    return languages.empty() || (language_.index >= 0 && languages[static_cast<size_t>(language_.index)]);
  }

  std::optional<Drop> filter() {
    if (rules_.gopher_repetition && applies(rules_.gopher_repetition_languages)) {
      if (auto drop = gopher_repetition(*rules_.gopher_repetition, text_, scratch_)) return drop;
    }
    if (rules_.gopher_quality && applies(rules_.gopher_quality_languages)) {
      if (auto drop = gopher_quality(*rules_.gopher_quality, text_)) return drop;
    }
    if (rules_.c4 && applies(rules_.c4_languages)) {
      if (auto drop = c4(*rules_.c4, text_, scratch_, findings_)) return drop;
      take_changed();
    }
    if (rules_.c4_badwords && applies(rules_.c4_badwords_languages)) {
      if (auto drop = c4_badwords(*rules_.c4_badwords, text_, language_.index, scratch_, findings_))
        return drop;
    }
    if (rules_.fineweb && applies(rules_.fineweb_languages)) return fineweb(*rules_.fineweb, text_, scratch_);
    return std::nullopt;
  }

  std::optional<Drop> replace_patterns() {
    if (!patterns_wanted(rules_)) return std::nullopt;
    std::optional<Drop> drop;
    if (mask_patterns(rules_, text_.view(), scratch_.text, findings_, drop)) take_changed();
    return drop;
  }

  /// Goes on with scratch_.text; what was just found is shown in it.
  void take_changed() {
    if (scratch_.text != text_.view()) text_.assign(scratch_.text);
    for (; seen_ < findings_.changes.size(); ++seen_) {
      show(findings_.changes[seen_].rule, text_.view(), findings_.changes[seen_].first);
    }
  }

  /// Where a rule that drops found its pattern; others speak of the whole document.
  [[nodiscard]] size_t place_of(uint16_t rule) const {
    const auto found = std::ranges::find(findings_.changes, rule, &Findings::Change::rule);
    return found == findings_.changes.end() ? 0 : found->first;
  }

  /// What a dropped document shows: what is left of it, or how it began where nothing is.
  std::string_view left_or_original(std::string_view document) {
    if (!text_.view().empty()) return text_.view();
    scratch_.text.clear();
    append_valid_utf8(document.substr(0, 2 * kExcerptBytes), scratch_.text);
    return scratch_.text;
  }

  void show(uint16_t rule, std::string_view from, size_t place) {
    if (shown_[rule] >= examples_) return;
    ++shown_[rule];
    std::string text(excerpt(from, place));
    // A report must not tell what the dataset may not hold.
    std::string masked;
    Findings findings;
    std::optional<Drop> drop;
    if (patterns_wanted(rules_) && mask_patterns(rules_, text, masked, findings, drop))
      text = std::move(masked);
    part_->examples.push_back({document_, rule, std::move(text)});
  }

  const CleanRules& rules_;
  size_t examples_;
  std::vector<size_t> shown_;
  Part* part_ = nullptr;
  uint32_t document_ = 0;
  CleanText text_;
  FilterScratch scratch_;
  Findings findings_;
  size_t seen_ = 0;
  LanguageScratch language_scratch_;
  DetectedLanguage language_;
};

Cleaner::Cleaner(CleanRules rules, int threads, size_t examples)
    : rules_(std::move(rules)),
      examples_(examples),
      names_(rule_names(rules_)),
      cleaners_(static_cast<size_t>(threads)) {
  std::ranges::sort(rules_.boilerplate_lines);
}

Cleaner::~Cleaner() = default;

CleanedBatch Cleaner::run(const TextBatchView& batch) {
  CleanedBatch out;
  out.verdicts.resize(batch.size());
  out.measures.resize(batch.size());
  out.languages.resize(batch.size());
  out.changed.resize(batch.size());
  out.changed_documents.assign(names_.size(), 0);
  out.changes.assign(names_.size(), 0);
  size_t parts = 0, longest = 0;
  for (size_t i = 0; i < batch.size(); ++parts) {
    if (parts == parts_.size()) parts_.emplace_back();
    Part& part = parts_[parts];
    part.reset(i, names_.size());
    for (size_t bytes = 0; i < batch.size() && bytes < kPartBytes; ++i) {
      bytes += batch[i].size();
      longest = std::max(longest, batch[i].size());
    }
    part.end = i;
  }
  if (longest >= std::numeric_limits<uint32_t>::max()) {
    throw std::invalid_argument("documents: one of 4 GiB or more");
  }
  for_each_part(static_cast<int>(cleaners_.size()), parts, [&](int thread, size_t part) {
    std::unique_ptr<DocumentCleaner>& own = cleaners_[static_cast<size_t>(thread)];
    if (!own) own = std::make_unique<DocumentCleaner>(rules_, examples_, names_.size());
    own->run(batch, parts_[part], out);
  });

  size_t bytes = 0;
  for (const Part& part : std::span(parts_).first(parts)) bytes += part.texts.bytes.size();
  out.texts.bytes.reserve(bytes);
  out.texts.ends.reserve(batch.size());
  std::vector<size_t> shown(names_.size());
  for (const Part& part : std::span(parts_).first(parts)) {
    const size_t offset = out.texts.bytes.size();
    out.texts.bytes.insert(out.texts.bytes.end(), part.texts.bytes.begin(), part.texts.bytes.end());
    for (const size_t end : part.texts.ends) out.texts.ends.push_back(offset + end);
    for (size_t rule = 0; rule < names_.size(); ++rule) {
      out.changed_documents[rule] += part.changed_documents[rule];
      out.changes[rule] += part.changes[rule];
    }
    for (const Example& example : part.examples) {
      if (shown[example.rule]++ >= examples_) continue;
      out.example_documents.push_back(example.document);
      out.example_rules.push_back(example.rule);
      out.excerpts.add(example.text);
    }
  }
  if (longest > kLongDocument) {
    for (std::unique_ptr<DocumentCleaner>& own : cleaners_) own.reset();
    parts_.clear();
  }
  return out;
}

}  // namespace anneal
