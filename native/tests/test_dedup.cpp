// Deduplication on what is odd: records that spill at every size, documents of random bytes, and values that
// are stored and so must not change.
#include <doctest/doctest.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <compare>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "data/contamination.h"
#include "data/external_sort.h"
#include "data/fingerprint.h"
#include "data/line_hash.h"
#include "data/minhash.h"
#include "data/repeated_parts.h"
#include "data/sha1.h"
#include "data/stable_hash.h"
#include "data/text_parts.h"
#include "data/unicode.h"
#include "data/words.h"

namespace anneal {
namespace {

struct Pair {
  uint64_t key, value;
  auto operator<=>(const Pair&) const = default;
};

/// Documents of random bytes among pieces that matter: line ends, broken UTF-8, words.
TextBatch random_batch(std::mt19937& random, size_t documents) {
  static const std::string kPieces[] = {"\n",           "\n\n",      " ",         "\r\n", "word",
                                        "Word",         "two words", "é",         "\xc3", "\xff",
                                        "\xe6\x9d\xb1", "",          "e\xcc\x81", "13 31"};
  TextBatch batch;
  for (size_t i = 0; i < documents; ++i) {
    std::string text;
    for (size_t piece = random() % 60; piece > 0; --piece) {
      if (random() % 8 == 0) {
        text.push_back(static_cast<char>(random()));
      } else {
        text += kPieces[random() % std::size(kPieces)];
      }
    }
    batch.add(text);
  }
  return batch;
}

NearOptions near_options() {
  return {.unit = ShingleUnit::kWord,
          .shingle = 2,
          .bands = 3,
          .rows = 2,
          .permutations = 7,
          .seed = 1,
          .scheme = MinHashScheme::kMultiplicative,
          .signatures = true};
}

TEST_CASE("dedup: records come out sorted, whatever fits into memory") {
  std::mt19937 random(1);
  const std::string folder = std::filesystem::temp_directory_path();
  for (const size_t count : {0, 1, 2, 17, 1000}) {
    std::vector<Pair> records(count);
    for (Pair& each : records) each = {random() % 50, random() % 20};
    std::vector<Pair> expected = records;
    std::ranges::sort(expected);
    for (const size_t memory : {size_t{0}, sizeof(Pair) * 3, sizeof(Pair) * 100, sizeof(Pair) * 1000}) {
      for (const int threads : {1, 3}) {
        ExternalSorter<Pair> sorter(memory, folder, threads);
        for (const Pair& each : records) sorter.add(each);
        std::vector<Pair> sorted;
        sorter.finish([&](const Pair& each) { sorted.push_back(each); });
        CHECK(sorted == expected);
        CHECK((sorter.spilled_bytes() > 0) ==
              (count > std::max(memory / sizeof(Pair), static_cast<size_t>(threads))));
      }
    }
  }
}

TEST_CASE("dedup: white space collapses to one space, none at the ends") {
  std::mt19937 random(3);
  std::string collapsed;
  for (int round = 0; round < 3000; ++round) {
    std::string text, expected;
    bool gap = false;
    // Long runs of words with few double spaces, so that whole blocks are copied as well.
    const auto often = random() % 30 + 1;
    for (size_t left = random() % 400; left > 0; --left) {
      text.push_back(random() % often == 0 ? " \t\n\v\f\r"[random() % 6] : static_cast<char>(random()));
    }
    for (const char c : text) {
      if (c == ' ' || (c >= '\t' && c <= '\r')) {
        gap = true;
        continue;
      }
      if (gap && !expected.empty()) expected += ' ';
      gap = false;
      expected += c;
    }
    collapse_space(text, collapsed);
    CHECK(collapsed == expected);
  }
}

TEST_CASE("dedup: random bytes are fingerprinted, compared and cut without harm, the same by any threads") {
  std::mt19937 random(2);
  for (int round = 0; round < 20; ++round) {
    const TextBatch batch = random_batch(random, 150);
    for (const MinHashScheme scheme :
         {MinHashScheme::kMultiplicative, MinHashScheme::kDatasketch, MinHashScheme::kDatasketchLegacy}) {
      for (const ShingleUnit unit : {ShingleUnit::kWord, ShingleUnit::kCharacter}) {
        NearOptions near = near_options();
        near.scheme = scheme;
        near.unit = unit;
        const Fingerprints one = Fingerprinter(near, 1).run(batch);
        const Fingerprints many = Fingerprinter(near, 3).run(batch);
        CHECK(one.exact == many.exact);
        CHECK(one.bands == many.bands);
        CHECK(one.signatures == many.signatures);
      }
    }
    for (const TextPart part : {TextPart::kLine, TextPart::kParagraph}) {
      const PartOptions options{.part = part, .min_characters = 2, .threads = 2};
      const PartHashes hashes = hash_parts(batch, options);
      std::vector<RepeatedPart> all;
      for (const uint64_t hash : hashes.hashes) all.push_back({hash, UINT64_MAX});
      std::ranges::sort(all, {}, &RepeatedPart::hash);
      // Everything is somebody else's: what is left has no parts.
      const WithoutParts left = PartRemover(all, options).run(batch, 0);
      CHECK(hash_parts(left.texts, options).hashes.empty());
    }
    Contamination contamination({.ngram = 4, .min_words = 2, .sets = 1, .threads = 2});
    contamination.add(random_batch(random, 20), 0);
    const CutOptions cut{.margin = 3, .min_piece = 1};
    const ContaminationCheck checked = contamination.check(batch, 0.3, cut);
    REQUIRE(checked.texts->size() == batch.size());
    contamination.tally(checked.documents, checked.grams);
    const Overlap overlap = contamination.overlap();
    CHECK(std::ranges::all_of(overlap.best, [](double share) { return share >= 0 && share <= 1; }));
    CHECK(std::ranges::all_of(checked.shares, [](double share) { return share >= 0 && share <= 1; }));
  }
}

TEST_CASE("dedup: a row is found in parts of a document that have its words and no others") {
  Contamination contamination({.ngram = 13, .min_words = 8, .sets = 1, .threads = 1});
  const auto batch_of = [](std::initializer_list<std::string_view> texts) {
    TextBatch batch;
    for (const std::string_view text : texts) batch.add(text);
    return batch;
  };
  contamination.add(batch_of({"Capital of Peru?\nLima", "Who?"}), 0);
  const TextBatch documents = batch_of({
      "Capital of Peru? Lima.",
      "Be kind.\x1e"
      "capital of PERU\x1eLima!\x1eThanks.",
      "Capital of Peru?\x1eLima, of course.",
      "\x1e\x1e Capital of\x1e?\x1ePeru Lima\x1e",
      "So: capital of Peru?\x1eLima",
      "who\x1ewho\x1eWho is who?",
      "Who is who?",
      "",
  });
  const ContaminationCheck checked =
      contamination.check(documents, 0.5, CutOptions{.margin = 0, .min_piece = 1});
  CHECK(checked.shares == std::vector<double>{1, 1, 0, 1, 0, 1, 0, 0});
  CHECK(checked.documents == std::vector<uint32_t>{0, 1, 3, 5});
  CHECK((*checked.texts)[0].empty());
  CHECK((*checked.texts)[1] == "Be kind.\x1e\n\n!\x1eThanks.");
  CHECK((*checked.texts)[2] == documents[2]);
  contamination.tally(checked.documents, checked.grams);
  CHECK(contamination.overlap().exact == std::vector<double>{3, 1});
}

/// Words of a text, found character by character.
std::vector<std::pair<size_t, std::string>> words_one_by_one(std::string_view text) {
  std::vector<std::pair<size_t, std::string>> words;
  bool open = false;
  for (size_t at = 0; at < text.size();) {
    const uint32_t bytes = utf8_length(static_cast<unsigned char>(text[at]));
    std::string character(text.substr(at, bytes));
    const bool valid = valid_utf8_prefix(character) == bytes && bytes == character.size();
    const uint32_t properties = valid ? unicode_properties(utf8_point(character.data())) : 0;
    if (bytes == 1) character[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(character[0])));
    if ((properties & kIdeograph) != 0 || ((properties & kWordCharacter) != 0 && !open)) {
      words.emplace_back(at, character);
    } else if ((properties & kWordCharacter) != 0) {
      words.back().second += character;
    }
    open = (properties & kWordCharacter) != 0 && (properties & kIdeograph) == 0;
    at += valid ? bytes : 1;
  }
  return words;
}

TEST_CASE("dedup: words are those that one finds character by character, whatever the bytes and borders") {
  std::mt19937 random(5);
  PlainWords words;
  for (int round = 0; round < 300; ++round) {
    const TextBatch batch = random_batch(random, 10);
    for (size_t i = 0; i < batch.size(); ++i) {
      std::string text(batch[i]);
      // Words that end with a block of 64, and texts that do.
      if (i % 3 == 0) text.resize(text.size() / 64 * 64, 'Z');
      words.find(text);
      const auto expected = words_one_by_one(text);
      REQUIRE(words.places().size() == expected.size());
      for (size_t w = 0; w < expected.size(); ++w) {
        const PlainWords::Place place = words.places()[w];
        CHECK(place.begin == expected[w].first);
        CHECK(words.word(place) == expected[w].second);
        CHECK(words.hash(place) == stable_hash(expected[w].second));
      }
    }
  }
}

TEST_CASE("dedup: the estimate of a similarity has no bias, and the variance of random permutations") {
  // Of k permutations the share that agrees has mean J and variance J (1 - J) / k; r of them all agree with
  // probability J^r.
  constexpr size_t kPermutations = 128, kRows = 8, kTrials = 400, kSeeds = 10;
  std::mt19937 random(11);
  for (const MinHashScheme scheme : {MinHashScheme::kMultiplicative, MinHashScheme::kDatasketch}) {
    for (const size_t size : {20, 200, 3000}) {
      for (const double wanted : {0.5, 0.8, 0.95}) {
        const auto own = static_cast<size_t>(std::ceil(static_cast<double>(size) * (1 - wanted) / 2));
        const double similarity = static_cast<double>(size - 2 * own) / static_cast<double>(size);
        double errors = 0, squares = 0, bands = 0;
        for (size_t seed = 0; seed < kSeeds; ++seed) {
          const MinHash minhash(scheme, kPermutations, seed);
          for (size_t trial = 0; trial < kTrials / kSeeds; ++trial) {
            std::vector<uint32_t> set(size);
            for (uint32_t& hash : set) hash = static_cast<uint32_t>(random());
            std::vector<uint32_t> a(kPermutations), b(kPermutations);
            minhash.signature(std::span(set).subspan(own), a);
            minhash.signature(std::span(set).first(size - own), b);
            size_t same = 0;
            for (size_t p = 0; p < kPermutations; ++p) same += a[p] == b[p] ? 1 : 0;
            for (size_t p = 0; p < kPermutations; p += kRows) {
              bands += std::equal(a.begin() + p, a.begin() + p + kRows, b.begin() + p) ? 1 : 0;
            }
            const double error = static_cast<double>(same) / kPermutations - similarity;
            errors += error;
            squares += error * error;
          }
        }
        const double variance = similarity * (1 - similarity) / kPermutations;
        CHECK(std::abs(errors / kTrials) < 4 * std::sqrt(variance / kTrials));
        // A variance of n draws has a standard error of sqrt(2 / n) of itself, and more where few differ.
        CHECK(std::abs(squares / kTrials / variance - 1) < 4 * std::sqrt(2.0 / kTrials));
        const double banded = std::pow(similarity, kRows), draws = kTrials * kPermutations / kRows;
        CHECK(std::abs(bands / draws - banded) < 5 * std::sqrt(banded * (1 - banded) / draws));
      }
    }
  }
}

TEST_CASE("dedup: stored values do not change") {
  CHECK(sha1_hash32("") == 0xEEA339DA);  // da39a3ee..., published
  CHECK(sha1_hash32("abc") == 0x363E99A9);
  CHECK(sha1_hash32(std::string(1000, 'a')) == 0x6C9A1E29);
  // By length: no byte, a part of eight, eight, and more; the same by both ways to read the bytes.
  const std::string letters = "abcdefghijklmnopqrstuvwxyz";
  const std::pair<size_t, uint64_t> kHashes[] = {{0, 0x8DD9092E2A448508u},  {1, 0xC5B4052C17AD28A6u},
                                                 {3, 0x3085A2F0A9ACBA93u},  {7, 0x870024B1E259AB81u},
                                                 {8, 0x22CC126A0516F113u},  {15, 0xB97458BADF89F01Bu},
                                                 {16, 0x5B897D6087736CBEu}, {18, 0x5254E6F0148EE20Au}};
  for (const auto& [size, hash] : kHashes) {
    CHECK(stable_hash(letters.substr(0, size)) == hash);
    CHECK(stable_hash_padded(letters.data(), size) == hash);
  }
  TextBatch batch;
  batch.add("The quick brown fox\njumps over the lazy dog, 東京 1984.");
  NearOptions near = near_options();
  const Fingerprints prints = Fingerprinter(near, 1).run(batch);
  CHECK(prints.exact == std::vector<uint64_t>{0x5178662A35F90189u, 0xE6FBA51752B17767u});
  CHECK(prints.bands == std::vector<uint64_t>{0x913A7D6D42363B6Du, 0xA9578A61274F780Du, 0xFC0C1AF209ACA38Eu});
  CHECK(line_hash(" The quick brown fox\r") == 0xF7DAFAD030B6AB7Au);
}

}  // namespace
}  // namespace anneal
