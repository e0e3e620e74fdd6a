// What duplicates are known by: a 128-bit hash of each document, and keys of bands of its MinHash signature
// (locality-sensitive hashing): documents that share a key are near-duplicate candidates.
//
// Fingerprints are stored in files that several machines share, so they depend on the text and the options
// alone.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/minhash.h"
#include "data/shingles.h"
#include "data/text_batch.h"

namespace anneal {

struct NearOptions {
  ShingleUnit unit;
  int shingle;  // units of a shingle
  int bands;
  int rows;          // least hashes of a band
  int permutations;  // hashes of a signature, at least bands * rows
  uint64_t seed;
  MinHashScheme scheme;
  bool signatures;  // wanted as well
};

struct Fingerprints {
  /// Two a document: XXH3-128 of the text, white space at the ends left out and every run of it taken as one
  /// space. Low half first.
  std::vector<uint64_t> exact;
  /// `bands` a document; none without near options. A document without a shingle has keys that only equal
  /// documents share.
  std::vector<uint64_t> bands;
  /// `permutations` a document, if wanted.
  std::vector<uint32_t> signatures;
};

class Fingerprinter {
 public:
  Fingerprinter(std::optional<NearOptions> near, int threads);

  [[nodiscard]] Fingerprints run(const TextBatchView& batch);

 private:
  /// Memory of one thread, kept from batch to batch.
  struct Scratch {
    std::string text;
    std::optional<Shingler> shingler;
    std::vector<uint32_t> signature;
  };

  std::optional<NearOptions> near_;
  std::optional<MinHash> minhash_;
  std::vector<Scratch> scratch_;
};

}  // namespace anneal
