// Generation: greedy and sampled, its independence of batching, the filters, and the random numbers beneath.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "engine/philox.h"
#include "engine/task_thread.h"
#include "tests/engine_support.h"

namespace anneal::test {
namespace {

const std::atomic<bool> kNotCancelled{false};

SessionOptions generating_options() {
  SessionOptions options = small_options();
  options.generation_slots = 3;
  options.generation_length = 60;
  options.max_tokens = 16;  // longer prompts go in pieces
  options.max_scored = 60;
  return options;
}

SamplingOptions greedy(int64_t max_new_tokens) {
  SamplingOptions options;
  options.max_new_tokens = max_new_tokens;
  return options;
}

SamplingOptions sampled(int64_t max_new_tokens, uint64_t seed) {
  SamplingOptions options = greedy(max_new_tokens);
  options.temperature = 0.9f;
  options.seed = seed;
  return options;
}

std::vector<Completion> generate(Engine& engine, const std::vector<std::vector<int32_t>>& prompts,
                                 const SamplingOptions& options) {
  return engine.generate(prompts, options, {}, kNotCancelled);
}

/// Prompts of many lengths, some longer than a pass.
std::vector<std::vector<int32_t>> some_prompts() {
  return {random_ids(5, 1),  random_ids(40, 2), random_ids(1, 3),
          random_ids(16, 4), random_ids(17, 5), random_ids(9, 6)};
}

}  // namespace

TEST_CASE("generate: greedy tokens are the argmax of the full forward, and log-probs those of training") {
  for (const bool recompute : {false, true}) {
    SessionOptions options = generating_options();
    options.recompute = recompute;
    const auto engine = make_engine(options);
    randomise(*engine);
    SessionOptions wide = options;
    wide.max_tokens = 64;
    const auto full = make_engine(wide);
    randomise(*full);

    const std::vector<std::vector<int32_t>> prompts = some_prompts();
    const std::vector<Completion> completions = generate(*engine, prompts, greedy(12));
    for (size_t p = 0; p < prompts.size(); ++p) {
      const Completion& completion = completions[p];
      REQUIRE(completion.tokens.size() == 12);
      CHECK(completion.finish == Finish::kLength);
      std::vector<int32_t> ids = prompts[p];
      ids.insert(ids.end(), completion.tokens.begin(), completion.tokens.end());
      const Batch batch = pack({ids});
      const Scores scores = full->forward(batch);
      const std::vector<float> logits = full->logits(batch);
      for (size_t i = 0; i < completion.tokens.size(); ++i) {
        const size_t row = prompts[p].size() - 1 + i;
        const auto begin = logits.begin() + static_cast<std::ptrdiff_t>(row * 19);
        CHECK(completion.tokens[i] == std::max_element(begin, begin + 19) - begin);
        CHECK(completion.log_probs[i] == doctest::Approx(scores.log_probs[row]).epsilon(1e-4));
      }
    }
  }
}

TEST_CASE("generate: what is sampled depends on seed and sequence, not on what runs beside it") {
  const auto engine = make_engine(generating_options());
  randomise(*engine);
  SessionOptions single = generating_options();
  single.generation_slots = 1;
  const auto alone = make_engine(single);
  randomise(*alone);

  const std::vector<std::vector<int32_t>> prompts = some_prompts();
  const std::vector<Completion> together = generate(*engine, prompts, sampled(15, 7));
  const std::vector<Completion> in_turn = generate(*alone, prompts, sampled(15, 7));
  const std::vector<Completion> again = generate(*engine, prompts, sampled(15, 7));
  const std::vector<Completion> other_seed = generate(*engine, prompts, sampled(15, 8));
  for (size_t p = 0; p < prompts.size(); ++p) {
    CHECK(together[p].tokens == in_turn[p].tokens);
    CHECK(together[p].tokens == again[p].tokens);
    CHECK(together[p].log_probs == again[p].log_probs);
    CHECK(together[p].tokens != other_seed[p].tokens);
  }
  // The same prompt twice: two different draws.
  const std::vector<Completion> twice = generate(*engine, {prompts[0], prompts[0]}, sampled(15, 7));
  CHECK(twice[0].tokens == together[0].tokens);
  CHECK(twice[1].tokens != twice[0].tokens);
}

TEST_CASE("generate: stop tokens, room and cancellation end a sequence") {
  const auto engine = make_engine(generating_options());
  randomise(*engine);
  const std::vector<int32_t> free_run = generate(*engine, {random_ids(5, 1)}, sampled(20, 3))[0].tokens;
  SamplingOptions options = sampled(20, 3);
  options.stop_tokens = {free_run[6]};
  const auto first = std::find(free_run.begin(), free_run.end(), free_run[6]);
  const Completion stopped = generate(*engine, {random_ids(5, 1)}, options)[0];
  CHECK(stopped.finish == Finish::kStop);
  CHECK(stopped.tokens == std::vector<int32_t>(free_run.begin(), first + 1));

  const Completion full = generate(*engine, {random_ids(50, 1)}, greedy(100))[0];
  CHECK(full.finish == Finish::kLength);
  CHECK(full.tokens.size() == 10);

  std::atomic<bool> cancelled{false};
  int64_t seen = 0;
  const std::vector<Completion> cut = engine->generate(
      {random_ids(5, 1)}, sampled(20, 3), [&](int64_t, int32_t) { cancelled = ++seen == 4; }, cancelled);
  CHECK(cut[0].finish == Finish::kCancelled);
  CHECK(cut[0].tokens == std::vector<int32_t>(free_run.begin(), free_run.begin() + 4));

  CHECK(generate(*engine, {}, greedy(1)).empty());
  CHECK_THROWS_AS(generate(*engine, {{}}, greedy(1)), std::invalid_argument);
  CHECK_THROWS_AS(generate(*engine, {random_ids(60, 1)}, greedy(1)), std::invalid_argument);
  CHECK_THROWS_AS(generate(*engine, {{3, 19}}, greedy(1)), std::invalid_argument);
  CHECK_THROWS_AS(generate(*engine, {{3}}, greedy(0)), std::invalid_argument);
  CHECK_THROWS_AS(generate(*make_engine(small_options()), {{3}}, greedy(1)), std::invalid_argument);
}

TEST_CASE("generate: a forward that waits for its backward is given up, not mixed up") {
  const auto engine = make_engine(generating_options());
  randomise(*engine);
  const Batch batch = pack({random_ids(9, 1)});
  engine->forward(batch);
  generate(*engine, {{1, 2, 3}}, greedy(4));
  CHECK_THROWS_AS(engine->backward({uniform_weights(batch), {}, {}}), std::invalid_argument);
}

namespace {

/// The tokens that sampling may return, found by drawing at many positions, with how often each came.
std::map<int32_t, int> draws(const std::vector<float>& logits, const SamplingOptions& options, int count,
                             const std::vector<int32_t>& seen = {}) {
  std::map<int32_t, int> found;
  for (int i = 0; i < count; ++i) {
    Sampler sampler(options, std::ssize(logits), 0);
    for (int32_t token : seen) sampler.observe(token);
    ++found[sampler.draw(logits, static_cast<uint32_t>(i)).token];
  }
  return found;
}

std::set<int32_t> support(const std::map<int32_t, int>& found) {
  std::set<int32_t> tokens;
  for (const auto& [token, count] : found) tokens.insert(token);
  return tokens;
}

std::vector<float> log_of(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (double p : probabilities) logits.push_back(static_cast<float>(std::log(p)) + 3.0f);
  return logits;
}

}  // namespace

TEST_CASE("sampler: frequencies follow the distribution, and each filter keeps its tokens") {
  const std::vector<float> logits = log_of({0.05, 0.4, 0.1, 0.25, 0.2});
  SamplingOptions options = sampled(1, 5);
  options.temperature = 1.0f;
  constexpr int kDraws = 20000;
  std::map<int32_t, int> found = draws(logits, options, kDraws);
  for (const auto& [token, share] :
       std::map<int32_t, double>{{0, 0.05}, {1, 0.4}, {2, 0.1}, {3, 0.25}, {4, 0.2}}) {
    CHECK(static_cast<double>(found[token]) / kDraws == doctest::Approx(share).epsilon(0.08));
  }
  options.temperature = 0.5f;  // squares the odds
  found = draws(logits, options, kDraws);
  CHECK(static_cast<double>(found[1]) / found[4] == doctest::Approx(4.0).epsilon(0.1));
  options.temperature = 1.0f;

  const auto kept = [&](const auto& set) {
    SamplingOptions filtered = options;
    set(filtered);
    return support(draws(logits, filtered, 2000));
  };
  using Set = std::set<int32_t>;
  CHECK(kept([](SamplingOptions& o) { o.top_k = 2; }) == Set{1, 3});
  CHECK(kept([](SamplingOptions& o) { o.top_k = 9; }) == Set{0, 1, 2, 3, 4});
  CHECK(kept([](SamplingOptions& o) { o.top_p = 0.39f; }) == Set{1});
  CHECK(kept([](SamplingOptions& o) { o.top_p = 0.6f; }) == Set{1, 3});
  CHECK(kept([](SamplingOptions& o) { o.top_p = 0.7f; }) == Set{1, 3, 4});
  CHECK(kept([](SamplingOptions& o) { o.min_p = 0.3f; }) == Set{1, 3, 4});
  // Top-p works on what top-k left: of 0.4 and 0.25, 0.4 is 62%.
  CHECK(kept([](SamplingOptions& o) { o.top_k = 2, o.top_p = 0.6f; }) == Set{1});
}

TEST_CASE("sampler: top-p over a large vocabulary keeps the likeliest tokens only") {
  std::vector<float> logits(5000);
  std::iota(logits.begin(), logits.end(), 0.0f);
  for (float& logit : logits) logit *= 1e-3f;  // nearly flat: many tokens are kept
  double total = 0.0;
  for (float logit : logits) total += std::exp(static_cast<double>(logit));
  double mass = 0.0;
  int32_t first_kept = 5000;
  while (mass < 0.5 * total) mass += std::exp(static_cast<double>(logits[static_cast<size_t>(--first_kept)]));
  SamplingOptions options = sampled(1, 5);
  options.temperature = 1.0f;
  options.top_p = 0.5f;
  const std::set<int32_t> kept = support(draws(logits, options, 4000));
  CHECK(*kept.begin() >= first_kept);
  CHECK(kept.size() > 600);  // of 693
}

TEST_CASE("sampler: the repetition penalty pushes seen tokens down whatever their sign") {
  SamplingOptions options = greedy(1);
  options.repetition_penalty = 2.0f;
  const auto drawn = [&](const std::vector<float>& logits, const std::vector<int32_t>& seen) {
    return draws(logits, options, 1, seen).begin()->first;
  };
  CHECK(drawn({3.0f, 2.0f}, {}) == 0);
  CHECK(drawn({3.0f, 2.0f}, {0}) == 1);       // 3 / 2
  CHECK(drawn({-1.0f, -1.5f}, {0}) == 1);     // -1 * 2
  CHECK(drawn({-1.0f, -2.5f}, {0, 0}) == 0);  // once, however often it occurred
  Sampler sampler(options, 2, 0);
  CHECK(sampler.draw(std::vector<float>{3.0f, 2.0f}, 0).token == 0);
  // Now seen. Its log-prob stays that of the unmodified distribution.
  const Draw second = sampler.draw(std::vector<float>{3.0f, 2.0f}, 1);
  CHECK(second.token == 1);
  CHECK(second.log_prob == doctest::Approx(-std::log(1.0 + std::exp(1.0))));
}

TEST_CASE("philox: the published test vectors") {
  CHECK(philox(0, {0, 0, 0, 0}) == PhiloxBlock{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u});
  CHECK(philox(UINT64_MAX, {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX}) ==
        PhiloxBlock{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu});
  CHECK(philox(0x299f31d0a4093822u, {0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}) ==
        PhiloxBlock{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u});
}

TEST_CASE("task thread: tasks run in order; closing abandons the rest and tells everyone") {
  std::vector<int> ran;
  std::vector<int> abandoned;
  std::atomic<bool> started{false};
  std::atomic<bool> closed{false};
  {
    TaskThread thread;
    for (int i = 0; i < 3; ++i) thread.submit([&ran, i](bool) { ran.push_back(i); });
    thread.submit([&](bool) {
      started = true;
      while (!thread.closing()) std::this_thread::yield();
    });
    for (int i = 3; i < 6; ++i) {
      thread.submit(
          [&ran, &abandoned, i](bool is_abandoned) { (is_abandoned ? abandoned : ran).push_back(i); });
    }
    while (!started) std::this_thread::yield();
    thread.close([&] { closed = true; });
  }
  CHECK(ran == std::vector<int>{0, 1, 2});
  CHECK(abandoned == std::vector<int>{3, 4, 5});
  CHECK(closed);
}

}  // namespace anneal::test
