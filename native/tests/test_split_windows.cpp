// Words that windows of 64 bytes give against those of the steps alone, character by character.
#include <doctest/doctest.h>

#include <array>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "tests/targets.h"
#include "tokenizer/split.h"
#include "tokenizer/split_windows.h"

namespace anneal {
namespace {

using Words = std::vector<std::string_view>;
using Step = const Byte* (*)(const split_steps::Text&, const Byte*);

struct Pattern {
  SplitPattern name;
  Step step;
};
const Pattern kPatterns[] = {{SplitPattern::kGpt2, split_steps::gpt2},
                             {SplitPattern::kCl100k, split_steps::cl100k<3, false>},
                             {SplitPattern::kLlama3, split_steps::cl100k<3, false>},
                             {SplitPattern::kQwen2, split_steps::cl100k<1, false>},
                             {SplitPattern::kQwen35, split_steps::cl100k<1, true>},
                             {SplitPattern::kO200k, split_steps::o200k<3, true>},
                             {SplitPattern::kTekken, split_steps::o200k<1, false>}};

Words by_steps(Step step, std::string_view text) {
  const auto* p = reinterpret_cast<const Byte*>(text.data());
  const Byte* const end = p + text.size();
  Words words;
  while (p < end) {
    const Byte* const next = step(split_steps::Text(end), p);
    words.emplace_back(reinterpret_cast<const char*>(p), static_cast<size_t>(next - p));
    p = next;
  }
  return words;
}

/// In portions of so many words.
Words by_cursor(SplitPattern pattern, std::string_view text, size_t portion) {
  WordCursor cursor(pattern, text);
  std::vector<const char*> ends(portion);
  Words words;
  const char* begin = text.data();
  while (const size_t count = cursor.next(ends)) {
    for (size_t i = 0; i < count; ++i) {
      words.emplace_back(begin, static_cast<size_t>(ends[i] - begin));
      begin = ends[i];
    }
  }
  return words;
}

void check_all(std::string_view text) {
  CAPTURE(text);
  for (const auto& [name, step] : kPatterns) {
    const Words expected = by_steps(step, text);
    for (const size_t portion : {1, 7, 64}) CHECK(by_cursor(name, text, portion) == expected);
  }
}

const std::array<std::string, 16> kPieces = {"a",  "s", "'",  "1", " ",  "\n", "\t", "/",
                                             "ll", "Z", "re", "V", "\r", "!",  "\v", "\xC3\xA9"};

std::string random_text(std::mt19937& random, size_t pieces, size_t kinds) {
  // Each text has favourites, so that runs come about, of a window's length as well.
  std::array<size_t, 3> favourites;
  for (size_t& favourite : favourites) favourite = random() % kinds;
  std::string text;
  for (size_t i = 0; i < pieces; ++i) {
    text += kPieces[random() % 3 == 0 ? random() % kinds : favourites[random() % favourites.size()]];
  }
  return text;
}

}  // namespace

TEST_CASE("windows: all short texts, at the end of a text and before more of it") {
  test::for_each_target([](const std::string& target) {
    CAPTURE(target);
    constexpr size_t kKinds = 9;
    for (size_t number = 0; number < kKinds * kKinds * kKinds * kKinds; ++number) {
      std::string text;
      for (size_t i = 0, rest = number; i < 4; ++i, rest /= kKinds) text += kPieces[rest % kKinds];
      check_all(text);
      check_all(text + "b\xE4\xB8\xAD");
      check_all("b" + text + std::string(70, '-'));
    }
  });
}

TEST_CASE("windows: what lies across their border") {
  test::for_each_target([](const std::string& target) {
    CAPTURE(target);
    std::mt19937 random(3);
    for (size_t before = 50; before < 70; ++before) {
      for (size_t round = 0; round < 40; ++round) {
        const std::string text(before, "ab1 "[round % 4]);
        check_all(text + random_text(random, 8, 15) + std::string(40, 'c'));
      }
    }
  });
}

TEST_CASE("windows: random texts") {
  test::for_each_target([](const std::string& target) {
    CAPTURE(target);
    std::mt19937 random(5);
    for (int round = 0; round < 2000; ++round) {
      check_all(random_text(random, random() % 200, round % 4 == 0 ? kPieces.size() : kPieces.size() - 1));
    }
  });
}

TEST_CASE("windows: every byte has the class that the steps give it") {
  for (int byte = 0; byte < 256; ++byte) {
    for (const std::string before : {"a", "1", " ", "!", "\n"}) {
      check_all(before + static_cast<char>(byte) + "a!1 " + std::string(64, 'x'));
    }
  }
}

TEST_CASE("windows: runs that end where others begin") {
  using split_steps::runs_from;
  using split_steps::runs_up_to;
  CHECK(runs_from(0, ~uint64_t{0}) == 0);
  CHECK(runs_from(1, ~uint64_t{0}) == ~uint64_t{0});
  CHECK(runs_from(0b0000'1010, 0b0110'1111) == 0b0000'1110);
  CHECK(runs_up_to(0, ~uint64_t{0}) == 0);
  CHECK(runs_up_to(uint64_t{1} << 63, ~uint64_t{0}) == ~uint64_t{0});
  CHECK(runs_up_to(0b0000'1000, 0b0110'1111) == 0b0000'1111);
  CHECK(runs_up_to(0b0100'0000, 0b0110'1111) == 0b0110'0000);
}

}  // namespace anneal
