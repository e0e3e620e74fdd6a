// Files by descriptor: reads at offsets, checksummed sequential writes, every failure an exception with the
// path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace anneal {

/// An open file; closed by its destructor. Throws std::system_error that names the path.
class File {
 public:
  static File open_for_reading(const std::string& path);
  /// Creates the file, or empties an existing one.
  static File create(const std::string& path);
  File(File&& other) noexcept;
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  File& operator=(File&&) = delete;
  ~File();

  [[nodiscard]] int64_t size() const;
  /// Not a device, pipe or the like.
  [[nodiscard]] bool is_regular() const;
  [[nodiscard]] const std::string& path() const { return path_; }
  /// Reads exactly `bytes` bytes at `offset`; a file that ends earlier is a CodedError "file_unreadable".
  void read(void* data, size_t bytes, int64_t offset) const;
  /// Appends.
  void write(const void* data, size_t bytes);
  void sync();

 private:
  File(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}
  std::string path_;
  int descriptor_;
};

/// Writes a file front to back, counting bytes and the CRC-32C. Removes the file unless `finish` was reached.
class ChecksummedWriter {
 public:
  explicit ChecksummedWriter(const std::string& path) : file_(File::create(path)) {}
  ChecksummedWriter(const ChecksummedWriter&) = delete;
  ChecksummedWriter& operator=(const ChecksummedWriter&) = delete;
  ~ChecksummedWriter();

  void write(const void* data, size_t bytes);
  /// Flushes to the disk.
  void finish();
  [[nodiscard]] int64_t bytes() const { return bytes_; }
  [[nodiscard]] uint32_t crc() const { return crc_; }

 private:
  File file_;
  int64_t bytes_ = 0;
  uint32_t crc_ = 0;
  bool finished_ = false;
};

}  // namespace anneal
