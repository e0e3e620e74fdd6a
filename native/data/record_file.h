// A file of fixed-size records, read front to back through a small buffer.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "model/errors.h"
#include "model/file.h"

namespace anneal {

/// Calls visit(index, span of `width` numbers) for each of `records` records of the file. Throws CodedError
/// "artifact_corrupt" when the file has another size.
template <typename Number, typename Visit>
void for_each_record(const std::string& path, uint64_t records, size_t width, const Visit& visit) {
  const File file = File::open_for_reading(path);
  const size_t bytes = width * sizeof(Number);
  if (static_cast<uint64_t>(file.size()) != records * bytes) {
    throw CodedError("artifact_corrupt", "'" + path + "' has " + std::to_string(file.size()) +
                                             " bytes, but " + std::to_string(records) + " records of " +
                                             std::to_string(bytes) + " bytes were written");
  }
  const size_t room = std::max<size_t>(1, (size_t{1} << 18) / bytes);
  std::vector<Number> buffer(room * width);
  for (uint64_t begin = 0; begin < records; begin += room) {
    const size_t count = static_cast<size_t>(std::min<uint64_t>(room, records - begin));
    file.read(buffer.data(), count * bytes, static_cast<int64_t>(begin * bytes));
    for (size_t i = 0; i < count; ++i) {
      visit(begin + i, std::span<const Number>(buffer.data() + i * width, width));
    }
  }
}

}  // namespace anneal
