#include "data/fingerprint.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <stdexcept>
#include <string>

#include "data/text_parts.h"
#include "tokenizer/parallel.h"

namespace anneal {
namespace {

/// Documents that a thread takes at a time.
constexpr size_t kPart = 64;

/// Calls work(thread scratch index, document) for all documents, in parts on all threads.
template <typename Work>
void for_each_document(int threads, size_t documents, const Work& work) {
  for_each_part(threads, (documents + kPart - 1) / kPart, [&](int thread, size_t part) {
    for (size_t i = part * kPart; i < std::min(documents, (part + 1) * kPart); ++i) work(thread, i);
  });
}

ShingleHash hash_of(MinHashScheme scheme) {
  switch (scheme) {
    case MinHashScheme::kMultiplicative:
      return ShingleHash::kRolling;
    case MinHashScheme::kDatasketch:
      return ShingleHash::kMixedSha1;
    case MinHashScheme::kDatasketchLegacy:
      return ShingleHash::kSha1;
  }
  return ShingleHash::kRolling;
}

}  // namespace

Fingerprinter::Fingerprinter(std::optional<NearOptions> near, int threads)
    : near_(near), scratch_(static_cast<size_t>(threads)) {
  if (!near_) return;
  if (near_->bands * near_->rows > near_->permutations) {
    throw std::invalid_argument("bands times rows is more than the permutations");
  }
  minhash_.emplace(near_->scheme, near_->permutations, near_->seed);
  for (Scratch& own : scratch_) own.shingler.emplace(near_->unit, near_->shingle, hash_of(near_->scheme));
}

Fingerprints Fingerprinter::run(const TextBatchView& batch) {
  const size_t bands = near_ ? static_cast<size_t>(near_->bands) : 0;
  const size_t rows = near_ ? static_cast<size_t>(near_->rows) : 0;
  // What no band and nobody else needs is not computed.
  const size_t hashes = near_ && near_->signatures ? static_cast<size_t>(near_->permutations) : bands * rows;
  for (Scratch& own : scratch_) own.signature.resize(hashes);
  Fingerprints result;
  result.exact.resize(batch.size() * 2);
  result.bands.resize(batch.size() * bands);
  if (near_ && near_->signatures) result.signatures.resize(batch.size() * hashes);
  for_each_document(static_cast<int>(scratch_.size()), batch.size(), [&](int thread, size_t i) {
    Scratch& own = scratch_[static_cast<size_t>(thread)];
    collapse_space(batch[i], own.text);
    const XXH128_hash_t hash = XXH3_128bits(own.text.data(), own.text.size());
    result.exact[2 * i] = hash.low64;
    result.exact[2 * i + 1] = hash.high64;
    if (!near_) return;
    const std::vector<uint32_t>& shingles = own.shingler->shingles(batch[i]);
    minhash_->signature(shingles, own.signature);
    if (near_->signatures) {
      std::ranges::copy(own.signature, result.signatures.begin() + static_cast<int64_t>(i * hashes));
    }
    for (size_t band = 0; band < bands; ++band) {
      const uint64_t seed = shingles.empty() ? hash.low64 + band : band;
      result.bands[i * bands + band] =
          XXH3_64bits_withSeed(own.signature.data() + band * rows, rows * sizeof(uint32_t), seed);
    }
  });
  return result;
}

}  // namespace anneal
