// Gradients of whole small models by finite differences, in every combination of the architecture's fields.
#include <doctest/doctest.h>

#include <numeric>

#include "tests/engine_support.h"

namespace anneal::test {
namespace {

/// A batch with a prefix chain, a sequence of one token, and a row that is scored twice.
Batch mixed_batch() {
  Batch batch;
  batch.tokens = random_ids(14, 3);
  batch.cu_seqlens = {0, 4, 8, 11, 12, 14};
  batch.prefix = {-1, 0, 1, -1, 0};
  batch.scored = {1, 3, 3, 5, 7, 9, 10, 11, 13};
  batch.targets = random_ids(batch.scored.size(), 4);
  return batch;
}

/// Arbitrary fixed gradients of a loss that is linear in the scores.
ScoreGradients mixed_gradients(size_t count) {
  ScoreGradients gradients;
  for (size_t i = 0; i < count; ++i) {
    const float x = static_cast<float>(i);
    gradients.log_probs.push_back(0.3f - 0.2f * std::sin(x));
    gradients.entropies.push_back(0.1f * std::cos(2.0f * x));
    gradients.log_z.push_back(0.05f * std::sin(3.0f * x));
  }
  return gradients;
}

double dot(const std::vector<float>& a, const std::vector<float>& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0, std::plus<>(),
                            [](float x, float y) { return static_cast<double>(x) * static_cast<double>(y); });
}

double loss(Engine& engine) {
  const Scores scores = engine.forward(mixed_batch());
  const ScoreGradients gradients = mixed_gradients(scores.log_probs.size());
  return dot(gradients.log_probs, scores.log_probs) + dot(gradients.entropies, scores.entropies) +
         dot(gradients.log_z, scores.log_z);
}

/// Along each tensor's own gradient the loss must change by the gradient's length.
void check_gradients(const Architecture& architecture) {
  const auto engine = make_engine(small_options(architecture));
  const TemporaryFolder folder;
  randomise(*engine, 1, 0.3f);
  engine->forward(mixed_batch());
  engine->backward(mixed_gradients(mixed_batch().scored.size()));
  for (const Tensor& tensor : engine->table().tensors()) {
    const std::vector<float> gradient = engine->read_tensor(tensor.name, true);
    const std::vector<float> weight = engine->read_tensor(tensor.name, false);
    const double length = std::sqrt(dot(gradient, gradient));
    REQUIRE_MESSAGE(length > 1e-4, tensor.name);
    const auto loss_at = [&](double distance) {
      std::vector<float> moved = weight;
      for (size_t i = 0; i < moved.size(); ++i) {
        moved[i] += static_cast<float>(distance * static_cast<double>(gradient[i]) / length);
      }
      set_tensor(*engine, folder, tensor.name, moved);
      return loss(*engine);
    };
    // Central differences at two distances, extrapolated: the error left is of fourth order. Steep directions
    // bend soonest, so they get short distances.
    const double reach = std::min(1e-2, 0.03 / length);
    const auto slope = [&](double distance) {
      return (loss_at(distance) - loss_at(-distance)) / (2.0 * distance);
    };
    const double measured = (4.0 * slope(reach) - slope(2.0 * reach)) / 3.0;
    set_tensor(*engine, folder, tensor.name, weight);
    CHECK_MESSAGE(std::abs(measured / length - 1.0) < 1e-2,
                  tensor.name << ": " << measured << " against " << length);
  }
}

}  // namespace

TEST_CASE("engine: gradients of whole models agree with finite differences, in every combination of fields") {
  for (int bits = 0; bits < 64; ++bits) {
    for (const Activation activation : {Activation::kSwiGlu, Activation::kGelu, Activation::kGeluTanh}) {
      Architecture a = small_architecture();
      a.norm = (bits & 1) != 0 ? Norm::kLayerNorm : Norm::kRmsNorm;
      a.qkv_bias = (bits & 2) != 0;
      a.out_bias = (bits & 4) != 0;
      a.mlp_bias = (bits & 8) != 0;
      a.qk_norm = (bits & 16) != 0;
      a.tie_embeddings = (bits & 32) != 0;
      a.activation = activation;
      CAPTURE(bits);
      CAPTURE(static_cast<int>(activation));
      check_gradients(a);
    }
  }
}

TEST_CASE("engine: the one-pass road gives what forward and backward give") {
  const auto engine = make_engine(small_options());
  randomise(*engine);
  const Batch batch = mixed_batch();
  const ScoreGradients gradients = mixed_gradients(batch.scored.size());
  const Scores apart = engine->forward(batch);
  engine->backward({gradients.log_probs, {}, {}});
  const std::vector<float> expected = read_all(*engine, true);
  engine->step({0.0f, 0.9f, 0.95f, 1e-8f, 0.0f, 0.0f, 1});  // clears the gradients

  std::vector<float> weights = gradients.log_probs;
  for (float& weight : weights) weight = -weight;
  const Scores together = engine->forward_backward(batch, weights);
  CHECK(relative_error(together.log_probs, apart.log_probs) < 1e-6);
  CHECK(relative_error(together.entropies, apart.entropies) < 1e-6);
  CHECK(relative_error(together.log_z, apart.log_z) < 1e-6);
  CHECK(relative_error(read_all(*engine, true), expected) < 1e-6);
}

TEST_CASE("engine: recomputation gives the same bits") {
  for (const bool qk_norm : {false, true}) {
    Architecture a = small_architecture();
    a.qk_norm = qk_norm;
    SessionOptions options = small_options(a);
    std::vector<float> expected;
    Scores expected_scores;
    for (const bool recompute : {false, true}) {
      options.recompute = recompute;
      const auto engine = make_engine(options);
      randomise(*engine);
      const Scores scores = engine->forward_backward(mixed_batch(), mixed_gradients(9).log_probs);
      const std::vector<float> gradients = read_all(*engine, true);
      if (recompute) {
        CHECK(gradients == expected);
        CHECK(scores.log_probs == expected_scores.log_probs);
      }
      expected = gradients;
      expected_scores = scores;
    }
  }
}

TEST_CASE("engine: kept logits give the same bits, and no generation may come between") {
  SessionOptions options = small_options();
  options.generation_slots = 1;
  options.generation_length = 8;
  std::vector<float> expected;
  for (const bool keep_logits : {false, true}) {
    options.keep_logits = keep_logits;
    const auto engine = make_engine(options);
    randomise(*engine);
    for (int pass = 0; pass < 2; ++pass) {
      engine->forward(mixed_batch());
      engine->backward(mixed_gradients(9));
    }
    const std::vector<float> gradients = read_all(*engine, true);
    if (keep_logits) CHECK(gradients == expected);
    expected = gradients;
    engine->forward(mixed_batch());
    engine->advance_generations();
    CHECK_THROWS_AS(engine->backward(mixed_gradients(9)), std::invalid_argument);
  }
}

TEST_CASE("engine: a forward asked for again before its backward, and what makes it another one") {
  const auto engine = make_engine(small_options());
  randomise(*engine);
  const Scores first = engine->forward(mixed_batch());
  engine->backward(mixed_gradients(9));
  const std::vector<float> expected = read_all(*engine, true);
  engine->clear_gradients();

  engine->forward(mixed_batch());
  const Scores again = engine->forward(mixed_batch());
  CHECK(again.log_probs == first.log_probs);
  CHECK(again.entropies == first.entropies);
  engine->backward(mixed_gradients(9));
  CHECK(read_all(*engine, true) == expected);

  engine->forward(mixed_batch());
  Batch warmer = mixed_batch();
  warmer.temperature = 2.0f;
  CHECK(engine->forward(warmer).log_probs != first.log_probs);
  CHECK(engine->forward(mixed_batch()).log_probs == first.log_probs);
  engine->step({0.1f, 0.9f, 0.95f, 1e-8f, 0.0f, 0.0f, 1});
  CHECK(engine->forward(mixed_batch()).log_probs != first.log_probs);
}

TEST_CASE("engine: accumulated gradients equal those of one large batch") {
  const auto engine = make_engine(small_options());
  randomise(*engine);
  const std::vector<std::vector<int32_t>> sequences = {random_ids(9, 1), random_ids(2, 2), random_ids(17, 3),
                                                       random_ids(5, 4)};
  const Batch whole = pack(sequences);
  const float weight = 1.0f / static_cast<float>(whole.scored.size());
  engine->forward_backward(whole, std::vector<float>(whole.scored.size(), weight));
  const std::vector<float> expected = read_all(*engine, true);
  engine->step({0.0f, 0.9f, 0.95f, 1e-8f, 0.0f, 0.0f, 1});
  for (const std::vector<int32_t>& sequence : sequences) {
    const Batch part = pack({sequence});
    engine->forward_backward(part, std::vector<float>(part.scored.size(), weight));
  }
  CHECK(relative_error(read_all(*engine, true), expected) < 1e-6);
}

TEST_CASE("engine: a shared prefix equals the same sequences written out in full") {
  const auto engine = make_engine(small_options());
  randomise(*engine);
  const std::vector<int32_t> prompt = random_ids(6, 1);
  const std::vector<std::vector<int32_t>> answers = {random_ids(4, 2), random_ids(1, 3), random_ids(5, 4)};

  // The prompt once, three answers on it, and a further turn on the last answer.
  const std::vector<int32_t> turn = random_ids(3, 5);
  Batch shared;
  shared.cu_seqlens = {0};
  const auto append = [](Batch& batch, const std::vector<int32_t>& ids) {
    batch.tokens.insert(batch.tokens.end(), ids.begin(), ids.end());
    batch.cu_seqlens.push_back(static_cast<int32_t>(batch.tokens.size()));
  };
  append(shared, prompt);
  for (const auto& answer : answers) append(shared, answer);
  append(shared, turn);
  shared.prefix = {-1, 0, 0, 0, 3};
  for (int32_t row = 6; row < 19; ++row) shared.scored.push_back(row);
  shared.targets = random_ids(shared.scored.size(), 6);

  Batch full;
  full.cu_seqlens = {0};
  size_t target = 0;
  const auto append_full = [&](const std::vector<std::vector<int32_t>>& parts, size_t scored_rows) {
    std::vector<int32_t> ids;
    for (const auto& part : parts) ids.insert(ids.end(), part.begin(), part.end());
    append(full, ids);
    for (size_t i = ids.size() - scored_rows; i < ids.size(); ++i) {
      full.scored.push_back(full.cu_seqlens[full.cu_seqlens.size() - 2] + static_cast<int32_t>(i));
      full.targets.push_back(shared.targets[target++]);
    }
  };
  append_full({prompt, answers[0]}, 4);
  append_full({prompt, answers[1]}, 1);
  append_full({prompt, answers[2], turn}, 8);
  REQUIRE(target == shared.targets.size());

  const std::vector<float> weights = uniform_weights(shared);
  const Scores expected_scores = engine->forward_backward(full, weights);
  const std::vector<float> expected = read_all(*engine, true);
  engine->step({0.0f, 0.9f, 0.95f, 1e-8f, 0.0f, 0.0f, 1});
  const Scores scores = engine->forward_backward(shared, weights);
  CHECK(relative_error(scores.log_probs, expected_scores.log_probs) < 1e-5);
  CHECK(relative_error(read_all(*engine, true), expected) < 1e-5);
}

}  // namespace anneal::test
