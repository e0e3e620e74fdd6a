// A copy of the training state in host memory, and its file.
//
// File: a header of 64 bytes (see snapshot.cpp), the flat buffers weights, first moments, second moments and,
// if any are accumulated, gradients, then the CRC-32C of all before it. Little-endian.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "backend/backend.h"
#include "model/tensors.h"

namespace anneal {

/// The flat buffers of a trainable session (device memory).
struct TrainingState {
  float* weights = nullptr;
  float* moment1 = nullptr;
  float* moment2 = nullptr;
  float* gradients = nullptr;
  /// false: all gradients are zero.
  bool has_gradients = false;
};

struct WrittenFile {
  int64_t bytes;
  uint32_t crc32c;
};

/// The last snapshot. Taken and restored on the engine thread, written on another one.
class Snapshot {
 public:
  /// Reserves address space; memory is used from the first snapshot on.
  explicit Snapshot(const TensorTable& table);

  /// Waits for files of the snapshot before it that are still being written.
  void take(Backend& backend, const TrainingState& state);
  /// Throws std::invalid_argument if there is none.
  void restore(Backend& backend, TrainingState& state) const;
  /// Keeps the present snapshot unchanged until `write` has ended: call it on the engine thread, in the order
  /// of the calls. Throws std::invalid_argument if there is none.
  void pin();
  /// Writes the pinned snapshot and unpins it. `cancelled` ends it with CodedError "closed".
  WrittenFile write(const std::string& path, const std::atomic<bool>& cancelled);
  /// Fills the snapshot from a file: CodedError "artifact_corrupt" if it is not one of this model or damaged;
  /// the snapshot is lost then, the training state untouched.
  void read(const std::string& path);

 private:
  void unpin();
  void wait_until_unpinned();
  void check_valid() const;
  [[nodiscard]] int64_t payload_bytes() const;

  const int64_t size_;  // floats of one buffer
  const uint32_t fingerprint_;
  std::unique_ptr<float[]> memory_;  // four buffers
  bool valid_ = false;
  bool has_gradients_ = false;
  std::mutex mutex_;
  std::condition_variable unpinned_;
  int pins_ = 0;
};

}  // namespace anneal
