// Gradients of whole models with adapters: against the merged matrices, and against finite differences.
#include <doctest/doctest.h>

#include "tests/adapter_support.h"

namespace anneal::test {
namespace {

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

}  // namespace anneal::test
