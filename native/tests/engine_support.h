// Small models and batches for the tests of the engine.
#pragma once

#include <unistd.h>

#include <atomic>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace anneal::test {

inline const std::atomic<bool> kNotClosing{false};

/// A folder that lives as long as the object.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "anneal-test-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  [[nodiscard]] std::string file(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

inline Architecture small_architecture() {
  Architecture a;
  a.vocab_size = 19;
  a.hidden_size = 16;
  a.intermediate_size = 24;
  a.num_layers = 2;
  a.num_heads = 4;
  a.num_kv_heads = 2;
  a.head_dim = 6;
  a.max_positions = 64;
  return a;
}

inline SessionOptions small_options(const Architecture& architecture = small_architecture()) {
  SessionOptions o;
  o.architecture = architecture;
  o.threads = 1;
  o.trainable = true;
  o.max_tokens = 48;
  o.max_sequences = 8;
  o.max_scored = 64;
  return o;
}

inline std::unique_ptr<Engine> make_engine(const SessionOptions& options) {
  return std::make_unique<Engine>(make_cpu_backend(options.threads), options, kNotClosing);
}

inline void write_file(const std::string& path, const void* data, size_t bytes) {
  std::ofstream(path, std::ios::binary)
      .write(static_cast<const char*>(data), static_cast<std::streamsize>(bytes));
}

/// Overwrites a tensor, through the road that a model folder takes.
inline void set_tensor(Engine& engine, const TemporaryFolder& folder, const std::string& name,
                       const std::vector<float>& values, int64_t adapter = Engine::kBase) {
  const std::string path = folder.file("tensor.bin");
  write_file(path, values.data(), values.size() * sizeof(float));
  engine.import_tensors({{name, path, 0, StoredType::kF32}}, adapter);
}

/// Weights far from the usual start, vectors too, so that no term of a gradient hides behind another.
inline void randomise(Engine& engine, uint32_t seed = 1, float spread = 0.4f,
                      int64_t adapter = Engine::kBase) {
  const TemporaryFolder folder;
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, spread);
  for (const Tensor& tensor : engine.table_of(adapter).tensors()) {
    std::vector<float> values(static_cast<size_t>(tensor.size));
    const float centre = tensor.initialisation == Initialisation::kOnes ? 1.0f : 0.0f;
    for (float& value : values) value = centre + normal(random);
    set_tensor(engine, folder, tensor.name, values, adapter);
  }
}

inline std::vector<int32_t> random_ids(size_t count, uint32_t seed, int64_t vocab_size = 19) {
  std::mt19937 random(seed);
  std::vector<int32_t> ids(count);
  for (int32_t& id : ids) id = static_cast<int32_t>(random() % static_cast<uint32_t>(vocab_size));
  return ids;
}

/// Packs whole sequences; every row that has a next token is scored against it.
inline Batch pack(const std::vector<std::vector<int32_t>>& sequences) {
  Batch batch;
  batch.cu_seqlens = {0};
  for (const std::vector<int32_t>& ids : sequences) {
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      batch.scored.push_back(batch.cu_seqlens.back() + static_cast<int32_t>(i));
      batch.targets.push_back(ids[i + 1]);
    }
    batch.tokens.insert(batch.tokens.end(), ids.begin(), ids.end());
    batch.cu_seqlens.push_back(static_cast<int32_t>(batch.tokens.size()));
  }
  return batch;
}

inline std::vector<float> uniform_weights(const Batch& batch) {
  return std::vector<float>(batch.scored.size(), 1.0f / static_cast<float>(batch.scored.size()));
}

/// All weights, or all gradients, end to end.
inline std::vector<float> read_all(Engine& engine, bool gradient, int64_t adapter = Engine::kBase) {
  std::vector<float> all;
  for (const Tensor& tensor : engine.table_of(adapter).tensors()) {
    const std::vector<float> values = engine.read_tensor(tensor.name, gradient, adapter);
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

/// Length of the difference over the length of the reference.
inline double relative_error(const std::vector<float>& actual, const std::vector<float>& reference) {
  double difference = 0.0;
  double size = 0.0;
  for (size_t i = 0; i < reference.size(); ++i) {
    difference += std::pow(static_cast<double>(actual.at(i)) - static_cast<double>(reference[i]), 2);
    size += std::pow(static_cast<double>(reference[i]), 2);
  }
  return std::sqrt(difference / size);
}

inline StepOptions step_options(int64_t step) { return {1e-2f, 0.9f, 0.95f, 1e-8f, 0.1f, 1.0f, step}; }

}  // namespace anneal::test
