// Constraints: the allowed tokens of a state, against walking every token; refusals.
#include <doctest/doctest.h>

#include <random>
#include <stdexcept>
#include <string>

#include "engine/constraint.h"

namespace anneal::test {
namespace {

/// a(b|c)*, state 1 accepting; state 2 is reached by x and leads back by y.
std::shared_ptr<const Automaton> small_automaton() {
  auto automaton = std::make_shared<Automaton>();
  automaton->transitions.assign(3 * 256, -1);
  automaton->transitions['a'] = 1;
  automaton->transitions[256 + 'b'] = 1;
  automaton->transitions[256 + 'c'] = 1;
  automaton->transitions[256 + 'x'] = 2;
  automaton->transitions[512 + 'y'] = 1;
  automaton->accepting = {0, 1, 0};
  return automaton;
}

TokenTrie make_trie(const std::vector<std::string>& tokens) {
  std::vector<uint8_t> bytes;
  std::vector<int32_t> ends;
  for (const std::string& token : tokens) {
    bytes.insert(bytes.end(), token.begin(), token.end());
    ends.push_back(static_cast<int32_t>(bytes.size()));
  }
  return {bytes, ends};
}

}  // namespace

TEST_CASE("constraint: the trie allows what walking each token allows") {
  std::mt19937 random(1);
  const std::string letters = "abcxy";
  std::vector<std::string> tokens = {"", "a", "ab", "a", "abxy", "b", "xy", "y", "yb", "q"};
  for (int i = 0; i < 300; ++i) {
    std::string token;
    for (auto length = random() % 6; length > 0; --length) token += letters[random() % letters.size()];
    tokens.push_back(token);
  }
  const TokenTrie trie = make_trie(tokens);
  const auto automaton = small_automaton();
  for (int32_t state = 0; state < 3; ++state) {
    std::vector<uint64_t> bits((tokens.size() + 63) / 64, 0);
    trie.allow(*automaton, state, bits);
    int allowed = 0;
    for (size_t token = 0; token < tokens.size(); ++token) {
      int32_t walked = tokens[token].empty() ? -1 : state;
      for (const char c : tokens[token]) {
        if (walked >= 0) walked = automaton->transitions[static_cast<size_t>(walked * 256 + c)];
      }
      CAPTURE(tokens[token]);
      CHECK((bits[token / 64] >> (token % 64) & 1) == (walked >= 0 ? 1u : 0u));
      CHECK(trie.advance(*automaton, state, static_cast<int32_t>(token)) == walked);
      allowed += walked >= 0 ? 1 : 0;
    }
    CHECK(allowed > 0);
  }
}

TEST_CASE("constraint: stop tokens in accepting states only; nothing allowed is the end") {
  const auto trie = std::make_shared<const TokenTrie>(make_trie({"", "a", "b", "xy", "c"}));
  Constraint constraint(small_automaton(), trie, {0, 4});  // c is a stop token here
  CHECK(constraint.allowed(0)[0] == 0b00010);
  CHECK(constraint.allowed(1)[0] == 0b11101);
  CHECK(constraint.advance(0, 1) == 1);
  CHECK(constraint.advance(1, 3) == 1);
  CHECK(constraint.advance(1, 4) == 1);
  CHECK(constraint.allowed(2) == nullptr);  // no token is y
  CHECK(constraint.accepting(1));
  CHECK_FALSE(constraint.accepting(2));
}

TEST_CASE("constraint: bad automata and vocabularies") {
  Automaton automaton = *small_automaton();
  validate(automaton);
  automaton.transitions[3] = 3;
  CHECK_THROWS_AS(validate(automaton), std::invalid_argument);
  automaton.transitions.pop_back();
  CHECK_THROWS_AS(validate(automaton), std::invalid_argument);
  CHECK_THROWS_AS(validate(Automaton{}), std::invalid_argument);
  CHECK_THROWS_AS(TokenTrie({1, 2}, {1, 0, 2}), std::invalid_argument);
  CHECK_THROWS_AS(TokenTrie({1, 2}, {1}), std::invalid_argument);
}

}  // namespace anneal::test
