#include "model/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "model/crc32c.h"
#include "model/errors.h"

namespace anneal {
namespace {

[[noreturn]] void fail(const char* what, const std::string& path) {
  throw std::system_error(errno, std::generic_category(), std::string("cannot ") + what + " '" + path + "'");
}

}  // namespace

File File::open_for_reading(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail("open", path);
  return {path, descriptor};
}

File File::create(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor < 0) fail("create", path);
  return {path, descriptor};
}

File::File(File&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

File::~File() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

int64_t File::size() const {
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) fail("inspect", path_);
  return status.st_size;
}

bool File::is_regular() const {
  struct stat status {};
  return ::fstat(descriptor_, &status) == 0 && S_ISREG(status.st_mode);
}

void File::read(void* data, size_t bytes, int64_t offset) const {
  auto* destination = static_cast<char*>(data);
  while (bytes > 0) {
    const ssize_t count = ::pread(descriptor_, destination, bytes, offset);
    if (count < 0) {
      if (errno == EINTR) continue;
      fail("read", path_);
    }
    if (count == 0) throw CodedError("file_unreadable", "'" + path_ + "' ended while it was read");
    destination += count;
    offset += count;
    bytes -= static_cast<size_t>(count);
  }
}

void File::write(const void* data, size_t bytes) {
  const auto* source = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t count = ::write(descriptor_, source, bytes);
    if (count < 0) {
      if (errno == EINTR) continue;
      fail("write to", path_);
    }
    source += count;
    bytes -= static_cast<size_t>(count);
  }
}

void File::sync() {
  if (::fsync(descriptor_) != 0) fail("flush", path_);
}

ChecksummedWriter::~ChecksummedWriter() {
  if (!finished_ && file_.is_regular()) ::unlink(file_.path().c_str());
}

void ChecksummedWriter::write(const void* data, size_t bytes) {
  file_.write(data, bytes);
  crc_ = crc32c(crc_, data, bytes);
  bytes_ += static_cast<int64_t>(bytes);
}

void ChecksummedWriter::finish() {
  file_.sync();
  finished_ = true;
}

}  // namespace anneal
