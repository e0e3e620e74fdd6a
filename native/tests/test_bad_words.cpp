// Words of a list in random texts against a search of each word at each place. The verdicts are compared with
// datatrove's in tests/peers/bad_words.test.ts.
#include <doctest/doctest.h>

#include <algorithm>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "data/clean_bad_words.h"

namespace anneal {
namespace {

/// Where the word begins that ends first, of several the longest; for texts of ASCII in lower case.
std::optional<size_t> found(const std::vector<std::string>& words, const std::string& text, bool bordered) {
  const auto is_border = [&](size_t at) {
    return at >= text.size() || (std::isalnum(static_cast<unsigned char>(text[at])) == 0 && text[at] != '_');
  };
  for (size_t end = 1; end <= text.size(); ++end) {
    for (size_t begin = 0; begin < end; ++begin) {
      if (std::ranges::find(words, text.substr(begin, end - begin)) == words.end()) continue;
      if (!bordered || ((begin == 0 || is_border(begin - 1)) && is_border(end))) return begin;
    }
  }
  return std::nullopt;
}

}  // namespace

TEST_CASE("words are found where each is looked for alone") {
  std::mt19937 random(1);
  const std::string letters = "abc _.";
  const auto text = [&](size_t length) {
    std::string made;
    for (size_t i = 0; i < length; ++i) made += letters[random() % letters.size()];
    return made;
  };
  size_t hits = 0;
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> words(1 + random() % 6);
    for (std::string& word : words) word = text(1 + random() % 4);
    const std::string where = text(random() % 30);
    for (const bool bordered : {false, true}) {
      CAPTURE(where);
      const auto wanted = found(words, where, bordered);
      CHECK(WordFinder(words, bordered).find(where) == wanted);
      hits += wanted ? 1 : 0;
    }
  }
  CHECK(hits > 1000);
  CHECK(hits < 5000);
}

TEST_CASE("borders and capital letters of words") {
  const WordFinder words({"s&m", "\U0001F595", "b\u00E9"}, true);
  CHECK(words.find("S&M") == 0);
  CHECK(words.find("a \U0001F595\U0001F642") == 2);
  CHECK_FALSE(words.find("x\U0001F595"));
  CHECK(words.find("\u0301b\u00E9\u0301") == 2);  // marks are no letters to Python
  CHECK_FALSE(words.find("\u00E9b\u00E9"));
  CHECK_FALSE(words.find(""));
  CHECK_FALSE(WordFinder({}, false).find("text"));
  CHECK_THROWS_AS(WordFinder({""}, true), std::invalid_argument);
  CHECK_THROWS_AS(WordFinder({"aB"}, true), std::invalid_argument);
}

TEST_CASE("lower case of what has one") {
  const LowerCase lower({0xC9, 0xE9, 0x23A, 0x2C65, 0x10400, 0x10428, 0x212A, 'k'});
  std::string out;
  lower.apply("ABC \u00C9\u00E9 \u023A \U00010400 \u212A \u0130 \u6F22\U0001F595 Z", out);
  CHECK(out == "abc \u00E9\u00E9 \u2C65 \U00010428 k i\u0307 \u6F22\U0001F595 z");
}

}  // namespace anneal
