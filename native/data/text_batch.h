// Many documents in one piece of memory: what every data call takes and gives (src/native/text_batch.ts).
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

namespace anneal {

/// Documents end to end in UTF-8, not checked, in memory that is somebody else's.
struct TextBatchView {
  std::string_view bytes;
  std::span<const size_t> ends;  // exclusive end of each document in `bytes`

  [[nodiscard]] size_t size() const { return ends.size(); }

  [[nodiscard]] std::string_view operator[](size_t i) const {
    const size_t begin = i == 0 ? 0 : ends[i - 1];
    return bytes.substr(begin, ends[i] - begin);
  }
};

/// Documents in memory of their own.
struct TextBatch {
  std::vector<char> bytes;
  std::vector<size_t> ends;

  /// Whoever only reads documents takes a view.
  operator TextBatchView() const { return {{bytes.data(), bytes.size()}, ends}; }

  [[nodiscard]] size_t size() const { return ends.size(); }

  [[nodiscard]] std::string_view operator[](size_t i) const { return TextBatchView(*this)[i]; }

  void add(std::string_view document) {
    // Not by insert(), of which GCC 12 warns falsely.
    const size_t begin = bytes.size();
    bytes.resize(begin + document.size());
    std::copy(document.begin(), document.end(), bytes.data() + begin);
    ends.push_back(bytes.size());
  }
};

}  // namespace anneal
