// The option objects of src/native/addon.ts as native structures, and results as objects.
#pragma once

#include <napi.h>

#include "addon/arguments.h"
#include "engine/engine.h"

namespace anneal::addon {

/// An adapter's number; absent: the base.
int64_t adapter_index(const Argument& adapter);
AdapterOptions adapter_options(const Argument& options);
SessionOptions session_options(const Argument& options);
Batch batch(const Argument& batch);
ScoreGradients score_gradients(const Argument& gradients);
StepOptions step_options(const Argument& options, OptimizerName optimizer);
std::vector<ParameterGroup> parameter_groups(const Argument& groups);
std::vector<TensorSource> tensor_sources(const Argument& sources);

Napi::Value to_js(Napi::Env env, const SessionPlan& plan);
Napi::Value to_js(Napi::Env env, const Scores& scores);
Napi::Value to_js(Napi::Env env, const TopTokens& top);
Napi::Value to_js(Napi::Env env, const StepResult& result);
Napi::Value to_js(Napi::Env env, const WrittenFile& file);
Napi::Value to_js(Napi::Env env, const std::vector<Tensor>& tensors);

}  // namespace anneal::addon
