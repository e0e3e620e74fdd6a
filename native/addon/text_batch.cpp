#include "addon/text_batch.h"

#include <stdexcept>
#include <string>
#include <utility>

namespace anneal::addon {

BorrowedBatch borrow_text_batch(const Argument& argument) {
  const Argument bytes = argument.property("bytes");
  const Argument ends = argument.property("ends");
  const std::span<const uint8_t> text = bytes.view<Napi::Uint8Array>(napi_uint8_array, "a Uint8Array");
  BorrowedBatch batch;
  batch.bytes = {reinterpret_cast<const char*>(text.data()), text.size()};
  size_t last = 0;
  for (const double end : ends.view<Napi::Float64Array>(napi_float64_array, "a Float64Array")) {
    // Not a number fails both comparisons.
    if (!(end >= static_cast<double>(last) && end <= static_cast<double>(text.size()))) {
      throw std::invalid_argument(ends.name + "[" + std::to_string(batch.ends.size()) +
                                  "] lies before the end of the document before it or beyond the bytes");
    }
    last = static_cast<size_t>(end);
    batch.ends.push_back(last);
  }
  if (last != text.size()) {
    throw std::invalid_argument(ends.name + " must end with the length of the bytes, " +
                                std::to_string(text.size()));
  }
  batch.keeper = Napi::Persistent(bytes.value.As<Napi::Object>());
  // Given up on JavaScript's thread, or never where the process ends before.
  batch.keeper.SuppressDestruct();
  return batch;
}

TextBatch to_text_batch(const Argument& argument) {
  BorrowedBatch borrowed = borrow_text_batch(argument);
  return {{borrowed.bytes.begin(), borrowed.bytes.end()}, std::move(borrowed.ends)};
}

Napi::Value to_js(Napi::Env env, TextBatch&& batch) {
  auto object = Napi::Object::New(env);
  std::vector<double> ends(batch.ends.begin(), batch.ends.end());
  object.Set("bytes", to_typed_array<Napi::Uint8Array>(env, std::move(batch.bytes)));
  object.Set("ends", to_typed_array<Napi::Float64Array>(env, std::move(ends)));
  return object;
}

}  // namespace anneal::addon
