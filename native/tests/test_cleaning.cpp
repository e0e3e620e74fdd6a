// Cleaning: Unicode against plain reimplementations, repair and patterns on known cases, and random bytes
// through all rules at once. The published filters are compared with datatrove in
// tests/peers/cleaning.test.ts.
#include <doctest/doctest.h>

#include <algorithm>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "data/clean_filters.h"
#include "data/clean_language.h"
#include "data/clean_patterns.h"
#include "data/clean_repair.h"
#include "data/cleaner.h"
#include "data/line_hash.h"
#include "data/unicode.h"

namespace anneal {
namespace {

std::string nfc(std::string_view text) {
  std::string out(text);
  size_t first = 0;
  normalize_nfc(text, out, first);
  return out;
}

std::string valid(std::string_view text) {
  std::string out;
  append_valid_utf8(text, out);
  return out;
}

std::string repaired(std::string_view text) {
  std::string out(text);
  Findings findings;
  repair_mojibake(text, out, findings);
  return out;
}

std::string without_controls(std::string_view text) {
  std::string out(text);
  Findings findings;
  remove_controls(text, out, findings);
  return out;
}

/// All patterns masked.
CleanRules masking() {
  CleanRules rules;
  rules.patterns.fill(PatternAction::kMask);
  return rules;
}

std::string masked(std::string_view text) {
  std::string out(text);
  Findings findings;
  std::optional<Drop> drop;
  mask_patterns(masking(), text, out, findings, drop);
  return out;
}

/// Words of a text, by their starts in the text of all words.
std::vector<std::string> words_of(std::string_view text) {
  CleanText clean;
  clean.assign(text);
  const Words& words = clean.words();
  std::vector<std::string> all;
  for (size_t i = 0; i < words.size(); ++i) {
    all.emplace_back(&words.joined[words.starts[i]], words.starts[i + 1] - words.starts[i]);
  }
  CHECK(clean.count_words() == all.size());
  clean.assign(text);
  CHECK(clean.count_words() == all.size());
  return all;
}

TextBatch batch_of(const std::vector<std::string>& documents) {
  TextBatch batch;
  for (const std::string& document : documents) batch.add(document);
  return batch;
}

CleanRules every_rule() {
  CleanRules rules = masking();
  rules.mojibake = rules.nfc = rules.control_characters = true;
  rules.max_line_length = 300;
  rules.min_document_length = 1;
  rules.max_document_length = 100000;
  rules.boilerplate_lines = {line_hash("abc"), line_hash("Home | About")};
  rules.gopher_repetition =
      GopherRepetition{0.9, 0.9, 0.9, 0.9, {{2, 0.9}, {3, 0.9}}, {{5, 0.95}, {10, 0.95}}};
  rules.gopher_quality = GopherQuality{1, 100000, 0.1, 100, 0.9, 0.95, 0.95, 0.01, 0, {"the", "of"}};
  rules.c4 = C4{true, false, true, true, false, true, 0, 0, 1000};
  rules.fineweb = Fineweb{0, 1, 1, 100, 30, false};
  LanguageTable table;
  table.num_languages = 2;
  table.keys = {uint64_t{'a'} | uint64_t{' '} << 8 | uint64_t{2} << 56};
  table.score_ends = {1};
  table.score_languages = {1};
  table.score_points = {10};
  rules.detector = std::make_shared<const LanguageDetector>(table);
  return rules;
}

/// Bytes of text, text of odd characters, and anything.
std::string random_document(std::mt19937& random) {
  static const std::vector<std::string> kPieces = {"the ",
                                                   "word",
                                                   " of ",
                                                   "\n",
                                                   "\n\n",
                                                   "\r\n",
                                                   ".",
                                                   "...",
                                                   "\u2026",
                                                   "- ",
                                                   "\u2022 ",
                                                   "a@b.org",
                                                   "Ã©",
                                                   "â€™",
                                                   "\xC3",
                                                   "\xE2\x80",
                                                   "\xF0\x9F\x98\x80",
                                                   "e\u0301",
                                                   "\u0301",
                                                   "\u1100\u1161\u11A8",
                                                   "\u6F22",
                                                   "\uFEFF",
                                                   "\u2028",
                                                   "[1]",
                                                   "{",
                                                   "javascript",
                                                   "+1 212 555 0123",
                                                   "(212) 555-0123",
                                                   "8.8.8.8",
                                                   "2001:4860::8888",
                                                   "AKIA",
                                                   "eyJ",
                                                   "xoxb-",
                                                   "github_pat_",
                                                   "-----BEGIN ",
                                                   "PRIVATE KEY-----",
                                                   "password = ",
                                                   "0123456789",
                                                   "'",
                                                   "\u2019",
                                                   "Home | About\n",
                                                   std::string("\0", 1),
                                                   "\x7F",
                                                   "\u0080",
                                                   "3.14",
                                                   "A.",
                                                   "?!\u201D",
                                                   "\u3000",
                                                   "Ð¿Ñ€Ð¸",
                                                   "\u212A",
                                                   "DE89 3704 0044"};
  std::string text;
  const size_t length = random() % 60;
  for (size_t i = 0; i < length; ++i) {
    switch (random() % 8) {
      case 0:
        text.push_back(static_cast<char>(random()));
        break;
      case 1: {
        const auto point = static_cast<uint32_t>(random() % (random() % 2 == 0 ? 0x3000 : 0x110000));
        if (point < 0xD800 || point >= 0xE000) append_utf8(point, text);
        break;
      }
      case 2:
        text.append(1 + random() % 40, static_cast<char>('a' + random() % 3));
        break;
      default:
        text += kPieces[random() % kPieces.size()];
    }
  }
  return text;
}

}  // namespace

TEST_CASE("cleaning: invalid UTF-8 gives way to replacement characters") {
  CHECK(valid("abc") == "abc");
  CHECK(valid("a\xFF z") == "a\uFFFD z");
  CHECK(valid("\xE2\x82") == "\uFFFD");  // cut short: one
  CHECK(valid("\xE2\x82(") == "\uFFFD(");
  CHECK(valid("\xED\xA0\x80") == "\uFFFD\uFFFD\uFFFD");  // a surrogate: each byte
  CHECK(valid("\xC0\x80") == "\uFFFD\uFFFD");            // overlong
  CHECK(valid("\xF4\x90\x80\x80") == "\uFFFD\uFFFD\uFFFD\uFFFD");
  CHECK(valid("\xF0\x9F\x98\x80") == "\xF0\x9F\x98\x80");
  CHECK(count_characters("a\u00E9\u6F22\xF0\x9F\x98\x80") == 4);
}

TEST_CASE("cleaning: NFC") {
  CHECK(nfc("caf\u0065\u0301 x") == "caf\u00E9 x");
  CHECK(nfc("\u00E9") == "\u00E9");
  CHECK(nfc("\u1100\u1161\u11A8") == "\uAC01");  // a syllable of three letters
  CHECK(nfc("\uAC00\u11A8") == "\uAC01");
  CHECK(nfc("q\u0307\u0323") == "q\u0323\u0307");       // ordered by class
  CHECK(nfc("\u1E0B\u0323") == "\u1E0D\u0307");         // decomposed, ordered, composed
  CHECK(nfc("\u0958") == "\u0915\u093C");               // excluded from composition
  CHECK(nfc("\u212B\u2126\u212A") == "\u00C5\u03A9K");  // singletons
  CHECK(nfc("a\u0315\u0300\u05AE\u0300b") == "\u00E0\u05AE\u0300\u0315b");
  CHECK(nfc("\u0344") == "\u0308\u0301");
}

TEST_CASE("cleaning: mojibake is repaired, and proper text is not") {
  CHECK(repaired("donâ€™t â€œquoteâ€\u009D") == "don’t “quote”");
  CHECK(repaired("cafÃ© Ã¼ber naÃ¯ve") == "café über naïve");
  CHECK(repaired("Ð¿Ñ€Ð¸Ð²ÐµÑ‚ Ð¼Ð¸Ñ€") == "привет мир");
  CHECK(repaired("æ—¥æœ¬èªž") == "日本語");
  CHECK(repaired("ðŸ˜€") == "\xF0\x9F\x98\x80");
  CHECK(repaired("KoÅ¡ice and ÅÃ³dÅº") == "Košice and Åódź");
  CHECK(repaired("Ã¢â‚¬â„¢") == "’");                            // twice
  CHECK(repaired("caf\u00C3\u00A9 â\u0080\u0099") == "café ’");  // Latin-1
  CHECK(repaired("Â£5 Â©") == "£5 ©");
  for (const std::string_view proper :
       {"«CAFÉ»", "“CAFÉ”",     "CAFÉ…",    "voilà »", "l’été »", "MAÇÃ”", "JOSÉ’S", "À «",
        "Größe",  "naïve café", "Ångström", "Ð and Ñ", "5 €",     "Ã",     "Â",      "“É”",
        "é…”",    "日本語",     "привет",   "Île—",    "ŠKODA®",  "VOILÀ©"}) {
    CHECK(repaired(proper) == proper);
  }
}

TEST_CASE("cleaning: control characters") {
  CHECK(without_controls("a\r\nb\rc\u2028d\u0085e\vf") == "a\nb\nc\nd\ne\nf");
  CHECK(without_controls(std::string("\uFEFFa\0b\x1B[0m\x7F\u0080\tz", 15)) == "ab[0m\tz");
  CHECK(without_controls("\u200Bzero width stays") == "\u200Bzero width stays");
  CHECK(without_controls(std::string(100, 'x') + "\r\n") == std::string(100, 'x') + "\n");
}

TEST_CASE("cleaning: words") {
  using W = std::vector<std::string>;
  CHECK(words_of("It's 3.14, don’t -- stop...") == W{"It's", "3.14", ",", "don’t", "--", "stop", "..."});
  CHECK(words_of("漢字かな abc漢d") == W{"漢", "字", "か", "な", "abc", "漢", "d"});
  CHECK(words_of("a''b 'c' 1.a 1,000.5.") == W{"a", "''", "b", "'", "c", "'", "1", ".", "a", "1,000.5", "."});
  CHECK(words_of("e\u0301t\u00A0x\u3000y_z") == W{"e\u0301t", "x", "y", "_", "z"});
  CHECK(words_of("") == W{});
  CHECK(words_of(" \n ") == W{});
  const std::string longer = std::string(63, ' ') + "ab" + std::string(62, ' ') + std::string(130, 'w') + "!";
  CHECK(words_of(longer) == W{"ab", std::string(130, 'w'), "!"});
}

TEST_CASE("cleaning: personal data") {
  CHECK(masked("Write to jane.doe+x@mail.example.org.") == "Write to <EMAIL>.");
  CHECK(masked("a@b, @user, x@localhost, me@10.0") == "a@b, @user, x@localhost, me@10.0");
  CHECK(masked("DNS 8.8.8.8, local 192.168.1.1, v1.2.3.4, 1.2.3.4.5, 256.1.1.1") ==
        "DNS <IP_ADDRESS>, local 192.168.1.1, v1.2.3.4, 1.2.3.4.5, 256.1.1.1");
  CHECK(masked("2001:4860:4860::8888 and 2a00:1450:4001:0812:0000:0000:0000:200e") ==
        "<IP_ADDRESS> and <IP_ADDRESS>");
  CHECK(masked("2001:db8::1, fe80::1, at 2024:11:28, std::string") ==
        "2001:db8::1, fe80::1, at 2024:11:28, std::string");
  CHECK(masked("call +44 20 7946 0958 or (212) 555-0123, 212-555-0123; 1-800-555-0199") ==
        "call <PHONE_NUMBER> or <PHONE_NUMBER>, <PHONE_NUMBER>; <PHONE_NUMBER>");
  CHECK(masked("in 1984-2024, 123-45-6789, 555-0123, 3.14159265358979, +5, 100 000 000") ==
        "in 1984-2024, 123-45-6789, 555-0123, 3.14159265358979, +5, 100 000 000");
  CHECK(masked("4111 1111 1111 1111, 4111111111111112, 378282246310005, 5555-5555-5555-4444") ==
        "<CREDIT_CARD>, 4111111111111112, <CREDIT_CARD>, <CREDIT_CARD>");
  CHECK(masked("DE89 3704 0044 0532 0130 00 and GB82WEST12345698765432, DE88370400440532013000") ==
        "<IBAN> and <IBAN>, DE88370400440532013000");
}

TEST_CASE("cleaning: secrets") {
  // Put together here, so that no scanner takes this file for a leak.
  const std::string base = "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0eF3hJ6";
  CHECK(masked("id AK"
               "IAIOSFODNN7EXAMPLE.") == "id <AWS_KEY>.");
  CHECK(masked("gh"
               "p_" +
               base) == "<GITHUB_TOKEN>");
  CHECK(masked("github"
               "_pat_" +
               base) == "<GITHUB_TOKEN>");
  CHECK(masked("xox"
               "b-123456789012-abcdef") == "<SLACK_TOKEN>");
  CHECK(masked("key AI"
               "za" +
               base.substr(0, 35) + " end") == "key <GOOGLE_API_KEY> end");
  CHECK(masked("ey"
               "JhbGciOiJIUzI1NiJ9.ey"
               "JzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0") == "<JWT>");
  CHECK(masked("-----BEGIN RSA PRIVATE "
               "KEY-----\nMIIE\nabc=\n-----END RSA PRIVATE KEY-----\nafter") == "<PRIVATE_KEY>\nafter");
  CHECK(masked("-----BEGIN PUBLIC KEY-----\nMIIE\n-----END PUBLIC KEY-----") ==
        "-----BEGIN PUBLIC KEY-----\nMIIE\n-----END PUBLIC KEY-----");
  CHECK(masked("API_KEY=" + base) == "API_KEY=<SECRET>");
  CHECK(masked("\"clientSecret\": \"" + base + "\",") == "\"clientSecret\": \"<SECRET>\",");
  CHECK(masked("password = correcthorsebatterystaple, token: aaaaaaaaaaaaaaaa1111") ==
        "password = correcthorsebatterystaple, token: aaaaaaaaaaaaaaaa1111");
  CHECK(masked("id = " + base) == "id = " + base);
}

TEST_CASE("cleaning: a rule that drops says so and does not show what it found") {
  CleanRules rules;
  rules.patterns.fill(PatternAction::kMask);
  rules.patterns[0] = PatternAction::kDrop;  // kEmail
  Cleaner cleaner(rules, 1, 2);
  const TextBatch batch = batch_of({"write to me@example.org now", "nothing here", "call (212) 555-0123"});
  const CleanedBatch cleaned = cleaner.run(batch);
  CHECK(cleaned.verdicts == std::vector<uint16_t>{kEmail + 1, 0, 0});
  CHECK(cleaned.changed[2] == 1);
  CHECK(cleaned.texts[2] == "call <PHONE_NUMBER>");
  CHECK(cleaned.changed_documents[kPhone] == 1);
  REQUIRE(cleaned.example_rules == std::vector<uint16_t>{kEmail, kPhone});
  CHECK(cleaned.excerpts[0] == "write to <EMAIL> now");
  CHECK(cleaner.names()[kEmail] == "pii.email");
  CHECK(cleaner.names().size() == kFixedRules);
}

TEST_CASE("cleaning: boilerplate and long lines go") {
  std::string out;
  Findings findings;
  std::vector<uint64_t> lines = {line_hash("Home"), line_hash("Share")};
  std::ranges::sort(lines);
  CHECK(remove_lines("Home\n text\n Share \nlonger line\nHome", lines, 8, out, findings));
  CHECK(out == " text\n");
  CHECK(!remove_lines("fine\n\n", lines, 8, out, findings));
}

TEST_CASE("cleaning: random bytes through all rules") {
  std::mt19937 random(7);
  TextBatch batch;
  for (int i = 0; i < 4000; ++i) batch.add(random_document(random));
  Cleaner alone(every_rule(), 1, 3);
  Cleaner together(every_rule(), 3, 3);
  const CleanedBatch cleaned = alone.run(batch);
  // What threads keep from other batches, one with a long document among them, does not show.
  CHECK(together.run(batch_of({std::string(3 << 20, 'x'), "Short.", ""})).texts.size() == 3);
  CHECK(together.run(batch_of({"One\n\nOne\n\nOne", std::string(100, '-')})).texts.size() == 2);
  const CleanedBatch same = together.run(batch);
  CHECK(cleaned.texts.bytes == same.texts.bytes);
  CHECK(cleaned.texts.ends == same.texts.ends);
  CHECK(cleaned.verdicts == same.verdicts);
  CHECK(cleaned.changes == same.changes);
  CHECK(cleaned.example_documents == same.example_documents);
  CHECK(cleaned.excerpts.bytes == same.excerpts.bytes);
  size_t kept = 0;
  for (size_t i = 0; i < batch.size(); ++i) {
    const std::string_view text = cleaned.texts[i];
    REQUIRE(valid_utf8_prefix(text) == text.size());
    if (cleaned.verdicts[i] != 0) continue;
    ++kept;
    REQUIRE(nfc(text) == text);
    REQUIRE(!text.empty());
  }
  CHECK(kept > 1000);
  for (size_t i = 0; i < cleaned.excerpts.size(); ++i) {
    REQUIRE(valid_utf8_prefix(cleaned.excerpts[i]) == cleaned.excerpts[i].size());
  }
}

}  // namespace anneal
