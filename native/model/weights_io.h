// Weights in and out of files as raw little-endian ranges. Headers (JSON) are TypeScript's business.
#pragma once

#include <cstdint>
#include <string>

#include "backend/backend.h"
#include "model/file.h"
#include "model/tensors.h"

namespace anneal {

enum class StoredType { kF32, kF16, kBF16 };

/// One tensor's values: row-major, little-endian, from byte `offset` of a file.
struct TensorSource {
  std::string name;
  std::string path;
  int64_t offset = 0;
  StoredType type = StoredType::kF32;
};

/// Reads a tensor into its place in the flat buffer `weights` (device memory). A range that leaves the file
/// is a CodedError "model_invalid".
void import_tensor(Backend& backend, float* weights, const TensorTable& table, const TensorSource& source);

/// Appends a tensor as float32.
void export_tensor(Backend& backend, ChecksummedWriter& writer, const float* weights, const Tensor& tensor);

}  // namespace anneal
