#include "addon/cleaning.h"

#include <algorithm>

#include "addon/arguments.h"
#include "addon/text_batch.h"
#include "data/clean_language.h"

namespace anneal::addon {
namespace {

bool flag(const Argument& rules, const char* key) {
  const Argument value = rules.property(key);
  return !value.is_absent() && value.boolean();
}

/// 0 where it is left out: not applied.
double threshold(const Argument& rules, const char* key) {
  const Argument value = rules.property(key);
  return value.is_absent() ? 0 : value.number();
}

int64_t size(const Argument& rules, const char* key) {
  const Argument value = rules.property(key);
  return value.is_absent() ? 0 : value.integer(0, kMaxSafeInteger);
}

template <typename Element, typename Array>
std::vector<Element> copy(const Argument& argument, napi_typedarray_type type, const char* wanted) {
  const auto view = argument.view<Array>(type, wanted);
  return {view.begin(), view.end()};
}

std::vector<uint8_t> copy_bytes(const Argument& argument) {
  return copy<uint8_t, Napi::Uint8Array>(argument, napi_uint8_array, "a Uint8Array");
}

std::vector<std::pair<uint32_t, double>> n_grams(const Argument& argument) {
  std::vector<std::pair<uint32_t, double>> grams;
  for (const Argument& entry : argument.elements()) {
    const std::vector<Argument> pair = entry.elements();
    if (pair.size() != 2) throw std::invalid_argument(entry.name + ": not a length and a bound");
    grams.emplace_back(static_cast<uint32_t>(pair[0].integer(1, 1000)), pair[1].number());
  }
  return grams;
}

LanguageTable language_table(const Argument& model) {
  LanguageTable table;
  table.num_languages = model.property("languages").elements().size();
  table.keys =
      copy<uint64_t, Napi::BigUint64Array>(model.property("keys"), napi_biguint64_array, "a BigUint64Array");
  table.score_ends = model.property("scoreEnds").int32s();
  table.score_languages = copy_bytes(model.property("scoreLanguages"));
  table.score_points = copy_bytes(model.property("scorePoints"));
  const std::vector<uint8_t> letters = copy_bytes(model.property("letters"));
  if (letters.size() != table.letters.size()) throw std::invalid_argument("letters: not 256 bytes");
  std::ranges::copy(letters, table.letters.begin());
  table.lower =
      copy<uint32_t, Napi::Uint32Array>(model.property("lower"), napi_uint32_array, "a Uint32Array");
  return table;
}

/// The languages of a list, by index; empty where there is no list.
std::vector<bool> language_set(const Argument& list, const CleanRules& rules) {
  if (list.is_absent()) return {};
  if (!rules.detector) throw std::invalid_argument(list.name + ": needs options.rules.language");
  std::vector<bool> wanted(rules.detector->size());
  for (const int32_t index : list.int32s()) {
    if (index < 0 || static_cast<size_t>(index) >= wanted.size()) {
      throw std::invalid_argument(list.name + ": no such language");
    }
    wanted[static_cast<size_t>(index)] = true;
  }
  return wanted;
}

GopherRepetition gopher_repetition(const Argument& from) {
  return {.dup_line_frac = threshold(from, "dupLineFrac"),
          .dup_para_frac = threshold(from, "dupParaFrac"),
          .dup_line_char_frac = threshold(from, "dupLineCharFrac"),
          .dup_para_char_frac = threshold(from, "dupParaCharFrac"),
          .top_n_grams = n_grams(from.property("topNGrams")),
          .dup_n_grams = n_grams(from.property("dupNGrams"))};
}

GopherQuality gopher_quality(const Argument& from) {
  GopherQuality rules{.min_doc_words = threshold(from, "minDocWords"),
                      .max_doc_words = threshold(from, "maxDocWords"),
                      .min_avg_word_length = threshold(from, "minAvgWordLength"),
                      .max_avg_word_length = threshold(from, "maxAvgWordLength"),
                      .max_symbol_word_ratio = threshold(from, "maxSymbolWordRatio"),
                      .max_bullet_lines_ratio = threshold(from, "maxBulletLinesRatio"),
                      .max_ellipsis_lines_ratio = threshold(from, "maxEllipsisLinesRatio"),
                      .min_alpha_words_ratio = threshold(from, "minAlphaWordsRatio"),
                      .min_stop_words = threshold(from, "minStopWords"),
                      .stop_words = {}};
  for (const Argument& word : from.property("stopWords").elements())
    rules.stop_words.push_back(word.string());
  std::ranges::sort(rules.stop_words);
  const auto repeated = std::ranges::unique(rules.stop_words);
  rules.stop_words.erase(repeated.begin(), repeated.end());
  return rules;
}

C4 c4(const Argument& from) {
  const auto limit = [&](const char* key) { return from.property(key).integer(-1, kMaxSafeInteger); };
  return {.remove_citations = flag(from, "removeCitations"),
          .no_terminal_punct = flag(from, "noTerminalPunct"),
          .lorem_ipsum = flag(from, "loremIpsum"),
          .javascript = flag(from, "javascript"),
          .curly_bracket = flag(from, "curlyBracket"),
          .policy = flag(from, "policy"),
          .min_num_sentences = limit("minNumSentences"),
          .min_words_per_line = limit("minWordsPerLine"),
          .max_word_length = limit("maxWordLength")};
}

Fineweb fineweb(const Argument& from) {
  return {.line_punct_thr = from.property("linePunctThr").number(),
          .short_line_thr = from.property("shortLineThr").number(),
          .char_duplicates_ratio = from.property("charDuplicatesRatio").number(),
          .new_line_ratio = from.property("newLineRatio").number(),
          .short_line_length = from.property("shortLineLength").integer(0, kMaxSafeInteger),
          .line_punct_exclude_zero = flag(from, "linePunctExcludeZero")};
}

void read_patterns(const Argument& from, std::initializer_list<std::pair<const char*, Rule>> names,
                   CleanRules& rules) {
  static constexpr const char* kActions[] = {"drop", "mask"};
  if (from.is_absent()) return;
  for (const auto& [name, rule] : names) {
    const Argument action = from.property(name);
    if (action.is_absent()) continue;
    rules.patterns[static_cast<size_t>(rule - kEmail)] =
        action.choice(kActions) == 0 ? PatternAction::kDrop : PatternAction::kMask;
  }
}

CleanRules clean_rules(const Argument& from) {
  CleanRules rules;
  rules.mojibake = flag(from, "fixMojibake");
  rules.nfc = flag(from, "nfc");
  rules.control_characters = flag(from, "controlCharacters");
  rules.max_line_length = size(from, "maxLineLength");
  rules.min_document_length = size(from, "minDocumentLength");
  rules.max_document_length = size(from, "maxDocumentLength");
  if (const Argument lines = from.property("boilerplateLines"); !lines.is_absent()) {
    rules.boilerplate_lines =
        copy<uint64_t, Napi::BigUint64Array>(lines, napi_biguint64_array, "a BigUint64Array");
  }
  if (const Argument language = from.property("language"); !language.is_absent()) {
    rules.detector = std::make_shared<const LanguageDetector>(language_table(language.property("model")));
    rules.languages = language_set(language.property("languages"), rules);
    rules.min_language_score = threshold(language, "minScore");
  }
  if (const Argument group = from.property("gopherRepetition"); !group.is_absent()) {
    rules.gopher_repetition = gopher_repetition(group);
    rules.gopher_repetition_languages = language_set(group.property("languages"), rules);
  }
  if (const Argument group = from.property("gopherQuality"); !group.is_absent()) {
    rules.gopher_quality = gopher_quality(group);
    rules.gopher_quality_languages = language_set(group.property("languages"), rules);
  }
  if (const Argument group = from.property("c4"); !group.is_absent()) {
    rules.c4 = c4(group);
    rules.c4_languages = language_set(group.property("languages"), rules);
  }
  if (const Argument group = from.property("fineweb"); !group.is_absent()) {
    rules.fineweb = fineweb(group);
    rules.fineweb_languages = language_set(group.property("languages"), rules);
  }
  read_patterns(
      from.property("pii"),
      {{"email", kEmail}, {"ip", kIp}, {"phone", kPhone}, {"creditCard", kCreditCard}, {"iban", kIban}},
      rules);
  read_patterns(from.property("secrets"),
                {{"awsKey", kAwsKey},
                 {"githubToken", kGithubToken},
                 {"privateKey", kPrivateKey},
                 {"jwt", kJwt},
                 {"slackToken", kSlackToken},
                 {"googleApiKey", kGoogleApiKey},
                 {"genericSecret", kGenericSecret}},
                rules);
  return rules;
}

}  // namespace

Napi::Function CleanerObject::define(Napi::Env env) {
  return DefineClass(
      env, "Cleaner",
      {InstanceAccessor<&CleanerObject::rules>("rules"), InstanceMethod<&CleanerObject::run>("run")});
}

CleanerObject::CleanerObject(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<CleanerObject>(info),
      calls_(info.Env(), "anneal cleaning", [this](bool keep) { keep ? Ref() : Unref(); }) {
  synchronous(info.Env(), [&] {
    const Argument options = argument(info, 0, "options");
    cleaner_ = std::make_unique<Cleaner>(clean_rules(options.property("rules")),
                                         static_cast<int>(options.property("threads").integer(1, 1024)),
                                         static_cast<size_t>(options.property("examples").integer(0, 1000)));
  });
}

Napi::Value CleanerObject::rules(const Napi::CallbackInfo& info) {
  auto names = Napi::Array::New(info.Env());
  for (const std::string& name : cleaner_->names()) names.Set(names.Length(), name);
  return names;
}

Napi::Value CleanerObject::run(const Napi::CallbackInfo& info) {
  return asynchronous(info.Env(), [&] {
    const auto batch = std::make_shared<TextBatch>(to_text_batch(argument(info, 0, "batch")));
    return calls_.run(
        info.Env(), thread_, [this, batch] { return cleaner_->run(*batch); },
        [](Napi::Env env, CleanedBatch& cleaned) -> Napi::Value {
          auto object = Napi::Object::New(env);
          object.Set("texts", to_js(env, std::move(cleaned.texts)));
          object.Set("verdicts", to_typed_array<Napi::Uint16Array>(env, std::move(cleaned.verdicts)));
          object.Set("measures", to_typed_array<Napi::Float64Array>(env, std::move(cleaned.measures)));
          object.Set("changed", to_typed_array<Napi::Uint8Array>(env, std::move(cleaned.changed)));
          object.Set("changedDocuments",
                     to_typed_array<Napi::Float64Array>(env, std::move(cleaned.changed_documents)));
          object.Set("changes", to_typed_array<Napi::Float64Array>(env, std::move(cleaned.changes)));
          object.Set("exampleDocuments",
                     to_typed_array<Napi::Uint32Array>(env, std::move(cleaned.example_documents)));
          object.Set("exampleRules",
                     to_typed_array<Napi::Uint16Array>(env, std::move(cleaned.example_rules)));
          object.Set("excerpts", to_js(env, std::move(cleaned.excerpts)));
          return object;
        });
  });
}

}  // namespace anneal::addon
