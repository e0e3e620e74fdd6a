#include "data/duplicates.h"

#include <compare>
#include <numeric>
#include <stdexcept>

#include "data/external_sort.h"
#include "data/record_file.h"
#include "tokenizer/word_hash.h"

namespace anneal {
namespace {

/// Documents of a key that later ones are compared with when candidates are verified. Bounds the work for a
/// key that very many unlike documents share.
constexpr size_t kLeaders = 64;

/// Sets of documents; the root is the first document of its set.
class UnionFind {
 public:
  explicit UnionFind(size_t size) : parents_(size) { std::iota(parents_.begin(), parents_.end(), 0U); }

  uint32_t root(uint32_t i) {
    while (parents_[i] != i) i = parents_[i] = parents_[parents_[i]];
    return i;
  }
  void join(uint32_t a, uint32_t b) {
    a = root(a);
    b = root(b);
    if (a < b) parents_[b] = a;
    if (b < a) parents_[a] = b;
  }

 private:
  std::vector<uint32_t> parents_;
};

struct ExactRecord {
  uint64_t low, high;
  uint64_t document;
  auto operator<=>(const ExactRecord&) const = default;
  [[nodiscard]] bool same_key(const ExactRecord& other) const {
    return low == other.low && high == other.high;
  }
};

struct BandRecord {
  uint64_t key;
  uint64_t document;
  auto operator<=>(const BandRecord&) const = default;
  [[nodiscard]] bool same_key(const BandRecord& other) const { return key == other.key; }
};

/// Keys of different groups must differ: a bijection of the key for each group.
uint64_t of_group(uint64_t key, uint64_t group) {
  return group == 0 ? key : key ^ mix_bits(group ^ 0x9E3779B97F4A7C15u, 0xC2B2AE3D27D4EB4Fu);
}

/// Calls visit(documents) for the documents of each key that more than one has, in rising order.
template <typename Record, typename Visit>
void for_each_group(ExternalSorter<Record>& sorter, const Visit& visit) {
  std::vector<uint32_t> documents;
  Record last{};
  const auto end_group = [&] {
    if (documents.size() > 1) visit(documents);
    documents.clear();
  };
  sorter.finish([&](const Record& record) {
    if (!record.same_key(last)) end_group();
    last = record;
    documents.push_back(static_cast<uint32_t>(record.document));
  });
  end_group();
}

/// Signatures of documents by number.
class Signatures {
 public:
  Signatures(const std::vector<FingerprintFiles>& files, int permutations)
      : permutations_(static_cast<size_t>(permutations)) {
    uint64_t end = 0;
    for (const FingerprintFiles& each : files) {
      const auto bytes = static_cast<int64_t>(each.documents * permutations_ * sizeof(uint32_t));
      files_.push_back(File::open_for_reading(each.signatures));
      if (files_.back().size() != bytes) {
        throw CodedError("artifact_corrupt",
                         "'" + each.signatures + "' is not a file of " + std::to_string(bytes) + " bytes");
      }
      ends_.push_back(end += each.documents);
    }
  }

  void read(uint32_t document, std::vector<uint32_t>& signature) const {
    const auto found = std::upper_bound(ends_.begin(), ends_.end(), uint64_t{document});
    const auto file = static_cast<size_t>(found - ends_.begin());
    const uint64_t first = file == 0 ? 0 : ends_[file - 1];
    const size_t bytes = permutations_ * sizeof(uint32_t);
    signature.resize(permutations_);
    files_[file].read(signature.data(), bytes, static_cast<int64_t>((document - first) * bytes));
  }

 private:
  size_t permutations_;
  std::vector<File> files_;
  std::vector<uint64_t> ends_;
};

double agreement(const std::vector<uint32_t>& a, const std::vector<uint32_t>& b) {
  size_t same = 0;
  for (size_t i = 0; i < a.size(); ++i) same += a[i] == b[i] ? 1 : 0;
  return static_cast<double>(same) / static_cast<double>(a.size());
}

class Finder {
 public:
  Finder(const std::vector<FingerprintFiles>& files, const DuplicateOptions& options, size_t documents)
      : files_(files), options_(options), sets_(documents), exact_(documents) {}

  Duplicates run() {
    find_exact();
    if (options_.bands > 0) find_near();
    collect();
    return std::move(result_);
  }

 private:
  template <typename Record>
  ExternalSorter<Record> sorter() const {
    return ExternalSorter<Record>(options_.memory, options_.folder, options_.threads);
  }

  void find_exact() {
    auto records = sorter<ExactRecord>();
    uint64_t first = 0;
    for (const FingerprintFiles& each : files_) {
      for_each_record<uint64_t>(each.exact, each.documents, 2,
                                [&](uint64_t i, std::span<const uint64_t> key) {
                                  records.add({of_group(key[0], each.group), key[1], first + i});
                                });
      first += each.documents;
    }
    for_each_group(records, [&](const std::vector<uint32_t>& documents) {
      for (size_t i = 1; i < documents.size(); ++i) {
        exact_[documents[i]] = 1;
        sets_.join(documents[0], documents[i]);
      }
    });
    result_.spilled_bytes += records.spilled_bytes();
  }

  void find_near() {
    auto records = sorter<BandRecord>();
    const auto bands = static_cast<size_t>(options_.bands);
    uint64_t first = 0;
    for (const FingerprintFiles& each : files_) {
      for_each_record<uint64_t>(each.bands, each.documents, bands,
                                [&](uint64_t i, std::span<const uint64_t> keys) {
                                  // An exact duplicate has the keys of its first: nothing new.
                                  if (exact_[first + i]) return;
                                  for (const uint64_t key : keys) {
                                    records.add({of_group(key, each.group), first + i});
                                  }
                                });
      first += each.documents;
    }
    std::optional<Signatures> signatures;
    if (options_.verify > 0) signatures.emplace(files_, options_.permutations);
    for_each_group(records, [&](const std::vector<uint32_t>& documents) {
      if (signatures) {
        join_verified(documents, *signatures);
      } else {
        for (size_t i = 1; i < documents.size(); ++i) {
          if (sets_.root(documents[0]) != sets_.root(documents[i])) ++result_.candidates;
          sets_.join(documents[0], documents[i]);
        }
      }
    });
    result_.spilled_bytes += records.spilled_bytes();
  }

  /// Joins each document with the earlier ones of the key that its signature agrees with.
  void join_verified(const std::vector<uint32_t>& documents, const Signatures& signatures) {
    struct Leader {
      uint32_t document;
      std::vector<uint32_t> signature;
    };
    std::vector<Leader> leaders;
    std::vector<uint32_t> signature;
    for (const uint32_t document : documents) {
      signature.clear();
      bool joined = false;
      for (Leader& leader : leaders) {
        if (sets_.root(leader.document) == sets_.root(document)) {
          joined = true;
          continue;
        }
        if (signature.empty()) signatures.read(document, signature);
        if (leader.signature.empty()) signatures.read(leader.document, leader.signature);
        ++result_.candidates;
        if (agreement(leader.signature, signature) >= options_.verify) {
          sets_.join(leader.document, document);
          joined = true;
        } else {
          ++result_.refused;
        }
      }
      if (!joined && leaders.size() < kLeaders) leaders.push_back({document, {}});
    }
  }

  void collect() {
    std::vector<uint32_t> sizes(exact_.size());
    for (uint32_t i = 0; i < exact_.size(); ++i) {
      const uint32_t root = sets_.root(i);
      if (++sizes[root] == 2) ++result_.clusters;
      result_.largest = std::max<uint64_t>(result_.largest, sizes[root] > 1 ? sizes[root] : 0);
      if (root == i) continue;
      result_.dropped.push_back(i);
      result_.exact.push_back(exact_[i]);
      result_.kept.push_back(root);
    }
  }

  const std::vector<FingerprintFiles>& files_;
  const DuplicateOptions& options_;
  UnionFind sets_;
  std::vector<uint8_t> exact_;  // equals an earlier document
  Duplicates result_;
};

}  // namespace

Duplicates find_duplicates(const std::vector<FingerprintFiles>& files, const DuplicateOptions& options) {
  uint64_t documents = 0;
  for (const FingerprintFiles& each : files) documents += each.documents;
  if (documents >= UINT32_MAX) throw std::invalid_argument("more than 2^32 - 2 documents");
  return Finder(files, options, static_cast<size_t>(documents)).run();
}

}  // namespace anneal
