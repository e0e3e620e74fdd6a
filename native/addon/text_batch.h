// Text batches from and to JavaScript, for every data call.
#pragma once

#include <napi.h>

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "addon/arguments.h"
#include "addon/calls.h"
#include "data/text_batch.h"

namespace anneal::addon {

/// The bytes of a batch in JavaScript's memory, kept alive. JavaScript leaves them as they are until the
/// call's promise is settled.
struct BorrowedBatch {
  std::string_view bytes;
  std::vector<size_t> ends;
  Napi::ObjectReference keeper;

  [[nodiscard]] TextBatchView view() const { return {bytes, ends}; }
};

/// Throws std::invalid_argument when the ends do not rise to the length of the bytes.
[[nodiscard]] BorrowedBatch borrow_text_batch(const Argument& argument);

/// The same as a copy, for calls after which JavaScript uses its memory again at once.
[[nodiscard]] TextBatch to_text_batch(const Argument& argument);

/// `work(view)` on the thread, then `convert(env, result)` on JavaScript's: a call that borrows the batch.
template <typename Work, typename Convert>
Napi::Value run_on_batch(Napi::Env env, Calls& calls, TaskThread& thread, const Argument& argument, Work work,
                         Convert convert) {
  const auto batch = std::make_shared<BorrowedBatch>(borrow_text_batch(argument));
  const auto call = calls.begin(env);
  call->set_cleanup([batch](Napi::Env) { batch->keeper.Reset(); });
  return calls.run(
      call, thread, [batch, work = std::move(work)]() mutable { return work(batch->view()); },
      std::move(convert));
}

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
