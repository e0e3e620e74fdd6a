// Texts of JSONL rows: rows that were damaged are read within their bounds. What is read is compared with
// JSON.parse in tests/data/json_texts.test.ts.
#include <doctest/doctest.h>

#include <random>
#include <string>
#include <vector>

#include "data/json_text.h"
#include "data/unicode.h"

namespace anneal {
namespace {

TEST_CASE("json text: damaged rows stay within their bounds") {
  const JsonTextReader reader("text", {"messages"});
  const std::string row =
      "{\"id\":-1.5e3,\"text\":\"a\\u00e9\\ud83d\\ude42 "
      "\\\"b\\\"\\n\",\"more\":[true,null,{\"x\":\"\\\\\"}]}";
  std::mt19937 random(3);
  size_t read = 0;
  for (int i = 0; i < 100'000; ++i) {
    std::string damaged = row.substr(0, i % 4 == 0 ? random() % row.size() : row.size());
    for (auto changes = random() % 3; changes > 0 && !damaged.empty(); --changes) {
      damaged[random() % damaged.size()] = "\"\\{}[]:,ud8e0 \n"[random() % 14];
    }
    // Memory of exactly the size that is promised to be enough.
    const std::vector<char> exact(damaged.begin(), damaged.end());
    std::vector<char> out(exact.size());
    const auto length = reader.read({exact.data(), exact.size()}, out.data());
    if (!length) continue;
    ++read;
    REQUIRE(*length <= out.size());
    REQUIRE(valid_utf8_prefix({out.data(), *length}) == *length);
  }
  CHECK(read > 10'000);
}

}  // namespace
}  // namespace anneal
