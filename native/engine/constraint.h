// Which tokens may come next when the output must match a regular expression.
//
// The expression comes as a deterministic automaton over bytes (src/generation makes it). Every state of it
// leads to an accepting one; what does not has no transition. A token is allowed in a state if its bytes are
// a path from there. The allowed tokens of a state are found once, by walking the trie of all tokens along
// the automaton.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

namespace anneal {

struct Automaton {
  std::vector<int32_t> transitions;  // [states, 256]; -1: none. State 0 is the start
  std::vector<uint8_t> accepting;    // [states]
};

/// Throws std::invalid_argument if sizes or targets do not fit each other.
void validate(const Automaton& automaton);

/// The bytes of all tokens of a vocabulary as a trie.
class TokenTrie {
 public:
  /// Token i has bytes [ends[i - 1], ends[i]); a token without bytes (a special one) is in no text.
  TokenTrie(std::vector<uint8_t> bytes, std::vector<int32_t> ends);

  [[nodiscard]] int64_t vocab_size() const { return static_cast<int64_t>(ends_.size()); }
  /// Sets the bits of the tokens allowed in `state`.
  void allow(const Automaton& automaton, int32_t state, std::vector<uint64_t>& bits) const;
  /// The state after a token, -1 if it is not allowed.
  [[nodiscard]] int32_t advance(const Automaton& automaton, int32_t state, int32_t token) const;

 private:
  /// Nodes in the order of a walk: a node's subtree follows it, up to `next`.
  struct Node {
    uint8_t byte;
    int32_t depth;                   // of the node, from 1
    int32_t next;                    // the first node that is not in its subtree
    int32_t first_token, end_token;  // tokens that end here, in tokens_
  };

  std::vector<uint8_t> bytes_;
  std::vector<int32_t> ends_;
  std::vector<Node> nodes_;
  std::vector<int32_t> tokens_;
  int32_t depth_ = 0;
};

/// An automaton with a vocabulary: allowed tokens by state, kept once found. Stop tokens are allowed in
/// accepting states, and nowhere else.
class Constraint {
 public:
  Constraint(std::shared_ptr<const Automaton> automaton, std::shared_ptr<const TokenTrie> trie,
             std::vector<int32_t> stop_tokens);

  /// Bits of the allowed tokens; null if there are none: in an accepting state, the output is complete.
  const uint64_t* allowed(int32_t state);
  [[nodiscard]] bool accepting(int32_t state) const {
    return automaton_->accepting[static_cast<size_t>(state)] != 0;
  }
  /// Whether an accepting state allows nothing more, not even a stop token.
  [[nodiscard]] bool complete(int32_t state) { return accepting(state) && allowed(state) == nullptr; }
  /// The state after an allowed token; after a stop token the same.
  [[nodiscard]] int32_t advance(int32_t state, int32_t token) const;

 private:
  struct Allowed {
    std::vector<uint64_t> bits;
    bool any;
  };
  std::shared_ptr<const Automaton> automaton_;
  std::shared_ptr<const TokenTrie> trie_;
  std::vector<int32_t> stop_tokens_;
  std::unordered_map<int32_t, Allowed> allowed_;
};

}  // namespace anneal
