// Cleaning of batches of documents by a list of rules, on all threads.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/clean_rules.h"
#include "data/text_batch.h"

namespace anneal {

struct CleanedBatch {
  TextBatch texts;
  std::vector<uint16_t> verdicts;  // 0: kept, else 1 + the rule that dropped the document
  std::vector<double> measures;
  std::vector<int16_t> languages;  // by index, -1: none found or not looked for
  std::vector<uint8_t> changed;
  std::vector<double> changed_documents, changes;  // by rule
  std::vector<uint32_t> example_documents;
  std::vector<uint16_t> example_rules;
  TextBatch excerpts;
};

class Cleaner {
 public:
  /// `examples` are kept a rule and batch.
  Cleaner(CleanRules rules, int threads, size_t examples);
  ~Cleaner();

  [[nodiscard]] const std::vector<std::string>& names() const { return names_; }
  /// Results are in the order of documents, whatever the threads.
  [[nodiscard]] CleanedBatch run(const TextBatchView& batch);

 private:
  class DocumentCleaner;
  struct Part;

  CleanRules rules_;
  size_t examples_;
  std::vector<std::string> names_;
  /// Of each thread; they and the parts keep their memory from batch to batch.
  std::vector<std::unique_ptr<DocumentCleaner>> cleaners_;
  std::vector<Part> parts_;
};

}  // namespace anneal
