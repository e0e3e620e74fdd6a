// The text of JSONL rows, taken out of them without parsing the rest into objects.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace anneal {

class JsonTextReader {
 public:
  /// `field` holds the text; a row with one of the fields `others` is not for this reader.
  JsonTextReader(std::string field, std::vector<std::string> others)
      : field_(std::move(field)), others_(std::move(others)) {}

  /// Writes the text of a row, which is valid UTF-8, to `out`, and gives its length: never more than the
  /// row's. A lone surrogate becomes U+FFFD. Nothing where a parser has to look at the row: it has one of the
  /// other fields, has the field not once or not with a string, has an escape in a key, is nested deeply, or
  /// is no JSON object.
  [[nodiscard]] std::optional<size_t> read(std::string_view row, char* out) const;

 private:
  std::string field_;
  std::vector<std::string> others_;
};

}  // namespace anneal
