// Lines or paragraphs that several documents have: hashed in a first pass over the documents, found by
// sorting, removed in a second pass wherever they are not the first.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/text_batch.h"
#include "data/text_parts.h"

namespace anneal {

struct PartOptions {
  TextPart part;
  size_t min_characters;  // shorter ones are never removed
  int threads;
};

/// Hashes of the distinct parts of each document, document after document, and how many each has.
struct PartHashes {
  std::vector<uint64_t> hashes;
  std::vector<uint32_t> counts;
};

PartHashes hash_parts(const TextBatchView& batch, const PartOptions& options);

/// What hash_parts gave for successive documents.
struct PartFiles {
  std::string hashes;
  std::string counts;
  uint64_t documents;
};

/// A part that at least `min_documents` documents have; `first` is the number of the first of them.
struct RepeatedPart {
  uint64_t hash;
  uint64_t first;
};

struct RepeatedParts {
  std::vector<RepeatedPart> parts;  // by rising hash
  uint64_t distinct = 0;            // parts of all documents
  int64_t spilled_bytes = 0;
};

/// Documents are numbered from 0 through all files. Memory: `memory` bytes for sorting, and what is returned.
RepeatedParts find_repeated_parts(const std::vector<PartFiles>& files, uint64_t min_documents, size_t memory,
                                  const std::string& folder, int threads);

struct WithoutParts {
  TextBatch texts;
  std::vector<uint32_t> removed;  // parts a document
};

/// Removes repeated parts: in a document that is not the first to have one all of it, in the first all but
/// the first. Also what a document repeats of itself alone.
class PartRemover {
 public:
  PartRemover(std::vector<RepeatedPart> parts, const PartOptions& options);

  /// `first_document`: number of the batch's first document.
  [[nodiscard]] WithoutParts run(const TextBatchView& batch, uint64_t first_document) const;

 private:
  [[nodiscard]] const RepeatedPart* find(uint64_t hash) const;

  PartOptions options_;
  std::vector<RepeatedPart> parts_;
  std::vector<uint32_t> buckets_;  // by the leading bits of the hash: where its parts begin
  int shift_;
};

}  // namespace anneal
