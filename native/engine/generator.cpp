#include "engine/generator.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <string>

namespace anneal {

Generator::Generator(Backend& backend, const SessionOptions& options, Decoder& decoder,
                     const Activations& activations, const Scratch& scratch, const KvCache& cache)
    : backend_(backend),
      options_(options),
      decoder_(decoder),
      activations_(activations),
      scratch_(scratch),
      cache_(cache),
      shape_(options.architecture.attention_shape()) {}

void Generator::check(const std::vector<std::vector<int32_t>>& prompts) const {
  if (options_.generation_slots == 0) {
    throw std::invalid_argument("the session was made without generation (generationSlots is 0)");
  }
  for (size_t i = 0; i < prompts.size(); ++i) {
    const std::string name = "prompt " + std::to_string(i);
    if (prompts[i].empty()) throw std::invalid_argument(name + " is empty");
    if (std::ssize(prompts[i]) >= options_.generation_length) {
      throw std::invalid_argument(name + " has " + std::to_string(prompts[i].size()) +
                                  " tokens: with room for " + std::to_string(options_.generation_length) +
                                  " (generationLength) none is left for an answer");
    }
    for (int32_t token : prompts[i]) {
      if (token < 0 || token >= options_.architecture.vocab_size) {
        throw std::invalid_argument(name + " holds id " + std::to_string(token) + ", not in [0, " +
                                    std::to_string(options_.architecture.vocab_size) + ") (vocabSize)");
      }
    }
  }
}

std::vector<Completion> Generator::run(const std::vector<std::vector<int32_t>>& prompts,
                                       const SamplingOptions& options, const TokenCallback& on_token,
                                       const std::atomic<bool>& cancelled) {
  check(prompts);
  validate(options, options_.architecture.vocab_size);
  std::vector<Completion> completions(prompts.size());
  std::vector<Sequence> running;
  std::vector<int32_t> free_slots(static_cast<size_t>(options_.generation_slots));
  std::iota(free_slots.rbegin(), free_slots.rend(), 0);
  size_t next_prompt = 0;

  // Books the drawn tokens of sequences [begin, end) and drops those that have ended.
  const auto settle = [&](size_t begin, const std::vector<Draw>& draws) {
    for (size_t i = 0; i < draws.size(); ++i) {
      Sequence& sequence = running[begin + i];
      Completion& completion = completions[static_cast<size_t>(sequence.index)];
      sequence.next = draws[i].token;
      completion.tokens.push_back(draws[i].token);
      completion.log_probs.push_back(draws[i].log_prob);
      if (on_token) on_token(sequence.index, draws[i].token);
      const auto& stops = options.stop_tokens;
      const bool stopped = std::find(stops.begin(), stops.end(), sequence.next) != stops.end();
      if (!stopped && std::ssize(completion.tokens) < sequence.limit) continue;
      completion.finish = stopped ? Finish::kStop : Finish::kLength;
      free_slots.push_back(sequence.slot);
      sequence.slot = -1;
    }
    std::erase_if(running, [](const Sequence& sequence) { return sequence.slot < 0; });
  };

  while (!cancelled.load(std::memory_order_relaxed) && (next_prompt < prompts.size() || !running.empty())) {
    // Prompts that find a slot, as many as fit one packed pass; a longer one goes alone, in pieces.
    const size_t admitted = running.size();
    std::vector<int32_t> last_rows;
    int64_t rows = 0;
    while (next_prompt < prompts.size() && !free_slots.empty()) {
      const std::vector<int32_t>& prompt = prompts[next_prompt];
      const bool fits =
          rows + std::ssize(prompt) <= options_.max_tokens && std::ssize(last_rows) < options_.max_sequences;
      if (rows > 0 && !fits) break;
      const int64_t room = options_.generation_length - std::ssize(prompt);
      running.push_back(
          {static_cast<int64_t>(next_prompt), free_slots.back(), 0, 0, std::min(options.max_new_tokens, room),
           Sampler(options, options_.architecture.vocab_size, static_cast<uint32_t>(next_prompt))});
      for (int32_t token : prompt) running.back().sampler.observe(token);
      free_slots.pop_back();
      rows += std::ssize(prompt);
      last_rows.push_back(static_cast<int32_t>((rows - 1) % options_.max_tokens));
      ++next_prompt;
    }
    if (rows > 0) {
      const std::span<Sequence> group(running.data() + admitted, running.size() - admitted);
      prefill(group, prompts);
      settle(admitted, draw(group, last_rows, completions));
    } else {
      advance(running);
      std::vector<int32_t> all(running.size());
      std::iota(all.begin(), all.end(), 0);
      settle(0, draw(running, all, completions));
    }
  }
  return completions;
}

void Generator::prefill(std::span<Sequence> group, const std::vector<std::vector<int32_t>>& prompts) {
  Rows rows;
  std::vector<int32_t> cu_seqlens{0};
  for (Sequence& sequence : group) {
    const std::vector<int32_t>& prompt = prompts[static_cast<size_t>(sequence.index)];
    for (size_t i = 0; i < prompt.size(); ++i) {
      if (std::ssize(rows.tokens) == options_.max_tokens) {
        // Only a prompt that goes alone is longer than a pass.
        cu_seqlens.push_back(static_cast<int32_t>(rows.tokens.size()));
        if (rows.positions.front() == 0) {
          pass_packed(rows, cu_seqlens);
        } else {
          pass_cached(rows);
        }
        rows = {};
        cu_seqlens = {0};
      }
      rows.tokens.push_back(prompt[i]);
      rows.slots.push_back(sequence.slot);
      rows.positions.push_back(static_cast<int32_t>(i));
    }
    cu_seqlens.push_back(static_cast<int32_t>(rows.tokens.size()));
    sequence.length = static_cast<int32_t>(prompt.size());
  }
  if (rows.positions.front() == 0) {
    pass_packed(rows, cu_seqlens);
  } else {
    pass_cached(rows);
  }
}

void Generator::advance(std::span<Sequence> running) {
  Rows rows;
  for (Sequence& sequence : running) {
    rows.tokens.push_back(sequence.next);
    rows.slots.push_back(sequence.slot);
    rows.positions.push_back(sequence.length++);
  }
  pass_cached(rows);
}

void Generator::upload(const Rows& rows) {
  const size_t bytes = rows.tokens.size() * sizeof(int32_t);
  std::vector<int32_t> lengths(rows.positions);
  for (int32_t& length : lengths) ++length;
  backend_.copy_to_device(activations_.tokens, rows.tokens.data(), bytes);
  backend_.copy_to_device(activations_.positions, rows.positions.data(), bytes);
  backend_.copy_to_device(scratch_.slots, rows.slots.data(), bytes);
  backend_.copy_to_device(scratch_.cache_rows, rows.positions.data(), bytes);
  backend_.copy_to_device(scratch_.lengths, lengths.data(), bytes);
}

void Generator::append(int64_t layer, const LayerActivations& a, int64_t count) {
  backend_.kv_cache_append(cache_.layers[static_cast<size_t>(layer)], a.qkv, scratch_.slots,
                           scratch_.cache_rows, count, shape_);
}

void Generator::pass_packed(const Rows& rows, const std::vector<int32_t>& cu_seqlens) {
  upload(rows);
  const int64_t count = std::ssize(rows.tokens);
  const std::vector<int32_t> no_prefix(cu_seqlens.size() - 1, -1);
  const BatchLayout layout{static_cast<int32_t>(count), static_cast<int32_t>(no_prefix.size()),
                           cu_seqlens.data(), no_prefix.data(), activations_.positions};
  decoder_.forward_inference(count, [&](int64_t layer, const LayerActivations& a) {
    append(layer, a, count);
    backend_.attention_forward(a.attention_out, a.lse, a.qkv, layout, shape_, scratch_.attention);
  });
}

void Generator::pass_cached(const Rows& rows) {
  upload(rows);
  const int64_t count = std::ssize(rows.tokens);
  decoder_.forward_inference(count, [&](int64_t layer, const LayerActivations& a) {
    append(layer, a, count);
    backend_.attention_decode(a.attention_out, a.qkv, cache_.layers[static_cast<size_t>(layer)],
                              scratch_.slots, scratch_.lengths, count, shape_, scratch_.attention);
  });
}

std::vector<Draw> Generator::draw(std::span<Sequence> sequences, const std::vector<int32_t>& rows,
                                  const std::vector<Completion>& completions) {
  const int64_t count = std::ssize(sequences);
  const int64_t V = options_.architecture.vocab_size;
  backend_.copy_to_device(activations_.scored, rows.data(), rows.size() * sizeof(int32_t));
  decoder_.final_norm(count);
  decoder_.logits(scratch_.logits, count, scratch_.logits_workspace);
  logits_.resize(static_cast<size_t>(count * V));
  backend_.copy_to_host(logits_.data(), scratch_.logits, logits_.size() * sizeof(float));
  std::vector<Draw> draws(sequences.size());
#pragma omp parallel for schedule(dynamic) num_threads(options_.threads) if (count > 1)
  for (int64_t i = 0; i < count; ++i) {
    Sequence& sequence = sequences[static_cast<size_t>(i)];
    const size_t position = completions[static_cast<size_t>(sequence.index)].tokens.size();
    draws[static_cast<size_t>(i)] = sequence.sampler.draw({logits_.data() + i * V, static_cast<size_t>(V)},
                                                          static_cast<uint32_t>(position));
  }
  return draws;
}

}  // namespace anneal
