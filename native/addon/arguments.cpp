#include "addon/arguments.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace anneal::addon {
namespace {

[[noreturn]] void reject(const Argument& argument, const std::string& wanted) {
  throw std::invalid_argument(argument.name + " must be " + wanted);
}

template <typename Element>
std::vector<Element> copied(std::span<const Element> elements) {
  return {elements.begin(), elements.end()};
}

}  // namespace

Argument Argument::property(const char* key) const {
  if (!value.IsObject()) reject(*this, "an object");
  return {value.As<Napi::Object>().Get(key), name + "." + key};
}

int64_t Argument::integer(int64_t low, int64_t high) const {
  const std::string wanted = "an integer between " + std::to_string(low) + " and " + std::to_string(high);
  if (!value.IsNumber()) reject(*this, wanted);
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= static_cast<double>(low) && number <= static_cast<double>(high)) ||
      std::trunc(number) != number) {
    reject(*this, wanted);
  }
  return static_cast<int64_t>(number);
}

double Argument::number() const {
  if (!value.IsNumber()) reject(*this, "a number");
  return value.As<Napi::Number>().DoubleValue();
}

bool Argument::boolean() const {
  if (!value.IsBoolean()) reject(*this, "true or false");
  return value.As<Napi::Boolean>().Value();
}

std::string Argument::string() const {
  if (!value.IsString()) reject(*this, "a string");
  return value.As<Napi::String>().Utf8Value();
}

size_t Argument::choice(std::span<const char* const> choices) const {
  const std::string chosen = value.IsString() ? string() : "";
  const auto found = std::find(choices.begin(), choices.end(), chosen);
  if (found == choices.end()) {
    std::string wanted = "one of";
    for (const char* option : choices) wanted += std::string(" '") + option + "'";
    reject(*this, wanted);
  }
  return static_cast<size_t>(found - choices.begin());
}

void Argument::require_typed_array(napi_typedarray_type type, const char* wanted) const {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type) reject(*this, wanted);
}

std::vector<int32_t> Argument::int32s() const {
  return copied(view<Napi::Int32Array>(napi_int32_array, "an Int32Array"));
}

std::vector<float> Argument::floats() const {
  return copied(view<Napi::Float32Array>(napi_float32_array, "a Float32Array"));
}

std::vector<uint8_t> Argument::bytes() const {
  return copied(view<Napi::Uint8Array>(napi_uint8_array, "a Uint8Array"));
}

std::vector<Argument> Argument::elements() const {
  if (!value.IsArray()) reject(*this, "an array");
  const auto array = value.As<Napi::Array>();
  std::vector<Argument> all;
  all.reserve(array.Length());
  for (uint32_t i = 0; i < array.Length(); ++i) {
    all.push_back({array.Get(i), name + "[" + std::to_string(i) + "]"});
  }
  return all;
}

std::vector<std::string> Argument::strings() const {
  std::vector<std::string> all;
  for (const Argument& element : elements()) all.push_back(element.string());
  return all;
}

std::vector<std::pair<std::string, Argument>> Argument::entries() const {
  if (!value.IsObject()) reject(*this, "an object");
  const auto keys = Argument{value.As<Napi::Object>().GetPropertyNames(), name}.elements();
  std::vector<std::pair<std::string, Argument>> all;
  for (const Argument& key : keys) {
    const std::string text = key.value.ToString().Utf8Value();
    all.emplace_back(text, property(text.c_str()));
  }
  return all;
}

Argument argument(const Napi::CallbackInfo& info, size_t index, const char* name) {
  return {info[index], name};
}

Napi::Value to_float32_array(Napi::Env env, std::span<const float> values) {
  auto array = Napi::Float32Array::New(env, values.size());
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}

Napi::Value to_int32_array(Napi::Env env, std::span<const int32_t> values) {
  auto array = Napi::Int32Array::New(env, values.size());
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}

}  // namespace anneal::addon
