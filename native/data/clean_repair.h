// Repair of text: mojibake, control characters, lines that are boilerplate or too long.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "data/clean_rules.h"

namespace anneal {

/// Each writes the whole changed text to `out` and tells of it; if nothing changes it returns false and
/// leaves `out`. All take and give valid UTF-8.
bool repair_mojibake(std::string_view text, std::string& out, Findings& findings);
bool remove_controls(std::string_view text, std::string& out, Findings& findings);
/// Removes lines whose hash is in the sorted `boilerplate`, and those longer than `longest` characters (0:
/// any).
bool remove_lines(std::string_view text, std::span<const uint64_t> boilerplate, int64_t longest,
                  std::string& out, Findings& findings);

}  // namespace anneal
