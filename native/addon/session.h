// The `Session` object of src/native/addon.ts: an engine, the thread that it runs on, and a thread that
// writes snapshots meanwhile.
#pragma once

#include <napi.h>

#include <atomic>
#include <memory>

#include "addon/calls.h"
#include "engine/engine.h"
#include "engine/task_thread.h"

namespace anneal::addon {

class Session : public Napi::ObjectWrap<Session> {
 public:
  static Napi::Function define(Napi::Env env);
  /// createSession(options): a promise of a session.
  static Napi::Value create(const Napi::CallbackInfo& info, const Napi::FunctionReference& constructor);
  /// Not for JavaScript: takes an External<SessionOptions>.
  explicit Session(const Napi::CallbackInfo& info);
  ~Session() override;

 private:
  /// `work(engine)` on the engine's thread, its result through `to_js` (overloads in options.h and below).
  template <typename Work>
  Napi::Value compute(Napi::Env env, Work work);
  void build_engine(const SessionOptions& options);
  void begin_close(std::function<void()> after);

  Napi::Value tensors(const Napi::CallbackInfo& info);
  Napi::Value plan(const Napi::CallbackInfo& info);
  Napi::Value add_adapter(const Napi::CallbackInfo& info);
  Napi::Value init_weights(const Napi::CallbackInfo& info);
  Napi::Value init_adapter(const Napi::CallbackInfo& info);
  Napi::Value merge_adapter(const Napi::CallbackInfo& info);
  Napi::Value import_tensors(const Napi::CallbackInfo& info);
  Napi::Value export_tensors(const Napi::CallbackInfo& info);
  Napi::Value read_tensor(const Napi::CallbackInfo& info);
  Napi::Value forward(const Napi::CallbackInfo& info);
  Napi::Value backward(const Napi::CallbackInfo& info);
  Napi::Value forward_backward(const Napi::CallbackInfo& info);
  Napi::Value step(const Napi::CallbackInfo& info);
  Napi::Value set_parameter_groups(const Napi::CallbackInfo& info);
  Napi::Value clear_gradients(const Napi::CallbackInfo& info);
  Napi::Value logits(const Napi::CallbackInfo& info);
  Napi::Value top_log_probs(const Napi::CallbackInfo& info);
  // In generation.cpp.
  Napi::Value set_vocabulary(const Napi::CallbackInfo& info);
  Napi::Value submit_generation(const Napi::CallbackInfo& info);
  Napi::Value advance_generations(const Napi::CallbackInfo& info);
  Napi::Value cancel_generation(const Napi::CallbackInfo& info);
  Napi::Value snapshot(const Napi::CallbackInfo& info);
  Napi::Value restore_snapshot(const Napi::CallbackInfo& info);
  Napi::Value write_snapshot(const Napi::CallbackInfo& info);
  Napi::Value read_snapshot(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);

  // Known here too, for calls that do not wait for the engine.
  SessionOptions options_;
  std::vector<std::vector<Tensor>> tensor_lists_;  // of the base, then of each adapter
  SessionPlan plan_{};
  OptimizerName optimizer_ = OptimizerName::kAdamW;
  int64_t next_generation_ = 0;
  bool has_vocabulary_ = false;
  Calls calls_;
  std::atomic<bool> closing_{false};
  // The threads end before what they use: members are destroyed from the last to the first.
  std::unique_ptr<Engine> engine_;
  TaskThread writer_;
  TaskThread thread_;
};

}  // namespace anneal::addon
