// A vocabulary as src/native/tokenizer.ts describes it (BpeModelParts).
#pragma once

#include "addon/arguments.h"
#include "addon/text_batch.h"
#include "tokenizer/bpe_model.h"

namespace anneal::addon {

inline BpeModelParts model_parts(const Argument& model) {
  BpeModelParts parts;
  parts.merges = model.property("merges").int32s();
  parts.byte_ids = model.property("byteIds").int32s();
  parts.characters = model.property("characters").boolean();
  parts.whole_words = model.property("wholeWords").boolean();
  parts.tokens = to_text_batch(model.property("tokens"));
  return parts;
}

}  // namespace anneal::addon
