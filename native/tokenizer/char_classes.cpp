#include "tokenizer/char_classes.h"

#include <algorithm>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>

namespace anneal {

CodePointTable::CodePointTable(std::vector<uint8_t> values) {
  values.resize(kCodePoints + kPageSize);
  std::map<std::string, uint8_t> known;
  for (size_t page = 0; page < index_.size(); ++page) {
    const auto begin = values.begin() + static_cast<ptrdiff_t>(page * kPageSize);
    std::string content(begin, begin + static_cast<ptrdiff_t>(kPageSize));
    const auto [place, is_new] = known.emplace(std::move(content), static_cast<uint8_t>(known.size()));
    if (is_new) {
      if (known.size() > 256) throw std::logic_error("a Unicode table has more than 256 different pages");
      pages_.insert(pages_.end(), place->first.begin(), place->first.end());
    }
    index_[page] = place->second;
  }
}

const CodePointTable& char_classes() {
  static const CodePointTable table = [] {
    std::vector<uint8_t> values;
    values.reserve(kCodePoints);
    for (size_t i = 0; i < std::size(unicode::kClassRuns); i += 2) {
      values.insert(values.end(), unicode::kClassRuns[i], static_cast<uint8_t>(unicode::kClassRuns[i + 1]));
    }
    return CodePointTable(std::move(values));
  }();
  return table;
}

CodePointTable membership(std::span<const unicode::Range> ranges) {
  std::vector<uint8_t> values(kCodePoints);
  for (const auto& [first, last] : ranges) std::fill(&values[first], &values[last] + 1, uint8_t{1});
  return CodePointTable(std::move(values));
}

}  // namespace anneal
