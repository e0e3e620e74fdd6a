// Generation: tokens and log-probs are those of the full forward, and of a request alone, whatever runs
// beside it, joins, leaves or takes its pages.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "tests/engine_support.h"
#include "tests/generation_support.h"

namespace anneal::test {
namespace {

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

GenerationRequest request(std::vector<int32_t> prompt, const SamplingOptions& sampling, int32_t samples = 1) {
  GenerationRequest out;
  out.prompt = std::move(prompt);
  out.samples = samples;
  out.sampling = sampling;
  return out;
}

std::vector<GenerationRequest> requests(const std::vector<std::vector<int32_t>>& prompts,
                                        const SamplingOptions& sampling) {
  std::vector<GenerationRequest> all;
  for (const std::vector<int32_t>& prompt : prompts) all.push_back(request(prompt, sampling));
  return all;
}

/// Prompts of many lengths, some longer than a pass.
std::vector<std::vector<int32_t>> some_prompts() {
  return {random_ids(5, 1),  random_ids(40, 2), random_ids(1, 3),
          random_ids(16, 4), random_ids(17, 5), random_ids(9, 6)};
}

/// Requests of many kinds: greedy and sampled, one and several samples, filters, stops, penalties.
std::vector<GenerationRequest> mixed_requests(int count) {
  std::vector<GenerationRequest> all;
  for (int i = 0; i < count; ++i) {
    const auto seed = static_cast<uint32_t>(i);
    SamplingOptions sampling = i % 3 == 0 ? greedy(3 + i % 17) : sampled(5 + i % 13, seed);
    if (i % 4 == 1) sampling.top_k = 6;
    if (i % 5 == 2) sampling.top_p = 0.8f;
    if (i % 6 == 3) sampling.repetition_penalty = 1.3f;
    if (i % 7 == 4) sampling.stop_tokens = {3, 8};
    all.push_back(request(random_ids(1 + (i * 7) % 39, seed), sampling, 1 + i % 4));
  }
  return all;
}

/// Each request by itself in an engine of its own sizes.
std::vector<std::vector<Completion>> alone(const std::vector<GenerationRequest>& all) {
  SessionOptions options = generating_options();
  options.max_tokens = 64;
  const auto engine = make_engine(options);
  randomise(*engine);
  std::vector<std::vector<Completion>> completions;
  for (size_t i = 0; i < all.size(); ++i) {
    completions.push_back(generate(*engine, {all[i]}, static_cast<int64_t>(i)));
  }
  return completions;
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
    const std::vector<Completion> completions = generate(*engine, requests(prompts, greedy(12)));
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
        CHECK(completion.log_probs[i] == doctest::Approx(scores.log_probs[row]).epsilon(1e-5));
      }
    }
  }
}

TEST_CASE("generate: tokens and log-prob bits are those of a request alone") {
  const std::vector<GenerationRequest> all = mixed_requests(24);
  const std::vector<std::vector<Completion>> expected = alone(all);
  struct Company {
    int64_t slots, rows, max_tokens;
    int threads;
  };
  // The last two have too few pages: samples give theirs up and go on later.
  for (const Company company : {Company{1, 0, 16, 1}, Company{5, 0, 16, 1}, Company{64, 0, 48, 2},
                                Company{16, 160, 48, 1}, Company{8, 64, 16, 2}}) {
    CAPTURE(company.slots);
    CAPTURE(company.rows);
    SessionOptions options = generating_options();
    options.generation_slots = company.slots;
    options.generation_rows = company.rows;
    options.max_tokens = company.max_tokens;
    options.threads = company.threads;
    const auto engine = make_engine(options);
    randomise(*engine);
    const std::vector<Completion> together = generate(*engine, all);
    size_t next = 0;
    for (size_t i = 0; i < all.size(); ++i) {
      CAPTURE(i);
      for (const Completion& completion : expected[i]) CHECK(together.at(next++) == completion);
    }
  }
}

TEST_CASE("generate: requests join, leave and are cancelled at any pass") {
  const std::vector<GenerationRequest> all = mixed_requests(40);
  const std::vector<std::vector<Completion>> expected = alone(all);
  for (const uint32_t seed : {1u, 2u, 3u}) {
    SessionOptions options = generating_options();
    options.generation_slots = 9;
    options.generation_rows = seed == 3u ? 96 : 0;
    const auto engine = make_engine(options);
    randomise(*engine);
    std::mt19937 random(seed);
    Completions completions;
    std::vector<int64_t> cancelled;
    size_t submitted = 0;
    size_t open = 0;
    while (submitted < all.size() || open > 0) {
      while (submitted < all.size() && random() % 3 != 0) {
        engine->submit_generation(static_cast<int64_t>(submitted), all[submitted]);
        open += static_cast<size_t>(all[submitted++].samples);
      }
      if (submitted > 0 && random() % 12 == 0) {
        cancelled.push_back(static_cast<int64_t>(random() % submitted));
        engine->cancel_generation(cancelled.back());
      }
      const std::vector<GenerationUpdate> updates = engine->advance_generations();
      book(completions, updates);
      for (const GenerationUpdate& update : updates) open -= update.finished ? 1 : 0;
    }
    size_t cut = 0;
    for (const auto& [key, completion] : completions) {
      const Completion& whole = expected[static_cast<size_t>(key.first)][static_cast<size_t>(key.second)];
      if (completion.finish != Finish::kCancelled) {
        CHECK(completion == whole);
        continue;
      }
      ++cut;
      CHECK(std::find(cancelled.begin(), cancelled.end(), key.first) != cancelled.end());
      CHECK(completion.tokens.size() < whole.tokens.size());
      CHECK(std::equal(completion.log_probs.begin(), completion.log_probs.end(), whole.log_probs.begin()));
    }
    CHECK(cut > 0);
  }
}

TEST_CASE("generate: a draw depends on seed, sample and position") {
  const auto engine = make_engine(generating_options());
  randomise(*engine);
  const std::vector<int32_t> prompt = random_ids(5, 1);
  const std::vector<Completion> three = generate(*engine, {request(prompt, sampled(15, 7), 3)});
  CHECK(three[0].tokens != three[1].tokens);
  CHECK(three[1].tokens != three[2].tokens);
  // Fewer samples are the first ones; another seed draws other ones.
  CHECK(generate(*engine, {request(prompt, sampled(15, 7), 2)}, 10)[1] == three[1]);
  CHECK(generate(*engine, {request(prompt, sampled(15, 8))}, 20)[0].tokens != three[0].tokens);
}

TEST_CASE("generate: log-probs of samples that share a prompt are those of a forward with the prefix") {
  SessionOptions options = generating_options();
  options.max_tokens = 128;
  const auto engine = make_engine(options);
  randomise(*engine);
  const std::vector<int32_t> prompt = random_ids(21, 9);
  SamplingOptions sampling = sampled(9, 3);
  sampling.temperature = 1.0f;
  const std::vector<Completion> completions = generate(*engine, {request(prompt, sampling, 3)});
  Batch batch;
  batch.tokens = prompt;
  batch.cu_seqlens = {0, 21};
  batch.prefix = {-1};
  std::vector<float> log_probs;
  for (const Completion& completion : completions) {
    batch.scored.push_back(20);
    batch.targets.push_back(completion.tokens[0]);
    for (size_t i = 0; i + 1 < completion.tokens.size(); ++i) {
      batch.scored.push_back(static_cast<int32_t>(batch.tokens.size()));
      batch.tokens.push_back(completion.tokens[i]);
      batch.targets.push_back(completion.tokens[i + 1]);
    }
    batch.cu_seqlens.push_back(static_cast<int32_t>(batch.tokens.size()));
    batch.prefix.push_back(0);
    log_probs.insert(log_probs.end(), completion.log_probs.begin(), completion.log_probs.end());
  }
  const Scores scores = engine->forward(batch);
  for (size_t i = 0; i < log_probs.size(); ++i) {
    CHECK(std::abs(scores.log_probs[i] - log_probs[i]) < 1e-5f);
  }
}

TEST_CASE("generate: new weights count from the next token on") {
  const auto engine = make_engine(generating_options());
  const auto other = make_engine(generating_options());
  randomise(*engine, 1);
  randomise(*other, 2);
  const std::vector<int32_t> prompt = random_ids(19, 4);
  Completions completions;
  engine->submit_generation(0, request(prompt, greedy(8), 1));
  std::vector<int32_t> ids = prompt;
  while (completions[{0, 0}].tokens.size() < 4) book(completions, engine->advance_generations());
  ids.insert(ids.end(), completions[{0, 0}].tokens.begin(), completions[{0, 0}].tokens.end());
  randomise(*engine, 2);
  while (!completions[{0, 0}].finished) book(completions, engine->advance_generations());
  const Completion rest = generate(*other, {request(ids, greedy(4))})[0];
  const Completion& whole = completions[{0, 0}];
  CHECK(std::vector<int32_t>(whole.tokens.begin() + 4, whole.tokens.end()) == rest.tokens);
  CHECK(std::vector<float>(whole.log_probs.begin() + 4, whole.log_probs.end()) == rest.log_probs);
}

TEST_CASE("generate: a long prompt beside others that decode is computed in pieces") {
  SessionOptions options = generating_options();
  options.generation_length = 640;
  options.architecture.max_positions = 640;
  options.max_tokens = 512;
  const auto engine = make_engine(options);
  randomise(*engine);
  engine->submit_generation(0, request(random_ids(3, 1), greedy(40)));
  engine->advance_generations();
  engine->submit_generation(1, request(random_ids(500, 2), greedy(2)));
  Completions completions;
  while (completions[{1, 0}].tokens.empty()) book(completions, engine->advance_generations());
  CHECK(completions[{0, 0}].tokens.size() >= 5);
}

TEST_CASE("generate: stop tokens, room and bad requests") {
  const auto engine = make_engine(generating_options());
  randomise(*engine);
  const std::vector<int32_t> free_run =
      generate(*engine, {request(random_ids(5, 1), sampled(20, 3))})[0].tokens;
  SamplingOptions sampling = sampled(20, 3);
  sampling.stop_tokens = {free_run[6]};
  const auto first = std::find(free_run.begin(), free_run.end(), free_run[6]);
  const Completion stopped = generate(*engine, {request(random_ids(5, 1), sampling)}, 1)[0];
  CHECK(stopped.finish == Finish::kStop);
  CHECK(stopped.tokens == std::vector<int32_t>(free_run.begin(), first + 1));

  const Completion full = generate(*engine, {request(random_ids(50, 1), greedy(100))}, 2)[0];
  CHECK(full.finish == Finish::kLength);
  CHECK(full.tokens.size() == 10);

  const auto rejected = [](Engine& in, const GenerationRequest& bad) {
    CHECK_THROWS_AS(in.submit_generation(9, bad), std::invalid_argument);
  };
  rejected(*engine, request({}, greedy(1)));
  rejected(*engine, request(random_ids(60, 1), greedy(1)));
  rejected(*engine, request({3, 19}, greedy(1)));
  rejected(*engine, request({3}, greedy(0)));
  rejected(*engine, request({3}, greedy(1), 0));
  rejected(*make_engine(small_options()), request({3}, greedy(1)));
  CHECK(engine->advance_generations().empty());
}

TEST_CASE("generate: a forward that waits for its backward is given up, not mixed up") {
  const auto engine = make_engine(generating_options());
  randomise(*engine);
  const Batch batch = pack({random_ids(9, 1)});
  engine->forward(batch);
  generate(*engine, {request({1, 2, 3}, greedy(4))});
  CHECK_THROWS_AS(engine->backward({uniform_weights(batch), {}, {}}), std::invalid_argument);
}

}  // namespace anneal::test
