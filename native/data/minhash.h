// MinHash (Broder 1997): for each of many permutations of the hashes, the least hash of a set. Two sets agree
// in a share of their least hashes that estimates their Jaccard similarity.
//
// A permutation is x -> a x mod 2^32 with an odd a: a bijection, one multiplication. The hashes have been
// mixed, so that the sets' own structure is gone, and 0, which every a leaves where it is, is not among them:
// the estimate then has the variance of random permutations (native/tests hold it to that). datasketch
// (from 2.0) adds a number b, with numbers of a Mersenne Twister; before it had x -> (a x + b mod 2^64) mod
// (2^61 - 1) mod 2^32.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace anneal {

enum class MinHashScheme { kMultiplicative, kDatasketch, kDatasketchLegacy };

class MinHash {
 public:
  /// The same seed gives the same permutations on every machine; of datasketch's schemes it has 32 bits.
  MinHash(MinHashScheme scheme, int permutations, uint64_t seed);

  [[nodiscard]] int permutations() const { return permutations_; }

  /// The least hash under each permutation; of an empty set all ones. `signature` has at most permutations()
  /// elements, those of the first permutations. The set's hashes: as Shingler gives them for the scheme.
  void signature(std::span<const uint32_t> set, std::span<uint32_t> signature) const;

 private:
  void vector_signature(std::span<const uint32_t> set, std::span<uint32_t> signature) const;
  void legacy_signature(std::span<const uint32_t> set, std::span<uint32_t> signature) const;

  MinHashScheme scheme_;
  int permutations_;
  std::vector<uint32_t> factors_;  // padded to whole vectors of any machine, as the terms
  std::vector<uint32_t> terms_;
  std::vector<uint64_t> wide_factors_;  // of datasketch's older scheme
  std::vector<uint64_t> wide_terms_;
};

}  // namespace anneal
