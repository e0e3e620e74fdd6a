#include "addon/session.h"

#include <algorithm>

#include "addon/options.h"

namespace anneal::addon {
namespace {

Napi::Value to_js(Napi::Env env, const std::vector<float>& values) { return to_float32_array(env, values); }
using anneal::addon::to_js;

}  // namespace

Napi::Function Session::define(Napi::Env env) {
  return DefineClass(env, "Session",
                     {InstanceMethod<&Session::tensors>("tensors"),
                      InstanceMethod<&Session::plan>("plan"),
                      InstanceMethod<&Session::add_adapter>("addAdapter"),
                      InstanceMethod<&Session::init_weights>("initWeights"),
                      InstanceMethod<&Session::init_adapter>("initAdapter"),
                      InstanceMethod<&Session::merge_adapter>("mergeAdapter"),
                      InstanceMethod<&Session::import_tensors>("importTensors"),
                      InstanceMethod<&Session::export_tensors>("exportTensors"),
                      InstanceMethod<&Session::read_tensor>("readTensor"),
                      InstanceMethod<&Session::forward>("forward"),
                      InstanceMethod<&Session::backward>("backward"),
                      InstanceMethod<&Session::forward_backward>("forwardBackward"),
                      InstanceMethod<&Session::step>("step"),
                      InstanceMethod<&Session::set_parameter_groups>("setParameterGroups"),
                      InstanceMethod<&Session::clear_gradients>("clearGradients"),
                      InstanceMethod<&Session::logits>("logits"),
                      InstanceMethod<&Session::top_log_probs>("topLogProbs"),
                      InstanceMethod<&Session::set_vocabulary>("setVocabulary"),
                      InstanceMethod<&Session::submit_generation>("submitGeneration"),
                      InstanceMethod<&Session::advance_generations>("advanceGenerations"),
                      InstanceMethod<&Session::cancel_generation>("cancelGeneration"),
                      InstanceMethod<&Session::snapshot>("snapshot"),
                      InstanceMethod<&Session::restore_snapshot>("restoreSnapshot"),
                      InstanceMethod<&Session::write_snapshot>("writeSnapshot"),
                      InstanceMethod<&Session::read_snapshot>("readSnapshot"),
                      InstanceMethod<&Session::close>("close")});
}

Napi::Value Session::create(const Napi::CallbackInfo& info, const Napi::FunctionReference& constructor) {
  const Napi::Env env = info.Env();
  return asynchronous(env, [&]() -> Napi::Value {
    SessionOptions options = session_options(argument(info, 0, "options"));
    validate(options);
    const Napi::Object object = constructor.New({Napi::External<SessionOptions>::New(env, &options)});
    Session* self = Unwrap(object);
    const auto call = self->calls_.begin(env);
    // The object is held by its own calls: `self` is alive when the promise is settled.
    return self->calls_.run(
        call, self->thread_, [self, options] { return self->build_engine(options), true; },
        [self](Napi::Env, bool) -> Napi::Value { return self->Value(); });
  });
}

Session::Session(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<Session>(info), calls_(info.Env(), "anneal session", [this](bool keep) {
        if (keep) {
          Ref();
        } else {
          Unref();
        }
      }) {
  if (!info[0].IsExternal()) throw Napi::TypeError::New(info.Env(), "use createSession to make a session");
  const SessionOptions& options = *info[0].As<Napi::External<SessionOptions>>().Data();
  options_ = options;
  const ModelTable base(options.architecture);
  tensor_lists_.push_back(base.tensors());
  for (size_t i = 0; i < options.adapters.size(); ++i) {
    tensor_lists_.push_back(AdapterTable(options.adapters[i], base, options.architecture, i).tensors());
  }
  optimizer_ = options.optimizer;
  plan_ = plan_session(options, *make_cpu_backend(options.threads));
}

Session::~Session() {
  begin_close([] {});
}

void Session::build_engine(const SessionOptions& options) {
  engine_ = std::make_unique<Engine>(make_cpu_backend(options.threads), options, closing_);
}

template <typename Work>
Napi::Value Session::compute(Napi::Env env, Work work) {
  if constexpr (std::is_void_v<decltype(work(*engine_))>) {
    return calls_.run(env, thread_, [this, work = std::move(work)]() mutable { work(*engine_); });
  } else {
    return calls_.run(
        env, thread_, [this, work = std::move(work)]() mutable { return work(*engine_); },
        [](Napi::Env to, const auto& result) { return to_js(to, result); });
  }
}

Napi::Value Session::tensors(const Napi::CallbackInfo& info) {
  return synchronous(info.Env(), [&] {
    const int64_t adapter = adapter_index(argument(info, 0, "adapter"));
    if (adapter + 1 >= std::ssize(tensor_lists_)) {
      throw std::invalid_argument("adapter is " + std::to_string(adapter) + ", but the session has " +
                                  std::to_string(tensor_lists_.size() - 1));
    }
    return to_js(info.Env(), tensor_lists_[static_cast<size_t>(adapter + 1)]);
  });
}

Napi::Value Session::plan(const Napi::CallbackInfo& info) { return to_js(info.Env(), plan_); }

Napi::Value Session::add_adapter(const Napi::CallbackInfo& info) {
  return asynchronous(info.Env(), [&] {
    const AdapterOptions options = adapter_options(argument(info, 0, "options"));
    return calls_.run(
        info.Env(), thread_, [this, options] { return engine_->add_adapter(options); },
        [this, options](Napi::Env to, int64_t index) -> Napi::Value {
          // In the order in which the engine added them.
          const ModelTable base(options_.architecture);
          tensor_lists_.push_back(
              AdapterTable(options, base, options_.architecture, static_cast<size_t>(index)).tensors());
          options_.adapters.push_back(options);
          plan_ = plan_session(options_, *make_cpu_backend(options_.threads));
          return Napi::Number::New(to, static_cast<double>(index));
        });
  });
}

Napi::Value Session::init_weights(const Napi::CallbackInfo& info) {
  return asynchronous(info.Env(), [&] {
    const auto seed = static_cast<uint64_t>(argument(info, 0, "seed").integer(0, kMaxSafeInteger));
    const float std = argument(info, 1, "std").single();
    return compute(info.Env(), [seed, std](Engine& engine) { engine.init_weights(seed, std); });
  });
}

Napi::Value Session::init_adapter(const Napi::CallbackInfo& info) {
  return asynchronous(info.Env(), [&] {
    static constexpr const char* kKinds[] = {"default", "gaussian", "random", "pissa"};
    const int64_t adapter = adapter_index(argument(info, 0, "adapter"));
    const Argument options = argument(info, 1, "options");
    const auto seed = static_cast<uint64_t>(options.property("seed").integer(0, kMaxSafeInteger));
    const auto kind = static_cast<AdapterInit>(options.property("kind").choice(kKinds));
    return compute(info.Env(),
                   [adapter, seed, kind](Engine& engine) { engine.init_adapter(adapter, seed, kind); });
  });
}

Napi::Value Session::merge_adapter(const Napi::CallbackInfo& info) {
  return asynchronous(info.Env(), [&] {
    return compute(info.Env(), [adapter = adapter_index(argument(info, 0, "adapter"))](Engine& engine) {
      engine.merge_adapter(adapter);
    });
  });
}

Napi::Value Session::import_tensors(const Napi::CallbackInfo& info) {
  return asynchronous(info.Env(), [&] {
    return compute(info.Env(), [sources = tensor_sources(argument(info, 0, "sources")),
                                adapter = adapter_index(argument(info, 1, "adapter"))](Engine& engine) {
      engine.import_tensors(sources, adapter);
    });
  });
}

Napi::Value Session::export_tensors(const Napi::CallbackInfo& info) {
  return asynchronous(info.Env(), [&] {
    return compute(info.Env(),
                   [path = argument(info, 0, "path").string(), header = argument(info, 1, "header").bytes(),
                    names = argument(info, 2, "names").strings(),
                    adapter = adapter_index(argument(info, 3, "adapter"))](Engine& engine) {
                     return engine.export_tensors(path, header, names, adapter);
                   });
  });
}

Napi::Value Session::read_tensor(const Napi::CallbackInfo& info) {
  return asynchronous(info.Env(), [&] {
    static constexpr const char* kWhat[] = {"weight", "gradient"};
    const bool gradient = argument(info, 1, "what").choice(kWhat) == 1;
    return compute(info.Env(), [name = argument(info, 0, "name").string(), gradient,
                                adapter = adapter_index(argument(info, 2, "adapter"))](Engine& engine) {
      return engine.read_tensor(name, gradient, adapter);
    });
  });
}

Napi::Value Session::forward(const Napi::CallbackInfo& info) {
  return asynchronous(info.Env(), [&] {
    return compute(info.Env(), [packed = batch(argument(info, 0, "batch"))](Engine& engine) mutable {
      return engine.forward(std::move(packed));
    });
  });
}

Napi::Value Session::backward(const Napi::CallbackInfo& info) {
  return asynchronous(info.Env(), [&] {
    return compute(info.Env(), [gradients = score_gradients(argument(info, 0, "gradients"))](Engine& engine) {
      engine.backward(gradients);
    });
  });
}

Napi::Value Session::forward_backward(const Napi::CallbackInfo& info) {
  return asynchronous(info.Env(), [&] {
    return compute(info.Env(), [packed = batch(argument(info, 0, "batch")),
                                weights = argument(info, 1, "weights").floats()](Engine& engine) mutable {
      return engine.forward_backward(std::move(packed), weights);
    });
  });
}

Napi::Value Session::step(const Napi::CallbackInfo& info) {
  return asynchronous(info.Env(), [&] {
    const Argument options = argument(info, 0, "options");
    return compute(info.Env(), [options = step_options(options, optimizer_),
                                adapter = adapter_index(options.property("adapter"))](Engine& engine) {
      return engine.step(options, adapter);
    });
  });
}

Napi::Value Session::set_parameter_groups(const Napi::CallbackInfo& info) {
  return asynchronous(info.Env(), [&] {
    return compute(info.Env(), [groups = parameter_groups(argument(info, 0, "groups")),
                                adapter = adapter_index(argument(info, 1, "adapter"))](Engine& engine) {
      engine.set_parameter_groups(groups, adapter);
    });
  });
}

Napi::Value Session::clear_gradients(const Napi::CallbackInfo& info) {
  return compute(info.Env(), [](Engine& engine) { engine.clear_gradients(); });
}

Napi::Value Session::logits(const Napi::CallbackInfo& info) {
  return asynchronous(info.Env(), [&] {
    return compute(info.Env(), [packed = batch(argument(info, 0, "batch"))](Engine& engine) mutable {
      return engine.logits(std::move(packed));
    });
  });
}

Napi::Value Session::top_log_probs(const Napi::CallbackInfo& info) {
  return asynchronous(info.Env(), [&] {
    const int64_t k = argument(info, 1, "k").integer(1, kMaxSafeInteger);
    return compute(info.Env(), [packed = batch(argument(info, 0, "batch")), k](Engine& engine) mutable {
      return engine.top_log_probs(std::move(packed), k);
    });
  });
}

Napi::Value Session::snapshot(const Napi::CallbackInfo& info) {
  return compute(info.Env(), [](Engine& engine) { engine.take_snapshot(); });
}

Napi::Value Session::restore_snapshot(const Napi::CallbackInfo& info) {
  return compute(info.Env(), [](Engine& engine) { engine.restore_snapshot(); });
}

Napi::Value Session::write_snapshot(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return asynchronous(env, [&]() -> Napi::Value {
    const std::string path = argument(info, 0, "path").string();
    const auto call = calls_.begin(env);
    // Pinned in the order of the calls, written on the other thread.
    thread_.submit([this, call, path](bool abandoned) {
      try {
        if (abandoned) throw CodedError("closed", "the session was closed");
        engine_->pin_snapshot();
      } catch (...) {
        call->reject(std::current_exception());
        return;
      }
      calls_.run(
          call, writer_, [this, path] { return engine_->write_snapshot(path); },
          [](Napi::Env to, const WrittenFile& file) { return to_js(to, file); });
    });
    return call->promise();
  });
}

Napi::Value Session::read_snapshot(const Napi::CallbackInfo& info) {
  return asynchronous(info.Env(), [&] {
    return compute(info.Env(), [path = argument(info, 0, "path").string()](Engine& engine) {
      engine.read_snapshot(path);
    });
  });
}

void Session::begin_close(std::function<void()> after) {
  closing_ = true;
  thread_.close([this, after = std::move(after)] { writer_.close(after); });
}

Napi::Value Session::close(const Napi::CallbackInfo& info) {
  const auto call = calls_.begin(info.Env());
  begin_close([this, call] {
    engine_.reset();  // both threads have ended: nobody uses it any more
    call->resolve([](Napi::Env to) { return to.Undefined(); });
  });
  return call->promise();
}

}  // namespace anneal::addon
