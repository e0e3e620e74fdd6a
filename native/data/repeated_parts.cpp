#include "data/repeated_parts.h"

#include <algorithm>
#include <bit>
#include <compare>
#include <stdexcept>
#include <unordered_set>
#include <utility>

#include "data/external_sort.h"
#include "data/record_file.h"
#include "tokenizer/parallel.h"

namespace anneal {
namespace {

/// Documents that a thread takes at a time.
constexpr size_t kPart = 64;

struct HashRecord {
  uint64_t hash;
  uint64_t document;
  auto operator<=>(const HashRecord&) const = default;
};

size_t parts_of(const TextBatchView& batch) { return (batch.size() + kPart - 1) / kPart; }

}  // namespace

PartHashes hash_parts(const TextBatchView& batch, const PartOptions& options) {
  std::vector<PartHashes> results(parts_of(batch));
  for_each_part(options.threads, results.size(), [&](int, size_t part) {
    PartHashes& own = results[part];
    std::string scratch;
    for (size_t i = part * kPart; i < std::min(batch.size(), (part + 1) * kPart); ++i) {
      const size_t begin = own.hashes.size();
      for_each_text_part(batch[i], options.part, options.min_characters, scratch,
                         [&](uint64_t hash, size_t, size_t) { own.hashes.push_back(hash); });
      const auto from = own.hashes.begin() + static_cast<int64_t>(begin);
      std::sort(from, own.hashes.end());
      own.hashes.erase(std::unique(from, own.hashes.end()), own.hashes.end());
      own.counts.push_back(static_cast<uint32_t>(own.hashes.size() - begin));
    }
  });
  PartHashes result;
  for (const PartHashes& own : results) {
    result.hashes.insert(result.hashes.end(), own.hashes.begin(), own.hashes.end());
    result.counts.insert(result.counts.end(), own.counts.begin(), own.counts.end());
  }
  return result;
}

RepeatedParts find_repeated_parts(const std::vector<PartFiles>& files, uint64_t min_documents, size_t memory,
                                  const std::string& folder, int threads) {
  ExternalSorter<HashRecord> records(memory, folder, threads);
  uint64_t first = 0;
  for (const PartFiles& each : files) {
    // Both files side by side: the counts lie in memory, 4 bytes a document of one unit.
    std::vector<uint32_t> counts;
    uint64_t hashes = 0;
    for_each_record<uint32_t>(each.counts, each.documents, 1, [&](uint64_t, std::span<const uint32_t> count) {
      counts.push_back(count[0]);
      hashes += count[0];
    });
    size_t document = 0;
    for_each_record<uint64_t>(each.hashes, hashes, 1, [&](uint64_t, std::span<const uint64_t> hash) {
      while (counts[document] == 0) ++document;
      --counts[document];
      records.add({hash[0], first + document});
    });
    first += each.documents;
  }
  RepeatedParts result;
  RepeatedPart current{};
  uint64_t documents = 0;
  const auto end_part = [&] {
    if (documents > 0) ++result.distinct;
    if (documents >= min_documents) result.parts.push_back(current);
  };
  records.finish([&](const HashRecord& record) {
    if (documents == 0 || record.hash != current.hash) {
      end_part();
      current = {record.hash, record.document};
      documents = 0;
    }
    ++documents;
  });
  end_part();
  result.spilled_bytes = records.spilled_bytes();
  return result;
}

PartRemover::PartRemover(std::vector<RepeatedPart> parts, const PartOptions& options)
    : options_(options), parts_(std::move(parts)) {
  if (parts_.size() >= UINT32_MAX) throw std::invalid_argument("more than 2^32 - 2 repeated parts");
  if (!std::ranges::is_sorted(parts_, {}, &RepeatedPart::hash)) {
    throw std::invalid_argument("the repeated parts must be sorted by their hash");
  }
  // About one part a bucket.
  const int bits = std::max(1, static_cast<int>(std::bit_width(parts_.size())));
  shift_ = 64 - bits;
  buckets_.assign((size_t{1} << bits) + 1, 0);
  for (const RepeatedPart& part : parts_) ++buckets_[(part.hash >> shift_) + 1];
  for (size_t i = 1; i < buckets_.size(); ++i) buckets_[i] += buckets_[i - 1];
}

const RepeatedPart* PartRemover::find(uint64_t hash) const {
  const size_t bucket = hash >> shift_;
  for (uint32_t i = buckets_[bucket]; i < buckets_[bucket + 1]; ++i) {
    if (parts_[i].hash == hash) return &parts_[i];
  }
  return nullptr;
}

WithoutParts PartRemover::run(const TextBatchView& batch, uint64_t first_document) const {
  std::vector<WithoutParts> results(parts_of(batch));
  for_each_part(options_.threads, results.size(), [&](int, size_t part) {
    WithoutParts& own = results[part];
    std::string scratch, kept;
    std::unordered_set<uint64_t> seen;
    for (size_t i = part * kPart; i < std::min(batch.size(), (part + 1) * kPart); ++i) {
      const std::string_view text = batch[i];
      uint32_t removed = 0;
      size_t copied = 0;
      seen.clear();
      kept.clear();
      for_each_text_part(text, options_.part, options_.min_characters, scratch,
                         [&](uint64_t hash, size_t begin, size_t end) {
                           const bool again = !seen.insert(hash).second;
                           const RepeatedPart* found = again ? nullptr : find(hash);
                           if (!again && (found == nullptr || found->first == first_document + i)) return;
                           kept.append(text.substr(copied, begin - copied));
                           copied = end;
                           ++removed;
                         });
      kept.append(text.substr(copied));
      own.texts.add(kept);
      own.removed.push_back(removed);
    }
  });
  WithoutParts result;
  for (const WithoutParts& own : results) {
    for (size_t i = 0; i < own.texts.size(); ++i) result.texts.add(own.texts[i]);
    result.removed.insert(result.removed.end(), own.removed.begin(), own.removed.end());
  }
  return result;
}

}  // namespace anneal
