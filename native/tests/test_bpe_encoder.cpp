// Edges of the encoder: words of every length, texts that end where memory ends, and vocabularies with
// several merges for a token. Expected ids come from merging one pair after another in the plainest way.
#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <new>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/targets.h"
#include "tokenizer/bpe_encoder.h"
#include "tokenizer/reachable_merges.h"

namespace anneal {
namespace {

using Ids = std::vector<int32_t>;

/// A vocabulary whose tokens are texts: the 256 bytes, then others, with merges in their order.
struct Vocabulary {
  std::vector<std::string> tokens;
  Ids merges;
  std::map<std::pair<int32_t, int32_t>, size_t> ranks;  // by the pair

  Vocabulary() {
    for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  }

  void set_merges(const Ids& triples) {
    merges = triples;
    ranks.clear();
    for (size_t i = 0; i < merges.size(); i += 3) ranks[{merges[i], merges[i + 1]}] = i;
  }

  [[nodiscard]] Ids encode(std::string_view word) const {
    Ids ids;
    for (const char byte : word) ids.push_back(static_cast<unsigned char>(byte));
    while (true) {
      size_t best = merges.size();
      size_t place = 0;
      for (size_t i = 0; i + 1 < ids.size(); ++i) {
        const auto found = ranks.find({ids[i], ids[i + 1]});
        if (found == ranks.end() || found->second >= best) continue;
        best = found->second;
        place = i;
      }
      if (best == merges.size()) return ids;
      ids[place] = merges[best + 2];
      ids.erase(ids.begin() + static_cast<ptrdiff_t>(place) + 1);
    }
  }

  [[nodiscard]] BpeEncoderOptions options(SplitPattern pattern) const {
    BpeEncoderOptions made;
    made.pattern = pattern;
    made.model.merges = merges;
    for (int32_t byte = 0; byte < 256; ++byte) made.model.byte_ids.push_back(byte);
    return made;
  }
};

/// Up to `size` random texts as tokens, and a merge for each way to make one of two others, in any order.
Vocabulary random_vocabulary(std::mt19937& random, std::string_view alphabet, size_t size, size_t longest) {
  Vocabulary made;
  std::map<std::string, int32_t> id_of;
  for (int32_t byte = 0; byte < 256; ++byte) id_of[made.tokens[static_cast<size_t>(byte)]] = byte;
  for (size_t i = 0; i < size; ++i) {
    std::string text;
    const size_t length = 2 + random() % (longest - 1);
    for (size_t j = 0; j < length; ++j) text += alphabet[random() % alphabet.size()];
    if (id_of.emplace(text, static_cast<int32_t>(made.tokens.size())).second) made.tokens.push_back(text);
  }
  std::vector<std::array<int32_t, 3>> merges;
  for (const auto& [text, id] : id_of) {
    for (size_t cut = 1; cut < text.size(); ++cut) {
      const auto left = id_of.find(text.substr(0, cut));
      const auto right = id_of.find(text.substr(cut));
      if (left != id_of.end() && right != id_of.end()) merges.push_back({left->second, right->second, id});
    }
  }
  std::shuffle(merges.begin(), merges.end(), random);
  Ids triples;
  for (const auto& merge : merges) triples.insert(triples.end(), merge.begin(), merge.end());
  made.set_merges(triples);
  return made;
}

std::string random_word(std::mt19937& random, std::string_view alphabet, size_t length) {
  std::string word;
  for (size_t i = 0; i < length; ++i) word += alphabet[random() % alphabet.size()];
  return word;
}

/// Memory behind which nothing may be read.
class GuardedText {
 public:
  explicit GuardedText(size_t most) : page_(static_cast<size_t>(sysconf(_SC_PAGESIZE))) {
    size_ = (most + page_ - 1) / page_ * page_;
    void* memory = mmap(nullptr, size_ + page_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    memory_ = static_cast<char*>(memory);
    REQUIRE(mprotect(memory_ + size_, page_, PROT_NONE) == 0);
  }
  ~GuardedText() { munmap(memory_, size_ + page_); }
  GuardedText(const GuardedText&) = delete;
  GuardedText& operator=(const GuardedText&) = delete;

  std::string_view set(std::string_view text) {
    char* const begin = memory_ + size_ - text.size();
    std::memcpy(begin, text.data(), text.size());
    return {begin, text.size()};
  }

 private:
  size_t page_, size_;
  char* memory_;
};

}  // namespace

TEST_CASE("words of every length, twice, so that the second time they come from the cache") {
  std::mt19937 random(29);
  const Vocabulary vocabulary = random_vocabulary(random, "abc", 60, 4);
  for (const SplitPattern pattern : {SplitPattern::kNone, SplitPattern::kGpt2, SplitPattern::kCl100k}) {
    test::for_each_target([&](const std::string& target) {
      CAPTURE(target);
      const BpeEncoder encoder(vocabulary.options(pattern));
      for (size_t length = 1; length <= 110; ++length) {
        for (int round = 0; round < 6; ++round) {
          const std::string word = random_word(random, "abc", length);
          const Ids expected = vocabulary.encode(word);
          CHECK(encoder.encode(word, false) == expected);
          CHECK(encoder.encode(word, false) == expected);
        }
      }
    });
  }
}

TEST_CASE("more words than the cache holds, in each of its ways to hold them") {
  std::mt19937 random(31);
  // Few tokens, so that words have 1 to 12 ids.
  const Vocabulary vocabulary = random_vocabulary(random, "abcdefgh", 40, 3);
  const BpeEncoder encoder(vocabulary.options(SplitPattern::kGpt2));
  std::string text;
  Ids expected;
  std::vector<std::string> words;
  for (int i = 0; i < 200'000; ++i) {
    // Some come again and again, most once.
    if (i % 3 != 0 || words.size() < 100) {
      words.emplace_back(" ");
      words.back() += random_word(random, "abcdefgh", 1 + random() % 18);
    }
    const std::string& word =
        i % 3 != 0 ? words.back() : words[random() % std::min<size_t>(100, words.size())];
    text += word;
    const Ids ids = vocabulary.encode(word);
    expected.insert(expected.end(), ids.begin(), ids.end());
  }
  CHECK(encoder.encode(text, false) == expected);
}

TEST_CASE("a long word that is a token is taken whole, however long it is") {
  const Vocabulary vocabulary;
  for (const size_t length : {15, 16, 40, 41, 127, 128, 200, 255, 256, 272}) {
    BpeEncoderOptions options = vocabulary.options(SplitPattern::kGpt2);
    options.model.whole_words = true;
    for (size_t id = 0; id < 1000; ++id) options.model.tokens.add("");
    options.model.tokens.add(std::string(length, 'a'));
    const BpeEncoder encoder(std::move(options));
    CHECK(encoder.encode(std::string(length, 'a'), false) == Ids{1000});
    CHECK(encoder.encode(std::string(length + 1, 'a'), false) == Ids(length + 1, 'a'));
  }
}

TEST_CASE("nothing is read behind a text") {
  std::mt19937 random(37);
  const Vocabulary vocabulary = random_vocabulary(random, "ab 1'", 40, 3);
  GuardedText guarded(300);
  for (const SplitPattern pattern :
       {SplitPattern::kGpt2, SplitPattern::kCl100k, SplitPattern::kQwen2, SplitPattern::kO200k,
        SplitPattern::kGpt2Digits, SplitPattern::kDeepSeek3, SplitPattern::kNone}) {
    const BpeEncoder at_the_end(vocabulary.options(pattern));
    const BpeEncoder elsewhere(vocabulary.options(pattern));
    for (size_t length = 0; length < 150; ++length) {
      for (const std::string tail : {"", "'", "'r", "\n ", "\xC3", "\xE4\xB8"}) {
        const std::string text = random_word(random, "aaaab 1'\n", length) + tail;
        const Ids ids = at_the_end.encode(guarded.set(text), false);
        std::string written;
        for (const int32_t id : ids) written += vocabulary.tokens[static_cast<size_t>(id)];
        CHECK(written == text);
        CHECK(ids == elsewhere.encode(text, false));
      }
    }
  }
}

TEST_CASE("merges that no text leads to change nothing") {
  std::mt19937 random(41);
  size_t left_out = 0;
  for (int round = 0; round < 24; ++round) {
    const std::string_view alphabet = round % 2 == 0 ? "ab" : "abcd";
    const Vocabulary vocabulary = random_vocabulary(random, alphabet, 24, 2 + random() % 6);
    Ids bytes(256);
    for (int32_t byte = 0; byte < 256; ++byte) bytes[static_cast<size_t>(byte)] = byte;
    Vocabulary reduced = vocabulary;
    reduced.set_merges(reachable_merges(vocabulary.merges, bytes));
    left_out += (vocabulary.merges.size() - reduced.merges.size()) / 3;
    const BpeEncoder encoder(vocabulary.options(SplitPattern::kNone));
    for (int i = 0; i < 60; ++i) {
      const std::string word = random_word(random, alphabet, random() % 50);
      const Ids expected = vocabulary.encode(word);
      CHECK(reduced.encode(word) == expected);
      CHECK(encoder.encode(word, false) == expected);
    }
  }
  CHECK(left_out > 50);
}

TEST_CASE("all merges stay where an id stands for several texts, and where tokens are long") {
  const Ids units{0, 1, 2};
  const Ids two_texts{0, 1, 3, 1, 0, 3, 3, 2, 4, 2, 3, 4};
  CHECK(reachable_merges(two_texts, units) == two_texts);
  // 0 0 -> 3 and so on to 64 units; the last can be made in a second way.
  Ids doubled{0, 0, 3};
  for (int32_t id = 3; id < 8; ++id) doubled.insert(doubled.end(), {id, id, id + 1});
  doubled.insert(doubled.end(), {0, 3, 9, 3, 0, 9});
  Ids expected = doubled;
  expected.resize(expected.size() - 6);
  const Ids reduced = reachable_merges(doubled, units);
  CHECK(std::equal(expected.begin(), expected.end(), reduced.begin()));
  CHECK(reduced.size() == expected.size() + 3);
}

}  // namespace anneal
