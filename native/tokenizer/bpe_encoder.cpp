#include "tokenizer/bpe_encoder.h"

#include <algorithm>
#include <array>
#include <utility>

#include "tokenizer/nfc.h"
#include "tokenizer/parallel.h"
#include "tokenizer/spaces.h"
#include "tokenizer/word_encoder.h"

namespace anneal {
namespace {

std::vector<AddedToken> chosen(const std::vector<AddedToken>& tokens, bool normalized) {
  std::vector<AddedToken> found;
  std::copy_if(tokens.begin(), tokens.end(), std::back_inserter(found),
               [&](const AddedToken& token) { return token.normalized == normalized; });
  return found;
}

}  // namespace

/// What a thread needs while it encodes.
struct BpeEncoder::Worker {
  explicit Worker(const BpeModel& model) : words(model) {}

  WordEncoder words;
  std::vector<AddedTokens::Piece> pieces, normalized_pieces;
  std::string composed, replaced, prefixed;
};

BpeEncoder::BpeEncoder(BpeEncoderOptions options)
    : options_(std::move(options)),
      model_(std::move(options_.model)),
      raw_added_(chosen(options_.added, false)) {
  workers_.resize(1 + static_cast<size_t>(std::max(1, options_.threads)));
  std::vector<AddedToken> in_normalized = chosen(options_.added, true);
  for (AddedToken& token : in_normalized) token.text = normalized(token.text, worker(0));
  normalized_added_ = std::make_unique<AddedTokens>(std::move(in_normalized));
}

BpeEncoder::~BpeEncoder() = default;

std::vector<int32_t> BpeEncoder::encode(std::string_view text, bool with_specials) const {
  const std::lock_guard lock(encode_mutex_);
  Worker& own = worker(0);
  own.words.ids.clear();
  append(text, with_specials, own);
  return {own.words.ids.begin(), own.words.ids.end()};
}

BpeEncoder::Worker& BpeEncoder::worker(size_t i) const {
  if (!workers_[i]) workers_[i] = std::make_unique<Worker>(model_);
  return *workers_[i];
}

EncodedBatch BpeEncoder::encode_batch(const TextBatchView& documents, bool with_specials) const {
  const std::lock_guard lock(batch_mutex_);
  // Neighbouring documents form parts of about this size: large enough to keep threads from meeting often.
  constexpr size_t kPartBytes = size_t{1} << 18;
  std::vector<size_t> starts;
  size_t part_bytes = kPartBytes;
  for (size_t i = 0; i < documents.size(); ++i) {
    if (part_bytes >= kPartBytes) {
      starts.push_back(i);
      part_bytes = 0;
    }
    part_bytes += documents[i].size();
  }
  const size_t parts = starts.size();
  starts.push_back(documents.size());

  EncodedBatch batch;
  batch.ends.resize(documents.size());
  std::vector<std::vector<int32_t>> part_ids(parts);
  for_each_part(static_cast<int>(workers_.size()) - 1, parts, [&](int thread, size_t part) {
    Worker& own = worker(static_cast<size_t>(thread) + 1);
    own.words.ids.clear();
    for (size_t i = starts[part]; i < starts[part + 1]; ++i) {
      append(documents[i], with_specials, own);
      batch.ends[i] = static_cast<double>(own.words.ids.size());
    }
    part_ids[part].assign(own.words.ids.begin(), own.words.ids.end());
  });

  size_t total = 0;
  for (size_t part = 0; part < parts; ++part) {
    for (size_t i = starts[part]; i < starts[part + 1]; ++i) batch.ends[i] += static_cast<double>(total);
    total += part_ids[part].size();
  }
  if (parts == 1) {
    batch.ids = std::move(part_ids.front());
    return batch;
  }
  batch.ids.reserve(total);
  for (std::vector<int32_t>& part : part_ids) {
    batch.ids.insert(batch.ids.end(), part.begin(), part.end());
    part = {};
  }
  return batch;
}

void BpeEncoder::append(std::string_view text, bool with_specials, Worker& worker) const {
  if (!raw_added_.finds_any(with_specials)) {
    append_normalized(normalized(text, worker), true, with_specials, worker);
    return;
  }
  raw_added_.split(text, with_specials, worker.pieces);
  for (const auto& [piece, id] : worker.pieces) {
    if (id >= 0) {
      worker.words.ids.push(id);
    } else {
      append_normalized(normalized(piece, worker), piece.data() == text.data(), with_specials, worker);
    }
  }
}

std::string_view BpeEncoder::normalized(std::string_view text, Worker& worker) const {
  if (options_.nfc) text = to_nfc(text, worker.composed);
  if (text.empty() || (options_.prepend.empty() && options_.space.empty())) return text;
  worker.replaced = options_.prepend;
  if (options_.space.empty()) return worker.replaced.append(text);
  append_with_spaces(text, options_.space, worker.replaced);
  return worker.replaced;
}

void BpeEncoder::append_normalized(std::string_view text, bool is_first, bool with_specials,
                                   Worker& worker) const {
  const auto append_stretch = [&](std::string_view stretch, bool first) {
    const bool may_prefix =
        options_.prefix_rule == PrefixRule::kAlways || (options_.prefix_rule == PrefixRule::kFirst && first);
    if (stretch.empty() || (!may_prefix && options_.late_space.empty())) {
      append_words(stretch, worker);
      return;
    }
    // The prefix is spaces as they are after this.
    const std::string_view as_space =
        options_.late_space.empty() ? " " : std::string_view(options_.late_space);
    const bool has_prefix =
        stretch.starts_with(options_.prefix) || (options_.prefix == as_space && stretch[0] == ' ');
    worker.prefixed = may_prefix && !has_prefix ? options_.prefix : "";
    append_with_spaces(stretch, as_space, worker.prefixed);
    append_words(worker.prefixed, worker);
  };
  if (!normalized_added_->finds_any(with_specials)) {
    append_stretch(text, is_first);
    return;
  }
  normalized_added_->split(text, with_specials, worker.normalized_pieces);
  for (const auto& [piece, id] : worker.normalized_pieces) {
    if (id >= 0) {
      worker.words.ids.push(id);
    } else {
      append_stretch(piece, is_first && piece.data() == text.data());
    }
  }
}

void BpeEncoder::append_words(std::string_view text, Worker& worker) const {
  worker.words.append(options_.pattern, text);
}

}  // namespace anneal
