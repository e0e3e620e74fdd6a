#include "data/minhash.h"

#include <algorithm>
#include <bit>
#include <random>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "data/minhash.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace anneal::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// `least[p]` becomes the least of itself and of factors[p] x, plus terms[p] with kTerms, over all x of the
/// set. `count` permutations, a multiple of four vectors.
template <bool kTerms>
HWY_INLINE void find_least(const uint32_t* set, size_t size, const uint32_t* factors,
                           [[maybe_unused]] const uint32_t* terms, size_t count, uint32_t* least) {
  const hn::ScalableTag<uint32_t> d;
  const size_t lanes = hn::Lanes(d);
  for (size_t p = 0; p < count; p += 4 * lanes) {
    const auto value = [&](size_t i, auto x) HWY_ATTR {
      const auto product = hn::Mul(hn::LoadU(d, factors + p + i * lanes), x);
      if constexpr (kTerms) return hn::Add(product, hn::LoadU(d, terms + p + i * lanes));
      return product;
    };
    auto m0 = hn::LoadU(d, least + p), m1 = hn::LoadU(d, least + p + lanes);
    auto m2 = hn::LoadU(d, least + p + 2 * lanes), m3 = hn::LoadU(d, least + p + 3 * lanes);
    for (size_t i = 0; i < size; ++i) {
      const auto x = hn::Set(d, set[i]);
      m0 = hn::Min(m0, value(0, x));
      m1 = hn::Min(m1, value(1, x));
      m2 = hn::Min(m2, value(2, x));
      m3 = hn::Min(m3, value(3, x));
    }
    hn::StoreU(m0, d, least + p);
    hn::StoreU(m1, d, least + p + lanes);
    hn::StoreU(m2, d, least + p + 2 * lanes);
    hn::StoreU(m3, d, least + p + 3 * lanes);
  }
}

void least_products(const uint32_t* set, size_t size, const uint32_t* factors, size_t count,
                    uint32_t* least) {
  find_least<false>(set, size, factors, nullptr, count, least);
}

void least_affine(const uint32_t* set, size_t size, const uint32_t* factors, const uint32_t* terms,
                  size_t count, uint32_t* least) {
  find_least<true>(set, size, factors, terms, count, least);
}

}  // namespace anneal::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace anneal {

HWY_EXPORT(least_products);
HWY_EXPORT(least_affine);

namespace {

/// Permutations of four vectors of the widest machine.
constexpr size_t kBlock = 64;
/// Shingles that are gone through for all permutations before the next: they stay in the first-level cache.
constexpr size_t kChunk = 4096;

size_t padded_to_block(size_t permutations) { return (permutations + kBlock - 1) / kBlock * kBlock; }

constexpr uint64_t kMersennePrime = (uint64_t{1} << 61) - 1;

/// SplitMix64 (Steele, Lea and Flood 2014).
uint64_t next_random(uint64_t& state) {
  uint64_t z = state += 0x9E3779B97F4A7C15u;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return z ^ z >> 31;
}

/// NumPy's RandomState.randint(low, high + 1) of 64 bits: draws of as many bits as `high - low` has, until
/// one fits.
uint64_t numpy_integer(std::mt19937& generator, uint64_t low, uint64_t high) {
  const uint64_t range = high - low;
  const uint64_t mask = std::bit_ceil(range + 1) - 1;
  while (true) {
    const uint64_t upper = generator();
    const uint64_t value = (upper << 32 | generator()) & mask;
    if (value <= range) return low + value;
  }
}

}  // namespace

MinHash::MinHash(MinHashScheme scheme, int permutations, uint64_t seed)
    : scheme_(scheme), permutations_(permutations) {
  if (scheme == MinHashScheme::kDatasketchLegacy) {
    std::mt19937 generator(static_cast<uint32_t>(seed));
    for (int p = 0; p < permutations; ++p) {
      wide_factors_.push_back(numpy_integer(generator, 1, kMersennePrime - 1));
      wide_terms_.push_back(numpy_integer(generator, 0, kMersennePrime - 1));
    }
    return;
  }
  const size_t padded = padded_to_block(static_cast<size_t>(permutations));
  if (scheme == MinHashScheme::kDatasketch) {
    std::mt19937 generator(static_cast<uint32_t>(seed));
    for (int p = 0; p < permutations; ++p) factors_.push_back(static_cast<uint32_t>(generator()) << 1 | 1);
    for (int p = 0; p < permutations; ++p) terms_.push_back(static_cast<uint32_t>(generator()));
    factors_.resize(padded);
    terms_.resize(padded);
    return;
  }
  uint64_t state = seed;
  for (size_t p = 0; p < padded; ++p) factors_.push_back(static_cast<uint32_t>(next_random(state) >> 32) | 1);
}

void MinHash::signature(std::span<const uint32_t> set, std::span<uint32_t> signature) const {
  if (scheme_ == MinHashScheme::kDatasketchLegacy) {
    legacy_signature(set, signature);
  } else {
    vector_signature(set, signature);
  }
}

void MinHash::vector_signature(std::span<const uint32_t> set, std::span<uint32_t> signature) const {
  thread_local std::vector<uint32_t> least;
  least.assign(padded_to_block(signature.size()), UINT32_MAX);
  for (size_t begin = 0; begin < set.size(); begin += kChunk) {
    const auto chunk = set.subspan(begin, std::min(kChunk, set.size() - begin));
    if (terms_.empty()) {
      HWY_DYNAMIC_DISPATCH(least_products)
      (chunk.data(), chunk.size(), factors_.data(), least.size(), least.data());
    } else {
      HWY_DYNAMIC_DISPATCH(least_affine)
      (chunk.data(), chunk.size(), factors_.data(), terms_.data(), least.size(), least.data());
    }
  }
  std::copy_n(least.begin(), signature.size(), signature.begin());
}

void MinHash::legacy_signature(std::span<const uint32_t> set, std::span<uint32_t> signature) const {
  for (size_t p = 0; p < signature.size(); ++p) {
    uint32_t least = UINT32_MAX;
    for (const uint64_t x : set) {
      // The product wraps around: NumPy's 64-bit numbers do.
      least =
          std::min(least, static_cast<uint32_t>((wide_factors_[p] * x + wide_terms_[p]) % kMersennePrime));
    }
    signature[p] = least;
  }
}

}  // namespace anneal
#endif
