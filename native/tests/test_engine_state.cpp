// State of the engine: weights in and out, steps, snapshots and their files, checks of batches, the sizing.
#include <doctest/doctest.h>

#include <numeric>

#include "engine/initialise.h"
#include "model/crc32c.h"
#include "model/errors.h"
#include "tests/engine_support.h"

namespace anneal::test {
namespace {

Batch some_batch() { return pack({random_ids(9, 1), random_ids(12, 2)}); }

void train(Engine& engine, int64_t first, int64_t last) {
  for (int64_t step = first; step <= last; ++step) {
    const Batch batch = pack({random_ids(9, static_cast<uint32_t>(step)), random_ids(12, 99)});
    engine.forward_backward(batch, uniform_weights(batch));
    CHECK(engine.step(step_options(step)).applied);
  }
}

std::vector<char> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Code of the CodedError that `body` throws, or "".
template <typename Body>
std::string error_code(const Body& body) {
  try {
    body();
  } catch (const CodedError& e) {
    return e.code();
  }
  return "";
}

}  // namespace

TEST_CASE("engine: a snapshot's file goes on with the same bits in another engine") {
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  for (const bool accumulated : {false, true}) {
    const auto engine = make_engine(small_options());
    randomise(*engine);
    train(*engine, 1, 3);
    if (accumulated) engine->forward_backward(some_batch(), uniform_weights(some_batch()));
    engine->take_snapshot();
    engine->pin_snapshot();
    const WrittenFile file = engine->write_snapshot(path);
    CHECK(file.bytes == static_cast<int64_t>(std::filesystem::file_size(path)));
    CHECK(file.crc32c == crc32c_file(path));
    train(*engine, 4, 6);
    const std::vector<float> expected = read_all(*engine, false);

    engine->restore_snapshot();
    train(*engine, 4, 6);
    CHECK(read_all(*engine, false) == expected);

    const auto other = make_engine(small_options());
    other->forward_backward(some_batch(), uniform_weights(some_batch()));  // leftovers that must vanish
    other->read_snapshot(path);
    train(*other, 4, 6);
    CHECK(read_all(*other, false) == expected);
  }
}

TEST_CASE("engine: a damaged or foreign snapshot file is refused and changes nothing") {
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  const auto engine = make_engine(small_options());
  randomise(*engine);
  CHECK_THROWS_AS(engine->pin_snapshot(), std::invalid_argument);
  CHECK_THROWS_AS(engine->restore_snapshot(), std::invalid_argument);
  engine->take_snapshot();
  engine->pin_snapshot();
  engine->write_snapshot(path);
  const std::vector<char> good = read_file(path);
  const std::vector<float> before = read_all(*engine, false);
  const auto code_of = [&](const std::vector<char>& bytes) {
    write_file(path, bytes.data(), bytes.size());
    return error_code([&] { engine->read_snapshot(path); });
  };
  CHECK(code_of(good) == "");
  for (const size_t place :
       {size_t{0}, size_t{9}, size_t{20}, size_t{63}, size_t{64}, good.size() / 2, good.size() - 1}) {
    std::vector<char> bytes = good;
    bytes[place] = static_cast<char>(bytes[place] ^ 0x10);
    CAPTURE(place);
    CHECK(code_of(bytes) == "artifact_corrupt");
  }
  for (const size_t size : {size_t{0}, size_t{63}, size_t{64}, good.size() - 1}) {
    CAPTURE(size);
    CHECK(code_of({good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size)}) == "artifact_corrupt");
  }
  std::vector<char> longer = good;
  longer.push_back(0);
  CHECK(code_of(longer) == "artifact_corrupt");
  CHECK(read_all(*engine, false) == before);

  Architecture wider = small_architecture();
  wider.hidden_size = 20;
  write_file(path, good.data(), good.size());
  CHECK(error_code([&] { make_engine(small_options(wider))->read_snapshot(path); }) == "artifact_corrupt");
  CHECK_THROWS_AS(engine->read_snapshot(folder.file("absent")), std::system_error);
}

TEST_CASE("engine: a step clips by the global norm and refuses a norm that is not finite") {
  const auto engine = make_engine(small_options());
  randomise(*engine);
  const Batch batch = some_batch();
  const Scores scores = engine->forward_backward(batch, uniform_weights(batch));
  const std::vector<float> gradients = read_all(*engine, true);
  double squares = 0.0;
  for (float g : gradients) squares += static_cast<double>(g) * static_cast<double>(g);
  CHECK(engine->step(step_options(1)).grad_norm == doctest::Approx(std::sqrt(squares)).epsilon(1e-6));
  CHECK(std::ranges::all_of(read_all(*engine, true), [](float g) { return g == 0.0f; }));

  const std::vector<float> before = read_all(*engine, false);
  engine->forward_backward(batch, std::vector<float>(batch.scored.size(), INFINITY));
  CHECK_FALSE(engine->step(step_options(2)).applied);
  CHECK(read_all(*engine, false) == before);
  CHECK(std::ranges::all_of(read_all(*engine, true), [](float g) { return g == 0.0f; }));
  CHECK(std::isfinite(scores.log_probs.front()));
}

TEST_CASE("engine: weights decay on matrices only") {
  const auto engine = make_engine(small_options());
  randomise(*engine);
  const std::vector<float> matrix = engine->read_tensor("model.layers.1.mlp.up_proj.weight", false);
  const std::vector<float> vector = engine->read_tensor("model.layers.1.input_layernorm.weight", false);
  // No gradient at all: only the decay acts.
  engine->step({0.5f, 0.9f, 0.95f, 1e-8f, 0.1f, 1.0f, 1});
  std::vector<float> decayed = matrix;
  for (float& value : decayed) value *= 1.0f - 0.5f * 0.1f;
  CHECK(relative_error(engine->read_tensor("model.layers.1.mlp.up_proj.weight", false), decayed) < 1e-6);
  CHECK(engine->read_tensor("model.layers.1.input_layernorm.weight", false) == vector);
}

TEST_CASE("engine: initial weights have their spread, and do not depend on threads") {
  Architecture a = small_architecture();
  a.hidden_size = 96;
  a.vocab_size = 300;
  std::vector<float> expected;
  for (const int threads : {1, 2}) {
    SessionOptions options = small_options(a);
    options.threads = threads;
    const auto engine = make_engine(options);
    engine->init_weights(42, 0.02f);
    const auto spread = [&](const char* name) {
      const std::vector<float> values = engine->read_tensor(name, false);
      return std::sqrt(std::inner_product(values.begin(), values.end(), values.begin(), 0.0) /
                       static_cast<double>(values.size()));
    };
    CHECK(spread("model.embed_tokens.weight") == doctest::Approx(0.02).epsilon(0.03));
    CHECK(spread("model.layers.0.self_attn.o_proj.weight") == doctest::Approx(0.01).epsilon(0.05));
    for (float value : engine->read_tensor("model.norm.weight", false)) CHECK(value == 1.0f);
    const std::vector<float> all = read_all(*engine, false);
    if (threads == 2) CHECK(all == expected);
    expected = all;
    engine->init_weights(43, 0.02f);
    CHECK(read_all(*engine, false) != expected);
  }
}

TEST_CASE("engine: weights survive export and import, also from half precision") {
  const TemporaryFolder folder;
  const std::string path = folder.file("weights");
  const auto engine = make_engine(small_options());
  randomise(*engine);
  const std::vector<uint8_t> header = {1, 2, 3};
  std::vector<std::string> names;
  for (const Tensor& tensor : engine->table().tensors()) names.push_back(tensor.name);
  const WrittenFile file = engine->export_tensors(path, header, names);
  CHECK(file.bytes == 3 + 4 * engine->plan().parameters);
  CHECK(file.crc32c == crc32c_file(path));

  const auto other = make_engine(small_options());
  std::vector<TensorSource> sources;
  int64_t offset = 3;
  for (const Tensor& tensor : engine->table().tensors()) {
    sources.push_back({tensor.name, path, offset, StoredType::kF32});
    offset += 4 * tensor.size;
  }
  other->import_tensors(sources);
  CHECK(read_all(*other, false) == read_all(*engine, false));

  // 1, -2, the largest, the smallest subnormal and zero, in both half precisions.
  const std::string norm = "model.norm.weight";
  const auto import_halves = [&](const std::vector<uint16_t>& values, StoredType type) {
    std::vector<uint16_t> padded(values);
    padded.resize(16);
    write_file(path, padded.data(), padded.size() * 2);
    other->import_tensors({{norm, path, 0, type}});
    std::vector<float> read = other->read_tensor(norm, false);
    read.resize(values.size());
    return read;
  };
  CHECK(import_halves({0x3C00, 0xC000, 0x7BFF, 0x0001, 0x83FF, 0}, StoredType::kF16) ==
        std::vector<float>{1.0f, -2.0f, 65504.0f, 0x1p-24f, -1023 * 0x1p-24f, 0.0f});
  CHECK(import_halves({0x3F80, 0xC000, 0x7F7F, 0x0001}, StoredType::kBF16) ==
        std::vector<float>{1.0f, -2.0f, 0x1.FEp127f, 0x1p-133f});

  CHECK(error_code([&] { other->import_tensors({{norm, path, 2, StoredType::kF16}}); }) == "model_invalid");
  CHECK(error_code([&] {
          other->import_tensors({{norm, path, INT64_MAX - 8, StoredType::kF16}});
        }) == "model_invalid");
  CHECK_THROWS_AS(other->import_tensors({{"model.absent", path, 0, StoredType::kF32}}),
                  std::invalid_argument);
  CHECK_THROWS_AS(engine->export_tensors(folder.file("no/such/folder"), header, names), std::system_error);
  CHECK_THROWS_AS(engine->export_tensors("/dev/full", {}, names), std::system_error);
}

TEST_CASE("engine: a bad batch is refused with the place of the fault, and forward state is kept") {
  const auto engine = make_engine(small_options());
  randomise(*engine);
  const Batch good = some_batch();
  const auto message = [&](const auto& spoil) -> std::string {
    Batch batch = good;
    spoil(batch);
    try {
      engine->forward(batch);
    } catch (const std::invalid_argument& e) {
      return e.what();
    }
    return "";
  };
  engine->forward(good);
  CHECK(message([](Batch& b) { b.tokens[4] = 19; }).find("tokens[4] is 19") != std::string::npos);
  CHECK(message([](Batch& b) { b.tokens[4] = -1; }).find("tokens[4] is -1") != std::string::npos);
  CHECK(message([](Batch& b) { b.targets[2] = 500; }).find("targets[2] is 500") != std::string::npos);
  CHECK(message([](Batch& b) { b.scored[0] = 21; }).find("scored[0] is 21") != std::string::npos);
  CHECK(message([](Batch& b) {
          b.cu_seqlens = {0, 9, 9, 21};
        }).find("cuSeqlens[2] is 9") != std::string::npos);
  CHECK(message([](Batch& b) { b.cu_seqlens = {0, 9, 20}; }).find("ends at 20") != std::string::npos);
  CHECK(message([](Batch& b) { b.cu_seqlens = {}; }).find("cuSeqlens") != std::string::npos);
  CHECK(message([](Batch& b) { b.prefix = {0, -1}; }).find("prefix[0] is 0") != std::string::npos);
  CHECK(message([](Batch& b) { b.prefix = {-1, -2}; }).find("prefix[1] is -2") != std::string::npos);
  CHECK(message([](Batch& b) { b.prefix = {-1}; }).find("prefix has 1") != std::string::npos);
  CHECK(message([](Batch& b) { b.targets.pop_back(); }).find("targets") != std::string::npos);
  CHECK(message([](Batch& b) { b = pack({random_ids(49, 1)}); }).find("maxTokens is 48") !=
        std::string::npos);
  CHECK(message([](Batch& b) {
          b = pack({random_ids(40, 1)});
          b.tokens.resize(48, 0);
          b.cu_seqlens = {0, 40, 48};
          b.prefix = {-1, 0};
        }) == "");
  // None of the refusals above has touched the last good forward.
  engine->forward(good);
  CHECK_THROWS_AS(engine->backward({{1.0f}, {}, {}}), std::invalid_argument);
  engine->backward({uniform_weights(good), {}, {}});
  CHECK_THROWS_AS(engine->backward({uniform_weights(good), {}, {}}), std::invalid_argument);

  SessionOptions short_model = small_options();
  short_model.architecture.max_positions = 10;
  Batch chained = pack({random_ids(6, 1), random_ids(5, 2)});
  CHECK_NOTHROW(make_engine(short_model)->forward(chained));
  chained.prefix = {-1, 0};
  CHECK_THROWS_AS(make_engine(short_model)->forward(chained), std::invalid_argument);
}

TEST_CASE("engine: nothing scored is no work and no gradient") {
  const auto engine = make_engine(small_options());
  randomise(*engine);
  Batch batch = pack({random_ids(1, 1)});
  CHECK(engine->forward(batch).log_probs.empty());
  engine->backward({});
  CHECK(engine->forward_backward(batch, {}).log_probs.empty());
  CHECK(std::ranges::all_of(read_all(*engine, true), [](float g) { return g == 0.0f; }));
}

TEST_CASE("engine: a session without gradients scores the same and refuses to train") {
  SessionOptions options = small_options();
  const auto trainable = make_engine(options);
  options.trainable = false;
  const auto fixed = make_engine(options);
  randomise(*trainable);
  randomise(*fixed);
  CHECK(fixed->forward(some_batch()).log_probs == trainable->forward(some_batch()).log_probs);
  CHECK(fixed->plan().total < trainable->plan().total);
  CHECK_THROWS_AS(fixed->backward({}), std::invalid_argument);
  CHECK_THROWS_AS(fixed->forward_backward(some_batch(), uniform_weights(some_batch())),
                  std::invalid_argument);
  CHECK_THROWS_AS(fixed->step(step_options(1)), std::invalid_argument);
  CHECK_THROWS_AS(fixed->take_snapshot(), std::invalid_argument);
}

TEST_CASE("engine: closing ends a pass with its own error") {
  const std::atomic<bool> closing{true};
  Engine engine(make_cpu_backend(1), small_options(), closing);
  CHECK(error_code([&] { engine.forward(some_batch()); }) == "closed");
}

TEST_CASE("engine: contradictory options name their field") {
  const auto message = [](const auto& spoil) -> std::string {
    SessionOptions options = small_options();
    spoil(options);
    try {
      validate(options);
    } catch (const std::invalid_argument& e) {
      return e.what();
    }
    return "";
  };
  CHECK(message([](SessionOptions&) {}) == "");
  CHECK(message([](SessionOptions& o) { o.max_tokens = 0; }).find("maxTokens") != std::string::npos);
  CHECK(message([](SessionOptions& o) { o.threads = 0; }).find("threads") != std::string::npos);
  CHECK(message([](SessionOptions& o) { o.architecture.num_kv_heads = 3; }).find("numKvHeads") !=
        std::string::npos);
  CHECK(message([](SessionOptions& o) { o.architecture.head_dim = 5; }).find("headDim") != std::string::npos);
  CHECK(message([](SessionOptions& o) { o.architecture.norm_eps = NAN; }).find("normEps") !=
        std::string::npos);
  CHECK(message([](SessionOptions& o) {
          o.generation_slots = 1;
          o.generation_length = 65;
        }).find("generationLength") != std::string::npos);
}

TEST_CASE("engine: checksums are CRC-32C, and can be continued") {
  const std::string text = "123456789";
  CHECK(crc32c(0, text.data(), text.size()) == 0xE3069283u);
  CHECK(crc32c(crc32c(0, text.data(), 4), text.data() + 4, 5) == 0xE3069283u);
}

}  // namespace anneal::test
