// Memory of a backend with an owner.
#pragma once

#include <cstdint>
#include <memory>

#include "backend/backend.h"

namespace anneal {

struct ReleaseMemory {
  Backend* backend;
  void operator()(void* memory) const { backend->release(memory); }
};
using DeviceMemory = std::unique_ptr<void, ReleaseMemory>;

/// Reserves `bytes`; null for 0.
inline DeviceMemory reserve(Backend& backend, int64_t bytes) {
  return {bytes == 0 ? nullptr : backend.allocate(static_cast<size_t>(bytes)), ReleaseMemory{&backend}};
}

}  // namespace anneal
