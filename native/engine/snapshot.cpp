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
constexpr uint32_t kVersion = 2;
constexpr int64_t kChunkBytes = int64_t{4} << 20;

struct Header {
  char magic[8];
  uint32_t version;
  uint32_t fingerprint;  // of the tables of all parameter sets, and of what is trained how
  int64_t state_bytes;   // of weights and optimiser state
  int64_t payload_bytes;
  uint32_t has_gradients;
  uint32_t reserved[6];
  uint32_t crc;  // of the bytes before it
};
static_assert(sizeof(Header) == 64);

[[noreturn]] void corrupt(const std::string& path, const std::string& what) {
  throw CodedError("artifact_corrupt", "'" + path + "' " + what);
}

uint32_t fingerprint_of(const std::vector<ParameterSet*>& sets) {
  uint32_t crc = 0;
  for (const ParameterSet* set : sets) {
    const uint32_t fields[] = {set->table().fingerprint(), set->trainable() ? 1u : 0u,
                               static_cast<uint32_t>(set->optimizer())};
    crc = crc32c(crc, fields, sizeof(fields));
  }
  return crc;
}

std::vector<ParameterSet*> trained_of(std::vector<ParameterSet*> sets) {
  std::erase_if(sets, [](const ParameterSet* set) { return !set->trainable(); });
  return sets;
}

template <typename Bytes>
int64_t sum(const std::vector<ParameterSet*>& sets, const Bytes& bytes) {
  int64_t total = 0;
  for (const ParameterSet* set : sets) total += bytes(set->bytes());
  return total;
}

}  // namespace

Snapshot::Snapshot(const std::vector<ParameterSet*>& sets)
    : trained_(trained_of(sets)),
      fingerprint_(fingerprint_of(sets)),
      state_bytes_(sum(trained_, [](const ParameterSetBytes& b) { return b.weights + b.optimizer; })),
      gradient_bytes_(sum(trained_, [](const ParameterSetBytes& b) { return b.gradients; })),
      memory_(std::make_unique_for_overwrite<char[]>(static_cast<size_t>(state_bytes_ + gradient_bytes_))) {}

int64_t Snapshot::bytes_of(const std::vector<ParameterSetBytes>& sets) {
  int64_t total = 0;
  for (const ParameterSetBytes& set : sets) {
    if (set.gradients > 0) total += set.weights + set.optimizer + set.gradients;
  }
  return total;
}

void Snapshot::wait_until_unpinned() {
  std::unique_lock lock(mutex_);
  unpinned_.wait(lock, [this] { return pins_ == 0; });
}

void Snapshot::check_valid() const {
  if (!valid_) throw std::invalid_argument("there is no snapshot: take one first");
}

int64_t Snapshot::payload_bytes() const { return state_bytes_ + (has_gradients_ ? gradient_bytes_ : 0); }

void Snapshot::take(Backend& backend) {
  wait_until_unpinned();
  char* to = memory_.get();
  const auto copy = [&](const void* from, int64_t bytes) {
    backend.copy_to_host(to, from, static_cast<size_t>(bytes));
    to += bytes;
  };
  has_gradients_ = std::ranges::any_of(trained_, &ParameterSet::has_gradients);
  for (const ParameterSet* set : trained_) {
    copy(set->weights(), set->bytes().weights);
    copy(set->state(), set->bytes().optimizer);
  }
  if (has_gradients_) {
    for (const ParameterSet* set : trained_) copy(set->gradients(), set->bytes().gradients);
  }
  valid_ = true;
}

void Snapshot::restore(Backend& backend) const {
  check_valid();
  const char* from = memory_.get();
  const auto copy = [&](void* to, int64_t bytes) {
    backend.copy_to_device(to, from, static_cast<size_t>(bytes));
    from += bytes;
  };
  for (ParameterSet* set : trained_) {
    copy(set->weights(), set->bytes().weights);
    copy(set->state(), set->bytes().optimizer);
  }
  for (ParameterSet* set : trained_) {
    if (has_gradients_) {
      copy(set->gradients(), set->bytes().gradients);
      set->mark_gradients();
    } else if (set->has_gradients()) {
      set->clear_gradients(backend);
    }
  }
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
  header.state_bytes = state_bytes_;
  header.payload_bytes = payload_bytes();
  header.has_gradients = has_gradients_ ? 1 : 0;
  header.crc = crc32c(0, &header, offsetof(Header, crc));

  ChecksummedWriter writer(path);
  writer.write(&header, sizeof(header));
  const char* payload = memory_.get();
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
  if (header.fingerprint != fingerprint_ || header.state_bytes != state_bytes_) {
    corrupt(path, "is the training state of another model");
  }
  valid_ = false;
  has_gradients_ = header.has_gradients != 0;
  const int64_t expected = static_cast<int64_t>(sizeof(header) + sizeof(uint32_t)) + payload_bytes();
  if (header.payload_bytes != payload_bytes() || file_size != expected) {
    corrupt(path, "has " + std::to_string(file_size) + " bytes instead of " + std::to_string(expected));
  }
  uint32_t crc = crc32c(0, &header, sizeof(header));
  char* payload = memory_.get();
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
