#include "engine/snapshot.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "model/crc32c.h"
#include "model/errors.h"
#include "model/file.h"

namespace anneal {
namespace {

constexpr char kMagic[8] = {'A', 'N', 'N', 'E', 'A', 'L', 'S', 'T'};
constexpr uint32_t kVersion = 1;
constexpr int64_t kChunkBytes = int64_t{4} << 20;

struct Header {
  char magic[8];
  uint32_t version;
  uint32_t fingerprint;  // of the tensor table
  int64_t buffer_floats;
  int64_t payload_bytes;
  uint32_t has_gradients;
  uint32_t reserved[6];
  uint32_t crc;  // of the bytes before it
};
static_assert(sizeof(Header) == 64);

[[noreturn]] void corrupt(const std::string& path, const std::string& what) {
  throw CodedError("artifact_corrupt", "'" + path + "' " + what);
}

}  // namespace

Snapshot::Snapshot(const TensorTable& table)
    : size_(table.buffer_size()),
      fingerprint_(table.fingerprint()),
      memory_(std::make_unique_for_overwrite<float[]>(static_cast<size_t>(4 * size_))) {}

void Snapshot::wait_until_unpinned() {
  std::unique_lock lock(mutex_);
  unpinned_.wait(lock, [this] { return pins_ == 0; });
}

void Snapshot::check_valid() const {
  if (!valid_) throw std::invalid_argument("there is no snapshot: take one first");
}

int64_t Snapshot::payload_bytes() const {
  return (has_gradients_ ? 4 : 3) * size_ * static_cast<int64_t>(sizeof(float));
}

void Snapshot::take(Backend& backend, const TrainingState& state) {
  wait_until_unpinned();
  const size_t bytes = static_cast<size_t>(size_) * sizeof(float);
  backend.copy_to_host(memory_.get(), state.weights, bytes);
  backend.copy_to_host(memory_.get() + size_, state.moment1, bytes);
  backend.copy_to_host(memory_.get() + 2 * size_, state.moment2, bytes);
  if (state.has_gradients) backend.copy_to_host(memory_.get() + 3 * size_, state.gradients, bytes);
  has_gradients_ = state.has_gradients;
  valid_ = true;
}

void Snapshot::restore(Backend& backend, TrainingState& state) const {
  check_valid();
  const size_t bytes = static_cast<size_t>(size_) * sizeof(float);
  backend.copy_to_device(state.weights, memory_.get(), bytes);
  backend.copy_to_device(state.moment1, memory_.get() + size_, bytes);
  backend.copy_to_device(state.moment2, memory_.get() + 2 * size_, bytes);
  if (has_gradients_) {
    backend.copy_to_device(state.gradients, memory_.get() + 3 * size_, bytes);
  } else if (state.has_gradients) {
    backend.zero(state.gradients, bytes);
  }
  state.has_gradients = has_gradients_;
}

void Snapshot::pin() {
  check_valid();
  const std::lock_guard lock(mutex_);
  ++pins_;
}

void Snapshot::unpin() {
  const std::lock_guard lock(mutex_);
  if (--pins_ == 0) unpinned_.notify_all();
}

WrittenFile Snapshot::write(const std::string& path, const std::atomic<bool>& cancelled) {
  struct Unpin {
    Snapshot& snapshot;
    ~Unpin() { snapshot.unpin(); }
  } const unpin_at_end{*this};
  Header header{};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  header.version = kVersion;
  header.fingerprint = fingerprint_;
  header.buffer_floats = size_;
  header.payload_bytes = payload_bytes();
  header.has_gradients = has_gradients_ ? 1 : 0;
  header.crc = crc32c(0, &header, offsetof(Header, crc));

  ChecksummedWriter writer(path);
  writer.write(&header, sizeof(header));
  const auto* payload = reinterpret_cast<const char*>(memory_.get());
  for (int64_t offset = 0; offset < header.payload_bytes; offset += kChunkBytes) {
    if (cancelled.load(std::memory_order_relaxed)) throw CodedError("closed", "the session was closed");
    writer.write(payload + offset, static_cast<size_t>(std::min(kChunkBytes, header.payload_bytes - offset)));
  }
  const uint32_t trailer = writer.crc();
  writer.write(&trailer, sizeof(trailer));
  writer.finish();
  return {writer.bytes(), writer.crc()};
}

void Snapshot::read(const std::string& path) {
  wait_until_unpinned();
  const File file = File::open_for_reading(path);
  const int64_t file_size = file.size();
  Header header{};
  if (file_size < static_cast<int64_t>(sizeof(header))) corrupt(path, "is too short for a training state");
  file.read(&header, sizeof(header), 0);
  if (std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0) corrupt(path, "is not a training state");
  if (header.crc != crc32c(0, &header, offsetof(Header, crc))) corrupt(path, "has a damaged header");
  if (header.version != kVersion) {
    corrupt(path, "has version " + std::to_string(header.version) + ", not " + std::to_string(kVersion));
  }
  if (header.fingerprint != fingerprint_ || header.buffer_floats != size_) {
    corrupt(path, "is the training state of another model");
  }
  valid_ = false;
  has_gradients_ = header.has_gradients != 0;
  const int64_t expected = static_cast<int64_t>(sizeof(header) + sizeof(uint32_t)) + payload_bytes();
  if (header.payload_bytes != payload_bytes() || file_size != expected) {
    corrupt(path, "has " + std::to_string(file_size) + " bytes instead of " + std::to_string(expected));
  }
  uint32_t crc = crc32c(0, &header, sizeof(header));
  auto* payload = reinterpret_cast<char*>(memory_.get());
  for (int64_t offset = 0; offset < header.payload_bytes; offset += kChunkBytes) {
    const size_t bytes = static_cast<size_t>(std::min(kChunkBytes, header.payload_bytes - offset));
    file.read(payload + offset, bytes, static_cast<int64_t>(sizeof(header)) + offset);
    crc = crc32c(crc, payload + offset, bytes);
  }
  uint32_t trailer = 0;
  file.read(&trailer, sizeof(trailer), file_size - static_cast<int64_t>(sizeof(trailer)));
  if (trailer != crc) corrupt(path, "does not match its checksum");
  valid_ = true;
}

}  // namespace anneal
