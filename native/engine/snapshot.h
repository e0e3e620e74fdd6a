// A copy of the training state in host memory, and its file.
//
// File: a header of 64 bytes (see snapshot.cpp); of each trained parameter set the weights and the
// optimiser's state; if any gradients are accumulated, those of each trained set; the CRC-32C of all before
// it. Little-endian. Frozen sets are not in it, but the file fits only a session that has the same ones.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "engine/parameter_set.h"

namespace anneal {

struct WrittenFile {
  int64_t bytes;
  uint32_t crc32c;
};

/// The last snapshot. Taken and restored on the engine thread, written on another one.
class Snapshot {
 public:
  /// Of all parameter sets of a session, in their order; they outlive the snapshot. Reserves address space;
  /// memory is used from the first snapshot on.
  explicit Snapshot(const std::vector<ParameterSet*>& sets);

  /// Bytes that it reserves for these sets.
  [[nodiscard]] static int64_t bytes_of(const std::vector<ParameterSetBytes>& sets);

  /// Waits for files of the snapshot before it that are still being written.
  void take(Backend& backend);
  /// Throws std::invalid_argument if there is none.
  void restore(Backend& backend) const;
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

  std::vector<ParameterSet*> trained_;
  const uint32_t fingerprint_;
  const int64_t state_bytes_, gradient_bytes_;  // of weights and optimiser state; of gradients
  std::unique_ptr<char[]> memory_;              // in the order of the file
  bool valid_ = false;
  bool has_gradients_ = false;
  std::mutex mutex_;
  std::condition_variable unpinned_;
  int pins_ = 0;
};

}  // namespace anneal
