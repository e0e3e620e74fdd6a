// Adapters: their start and their merging, several over one base, their state, their options.
#include <doctest/doctest.h>

#include "engine/svd.h"
#include "model/errors.h"
#include "tests/adapter_support.h"
#include "tests/generation_support.h"

namespace anneal::test {
namespace {

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

TEST_CASE("adapters: one that is added later answers as one that was there, and disturbs nobody") {
  AdapterOptions replacing = all_linear(false);
  replacing.replaces = {"model.norm.weight"};
  std::vector<AdapterOptions> adapters{all_linear(false), all_linear(true), replacing};
  for (AdapterOptions& adapter : adapters) adapter.trainable = false;
  const auto open = [](std::vector<AdapterOptions> with) {
    SessionOptions options = over_frozen(small_architecture(), std::move(with));
    options.generation_slots = 4;
    options.generation_length = 40;
    return make_engine(options);
  };
  const auto request = [](int32_t adapter) {
    GenerationRequest out;
    out.prompt = random_ids(7, 3);
    out.adapter = adapter;
    out.samples = 1;
    out.sampling.max_new_tokens = 20;
    out.sampling.temperature = 0.8f;
    return out;
  };
  const auto whole = open(adapters);
  randomise(*whole);
  for (const int64_t i : {0, 1, 2}) randomise(*whole, 5 + static_cast<uint32_t>(i), 0.3f, i);
  const std::vector<Completion> expected =
      generate(*whole, {request(-1), request(0), request(1), request(2)});

  const auto grown = open({});
  randomise(*grown);
  Completions completions;
  for (int32_t adapter = -1; adapter < 3; ++adapter) {
    if (adapter >= 0) {
      CHECK(grown->add_adapter(adapters[static_cast<size_t>(adapter)]) == adapter);
      randomise(*grown, 5 + static_cast<uint32_t>(adapter), 0.3f, adapter);
    }
    grown->submit_generation(adapter + 1, request(adapter));
    for (int pass = 0; pass < 3; ++pass) book(completions, grown->advance_generations());
  }
  for (int pass = 0; pass < 100; ++pass) book(completions, grown->advance_generations());
  for (int64_t id = 0; id < 4; ++id) {
    CHECK(completions[{id, 0}] == expected[static_cast<size_t>(id)]);
    CHECK(grown->forward(mixed_batch(id - 1, false)).log_probs ==
          whole->forward(mixed_batch(id - 1, false)).log_probs);
  }
  CHECK(grown->plan().total == whole->plan().total);
  CHECK_THROWS_AS(grown->add_adapter(all_linear(false)), std::invalid_argument);  // trainable
  const auto trained = make_engine(over_frozen(small_architecture(), {all_linear(false)}));
  CHECK_THROWS_AS(trained->add_adapter(adapters[0]), std::invalid_argument);
}

}  // namespace anneal::test
