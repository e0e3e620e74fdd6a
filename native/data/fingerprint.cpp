#include "data/fingerprint.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <stdexcept>
#include <string>

#include "tokenizer/parallel.h"

namespace anneal {
namespace {

/// Documents that a thread takes at a time.
constexpr size_t kPart = 64;

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/// The text with single spaces between what is not white space (ASCII).
void collapse_space(std::string_view text, std::string& out) {
  out.clear();
  bool gap = false;
  for (const char c : text) {
    if (is_space(c)) {
      gap = true;
      continue;
    }
    if (gap && !out.empty()) out.push_back(' ');
    gap = false;
    out.push_back(c);
  }
}

/// Calls work(thread scratch index, document) for all documents, in parts on all threads.
template <typename Work>
void for_each_document(int threads, size_t documents, const Work& work) {
  for_each_part(threads, (documents + kPart - 1) / kPart, [&](int thread, size_t part) {
    for (size_t i = part * kPart; i < std::min(documents, (part + 1) * kPart); ++i) work(thread, i);
  });
}

}  // namespace

Fingerprinter::Fingerprinter(std::optional<NearOptions> near, int threads) : near_(near), threads_(threads) {
  if (near_) minhash_.emplace(near_->bands * near_->rows, near_->seed);
}

Fingerprints Fingerprinter::run(const TextBatch& batch) const {
  struct Scratch {
    std::string text;
    std::optional<Shingler> shingler;
    std::vector<uint32_t> signature;
  };
  std::vector<Scratch> scratch(static_cast<size_t>(threads_));
  const size_t bands = near_ ? static_cast<size_t>(near_->bands) : 0;
  const size_t rows = near_ ? static_cast<size_t>(near_->rows) : 0;
  for (Scratch& own : scratch) {
    if (near_) own.shingler.emplace(near_->unit, near_->shingle);
    own.signature.resize(bands * rows);
  }
  Fingerprints result;
  result.exact.resize(batch.size() * 2);
  result.bands.resize(batch.size() * bands);
  for_each_document(threads_, batch.size(), [&](int thread, size_t i) {
    Scratch& own = scratch[static_cast<size_t>(thread)];
    collapse_space(batch[i], own.text);
    const XXH128_hash_t hash = XXH3_128bits(own.text.data(), own.text.size());
    result.exact[2 * i] = hash.low64;
    result.exact[2 * i + 1] = hash.high64;
    if (!near_) return;
    const std::vector<uint32_t>& shingles = own.shingler->shingles(batch[i]);
    minhash_->signature(shingles, own.signature);
    for (size_t band = 0; band < bands; ++band) {
      const uint64_t seed = shingles.empty() ? hash.low64 + band : band;
      result.bands[i * bands + band] =
          XXH3_64bits_withSeed(own.signature.data() + band * rows, rows * sizeof(uint32_t), seed);
    }
  });
  return result;
}

std::vector<uint32_t> Fingerprinter::signatures(const TextBatch& batch) const {
  if (!near_) throw std::logic_error("signatures need near options");
  const auto size = static_cast<size_t>(minhash_->permutations());
  std::vector<Shingler> shinglers(static_cast<size_t>(threads_), Shingler(near_->unit, near_->shingle));
  std::vector<uint32_t> result(batch.size() * size);
  for_each_document(threads_, batch.size(), [&](int thread, size_t i) {
    minhash_->signature(shinglers[static_cast<size_t>(thread)].shingles(batch[i]),
                        std::span(result).subspan(i * size, size));
  });
  return result;
}

}  // namespace anneal
