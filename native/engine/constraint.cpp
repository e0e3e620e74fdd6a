#include "engine/constraint.h"

#include <algorithm>
#include <numeric>
#include <span>
#include <stdexcept>

namespace anneal {

void validate(const Automaton& automaton) {
  const auto states = static_cast<int64_t>(automaton.accepting.size());
  if (states == 0 || std::ssize(automaton.transitions) != states * 256) {
    throw std::invalid_argument("constraint: transitions must hold 256 numbers for each state");
  }
  for (const int32_t target : automaton.transitions) {
    if (target < -1 || target >= states)
      throw std::invalid_argument("constraint: a transition leads nowhere");
  }
}

TokenTrie::TokenTrie(std::vector<uint8_t> bytes, std::vector<int32_t> ends)
    : bytes_(std::move(bytes)), ends_(std::move(ends)) {
  int32_t last = 0;
  for (const int32_t end : ends_) {
    if (end < last) throw std::invalid_argument("vocabulary: ends must not fall");
    last = end;
  }
  if (last != std::ssize(bytes_))
    throw std::invalid_argument("vocabulary: the last end must be that of the bytes");
  const auto text = [&](int32_t token) {
    const auto begin = static_cast<size_t>(token == 0 ? 0 : ends_[static_cast<size_t>(token) - 1]);
    return std::span(bytes_).subspan(begin, static_cast<size_t>(ends_[static_cast<size_t>(token)]) - begin);
  };
  tokens_.resize(ends_.size());
  std::iota(tokens_.begin(), tokens_.end(), 0);
  std::erase_if(tokens_, [&](int32_t token) { return text(token).empty(); });
  std::sort(tokens_.begin(), tokens_.end(), [&](int32_t a, int32_t b) {
    const auto order = std::lexicographical_compare_three_way(text(a).begin(), text(a).end(), text(b).begin(),
                                                              text(b).end());
    return order != 0 ? order < 0 : a < b;
  });
  // Sorted tokens are the walk: the nodes that a token does not share with the one before open here.
  std::vector<int32_t> path;
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const std::span<const uint8_t> token = text(tokens_[i]);
    size_t same = 0;
    while (same < path.size() && same < token.size() &&
           nodes_[static_cast<size_t>(path[same])].byte == token[same]) {
      ++same;
    }
    for (size_t level = same; level < path.size(); ++level) {
      nodes_[static_cast<size_t>(path[level])].next = static_cast<int32_t>(nodes_.size());
    }
    path.resize(same);
    for (size_t level = same; level < token.size(); ++level) {
      path.push_back(static_cast<int32_t>(nodes_.size()));
      nodes_.push_back({token[level], static_cast<int32_t>(level) + 1, 0, static_cast<int32_t>(i),
                        static_cast<int32_t>(i)});
    }
    nodes_[static_cast<size_t>(path.back())].end_token = static_cast<int32_t>(i) + 1;
    depth_ = std::max(depth_, static_cast<int32_t>(path.size()));
  }
  for (const int32_t node : path)
    nodes_[static_cast<size_t>(node)].next = static_cast<int32_t>(nodes_.size());
}

void TokenTrie::allow(const Automaton& automaton, int32_t state, std::vector<uint64_t>& bits) const {
  std::vector<int32_t> states(static_cast<size_t>(depth_) + 1);  // by depth
  states[0] = state;
  for (size_t i = 0; i < nodes_.size();) {
    const Node& node = nodes_[i];
    const int32_t from = states[static_cast<size_t>(node.depth) - 1];
    const int32_t to = automaton.transitions[static_cast<size_t>(from) * 256 + node.byte];
    if (to < 0) {
      i = static_cast<size_t>(node.next);
      continue;
    }
    states[static_cast<size_t>(node.depth)] = to;
    for (int32_t t = node.first_token; t < node.end_token; ++t) {
      const auto token = static_cast<size_t>(tokens_[static_cast<size_t>(t)]);
      bits[token / 64] |= uint64_t{1} << (token % 64);
    }
    ++i;
  }
}

int32_t TokenTrie::advance(const Automaton& automaton, int32_t state, int32_t token) const {
  const int32_t begin = token == 0 ? 0 : ends_[static_cast<size_t>(token) - 1];
  const int32_t end = ends_[static_cast<size_t>(token)];
  if (begin == end) return -1;
  for (int32_t i = begin; i < end && state >= 0; ++i) {
    state = automaton.transitions[static_cast<size_t>(state) * 256 + bytes_[static_cast<size_t>(i)]];
  }
  return state;
}

Constraint::Constraint(std::shared_ptr<const Automaton> automaton, std::shared_ptr<const TokenTrie> trie,
                       std::vector<int32_t> stop_tokens)
    : automaton_(std::move(automaton)), trie_(std::move(trie)), stop_tokens_(std::move(stop_tokens)) {}

const uint64_t* Constraint::allowed(int32_t state) {
  const auto [found, inserted] = allowed_.try_emplace(state);
  Allowed& entry = found->second;
  if (inserted) {
    entry.bits.resize(static_cast<size_t>((trie_->vocab_size() + 63) / 64), 0);
    trie_->allow(*automaton_, state, entry.bits);
    for (const int32_t token : stop_tokens_) {
      const uint64_t bit = uint64_t{1} << (token % 64);
      uint64_t& word = entry.bits[static_cast<size_t>(token) / 64];
      word = accepting(state) ? word | bit : word & ~bit;
    }
    entry.any = std::any_of(entry.bits.begin(), entry.bits.end(), [](uint64_t word) { return word != 0; });
  }
  return entry.any ? entry.bits.data() : nullptr;
}

int32_t Constraint::advance(int32_t state, int32_t token) const {
  const bool stop = std::find(stop_tokens_.begin(), stop_tokens_.end(), token) != stop_tokens_.end();
  return stop ? state : trie_->advance(*automaton_, state, token);
}

}  // namespace anneal
