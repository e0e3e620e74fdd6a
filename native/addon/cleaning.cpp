#include "addon/cleaning.h"

#include <algorithm>
#include <charconv>

#include "addon/arguments.h"
#include "addon/text_batch.h"
#include "data/clean_bad_words.h"
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
  for (const auto& [length, bound] : argument.entries()) {
    uint32_t words = 0;
    const auto [end, error] = std::from_chars(length.data(), length.data() + length.size(), words);
    if (error != std::errc() || end != length.data() + length.size() || words < 1 || words > 1000) {
      throw std::invalid_argument(bound.name + ": not the bound of a length from 1 to 1000");
    }
    grams.emplace_back(words, bound.number());
  }
  std::ranges::sort(grams);
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
std::vector<bool> language_set(const Argument& list, const std::vector<std::string>& known) {
  if (list.is_absent()) return {};
  std::vector<bool> wanted(known.size());
  for (const Argument& code : list.elements()) {
    const auto found = std::ranges::find(known, code.string());
    if (found == known.end()) throw std::invalid_argument(code.name + ": not a language of the model");
    wanted[static_cast<size_t>(found - known.begin())] = true;
  }
  return wanted;
}

GopherRepetition gopher_repetition(const Argument& from) {
  return {.dup_line_frac = threshold(from, "dup_line_frac"),
          .dup_para_frac = threshold(from, "dup_para_frac"),
          .dup_line_char_frac = threshold(from, "dup_line_char_frac"),
          .dup_para_char_frac = threshold(from, "dup_para_char_frac"),
          .top_n_grams = n_grams(from.property("top_n_grams")),
          .dup_n_grams = n_grams(from.property("dup_n_grams"))};
}

GopherQuality gopher_quality(const Argument& from) {
  GopherQuality rules{.min_doc_words = threshold(from, "min_doc_words"),
                      .max_doc_words = threshold(from, "max_doc_words"),
                      .min_avg_word_length = threshold(from, "min_avg_word_length"),
                      .max_avg_word_length = threshold(from, "max_avg_word_length"),
                      .max_symbol_word_ratio = threshold(from, "max_symbol_word_ratio"),
                      .max_bullet_lines_ratio = threshold(from, "max_bullet_lines_ratio"),
                      .max_ellipsis_lines_ratio = threshold(from, "max_ellipsis_lines_ratio"),
                      .min_alpha_words_ratio = threshold(from, "min_alpha_words_ratio"),
                      .min_stop_words = threshold(from, "min_stop_words"),
                      .stop_words = from.property("stop_words").strings()};
  std::ranges::sort(rules.stop_words);
  const auto repeated = std::ranges::unique(rules.stop_words);
  rules.stop_words.erase(repeated.begin(), repeated.end());
  return rules;
}

C4 c4(const Argument& from) {
  const auto limit = [&](const char* key) { return from.property(key).integer(-1, kMaxSafeInteger); };
  return {.remove_citations = flag(from, "remove_citations"),
          .no_terminal_punct = flag(from, "filter_no_terminal_punct"),
          .lorem_ipsum = flag(from, "filter_lorem_ipsum"),
          .javascript = flag(from, "filter_javascript"),
          .curly_bracket = flag(from, "filter_curly_bracket"),
          .policy = flag(from, "filter_policy"),
          .min_num_sentences = limit("min_num_sentences"),
          .min_words_per_line = limit("min_words_per_line"),
          .max_word_length = limit("max_word_length")};
}

Fineweb fineweb(const Argument& from) {
  return {.line_punct_thr = from.property("line_punct_thr").number(),
          .short_line_thr = from.property("short_line_thr").number(),
          .char_duplicates_ratio = from.property("char_duplicates_ratio").number(),
          .new_line_ratio = from.property("new_line_ratio").number(),
          .short_line_length = from.property("short_line_length").integer(0, kMaxSafeInteger),
          .line_punct_exclude_zero = flag(from, "line_punct_exclude_zero")};
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

C4BadWords c4_badwords(const Argument& from, const Argument& words,
                       const std::vector<std::string>& languages) {
  C4BadWords rules{.lists = {languages.size(), nullptr},
                   .default_list = nullptr,
                   .lower_case = std::make_shared<const LowerCase>(copy<uint32_t, Napi::Uint32Array>(
                       words.property("lowerCase"), napi_uint32_array, "a Uint32Array")),
                   .keep_fraction = from.property("keep_fraction").number(),
                   .seed = static_cast<uint64_t>(words.property("seed").integer(0, kMaxSafeInteger))};
  const std::string default_language = from.property("default_language").string();
  for (const Argument& list : words.property("lists").elements()) {
    const std::string language = list.property("language").string();
    const auto finder = std::make_shared<const WordFinder>(list.property("words").strings(),
                                                           list.property("bordered").boolean());
    const auto known = std::ranges::find(languages, language);
    if (known != languages.end()) rules.lists[static_cast<size_t>(known - languages.begin())] = finder;
    if (language == default_language) rules.default_list = finder;
  }
  return rules;
}

/// The codes of the languages that the options of a cleaner let it tell apart.
std::vector<std::string> known_languages(const Argument& options) {
  const Argument model = options.property("languageModel");
  return model.is_absent() ? std::vector<std::string>() : model.property("languages").strings();
}

/// The rules among the options of a cleaner.
CleanRules clean_rules(const Argument& options, const std::vector<std::string>& languages) {
  const Argument from = options.property("rules");
  CleanRules rules;
  rules.mojibake = flag(from, "fix_mojibake");
  rules.nfc = flag(from, "unicode_nfc");
  rules.control_characters = flag(from, "control_characters");
  rules.max_line_length = size(from, "max_line_length");
  rules.min_document_length = size(from, "min_document_length");
  rules.max_document_length = size(from, "max_document_length");
  if (const Argument lines = options.property("boilerplateLines"); !lines.is_absent()) {
    rules.boilerplate_lines =
        copy<uint64_t, Napi::BigUint64Array>(lines, napi_biguint64_array, "a BigUint64Array");
  }
  if (const Argument model = options.property("languageModel"); !model.is_absent()) {
    rules.detector = std::make_shared<const LanguageDetector>(language_table(model));
  }
  rules.languages = language_set(from.property("languages"), languages);
  rules.min_language_score = threshold(from, "min_language_score");
  const auto read_group = [&](const char* name, auto read, auto& group, std::vector<bool>& judged) {
    const Argument settings = from.property(name);
    if (settings.is_absent()) return;
    group = read(settings);
    judged = language_set(settings.property("languages"), languages);
  };
  read_group("gopher_repetition", gopher_repetition, rules.gopher_repetition,
             rules.gopher_repetition_languages);
  read_group("gopher_quality", gopher_quality, rules.gopher_quality, rules.gopher_quality_languages);
  read_group("c4", c4, rules.c4, rules.c4_languages);
  const auto with_words = [&](const Argument& settings) {
    return c4_badwords(settings, options.property("badWords"), languages);
  };
  read_group("c4_badwords", with_words, rules.c4_badwords, rules.c4_badwords_languages);
  read_group("fineweb", fineweb, rules.fineweb, rules.fineweb_languages);
  read_patterns(
      from.property("pii"),
      {{"email", kEmail}, {"ip", kIp}, {"phone", kPhone}, {"credit_card", kCreditCard}, {"iban", kIban}},
      rules);
  read_patterns(from.property("secrets"),
                {{"aws_key", kAwsKey},
                 {"github_token", kGithubToken},
                 {"private_key", kPrivateKey},
                 {"jwt", kJwt},
                 {"slack_token", kSlackToken},
                 {"google_api_key", kGoogleApiKey},
                 {"generic_secret", kGenericSecret}},
                rules);
  return rules;
}

Napi::Value to_js_strings(Napi::Env env, const std::vector<std::string>& strings) {
  auto array = Napi::Array::New(env, strings.size());
  for (uint32_t i = 0; i < strings.size(); ++i) array.Set(i, strings[i]);
  return array;
}

}  // namespace

Napi::Function CleanerObject::define(Napi::Env env) {
  return DefineClass(
      env, "Cleaner",
      {InstanceAccessor<&CleanerObject::rules>("rules"),
       InstanceAccessor<&CleanerObject::languages>("languages"), InstanceMethod<&CleanerObject::run>("run")});
}

CleanerObject::CleanerObject(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<CleanerObject>(info),
      calls_(info.Env(), "anneal cleaning", [this](bool keep) { keep ? Ref() : Unref(); }) {
  synchronous(info.Env(), [&] {
    const Argument options = argument(info, 0, "options");
    languages_ = known_languages(options);
    cleaner_ = std::make_unique<Cleaner>(clean_rules(options, languages_),
                                         static_cast<int>(options.property("threads").integer(1, 1024)),
                                         static_cast<size_t>(options.property("examples").integer(0, 1000)));
  });
}

Napi::Value CleanerObject::rules(const Napi::CallbackInfo& info) {
  return to_js_strings(info.Env(), cleaner_->names());
}

Napi::Value CleanerObject::languages(const Napi::CallbackInfo& info) {
  return to_js_strings(info.Env(), languages_);
}

Napi::Value CleanerObject::run(const Napi::CallbackInfo& info) {
  return asynchronous(info.Env(), [&] {
    return run_on_batch(
        info.Env(), calls_, thread_, argument(info, 0, "batch"),
        [this](const TextBatchView& batch) { return cleaner_->run(batch); },
        [](Napi::Env env, CleanedBatch& cleaned) -> Napi::Value {
          auto object = Napi::Object::New(env);
          object.Set("texts", to_js(env, std::move(cleaned.texts)));
          object.Set("verdicts", to_typed_array<Napi::Uint16Array>(env, std::move(cleaned.verdicts)));
          object.Set("measures", to_typed_array<Napi::Float64Array>(env, std::move(cleaned.measures)));
          object.Set("languages", to_typed_array<Napi::Int16Array>(env, std::move(cleaned.languages)));
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
