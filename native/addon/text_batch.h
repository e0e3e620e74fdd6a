// Text batches from and to JavaScript, for every data call.
#pragma once

#include <napi.h>

#include <vector>

#include "addon/arguments.h"
#include "data/text_batch.h"

namespace anneal::addon {

/// Copies the batch: JavaScript uses its memory again as soon as the call has returned. Throws
/// std::invalid_argument when the ends do not rise to the length of the bytes.
[[nodiscard]] TextBatch to_text_batch(const Argument& argument);

/// `{ bytes, ends }` over the batch's own memory, which JavaScript frees.
[[nodiscard]] Napi::Value to_js(Napi::Env env, TextBatch&& batch);

/// A typed array over the vector's own memory, which JavaScript frees.
template <typename Array, typename Element>
[[nodiscard]] Array to_typed_array(Napi::Env env, std::vector<Element>&& values) {
  if (values.empty()) return Array::New(env, 0);  // an address of nothing cannot be handed over
  auto* owned = new std::vector<Element>(std::move(values));
  const auto buffer = Napi::ArrayBuffer::New(
      env, owned->data(), owned->size() * sizeof(Element),
      [](Napi::Env, void*, std::vector<Element>* memory) { delete memory; }, owned);
  return Array::New(env, owned->size(), buffer, 0);
}

}  // namespace anneal::addon
