// The splitter of words on a table of tricky cases and on random bytes, and the order of byte units.
#include <doctest/doctest.h>

#include <random>
#include <string>
#include <string_view>

#include "tests/split_support.h"
#include "tokenizer/byte_units.h"

namespace anneal {

TEST_CASE("split: GPT-2") {
  const auto gpt2 = [](std::string_view text) { return split(SplitPattern::kGpt2, text); };
  CHECK(gpt2("Hello  world") == Words{"Hello", " ", " world"});
  CHECK(gpt2("it's we'll I'D") == Words{"it", "'s", " we", "'ll", " I", "'", "D"});
  CHECK(gpt2("a'b 12345x") == Words{"a", "'", "b", " 12345", "x"});
  CHECK(gpt2(" \n\n  x \n") == Words{" \n\n ", " x", " \n"});
  CHECK(gpt2("...'s !!") == Words{"...'", "s", " !!"});
  CHECK(gpt2("\xC3\xA9t\xC3\xA9 \xE4\xB8\xAD\xE6\x96\x87") ==
        Words{"\xC3\xA9t\xC3\xA9", " \xE4\xB8\xAD\xE6\x96\x87"});
  CHECK(gpt2("a\xC2\xA0\xE2\x80\xA8"
             "b") == Words{"a", "\xC2\xA0", "\xE2\x80\xA8", "b"});
  CHECK(gpt2("x\xC2\xBD\xE0\xA5\xAA") == Words{"x", "\xC2\xBD\xE0\xA5\xAA"});
  CHECK(gpt2("").empty());
}

TEST_CASE("split: cl100k and Llama 3") {
  for (const SplitPattern pattern : {SplitPattern::kCl100k, SplitPattern::kLlama3}) {
    const auto words = [&](std::string_view text) { return split(pattern, text); };
    CHECK(words("Hello  world") == Words{"Hello", " ", " world"});
    CHECK(words("I'D they'Re'LL") == Words{"I", "'D", " they", "'Re", "'LL"});
    CHECK(words("'\xC5\xBF"
                "abc") == Words{"'\xC5\xBF", "abc"});
    CHECK(words("1234567 8") == Words{"123", "456", "7", " ", "8"});
    CHECK(words("(foo)\tbar") == Words{"(foo", ")", "\tbar"});
    CHECK(words("end.\r\n\r\n  next") == Words{"end", ".\r\n\r\n", " ", " next"});
    CHECK(words("a \n \n b") == Words{"a", " \n \n", " b"});
    CHECK(words("a \n  ") == Words{"a", " \n", "  "});
    CHECK(words("\n\nx") == Words{"\n\n", "x"});
    CHECK(words("\xE2\x80\xA8x y") == Words{"\xE2\x80\xA8x", " y"});
  }
}

TEST_CASE("split: bytes that are not UTF-8 are characters of their own") {
  for (const SplitPattern pattern : kPatterns) {
    // A lone continuation byte, an overlong form, a surrogate, a cut sequence, a byte that never occurs.
    for (const std::string bad :
         {"\x80", "\xC0\xAF", "\xED\xA0\x80", "\xE4\xB8", "\xFF", "\xF4\x90\x80\x80"}) {
      CHECK(split(pattern, "1" + bad + "2") == Words{"1", bad, "2"});
      CHECK(split(pattern, " " + bad) == Words{" " + bad});
    }
  }
}

TEST_CASE("split: words are not empty and cover the text") {
  std::mt19937 random(7);
  for (const SplitPattern pattern : kPatterns) {
    for (int round = 0; round < 200; ++round) {
      std::string text;
      for (int i = 0; i < 40; ++i) text += static_cast<char>(random() & 255);
      std::string joined;
      for (const std::string& word : split(pattern, text)) {
        CHECK(!word.empty());
        joined += word;
      }
      CHECK(joined == text);
    }
  }
}

TEST_CASE("byte units: the order of GPT-2's printable characters") {
  CHECK(kByteUnits['!'] == 0);
  CHECK(kByteUnits['a'] == 'a' - '!');
  CHECK(kByteUnits[0xA1] == 94);
  CHECK(kByteUnits[0xFF] == 187);
  CHECK(kByteUnits[0] == 188);
  CHECK(kByteUnits[' '] == 188 + 32);
  CHECK(kByteUnits[0xAD] == 255);
}

}  // namespace anneal
