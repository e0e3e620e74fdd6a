// Optimisers in the engine: sizes and exactness of their state, factors by tensor, refusals.
#include <doctest/doctest.h>

#include "model/errors.h"
#include "tests/engine_support.h"

namespace anneal::test {
namespace {

constexpr OptimizerName kOptimizers[] = {OptimizerName::kAdamW,     OptimizerName::kAdamW8bit,
                                         OptimizerName::kLion,      OptimizerName::kMuon,
                                         OptimizerName::kAdafactor, OptimizerName::kSgd};

/// Its embedding has 19 x 72, its feed-forward matrices 64 x 72 = 4608 numbers: those are kept in 8 bits.
SessionOptions options_of(OptimizerName optimizer) {
  Architecture a = small_architecture();
  a.hidden_size = 72;
  a.intermediate_size = 64;
  SessionOptions options = small_options(a);
  options.optimizer = optimizer;
  return options;
}

StepOptions full_options(int64_t step) {
  StepOptions options = step_options(step);
  options.momentum = 0.9f;
  options.nesterov = true;
  return options;
}

void train(Engine& engine, int64_t first, int64_t last) {
  for (int64_t step = first; step <= last; ++step) {
    const Batch batch = pack({random_ids(9, static_cast<uint32_t>(step)), random_ids(12, 99)});
    engine.forward_backward(batch, uniform_weights(batch));
    CHECK(engine.step(full_options(step)).applied);
  }
}

void accumulate(Engine& engine) {
  const Batch batch = pack({random_ids(9, 1), random_ids(12, 2)});
  engine.forward_backward(batch, uniform_weights(batch));
}

}  // namespace

TEST_CASE("optimiser: a snapshot's file goes on with the same bits, and fits its own optimiser only") {
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  for (const OptimizerName optimizer : kOptimizers) {
    CAPTURE(static_cast<int>(optimizer));
    const auto engine = make_engine(options_of(optimizer));
    randomise(*engine);
    train(*engine, 1, 3);
    engine->take_snapshot();
    engine->pin_snapshot();
    engine->write_snapshot(path);
    train(*engine, 4, 6);
    const auto other = make_engine(options_of(optimizer));
    other->read_snapshot(path);
    train(*other, 4, 6);
    CHECK(read_all(*other, false) == read_all(*engine, false));

    const OptimizerName another =
        optimizer == OptimizerName::kSgd ? OptimizerName::kLion : OptimizerName::kSgd;
    CHECK_THROWS_AS(make_engine(options_of(another))->read_snapshot(path), CodedError);
  }
}

TEST_CASE("optimiser: the plan counts its state") {
  const auto backend = make_cpu_backend(1);
  const auto state = [&](OptimizerName optimizer) {
    return plan_session(options_of(optimizer), *backend).optimizer;
  };
  const SessionPlan plan = plan_session(options_of(OptimizerName::kAdamW), *backend);
  const int64_t weights = plan.weights;
  CHECK(state(OptimizerName::kAdamW) >= 2 * plan.parameters * 4);
  CHECK(state(OptimizerName::kAdamW) < 2 * weights + 4096);
  CHECK(state(OptimizerName::kLion) < weights + 4096);
  CHECK(state(OptimizerName::kSgd) == state(OptimizerName::kLion));
  CHECK(state(OptimizerName::kMuon) < state(OptimizerName::kAdamW));
  CHECK(state(OptimizerName::kAdafactor) < weights / 8);
  // Gate, up and down of two layers: 2 bytes for each number and 8 for each block, instead of 8.
  const int64_t large = 2 * 3 * 64 * 72;
  const int64_t saved = state(OptimizerName::kAdamW) - state(OptimizerName::kAdamW8bit);
  CHECK(saved <= large * 6 - large / kStateBlock * 8);
  CHECK(saved > large * 6 - large / kStateBlock * 8 - 2048);
  CHECK(plan_session(options_of(OptimizerName::kMuon), *backend).total ==
        plan.total + 2 * (state(OptimizerName::kMuon) - state(OptimizerName::kAdamW)));
}

TEST_CASE("optimiser: factors by tensor") {
  const std::string frozen = "model.layers.0.mlp.up_proj.weight";
  const std::string half = "model.layers.1.mlp.up_proj.weight";
  for (const OptimizerName optimizer : kOptimizers) {
    CAPTURE(static_cast<int>(optimizer));
    const auto engine = make_engine(options_of(optimizer));
    randomise(*engine);
    engine->set_parameter_groups({{{half}, 7.0f, 7.0f}});  // replaced by the next call
    engine->set_parameter_groups({{{frozen}, 0.0f, 1.0f}, {{half}, 0.5f, 1.0f}});
    const auto plain = make_engine(options_of(optimizer));
    randomise(*plain);
    const std::vector<float> frozen_before = engine->read_tensor(frozen, false);
    const std::vector<float> half_before = engine->read_tensor(half, false);
    const std::string other = "model.layers.1.mlp.gate_proj.weight";
    train(*engine, 1, 1);
    train(*plain, 1, 1);
    CHECK(engine->read_tensor(frozen, false) == frozen_before);
    CHECK(engine->read_tensor(other, false) == plain->read_tensor(other, false));
    std::vector<float> way = engine->read_tensor(half, false);
    std::vector<float> whole_way = plain->read_tensor(half, false);
    for (size_t i = 0; i < way.size(); ++i) {
      way[i] = 2.0f * (way[i] - half_before[i]);
      whole_way[i] -= half_before[i];
    }
    CHECK(relative_error(way, whole_way) < 1e-4);
  }
}

TEST_CASE("optimiser: the decay is of matrices, by their factor") {
  const auto engine = make_engine(options_of(OptimizerName::kAdamW));
  randomise(*engine);
  const std::string kept = "model.layers.0.mlp.up_proj.weight";
  const std::string decayed = "model.layers.1.mlp.up_proj.weight";
  const std::string vector = "model.norm.weight";
  engine->set_parameter_groups({{{kept}, 1.0f, 0.0f}});
  const std::vector<float> kept_before = engine->read_tensor(kept, false);
  const std::vector<float> decayed_before = engine->read_tensor(decayed, false);
  const std::vector<float> vector_before = engine->read_tensor(vector, false);
  CHECK(engine->step(step_options(1)).grad_norm == 0.0);
  CHECK(engine->read_tensor(kept, false) == kept_before);
  CHECK(engine->read_tensor(vector, false) == vector_before);
  CHECK(engine->read_tensor(decayed, false)[0] == doctest::Approx(decayed_before[0] * (1 - 1e-2f * 0.1f)));
}

TEST_CASE("optimiser: refusals change nothing") {
  const auto engine = make_engine(options_of(OptimizerName::kAdamW));
  randomise(*engine);
  const std::vector<float> before = read_all(*engine, false);
  accumulate(*engine);
  const std::string name = "model.norm.weight";
  CHECK_THROWS_AS(engine->set_parameter_groups({{{name}, 0.0f, 1.0f}, {{"absent"}, 1.0f, 1.0f}}),
                  std::invalid_argument);
  CHECK_THROWS_AS(engine->set_parameter_groups({{{name}, -1.0f, 1.0f}}), std::invalid_argument);
  for (const auto& spoil : std::vector<void (*)(StepOptions&)>{
           [](StepOptions& o) { o.step = 0; }, [](StepOptions& o) { o.learning_rate = -1.0f; },
           [](StepOptions& o) { o.beta2 = 1.0f; }, [](StepOptions& o) { o.momentum = 1.0f; },
           [](StepOptions& o) { o.beta2_decay = 0.5f; }, [](StepOptions& o) { o.clip_threshold = 0.5f; }}) {
    StepOptions options = full_options(1);
    spoil(options);
    CHECK_THROWS_AS(engine->step(options), std::invalid_argument);
  }
  CHECK(read_all(*engine, false) == before);
  // The refused groups left no factor behind.
  CHECK(engine->step(full_options(1)).applied);
  const std::vector<float> moved = engine->read_tensor(name, false);
  CHECK(moved != std::vector<float>(before.end() - static_cast<std::ptrdiff_t>(moved.size()), before.end()));
}

}  // namespace anneal::test
