// Reading arguments from JavaScript. Every function throws std::invalid_argument that names the argument.
#pragma once

#include <napi.h>

#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace anneal::addon {

/// A property of an options object, with its name for messages (`options.threads`).
struct Argument {
  Napi::Value value;
  std::string name;

  /// Throws if this is not an object.
  [[nodiscard]] Argument property(const char* key) const;
  [[nodiscard]] bool is_absent() const { return value.IsUndefined() || value.IsNull(); }

  [[nodiscard]] int64_t integer(int64_t low, int64_t high) const;
  [[nodiscard]] double number() const;
  [[nodiscard]] float single() const { return static_cast<float>(number()); }
  [[nodiscard]] bool boolean() const;
  [[nodiscard]] std::string string() const;
  /// Index of the string in `choices`.
  [[nodiscard]] size_t choice(std::span<const char* const> choices) const;
  /// Elements of a typed array where they lie: valid only until the call returns. `wanted` is for messages.
  template <typename Array>
  [[nodiscard]] auto view(napi_typedarray_type type, const char* wanted) const {
    require_typed_array(type, wanted);
    const auto array = value.As<Array>();
    return std::span(static_cast<const std::remove_pointer_t<decltype(array.Data())>*>(array.Data()),
                     array.ElementLength());
  }
  [[nodiscard]] std::vector<int32_t> int32s() const;
  [[nodiscard]] std::vector<float> floats() const;
  [[nodiscard]] std::vector<uint8_t> bytes() const;
  /// Elements of an array.
  [[nodiscard]] std::vector<Argument> elements() const;
  /// Elements of an array of strings.
  [[nodiscard]] std::vector<std::string> strings() const;
  /// Properties of an object, with their keys.
  [[nodiscard]] std::vector<std::pair<std::string, Argument>> entries() const;

 private:
  void require_typed_array(napi_typedarray_type type, const char* wanted) const;
};

/// Argument `index` of a call.
Argument argument(const Napi::CallbackInfo& info, size_t index, const char* name);

/// The largest integer that JavaScript's numbers hold exactly, 2^53 - 1.
constexpr int64_t kMaxSafeInteger = (int64_t{1} << 53) - 1;

/// Copies to a new typed array.
Napi::Value to_float32_array(Napi::Env env, std::span<const float> values);
Napi::Value to_int32_array(Napi::Env env, std::span<const int32_t> values);

}  // namespace anneal::addon
