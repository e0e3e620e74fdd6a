// Errors that reach JavaScript with a `code`. std::invalid_argument becomes `invalid_argument`,
// std::bad_alloc `out_of_memory`, std::system_error the name of its errno (`ENOSPC`); everything else with a
// code is one of these.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace anneal {

/// `code` is an entry of proto/errors.ts, or `closed` for work on a session that was closed.
class CodedError : public std::runtime_error {
 public:
  CodedError(std::string code, const std::string& message)
      : std::runtime_error(message), code_(std::move(code)) {}
  [[nodiscard]] const std::string& code() const { return code_; }

 private:
  std::string code_;
};

}  // namespace anneal
