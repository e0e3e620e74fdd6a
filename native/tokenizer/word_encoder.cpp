#include "tokenizer/word_encoder.h"

#include "tokenizer/character_cuts.h"

namespace anneal {

void WordEncoder::append(SplitPattern pattern, std::string_view text) {
  const char* const text_end = text.data() + text.size();
  WordCursor cursor(pattern, text);
  std::array<const char*, kGroup> ends;
  const char* begin = text.data();
  while (const size_t count = cursor.next(ends)) {
    size_t waiting = 0;
    for (size_t i = 0; i < count; ++i) {
      const std::string_view word(begin, static_cast<size_t>(ends[i] - begin));
      begin = ends[i];
      Pending& pending = pending_[waiting];
      WordCache::ask(pending.query, word, false, text_end);
      if (pending.query.has_wide_character() || word.size() > WordCache::kLongBytes) {
        waiting = cut(word, text_end, waiting);
        continue;
      }
      pending.known = nullptr;
      cache_.prefetch(pending.query);
      ++waiting;
    }
    flush(waiting);
  }
}

size_t WordEncoder::cut(std::string_view word, const char* text_end, size_t waiting) {
  model_.cuts().cut(word, [&](std::string_view part, const CutCharacter* known) {
    // Room for the words of the group that follow this one stays.
    if (waiting + kGroup >= pending_.size()) {
      flush(waiting);
      waiting = 0;
    }
    Pending& pending = pending_[waiting++];
    pending.known = known;
    if (known != nullptr) return;
    WordCache::ask(pending.query, part, part.size() < word.size(), text_end);
    cache_.prefetch(pending.query);
  });
  return waiting;
}

inline size_t WordEncoder::look_up(const WordCache::Query& query, int32_t* out) {
  size_t found = query.is_short() ? cache_.find_short(query, out) : WordCache::kMoreIds;
  if (found - 1 < WordCache::kShortIds) return found;
  if (found == WordCache::kMoreIds) found = cache_.find_long(query, out);
  return found > 0 ? found : encode(query, out);
}

void WordEncoder::flush(size_t waiting) {
  size_t room = 0;
  for (size_t i = 0; i < waiting; ++i) {
    room += pending_[i].known == nullptr ? pending_[i].query.length + WordCache::kShortIds
                                         : CutCharacter::kMaxIds;
  }
  int32_t* out = ids.reserve(room);
  for (size_t i = 0; i < waiting; ++i) {
    const auto& [query, known] = pending_[i];
    if (known == nullptr) {
      out += look_up(query, out);
    } else {
      std::memcpy(out, known->ids, sizeof known->ids);  // inline, as std::copy_n is not
      out += known->count;
    }
  }
  ids.set_end(out);
}

size_t WordEncoder::encode(const WordCache::Query& query, int32_t* out) {
  const size_t count = query.is_part() ? model_.merge(query.word(), scratch_, out)
                                       : model_.encode(query.word(), scratch_, out);
  cache_.add(query, out, count);
  return count;
}

}  // namespace anneal
