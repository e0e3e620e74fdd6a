// The `pattern` of an options object.
#pragma once

#include "addon/arguments.h"
#include "tokenizer/split.h"

namespace anneal::addon {

inline SplitPattern split_pattern(const Argument& options) {
  return static_cast<SplitPattern>(options.property("pattern").choice(kSplitPatternNames));
}

}  // namespace anneal::addon
