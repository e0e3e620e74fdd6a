// Sorting of more records than memory holds: sorted runs go to a file without a name, and are merged.
//
// The file is unlinked as soon as it exists: nothing of it outlives the process, however that ends.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "tokenizer/parallel.h"

namespace anneal {

/// A file without a name in a folder: appended to, then read. Throws std::system_error that names the folder
/// (ENOSPC when the disk is full).
class SpillFile {
 public:
  explicit SpillFile(const std::string& folder);
  SpillFile(const SpillFile&) = delete;
  SpillFile& operator=(const SpillFile&) = delete;
  ~SpillFile();

  void append(const void* data, size_t bytes);
  void read(void* data, size_t bytes, int64_t offset) const;
  [[nodiscard]] int64_t size() const { return size_; }

 private:
  std::string folder_;
  int descriptor_;
  int64_t size_ = 0;
};

/// Takes records in any order and gives them in the order of operator<; records that compare equal must be
/// equal, so that the order depends on nothing but the records.
template <typename Record>
class ExternalSorter {
  static_assert(std::is_trivially_copyable_v<Record>);

 public:
  /// `memory`: bytes for records, at least one for each thread.
  ExternalSorter(size_t memory, std::string folder, int threads)
      : capacity_(std::max(memory / sizeof(Record), static_cast<size_t>(threads))),
        folder_(std::move(folder)),
        threads_(threads) {}

  void add(const Record& record) {
    // Not initialised, so that only the pages that are used are taken from the machine.
    if (!records_) records_ = std::make_unique_for_overwrite<Record[]>(capacity_);
    if (size_ == capacity_) spill();
    records_[size_++] = record;
  }

  /// Calls visit(record) for each record, in order. Once.
  template <typename Visit>
  void finish(const Visit& visit) {
    if (!file_) {
      merge(sort_parts(), visit);
      return;
    }
    if (size_ > 0) spill();
    records_.reset();
    const size_t room = std::max<size_t>(1, capacity_ / runs_.size());
    for (Run& run : runs_) run.buffer = std::make_unique_for_overwrite<Record[]>(room);
    for (Run& run : runs_) run.room = room;
    merge(std::move(runs_), visit);
  }

  /// Bytes that went to the disk.
  [[nodiscard]] int64_t spilled_bytes() const { return file_ ? file_->size() : 0; }

 private:
  /// A sorted sequence: [at, end) in memory, then `left` records in the file from `offset`.
  struct Run {
    const Record* at = nullptr;
    const Record* end = nullptr;
    int64_t offset = 0;
    size_t left = 0;
    size_t room = 0;  // of the buffer
    std::unique_ptr<Record[]> buffer;
  };

  /// Sorts what is in memory as one run a thread.
  std::vector<Run> sort_parts() {
    std::vector<Run> parts(size_ == 0 ? 0 : static_cast<size_t>(threads_));
    for_each_part(threads_, parts.size(), [&](int, size_t part) {
      Record* begin = records_.get() + size_ * part / parts.size();
      Record* end = records_.get() + size_ * (part + 1) / parts.size();
      std::sort(begin, end);
      parts[part].at = begin;
      parts[part].end = end;
    });
    return parts;
  }

  void spill() {
    if (!file_) file_ = std::make_unique<SpillFile>(folder_);
    for (const Run& part : sort_parts()) {
      Run run;
      run.offset = file_->size();
      run.left = static_cast<size_t>(part.end - part.at);
      file_->append(part.at, run.left * sizeof(Record));
      if (run.left > 0) runs_.push_back(std::move(run));
    }
    size_ = 0;
  }

  /// Whether the run has a record, after reading on if need be.
  bool fill(Run& run) const {
    if (run.at != run.end) return true;
    if (run.left == 0) return false;
    const size_t count = std::min(run.left, run.room);
    file_->read(run.buffer.get(), count * sizeof(Record), run.offset);
    run.offset += static_cast<int64_t>(count * sizeof(Record));
    run.left -= count;
    run.at = run.buffer.get();
    run.end = run.at + count;
    return true;
  }

  template <typename Visit>
  void merge(std::vector<Run> runs, const Visit& visit) {
    std::vector<Run*> heap;
    for (Run& run : runs) {
      if (fill(run)) heap.push_back(&run);
    }
    const auto later = [](const Run* a, const Run* b) { return *b->at < *a->at; };
    std::make_heap(heap.begin(), heap.end(), later);
    while (!heap.empty()) {
      std::pop_heap(heap.begin(), heap.end(), later);
      Run& run = *heap.back();
      // What lies below the next run's first record needs no heap.
      const Record* bound = heap.size() > 1 ? heap.front()->at : nullptr;
      do visit(*run.at++);
      while (fill(run) && (bound == nullptr || !(*bound < *run.at)));
      if (run.at == run.end) {
        heap.pop_back();
      } else {
        std::push_heap(heap.begin(), heap.end(), later);
      }
    }
  }

  size_t capacity_;
  std::string folder_;
  int threads_;
  std::unique_ptr<Record[]> records_;
  size_t size_ = 0;
  std::unique_ptr<SpillFile> file_;
  std::vector<Run> runs_;
};

}  // namespace anneal
