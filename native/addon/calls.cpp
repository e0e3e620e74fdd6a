#include "addon/calls.h"

#include <cstring>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>

namespace anneal::addon {

Napi::Error to_js_error(Napi::Env env, std::exception_ptr error) {
  const auto make = [env](const std::string& code, const std::string& message) {
    Napi::Error js_error = Napi::Error::New(env, message);
    js_error.Set("code", Napi::String::New(env, code));
    return js_error;
  };
  try {
    std::rethrow_exception(std::move(error));
  } catch (const CodedError& e) {
    return make(e.code(), e.what());
  } catch (const std::invalid_argument& e) {
    return make("invalid_argument", e.what());
  } catch (const std::bad_alloc&) {
    return make("out_of_memory", "the machine has no memory left for this");
  } catch (const std::system_error& e) {
    const char* name = strerrorname_np(e.code().value());
    return make(name == nullptr ? "internal" : name, e.what());
  } catch (const std::exception& e) {
    return make("internal", e.what());
  }
}

void Call::resolve(Convert convert) {
  calls_.settle([deferred = deferred_, cleanup = cleanup_, convert = std::move(convert)](Napi::Env env) {
    try {
      deferred.Resolve(convert(env));
    } catch (const Napi::Error& error) {
      deferred.Reject(error.Value());
    }
    cleanup(env);
  });
}

void Call::reject(std::exception_ptr error) {
  calls_.settle([deferred = deferred_, cleanup = cleanup_, error = std::move(error)](Napi::Env env) {
    deferred.Reject(to_js_error(env, error).Value());
    cleanup(env);
  });
}

std::shared_ptr<Call> Calls::begin(Napi::Env env) {
  if (under_way_++ == 0) {
    channel_->keep_alive(env, true);
    keep_(true);
  }
  return std::make_shared<Call>(*this, env);
}

void Calls::settle(std::function<void(Napi::Env)> function) {
  channel_->post([this, function = std::move(function)](Napi::Env env) {
    function(env);
    if (--under_way_ == 0) {
      channel_->keep_alive(env, false);
      keep_(false);
    }
  });
}

}  // namespace anneal::addon
