#include "data/external_sort.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <system_error>

namespace anneal {
namespace {

[[noreturn]] void fail(const char* what, const std::string& folder) {
  throw std::system_error(errno, std::generic_category(),
                          std::string("cannot ") + what + " a temporary file in '" + folder + "'");
}

}  // namespace

SpillFile::SpillFile(const std::string& folder) : folder_(folder) {
  std::string path = folder + "/.spill-XXXXXX";
  descriptor_ = ::mkostemp(path.data(), O_CLOEXEC);
  if (descriptor_ < 0) fail("create", folder_);
  ::unlink(path.c_str());
}

SpillFile::~SpillFile() { ::close(descriptor_); }

void SpillFile::append(const void* data, size_t bytes) {
  const auto* source = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t count = ::pwrite(descriptor_, source, bytes, size_);
    if (count < 0) {
      if (errno == EINTR) continue;
      fail("write to", folder_);
    }
    source += count;
    size_ += count;
    bytes -= static_cast<size_t>(count);
  }
}

void SpillFile::read(void* data, size_t bytes, int64_t offset) const {
  auto* destination = static_cast<char*>(data);
  while (bytes > 0) {
    const ssize_t count = ::pread(descriptor_, destination, bytes, offset);
    if (count < 0 && errno == EINTR) continue;
    if (count == 0) errno = EIO;  // the file is ours alone and was that long
    if (count <= 0) fail("read", folder_);
    destination += count;
    offset += count;
    bytes -= static_cast<size_t>(count);
  }
}

}  // namespace anneal
