// Adapters: gradients of whole models, their start and their merging, several over one base, their state.
#include <doctest/doctest.h>

#include <numeric>

#include "engine/svd.h"
#include "model/errors.h"
#include "tests/engine_support.h"

namespace anneal::test {
namespace {

const std::vector<std::string> kLinear = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                          "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                          "mlp.down_proj"};

std::string in_layer(int64_t layer, const std::string& rest) {
  return "model.layers." + std::to_string(layer) + "." + rest;
}

/// An update of every linear layer.
AdapterOptions all_linear(bool dora, float dropout = 0.0f) {
  AdapterOptions options;
  options.trainable = true;
  for (int64_t layer = 0; layer < 2; ++layer) {
    for (const std::string& name : kLinear) {
      options.modules.push_back({in_layer(layer, name), 3, 0.7f, dropout, dora});
    }
  }
  return options;
}

Architecture biased_architecture() {
  Architecture a = small_architecture();
  a.qkv_bias = a.out_bias = a.mlp_bias = true;
  a.tie_embeddings = false;
  return a;
}

/// Some modules with and some without DoRA, copies of parts of fused groups, of vectors and of the head, a
/// scalar head.
AdapterOptions mixed_adapter() {
  AdapterOptions options;
  options.trainable = true;
  options.modules = {{in_layer(0, "self_attn.q_proj"), 2, 0.5f, 0.0f, true},
                     {in_layer(0, "self_attn.v_proj"), 4, 1.5f, 0.0f, false},
                     {in_layer(1, "mlp.up_proj"), 2, 0.5f, 0.0f, true},
                     {in_layer(1, "mlp.down_proj"), 2, 0.5f, 0.0f, true},
                     {in_layer(1, "self_attn.o_proj"), 1, 0.5f, 0.0f, false},
                     {"lm_head", 3, 0.8f, 0.0f, false}};
  options.replaces = {in_layer(0, "self_attn.k_proj.weight"),
                      in_layer(0, "self_attn.q_proj.bias"),
                      in_layer(1, "mlp.gate_proj.weight"),
                      in_layer(1, "self_attn.v_proj.bias"),
                      in_layer(1, "mlp.down_proj.bias"),
                      in_layer(1, "input_layernorm.weight"),
                      "model.embed_tokens.weight",
                      "model.norm.weight"};
  options.score_head = true;
  return options;
}

SessionOptions over_frozen(const Architecture& architecture, std::vector<AdapterOptions> adapters) {
  SessionOptions options = small_options(architecture);
  options.trainable = false;
  options.adapters = std::move(adapters);
  options.max_targets = 128;
  return options;
}

/// A prefix chain, a row scored twice, two targets a row, a temperature, and values if asked for.
Batch mixed_batch(int64_t adapter, bool values) {
  Batch batch;
  batch.tokens = random_ids(14, 3);
  batch.cu_seqlens = {0, 4, 8, 11, 12, 14};
  batch.prefix = {-1, 0, 1, -1, 0};
  batch.scored = {1, 3, 3, 5, 7, 9, 10, 11, 13};
  batch.targets_per_row = 2;
  batch.targets = random_ids(2 * batch.scored.size(), 4);
  batch.temperature = 0.8f;
  batch.outputs = values ? Outputs::kBoth : Outputs::kTokens;
  batch.adapter = adapter;
  return batch;
}

/// Arbitrary fixed gradients of a loss that is linear in the scores.
ScoreGradients mixed_gradients(const Scores& scores) {
  const auto waves = [](size_t count, float phase) {
    std::vector<float> values;
    for (size_t i = 0; i < count; ++i)
      values.push_back(0.3f * std::sin(phase * static_cast<float>(i) + phase));
    return values;
  };
  return {waves(scores.log_probs.size(), 1.0f), waves(scores.entropies.size(), 2.0f),
          waves(scores.log_z.size(), 3.0f), waves(scores.values.size(), 1.7f)};
}

double dot(const std::vector<float>& a, const std::vector<float>& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0, std::plus<>(),
                            [](float x, float y) { return static_cast<double>(x) * static_cast<double>(y); });
}

double loss_of(const Scores& scores) {
  const ScoreGradients g = mixed_gradients(scores);
  return dot(g.log_probs, scores.log_probs) + dot(g.entropies, scores.entropies) +
         dot(g.log_z, scores.log_z) + dot(g.values, scores.values);
}

Scores run(Engine& engine, const Batch& batch) {
  const Scores scores = engine.forward(batch);
  engine.backward(mixed_gradients(scores));
  return scores;
}

/// Along each tensor's own gradient the loss must change by the gradient's length.
void check_finite_differences(Engine& engine, const Batch& batch) {
  const TemporaryFolder folder;
  run(engine, batch);
  for (const Tensor& tensor : engine.table_of(batch.adapter).tensors()) {
    const std::vector<float> gradient = engine.read_tensor(tensor.name, true, batch.adapter);
    const std::vector<float> weight = engine.read_tensor(tensor.name, false, batch.adapter);
    const double length = std::sqrt(dot(gradient, gradient));
    REQUIRE_MESSAGE(length > 1e-4, tensor.name);
    const auto loss_at = [&](double distance) {
      std::vector<float> moved = weight;
      for (size_t i = 0; i < moved.size(); ++i) {
        moved[i] += static_cast<float>(distance * static_cast<double>(gradient[i]) / length);
      }
      set_tensor(engine, folder, tensor.name, moved, batch.adapter);
      return loss_of(engine.forward(batch));
    };
    const double reach = std::min(1e-2, 0.03 / length);
    const auto slope = [&](double distance) {
      return (loss_at(distance) - loss_at(-distance)) / (2.0 * distance);
    };
    const double measured = (4.0 * slope(reach) - slope(2.0 * reach)) / 3.0;
    set_tensor(engine, folder, tensor.name, weight, batch.adapter);
    CHECK_MESSAGE(std::abs(measured / length - 1.0) < 1e-2,
                  tensor.name << ": " << measured << " against " << length);
  }
}

/// The gradients of an adapter's tensors from those of the merged matrices, in double precision:
/// with W' = g (W + s B A), g = m / n and n a constant, dB = s g dW' A^T, dA = s B^T (g dW'),
/// dm = sum_i dW' (W + s B A) / n.
void check_against_dense(const Architecture& architecture, const AdapterOptions& adapter) {
  const bool values = adapter.score_head;
  SessionOptions options = over_frozen(architecture, {adapter});
  const auto engine = make_engine(options);
  randomise(*engine, 1, 0.3f);
  randomise(*engine, 2, 0.3f, 0);

  SessionOptions dense_options = small_options(architecture);
  dense_options.architecture.score_head = values;
  dense_options.max_targets = 128;
  const auto dense = make_engine(dense_options);
  randomise(*dense, 1, 0.3f);
  const TemporaryFolder folder;
  for (const Tensor& tensor : engine->table().tensors()) {
    set_tensor(*dense, folder, tensor.name, engine->read_tensor(tensor.name, false));
  }
  for (const Tensor& tensor : engine->table_of(0).tensors()) {
    if (dense->table().contains(tensor.name)) {
      set_tensor(*dense, folder, tensor.name, engine->read_tensor(tensor.name, false, 0));
    }
  }
  struct Merged {
    std::vector<double> sum, norm;  // W + s B A, and the lengths of its rows
  };
  std::vector<Merged> merged;
  for (const AdapterModule& m : adapter.modules) {
    const std::vector<int64_t> shape = engine->table().find(m.name + ".weight").shape;
    const std::vector<float> w = engine->read_tensor(m.name + ".weight", false);
    const std::vector<float> a = engine->read_tensor(m.name + ".lora_A.weight", false, 0);
    const std::vector<float> b = engine->read_tensor(m.name + ".lora_B.weight", false, 0);
    std::vector<float> gained(w.size());
    Merged& to = merged.emplace_back();
    to.sum.assign(w.begin(), w.end());
    for (int64_t o = 0; o < shape[0]; ++o) {
      double squares = 0.0;
      for (int64_t i = 0; i < shape[1]; ++i) {
        double& value = to.sum[static_cast<size_t>(o * shape[1] + i)];
        for (int64_t r = 0; r < m.rank; ++r) {
          value += static_cast<double>(m.scale) *
                   static_cast<double>(b[static_cast<size_t>(o * m.rank + r)]) *
                   static_cast<double>(a[static_cast<size_t>(r * shape[1] + i)]);
        }
        squares += value * value;
      }
      to.norm.push_back(std::sqrt(squares));
    }
    const std::vector<float> magnitude =
        m.dora ? engine->read_tensor(m.name + ".lora_magnitude_vector", false, 0) : std::vector<float>();
    for (size_t k = 0; k < gained.size(); ++k) {
      const size_t o = k / static_cast<size_t>(shape[1]);
      const double gain = m.dora ? static_cast<double>(magnitude[o]) / to.norm[o] : 1.0;
      gained[k] = static_cast<float>(gain * to.sum[k]);
    }
    set_tensor(*dense, folder, m.name + ".weight", gained);
  }

  const Scores scores = run(*engine, mixed_batch(0, values));
  const Scores expected = run(*dense, mixed_batch(Engine::kBase, values));
  CHECK(relative_error(scores.log_probs, expected.log_probs) < 1e-5);
  CHECK(relative_error(scores.entropies, expected.entropies) < 1e-5);
  if (values) CHECK(relative_error(scores.values, expected.values) < 1e-5);
  const auto check_gradient = [&](const std::string& name, const std::vector<float>& reference) {
    CHECK_MESSAGE(relative_error(engine->read_tensor(name, true, 0), reference) < 2e-4, name);
  };
  for (const Tensor& tensor : engine->table_of(0).tensors()) {
    if (dense->table().contains(tensor.name)) {
      check_gradient(tensor.name, dense->read_tensor(tensor.name, true));
    }
  }
  for (size_t index = 0; index < adapter.modules.size(); ++index) {
    const AdapterModule& m = adapter.modules[index];
    const std::vector<int64_t> shape = engine->table().find(m.name + ".weight").shape;
    const std::vector<float> dw = dense->read_tensor(m.name + ".weight", true);
    const std::vector<float> a = engine->read_tensor(m.name + ".lora_A.weight", false, 0);
    const std::vector<float> b = engine->read_tensor(m.name + ".lora_B.weight", false, 0);
    const std::vector<float> magnitude =
        m.dora ? engine->read_tensor(m.name + ".lora_magnitude_vector", false, 0) : std::vector<float>();
    std::vector<double> da(a.size()), db(b.size()), dm(magnitude.size());
    for (int64_t o = 0; o < shape[0]; ++o) {
      const auto row = static_cast<size_t>(o);
      const double norm = merged[index].norm[row];
      const double gain = m.dora ? static_cast<double>(magnitude[row]) / norm : 1.0;
      for (int64_t i = 0; i < shape[1]; ++i) {
        const auto k = static_cast<size_t>(o * shape[1] + i);
        const double d = gain * static_cast<double>(dw[k]) * static_cast<double>(m.scale);
        for (int64_t r = 0; r < m.rank; ++r) {
          const auto at_a = static_cast<size_t>(r * shape[1] + i);
          const auto at_b = static_cast<size_t>(o * m.rank + r);
          db[at_b] += d * static_cast<double>(a[at_a]);
          da[at_a] += d * static_cast<double>(b[at_b]);
        }
        if (m.dora) dm[row] += static_cast<double>(dw[k]) * merged[index].sum[k] / norm;
      }
    }
    check_gradient(m.name + ".lora_A.weight", {da.begin(), da.end()});
    check_gradient(m.name + ".lora_B.weight", {db.begin(), db.end()});
    if (m.dora) check_gradient(m.name + ".lora_magnitude_vector", {dm.begin(), dm.end()});
  }
}

void train(Engine& engine, int64_t adapter, int64_t first, int64_t last) {
  for (int64_t step = first; step <= last; ++step) {
    Batch batch = pack({random_ids(9, static_cast<uint32_t>(step)), random_ids(12, 99)});
    batch.adapter = adapter;
    batch.dropout_seed = static_cast<uint64_t>(step);
    engine.forward_backward(batch, uniform_weights(batch));
    CHECK(engine.step(step_options(step), adapter).applied);
  }
}

}  // namespace

TEST_CASE("adapters: gradients agree with those of the merged matrices") {
  for (const bool dora : {false, true}) {
    CAPTURE(dora);
    check_against_dense(small_architecture(), all_linear(dora));
    check_against_dense(biased_architecture(), all_linear(dora));
    Architecture qk = small_architecture();
    qk.qk_norm = true;
    check_against_dense(qk, all_linear(dora));
  }
  check_against_dense(biased_architecture(), mixed_adapter());
}

TEST_CASE("adapters: gradients agree with finite differences, dropout included") {
  const auto check = [](const Architecture& architecture, const AdapterOptions& adapter) {
    const auto engine = make_engine(over_frozen(architecture, {adapter}));
    randomise(*engine, 1, 0.3f);
    randomise(*engine, 2, 0.3f, 0);
    Batch batch = mixed_batch(0, adapter.score_head);
    batch.dropout_seed = 7;
    check_finite_differences(*engine, batch);
  };
  AdapterOptions all = all_linear(false, 0.3f);
  all.score_head = true;
  all.modules.push_back({"model.embed_tokens", 2, 0.6f, 0.0f, false});
  check(small_architecture(), all);
  all.modules.push_back({"lm_head", 2, 0.6f, 0.2f, false});
  check(biased_architecture(), all);
  // One module alone: backward ends there.
  for (const std::string& name : kLinear) {
    AdapterOptions one;
    one.trainable = true;
    one.modules = {{in_layer(1, name), 2, 0.6f, 0.5f, false}};
    check(small_architecture(), one);
  }
  AdapterOptions vectors;
  vectors.trainable = true;
  vectors.replaces = {in_layer(1, "post_attention_layernorm.weight"), in_layer(1, "mlp.up_proj.bias")};
  check(biased_architecture(), vectors);
  AdapterOptions head;
  head.trainable = true;
  head.score_head = true;
  check(small_architecture(), head);
}

TEST_CASE("adapters: the base stays as it is, and without the adapter it is the base") {
  const auto engine =
      make_engine(over_frozen(small_architecture(), {all_linear(true, 0.2f), all_linear(false)}));
  randomise(*engine);
  for (const int64_t adapter : {0, 1}) randomise(*engine, 5, 0.3f, adapter);
  const std::vector<float> base = read_all(*engine, false);
  const std::vector<float> second = read_all(*engine, false, 1);
  const Batch plain = mixed_batch(Engine::kBase, false);
  const Scores before = engine->forward(plain);
  train(*engine, 0, 1, 3);
  CHECK(read_all(*engine, false) == base);
  CHECK(read_all(*engine, false, 1) == second);
  CHECK(engine->forward(plain).log_probs == before.log_probs);
  CHECK(engine->forward(mixed_batch(0, false)).log_probs != before.log_probs);
  CHECK_THROWS_AS(engine->step(step_options(1)), std::invalid_argument);
  engine->forward(plain);
  CHECK_THROWS_AS(engine->backward({}), std::invalid_argument);
  CHECK_THROWS_AS(engine->forward_backward(plain, std::vector<float>(18, 1.0f)), std::invalid_argument);
  CHECK_THROWS_AS(engine->forward(mixed_batch(2, false)), std::invalid_argument);
  CHECK_THROWS_AS(engine->read_tensor("model.norm.weight", false, 0), std::invalid_argument);
}

TEST_CASE("adapters: a merged adapter scores as it did, with every kind of tensor") {
  AdapterOptions mixed = mixed_adapter();
  AdapterOptions all = all_linear(true);
  all.modules.push_back({"model.embed_tokens", 2, 0.6f, 0.0f, false});
  for (const AdapterOptions& adapter : {all, mixed}) {
    Architecture architecture = biased_architecture();
    architecture.score_head = adapter.score_head;
    const auto engine = make_engine(over_frozen(architecture, {adapter}));
    randomise(*engine);
    randomise(*engine, 5, 0.3f, 0);
    const Scores before = engine->forward(mixed_batch(0, adapter.score_head));
    engine->merge_adapter(0);
    const Scores after = engine->forward(mixed_batch(Engine::kBase, adapter.score_head));
    CHECK(relative_error(after.log_probs, before.log_probs) < 1e-5);
    if (adapter.score_head) CHECK(relative_error(after.values, before.values) < 1e-5);
  }
}

TEST_CASE("adapters: fresh ones score as the base does, by their kind") {
  AdapterOptions adapter = all_linear(false);
  adapter.replaces = {"model.norm.weight"};
  const auto engine = make_engine(over_frozen(small_architecture(), {adapter, all_linear(true)}));
  randomise(*engine);
  const std::string a = in_layer(0, "mlp.down_proj.lora_A.weight");
  const std::string b = in_layer(0, "mlp.down_proj.lora_B.weight");
  const Scores base = engine->forward(mixed_batch(Engine::kBase, false));
  for (const AdapterInit kind : {AdapterInit::kDefault, AdapterInit::kGaussian}) {
    engine->init_adapter(0, 3, kind);
    engine->init_adapter(1, 3, kind);
    CHECK(engine->forward(mixed_batch(0, false)).log_probs == base.log_probs);
    CHECK(relative_error(engine->forward(mixed_batch(1, false)).log_probs, base.log_probs) < 1e-5);
    const std::vector<float> values = engine->read_tensor(a, false, 0);
    const double deviation = std::sqrt(dot(values, values) / static_cast<double>(values.size()));
    // Uniform within 1 / sqrt(in), or normal with 1 / rank.
    const double expected = kind == AdapterInit::kDefault ? 1.0 / std::sqrt(3.0 * 24.0) : 1.0 / 3.0;
    CHECK(deviation == doctest::Approx(expected).epsilon(0.2));
    if (kind == AdapterInit::kDefault) {
      CHECK(std::ranges::all_of(values, [](float x) { return std::abs(x) <= 1.0f / std::sqrt(24.0f); }));
    }
  }
  engine->init_adapter(0, 3, AdapterInit::kRandom);
  CHECK(std::ranges::none_of(engine->read_tensor(b, false, 0), [](float x) { return x == 0.0f; }));
  const std::vector<float> first = read_all(*engine, false, 0);
  engine->init_adapter(0, 3, AdapterInit::kRandom);
  CHECK(read_all(*engine, false, 0) == first);
  engine->init_adapter(0, 4, AdapterInit::kRandom);
  CHECK(read_all(*engine, false, 0) != first);
}

TEST_CASE("adapters: pissa takes the principal directions out of the base") {
  const auto engine = make_engine(over_frozen(small_architecture(), {all_linear(false)}));
  randomise(*engine);
  const std::string name = in_layer(1, "mlp.up_proj");
  const std::vector<float> before = engine->read_tensor(name + ".weight", false);
  const Scores base = engine->forward(mixed_batch(Engine::kBase, false));
  engine->init_adapter(0, 3, AdapterInit::kPissa);
  CHECK(relative_error(engine->forward(mixed_batch(0, false)).log_probs, base.log_probs) < 1e-5);
  // What is left has the singular values that come after the taken ones.
  const std::vector<float> after = engine->read_tensor(name + ".weight", false);
  const SingularValues whole = largest_singular_values(before, 24, 16, 16, 1, 1);
  const SingularValues rest = largest_singular_values(after, 24, 16, 4, 1, 1);
  for (size_t i = 0; i < 4; ++i) CHECK(rest.s[i] == doctest::Approx(whole.s[i + 3]).epsilon(1e-4));
  // A and B carry the square roots: their rows and columns are equally long.
  const std::vector<float> a = engine->read_tensor(name + ".lora_A.weight", false, 0);
  for (size_t r = 0; r < 3; ++r) {
    const std::vector<float> row(a.begin() + static_cast<std::ptrdiff_t>(16 * r),
                                 a.begin() + static_cast<std::ptrdiff_t>(16 * (r + 1)));
    CHECK(dot(row, row) == doctest::Approx(whole.s[r] / static_cast<double>(0.7f)).epsilon(1e-4));
  }
  const auto dora = make_engine(over_frozen(small_architecture(), {all_linear(true)}));
  CHECK_THROWS_AS(dora->init_adapter(0, 3, AdapterInit::kPissa), std::invalid_argument);
}

TEST_CASE("largest_singular_values: a matrix is the sum of its parts, whatever the threads") {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  for (const auto& [rows, columns] : {std::pair<int64_t, int64_t>{9, 5}, {5, 9}, {40, 30}}) {
    std::vector<float> w(static_cast<size_t>(rows * columns));
    for (float& value : w) value = normal(random);
    const int64_t rank = std::min(rows, columns);
    const SingularValues svd = largest_singular_values(w, rows, columns, rank, 1, 1);
    double worst = 0.0;
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t k = 0; k < columns; ++k) {
        double sum = 0.0;
        for (int64_t r = 0; r < rank; ++r) {
          sum += svd.u[static_cast<size_t>(i * rank + r)] * svd.s[static_cast<size_t>(r)] *
                 svd.v[static_cast<size_t>(r * columns + k)];
        }
        worst = std::max(worst, std::abs(sum - static_cast<double>(w[static_cast<size_t>(i * columns + k)])));
      }
    }
    CHECK(worst < 1e-10);
    CHECK(std::ranges::is_sorted(svd.s, std::greater<>()));
    CHECK(largest_singular_values(w, rows, columns, rank, 1, 2).u == svd.u);
  }
}

TEST_CASE("adapters: recomputation gives the same bits, with DoRA and dropout") {
  std::vector<float> expected;
  for (const bool recompute : {false, true}) {
    SessionOptions options = over_frozen(biased_architecture(), {all_linear(true, 0.3f), mixed_adapter()});
    options.recompute = recompute;
    const auto engine = make_engine(options);
    randomise(*engine);
    std::vector<float> gradients;
    for (const int64_t adapter : {0, 1}) {
      randomise(*engine, 5, 0.3f, adapter);
      Batch batch = mixed_batch(adapter, adapter == 1);
      batch.dropout_seed = 11;
      run(*engine, batch);
      const std::vector<float> own = read_all(*engine, true, adapter);
      gradients.insert(gradients.end(), own.begin(), own.end());
    }
    if (recompute) CHECK(gradients == expected);
    expected = gradients;
  }
}

TEST_CASE("adapters: values over a shared prefix equal those of sequences written out in full") {
  AdapterOptions adapter = all_linear(false);
  adapter.score_head = true;
  const auto engine = make_engine(over_frozen(small_architecture(), {adapter}));
  randomise(*engine);
  randomise(*engine, 5, 0.3f, 0);
  const std::vector<int32_t> prompt = random_ids(6, 1), one = random_ids(3, 2), two = random_ids(4, 3);
  const auto joined = [](std::vector<int32_t> a, const std::vector<int32_t>& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  };
  Batch shared;
  shared.tokens = joined(joined(prompt, one), two);
  shared.cu_seqlens = {0, 6, 9, 13};
  shared.prefix = {-1, 0, 0};
  shared.scored = {8, 12};
  Batch full;
  full.tokens = joined(joined(prompt, one), joined(prompt, two));
  full.cu_seqlens = {0, 9, 19};
  full.scored = {8, 18};
  std::vector<float> expected;
  Scores expected_scores;
  for (Batch* batch : {&full, &shared}) {
    batch->outputs = Outputs::kValues;
    batch->adapter = 0;
    const Scores scores = engine->forward(*batch);
    CHECK(scores.log_probs.empty());
    engine->backward({.values = {0.5f, -1.0f}});
    const std::vector<float> gradients = read_all(*engine, true, 0);
    engine->clear_gradients();
    if (batch == &shared) {
      CHECK(relative_error(scores.values, expected_scores.values) < 1e-5);
      CHECK(relative_error(gradients, expected) < 1e-5);
    }
    expected = gradients;
    expected_scores = scores;
  }
}

TEST_CASE("adapters: accumulated gradients equal those of one large batch") {
  const auto engine = make_engine(over_frozen(small_architecture(), {all_linear(true)}));
  randomise(*engine);
  randomise(*engine, 5, 0.3f, 0);
  const std::vector<std::vector<int32_t>> sequences = {random_ids(9, 1), random_ids(2, 2), random_ids(17, 3)};
  Batch whole = pack(sequences);
  whole.adapter = 0;
  const float weight = 1.0f / static_cast<float>(whole.scored.size());
  engine->forward_backward(whole, std::vector<float>(whole.scored.size(), weight));
  const std::vector<float> expected = read_all(*engine, true, 0);
  engine->clear_gradients();
  for (const std::vector<int32_t>& sequence : sequences) {
    Batch part = pack({sequence});
    part.adapter = 0;
    engine->forward_backward(part, std::vector<float>(part.scored.size(), weight));
  }
  CHECK(relative_error(read_all(*engine, true, 0), expected) < 1e-5);
}

TEST_CASE("adapters: a snapshot's file holds the trained adapters only, and goes on with the same bits") {
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  AdapterOptions frozen = all_linear(false);
  frozen.trainable = false;
  const SessionOptions options = over_frozen(small_architecture(), {all_linear(true, 0.2f), frozen});
  const auto fresh = [&] {
    auto engine = make_engine(options);
    randomise(*engine);
    randomise(*engine, 6, 0.3f, 1);
    engine->init_adapter(0, 3, AdapterInit::kDefault);
    return engine;
  };
  const auto engine = fresh();
  train(*engine, 0, 1, 3);
  Batch batch = mixed_batch(0, false);
  run(*engine, batch);
  engine->take_snapshot();
  engine->pin_snapshot();
  const WrittenFile file = engine->write_snapshot(path);
  CHECK(file.bytes < 4 * 4 * engine->table_of(0).buffer_size() + 1024);
  train(*engine, 0, 4, 6);
  const std::vector<float> expected = read_all(*engine, false, 0);
  const auto other = fresh();
  other->read_snapshot(path);
  train(*other, 0, 4, 6);
  CHECK(read_all(*other, false, 0) == expected);

  SessionOptions wider = options;
  wider.adapters[1].modules[0].rank = 5;
  try {
    make_engine(wider)->read_snapshot(path);
    FAIL("a snapshot of other adapters was taken");
  } catch (const CodedError& e) {
    CHECK(e.code() == "artifact_corrupt");
  }
}

TEST_CASE("adapters: options that do not fit the base name the adapter") {
  const auto message = [](const auto& spoil) -> std::string {
    SessionOptions options = over_frozen(small_architecture(), {all_linear(false)});
    spoil(options.adapters[0]);
    try {
      validate(options);
    } catch (const std::invalid_argument& e) {
      return e.what();
    }
    return "";
  };
  CHECK(message([](AdapterOptions&) {}) == "");
  const auto refuses = [&](const auto& spoil, const std::string& what) {
    CHECK(message(spoil).find("adapters[0]: " + what) != std::string::npos);
  };
  refuses([](AdapterOptions& o) { o.modules[0].name = "model.norm"; }, "'model.norm' is no matrix");
  refuses([](AdapterOptions& o) { o.modules[0].name = "lm_head"; }, "'lm_head' is no matrix");  // it is tied
  refuses([](AdapterOptions& o) { o.modules[0].rank = 0; }, "the rank");
  refuses([](AdapterOptions& o) { o.modules[0].dropout = 1.0f; }, "the dropout");
  refuses([](AdapterOptions& o) { o.modules[1] = o.modules[0]; },
          "'model.layers.0.self_attn.q_proj' is named twice");
  refuses([](AdapterOptions& o) { o.replaces = {"model.absent"}; }, "replaces: the model has no tensor");
  refuses([](AdapterOptions& o) { o.replaces = {in_layer(0, "mlp.up_proj.weight")}; }, "replaces:");
  refuses(
      [](AdapterOptions& o) {
        o.modules.push_back({"model.embed_tokens", 2, 1.0f, 0.0f, true});
      },
      "DoRA");
  refuses([](AdapterOptions& o) { o = {}; }, "has no tensors");
}

}  // namespace anneal::test
