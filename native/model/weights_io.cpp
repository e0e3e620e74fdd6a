#include "model/weights_io.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "model/errors.h"

namespace anneal {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little-endian and are read as they are");

constexpr int64_t kChunk = int64_t{1} << 18;  // values

float from_bf16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

float from_f16(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1Fu;
  const uint32_t mantissa = bits & 0x3FFu;
  if (exponent == 0) {
    // Zero or subnormal: mantissa * 2^-24, exact in float32.
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
  }
  const uint32_t wide_exponent = exponent == 31 ? 255u : exponent + 112u;
  return std::bit_cast<float>(sign | (wide_exponent << 23) | (mantissa << 13));
}

int64_t stored_bytes(StoredType type) { return type == StoredType::kF32 ? 4 : 2; }

}  // namespace

void import_tensor(Backend& backend, float* weights, const TensorTable& table, const TensorSource& source) {
  const Tensor& tensor = table.find(source.name);
  const File file = File::open_for_reading(source.path);
  const int64_t width = stored_bytes(source.type);
  const int64_t file_size = file.size();
  if (source.offset < 0 || source.offset > file_size || tensor.size > (file_size - source.offset) / width) {
    throw CodedError("model_invalid", "tensor '" + source.name + "' needs " +
                                          std::to_string(tensor.size * width) + " bytes from byte " +
                                          std::to_string(source.offset) + " of '" + source.path +
                                          "', which has only " + std::to_string(file_size));
  }
  std::vector<float> values(static_cast<size_t>(std::min(kChunk, tensor.size)));
  std::vector<uint16_t> halves(source.type == StoredType::kF32 ? 0 : values.size());
  for (int64_t done = 0; done < tensor.size;) {
    const int64_t count = std::min(kChunk, tensor.size - done);
    const size_t bytes = static_cast<size_t>(count * width);
    const int64_t position = source.offset + done * width;
    if (source.type == StoredType::kF32) {
      file.read(values.data(), bytes, position);
    } else {
      file.read(halves.data(), bytes, position);
      std::transform(halves.begin(), halves.begin() + count, values.begin(),
                     source.type == StoredType::kF16 ? from_f16 : from_bf16);
    }
    backend.copy_to_device(weights + tensor.offset + done, values.data(),
                           static_cast<size_t>(count) * sizeof(float));
    done += count;
  }
}

void export_tensor(Backend& backend, ChecksummedWriter& writer, const float* weights, const Tensor& tensor) {
  std::vector<float> values(static_cast<size_t>(std::min(kChunk, tensor.size)));
  for (int64_t done = 0; done < tensor.size;) {
    const int64_t count = std::min(kChunk, tensor.size - done);
    const size_t bytes = static_cast<size_t>(count) * sizeof(float);
    backend.copy_to_host(values.data(), weights + tensor.offset + done, bytes);
    writer.write(values.data(), bytes);
    done += count;
  }
}

}  // namespace anneal
