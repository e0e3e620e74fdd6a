// Byte-pair encoding against brute force: a trainer and an encoder written in the plainest way, on random
// text over small alphabets (where pairs overlap and tie often).
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/split_support.h"
#include "tokenizer/bpe_encoder.h"
#include "tokenizer/bpe_trainer.h"
#include "tokenizer/byte_units.h"

namespace anneal {
namespace {

std::vector<int32_t> to_units(std::string_view word) {
  std::vector<int32_t> units;
  for (const char byte : word) units.push_back(kByteUnits[static_cast<unsigned char>(byte)]);
  return units;
}

void merge_everywhere(std::vector<int32_t>& units, int32_t left, int32_t right, int32_t result) {
  for (size_t i = 0; i + 1 < units.size(); ++i) {
    if (units[i] != left || units[i + 1] != right) continue;
    units[i] = result;
    units.erase(units.begin() + static_cast<ptrdiff_t>(i) + 1);
  }
}

/// Counts every pair anew for each merge.
std::vector<int32_t> train_by_brute_force(const Words& documents, SplitPattern pattern, int64_t max_merges,
                                          int64_t min_frequency) {
  std::vector<std::vector<int32_t>> words;
  for (const std::string& document : documents) {
    for (const std::string& word : split(pattern, document)) words.push_back(to_units(word));
  }
  std::vector<int32_t> merges;
  for (int32_t result = 256; result < 256 + max_merges; ++result) {
    std::map<std::pair<int32_t, int32_t>, int64_t> counts;
    for (const auto& word : words) {
      for (size_t i = 0; i + 1 < word.size(); ++i) ++counts[{word[i], word[i + 1]}];
    }
    int64_t best_count = 0;
    std::pair<int32_t, int32_t> best;
    for (const auto& [pair, count] : counts) {  // in ascending order of pairs, so the first of equals stays
      if (count > best_count) best_count = count, best = pair;
    }
    if (best_count < std::max<int64_t>(1, min_frequency)) break;
    merges.push_back(best.first);
    merges.push_back(best.second);
    for (auto& word : words) merge_everywhere(word, best.first, best.second, result);
  }
  return merges;
}

/// Applies the merges one after another to the whole word.
std::vector<int32_t> encode_by_brute_force(std::string_view text, SplitPattern pattern,
                                           const std::vector<int32_t>& merges) {
  std::vector<int32_t> ids;
  for (const std::string& word : split(pattern, text)) {
    std::vector<int32_t> units = to_units(word);
    for (size_t i = 0; i < merges.size() / 2; ++i) {
      merge_everywhere(units, merges[2 * i], merges[2 * i + 1], static_cast<int32_t>(256 + i));
    }
    ids.insert(ids.end(), units.begin(), units.end());
  }
  return ids;
}

std::string random_text(std::mt19937& random, const std::string& alphabet, size_t length) {
  std::string text;
  for (size_t i = 0; i < length; ++i) text += alphabet[random() % alphabet.size()];
  return text;
}

TextBatch batch_of(std::span<const std::string> documents) {
  TextBatch batch;
  for (const std::string& document : documents) batch.add(document);
  return batch;
}

std::vector<int32_t> train(const Words& documents, SplitPattern pattern, int threads, int64_t merges,
                           int64_t min_frequency) {
  const std::atomic<bool> cancelled{false};
  BpeTrainer trainer({pattern, threads, 0});
  const std::span<const std::string> all(documents);
  trainer.feed(batch_of(all.first(all.size() / 2)));
  trainer.feed(batch_of(all.subspan(all.size() / 2)));
  return trainer.train({merges, min_frequency}, cancelled);
}

std::vector<int32_t> iota_ids(const std::vector<int32_t>& merges) {
  std::vector<int32_t> ids(256 + merges.size() / 2);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i);
  return ids;
}

/// `ids[u]` is the vocabulary id of unit u; merges name units.
BpeEncoderOptions options_of(SplitPattern pattern, const std::vector<int32_t>& merges,
                             const std::vector<int32_t>& ids, int threads) {
  BpeEncoderOptions options;
  options.pattern = pattern;
  options.threads = threads;
  for (const uint8_t unit : kByteUnits) options.model.byte_ids.push_back(ids[unit]);
  for (size_t i = 0; i < merges.size() / 2; ++i) {
    for (const int32_t unit : {merges[2 * i], merges[2 * i + 1], static_cast<int32_t>(256 + i)}) {
      options.model.merges.push_back(ids[static_cast<size_t>(unit)]);
    }
  }
  return options;
}

const std::string kAlphabets[] = {"ab", "aab ", "abc' \n", std::string("a\xC3\xA9\x80 1\0", 7)};

}  // namespace

TEST_CASE("training equals brute force, whatever the number of threads") {
  std::mt19937 random(11);
  for (const SplitPattern pattern : kPatterns) {
    for (const std::string& alphabet : kAlphabets) {
      for (const int64_t min_frequency : {0, 2, 5}) {
        Words documents;
        for (int i = 0; i < 6; ++i) documents.push_back(random_text(random, alphabet, 80));
        const auto expected = train_by_brute_force(documents, pattern, 40, min_frequency);
        CHECK(train(documents, pattern, 1, 40, min_frequency) == expected);
        CHECK(train(documents, pattern, 2, 40, min_frequency) == expected);
        if (min_frequency < 5) continue;
        // More units than 16 bits have: words are kept in 32.
        constexpr int64_t kMany = 1 << 17;
        CHECK(train(documents, pattern, 2, kMany, min_frequency) ==
              train_by_brute_force(documents, pattern, kMany, min_frequency));
      }
    }
  }
}

TEST_CASE("training with a bound on the words depends on the text alone, and without need on nothing") {
  std::mt19937 random(7);
  Words documents;
  for (int i = 0; i < 400; ++i) documents.push_back(random_text(random, "abcdefgh  ", 200));
  const std::atomic<bool> go_on{false};
  const auto train_within = [&](uint64_t max_words, int threads) {
    BpeTrainer trainer({SplitPattern::kGpt2, threads, max_words});
    for (size_t i = 0; i < documents.size(); i += 8) {
      trainer.feed(batch_of(std::span<const std::string>(documents).subspan(i, 8)));
    }
    const WordTotals totals = trainer.totals();
    return std::pair(totals, trainer.train({100, 2}, go_on));
  };
  const auto [all, exact] = train_within(0, 1);
  CHECK(all.prunings == 0);
  CHECK(all.distinct > 2000);
  const auto [enough, same] = train_within(all.distinct, 2);
  CHECK(enough.prunings == 0);
  CHECK(enough.distinct == all.distinct);
  CHECK(same == exact);
  const auto [few, approximate] = train_within(500, 1);
  CHECK(few.prunings > 1);
  CHECK(few.distinct < all.distinct / 2);
  CHECK(few.dropped_below >= 2);
  for (const int threads : {2, 3, 7}) {
    const auto [totals, merges] = train_within(500, threads);
    CHECK(totals.distinct == few.distinct);
    CHECK(merges == approximate);
  }
}

TEST_CASE("words that are rarer than asked for are left out") {
  const std::atomic<bool> go_on{false};
  BpeTrainer trainer({SplitPattern::kGpt2, 2, 0});
  trainer.feed(batch_of(Words{"abc", "abc", "abc", "xy", "xy"}));
  const auto merges = trainer.train({100, 0, 3}, go_on);
  CHECK(merges == train_by_brute_force(Words{"abc", "abc", "abc"}, SplitPattern::kGpt2, 100, 0));
}

TEST_CASE("training stops when cancelled and with nothing to do") {
  BpeTrainer trainer({SplitPattern::kGpt2, 2, 0});
  const std::atomic<bool> go_on{false};
  const std::atomic<bool> cancelled{true};
  CHECK(trainer.train({10, 0}, go_on).empty());
  trainer.feed(batch_of(Words{"", "aaaa aaaa"}));
  CHECK(trainer.train({10, 0}, cancelled).empty());
  trainer.feed(batch_of(Words{"aaaa aaaa"}));
  CHECK(trainer.train({0, 0}, go_on).empty());
  trainer.feed(batch_of(Words{"aaaa aaaa"}));
  CHECK(!trainer.train({10, 0}, go_on).empty());
}

TEST_CASE("encoding equals brute force: short and long words, one text and batches") {
  std::mt19937 random(13);
  for (const SplitPattern pattern : kPatterns) {
    for (const std::string& alphabet : kAlphabets) {
      Words documents;
      for (int i = 0; i < 4; ++i) documents.push_back(random_text(random, alphabet, 400));
      const auto merges = train(documents, pattern, 1, 60, 0);
      documents.push_back("");
      documents.push_back(std::string(500, 'a'));  // one long word
      documents.push_back(random_text(random, "ab", 300));
      const BpeEncoder encoder(options_of(pattern, merges, iota_ids(merges), 2));
      std::vector<int32_t> expected_ids;
      std::vector<double> expected_ends;
      for (const std::string& document : documents) {
        const auto expected = encode_by_brute_force(document, pattern, merges);
        CHECK(encoder.encode(document, false) == expected);
        CHECK(encoder.encode(document, false) == expected);  // now from the cache
        expected_ids.insert(expected_ids.end(), expected.begin(), expected.end());
        expected_ends.push_back(static_cast<double>(expected_ids.size()));
      }
      const EncodedBatch batch = encoder.encode_batch(batch_of(documents), false);
      CHECK(batch.ids == expected_ids);
      CHECK(batch.ends == expected_ends);
    }
  }
}

TEST_CASE("words of characters of several bytes are cut where no merge joins them, and only there") {
  const Words characters{"\xE4\xB8\xAD",
                         "\xE5\x9B\xBD",
                         "\xE4\xB8\x8D",
                         "\xEF\xBC\x8C",
                         "\xC3\xA9",
                         "\xF0\x9F\x99\x82",
                         "\xE4\xB8",
                         "\x80",
                         "a",
                         "'s",
                         " ",
                         "1",
                         "\n"};
  std::mt19937 random(23);
  for (int round = 0; round < 60; ++round) {
    const SplitPattern pattern = kPatterns[round % 3];
    // Each round knows other characters well, and few merges or many, so that tokens end inside characters.
    const size_t common = 1 + random() % characters.size();
    const auto text = [&](size_t length) {
      std::string made;
      for (size_t i = 0; i < length; ++i) {
        made += characters[random() % (random() % 4 == 0 ? characters.size() : common)];
      }
      return made;
    };
    const auto merges = train({text(200), text(200)}, pattern, 1, static_cast<int64_t>(random() % 80), 1);
    BpeEncoderOptions options = options_of(pattern, merges, iota_ids(merges), 1);
    const BpeEncoder encoder(options_of(pattern, merges, iota_ids(merges), 1));
    // The same with tokens that no merge leads to, for whole words.
    const Words unmerged{characters[0], characters[0] + characters[1], characters[1] + characters[3],
                         " " + characters[2]};
    options.model.whole_words = true;
    for (size_t id = 0; id < 1000 + unmerged.size(); ++id) {
      options.model.tokens.add(id < 1000 ? std::string() : unmerged[id - 1000]);
    }
    const BpeEncoder with_whole_words(std::move(options));
    for (int i = 0; i < 20; ++i) {
      const std::string document = text(random() % 60);
      CHECK(encoder.encode(document, false) == encode_by_brute_force(document, pattern, merges));
      std::vector<int32_t> expected;
      for (const std::string& word : split(pattern, document)) {
        const auto found = std::find(unmerged.begin(), unmerged.end(), word);
        const auto ids = found == unmerged.end()
                             ? encode_by_brute_force(word, SplitPattern::kNone, merges)
                             : std::vector{static_cast<int32_t>(1000 + (found - unmerged.begin()))};
        expected.insert(expected.end(), ids.begin(), ids.end());
      }
      CHECK(with_whole_words.encode(document, false) == expected);
    }
  }
}

TEST_CASE("a batch larger than one part keeps the order of its documents") {
  std::mt19937 random(17);
  Words documents;
  for (int i = 0; i < 40; ++i) documents.push_back(random_text(random, "abcd '\n", 30000));
  const auto merges = train(documents, SplitPattern::kGpt2, 2, 200, 0);
  const BpeEncoder one(options_of(SplitPattern::kGpt2, merges, iota_ids(merges), 1));
  const BpeEncoder two(options_of(SplitPattern::kGpt2, merges, iota_ids(merges), 2));
  const EncodedBatch by_one = one.encode_batch(batch_of(documents), false);
  const EncodedBatch by_two = two.encode_batch(batch_of(documents), false);
  CHECK(by_one.ids == by_two.ids);
  CHECK(by_one.ends == by_two.ends);
  CHECK(by_two.ends.back() == static_cast<double>(by_two.ids.size()));
}

TEST_CASE("an alphabet is of the most frequent characters, and no merge goes across another") {
  // U+00E9 and a space that is written as U+2581; FF is no character.
  const Words documents{"abab ab",
                        "\xC3\xA9"
                        "a\xFF"
                        "bz ab",
                        "zab"};
  for (const int threads : {1, 3}) {
    const auto fed = [&] {
      auto trainer = std::make_unique<BpeTrainer>(
          TrainerOptions{SplitPattern::kSpaces, threads, 0, false, "\xE2\x96\x81", ""});
      trainer->feed(batch_of(documents));
      return trainer;
    };
    // a and b 6 times each, z and U+2581 twice, U+00E9 once: 17 in all.
    CHECK(fed()->alphabet({1, 0}) == std::vector<uint32_t>{'a', 'b', 'z', 0xE9, 0x2581});
    CHECK(fed()->alphabet({12.0 / 17, 0}) == std::vector<uint32_t>{'a', 'b'});
    CHECK(fed()->alphabet({0.71, 0}) == std::vector<uint32_t>{'a', 'b', 'z'});
    CHECK(fed()->alphabet({1, 4}) == std::vector<uint32_t>{'a', 'b', 'z', 0x2581});

    const std::atomic<bool> go_on{false};
    const auto merges = [&](const std::vector<uint32_t>& alphabet, const Words& taken) {
      return fed()->train({10, 2, 0, batch_of(taken), nullptr, &alphabet}, go_on);
    };
    // Units: 0 is none of them, a is 1, b is 2; ab is 3 with two characters, and U+2581 ab occurs twice.
    CHECK(merges({'a', 'b'}, {}) == std::vector<int32_t>{1, 2});
    CHECK(merges({'a', 'b', 0x2581}, {}) == std::vector<int32_t>{1, 2, 3, 4});
    CHECK(merges({'a', 'b', 0x2581}, {"ab"}) == std::vector<int32_t>{3, 1, 4, 2});
    const std::vector<uint32_t> falling{'b', 'a'};
    CHECK_THROWS_AS(static_cast<void>(fed()->train({10, 2, 0, {}, nullptr, &falling}, go_on)),
                    std::invalid_argument);
  }
}

TEST_CASE("several merges may lead to one token") {
  // a b -> ab (rank 0), then ab c and a bc both give the vocabulary's 1000.
  const int32_t a = kByteUnits['a'], b = kByteUnits['b'], c = kByteUnits['c'];
  const std::vector<int32_t> merges{b, c, a, 256, a, b, 258, c};
  std::vector<int32_t> ids = iota_ids(merges);
  ids[257] = ids[259] = 1000;
  const BpeEncoder encoder(options_of(SplitPattern::kGpt2, merges, ids, 1));
  CHECK(encoder.encode("abc", false) == std::vector<int32_t>{1000});
}

TEST_CASE("a vocabulary that does not fit is refused") {
  const auto refused = [](const auto& change) {
    BpeEncoderOptions options = options_of(SplitPattern::kGpt2, {}, iota_ids({}), 1);
    change(options.model);
    CHECK_THROWS_AS(BpeEncoder{std::move(options)}, std::invalid_argument);
  };
  refused([](BpeModelParts& model) { model.merges = {1, 2}; });
  refused([](BpeModelParts& model) { model.merges = {1, 2, 1 << 20}; });
  refused([](BpeModelParts& model) { model.byte_ids.pop_back(); });
  refused([](BpeModelParts& model) { model.byte_ids[7] = -1; });
}

}  // namespace anneal
