// Duplicates among documents whose fingerprints lie in files: exact ones by equal 128-bit hashes, near ones
// by keys of bands that they share. Documents are numbered from 0 through all files in the order given; the
// first of a cluster stays, whatever the memory and the threads.
//
// Memory: `memory` bytes for sorting, and 9 bytes a document.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace anneal {

/// Fingerprints of successive documents.
struct FingerprintFiles {
  std::string exact;       // two uint64 a document
  std::string bands;       // `bands` uint64 a document; empty: no near duplicates
  std::string signatures;  // `permutations` uint32 a document; only to verify
  uint64_t documents;
  /// Only documents of the same group are compared.
  uint64_t group;
};

struct DuplicateOptions {
  int bands = 0;  // 0: exact duplicates only
  /// Candidates count only if this share of their signatures agrees; 0: they count unseen.
  double verify = 0;
  int permutations = 0;
  size_t memory;
  std::string folder;  // for what does not fit into memory
  int threads;
};

struct Duplicates {
  /// Documents that go, in order; exact or near; and the one that stays instead.
  std::vector<double> dropped;
  std::vector<uint8_t> exact;
  std::vector<double> kept;
  uint64_t clusters = 0;    // sets of two and more documents
  uint64_t largest = 0;     // documents of the largest
  uint64_t candidates = 0;  // pairs that shared a key and were not known to be of one cluster
  uint64_t refused = 0;     // of these, pairs whose signatures agreed too little
  int64_t spilled_bytes = 0;
};

/// At most 2^32 - 1 documents. Throws CodedError "artifact_corrupt" for a file of the wrong size.
Duplicates find_duplicates(const std::vector<FingerprintFiles>& files, const DuplicateOptions& options);

}  // namespace anneal
