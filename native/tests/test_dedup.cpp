// Deduplication on what is odd: records that spill at every size, documents of random bytes, and values that
// are stored and so must not change.
#include <doctest/doctest.h>

#include <algorithm>
#include <compare>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "data/contamination.h"
#include "data/external_sort.h"
#include "data/fingerprint.h"
#include "data/line_hash.h"
#include "data/repeated_parts.h"
#include "data/sha1.h"
#include "data/text_parts.h"

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
          .scheme = MinHashScheme::kAffine,
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
         {MinHashScheme::kAffine, MinHashScheme::kDatasketch, MinHashScheme::kDatasketchLegacy}) {
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

TEST_CASE("dedup: stored values do not change") {
  CHECK(sha1_hash32("") == 0xEEA339DA);  // da39a3ee..., published
  CHECK(sha1_hash32("abc") == 0x363E99A9);
  CHECK(sha1_hash32(std::string(1000, 'a')) == 0x6C9A1E29);
  TextBatch batch;
  batch.add("The quick brown fox\njumps over the lazy dog, 東京 1984.");
  NearOptions near = near_options();
  const Fingerprints prints = Fingerprinter(near, 1).run(batch);
  CHECK(prints.exact == std::vector<uint64_t>{0x5178662A35F90189u, 0xE6FBA51752B17767u});
  CHECK(prints.bands == std::vector<uint64_t>{0x4A7563DB28AB4ABBu, 0x6922CEA2C709C49Au, 0xB443FA59D3263B17u});
  CHECK(line_hash(" The quick brown fox\r") == 0xF7DAFAD030B6AB7Au);
}

}  // namespace
}  // namespace anneal
