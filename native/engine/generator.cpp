#include "engine/generator.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "engine/philox.h"

namespace anneal {

Generator::Generator(Backend& backend, const SessionOptions& options, Decoder& decoder,
                     const Activations& activations, const Scratch& scratch, const KvCache& cache)
    : backend_(backend),
      options_(options),
      decoder_(decoder),
      activations_(activations),
      scratch_(scratch),
      cache_(cache),
      shape_(options.architecture.attention_shape()),
      scheduler_(options) {}

void Generator::submit(int64_t id, GenerationRequest request) {
  validate(request, options_);
  if (request.constraint && !trie_) {
    throw std::invalid_argument("constraint: the session has no vocabulary (setVocabulary)");
  }
  scheduler_.submit(id, std::move(request), trie_);
}

std::vector<GenerationUpdate> Generator::advance(const std::function<void(int32_t)>& use_adapter) {
  const Pass pass = scheduler_.plan();
  if (!pass.chunks.empty()) {
    use_adapter(pass.adapter);
    for (const PageCopy& copy : pass.copies) {
      for (const KvCacheView& layer : cache_.layers) {
        backend_.kv_cache_copy_page(layer, copy.to, copy.from, shape_);
      }
    }
    run_layers(Rows(pass));
    std::vector<Drawing> drawings;
    int32_t row = -1;
    for (const Chunk& chunk : pass.chunks) {
      row += static_cast<int32_t>(chunk.count);
      if (!scheduler_.computed(chunk)) continue;
      for (RunningSample* sample : scheduler_.drawing(*chunk.sample)) drawings.push_back({row, sample});
    }
    draw(drawings);
    scheduler_.sweep();
  }
  return std::exchange(updates_, {});
}

Generator::Rows::Rows(const Pass& pass) {
  for (size_t i = 0; i < pass.chunks.size(); ++i) {
    add_chunk(pass.chunks[i], i == 0 ? nullptr : &pass.chunks[i - 1]);
  }
  group_starts.push_back(static_cast<int32_t>(tokens.size()));
}

void Generator::Rows::add_chunk(const Chunk& chunk, const Chunk* before) {
  const RunningSample& sample = *chunk.sample;
  const auto first_page = static_cast<int32_t>(pages.size());
  pages.insert(pages.end(), sample.pages.begin(), sample.pages.end());
  // Samples of one prompt that decode make a group: pages at their start are the same.
  int32_t shared = 0;
  if (before != nullptr && before->count == 1 && chunk.count == 1 &&
      before->sample->request == sample.request) {
    const std::vector<int32_t>& others = before->sample->pages;
    shared = static_cast<int32_t>(
        std::mismatch(others.begin(), others.end(), sample.pages.begin(), sample.pages.end()).first -
        others.begin());
  }
  if (shared > 0) {
    shared_pages.back() = std::min(shared_pages.back(), shared);
  } else {
    group_starts.push_back(static_cast<int32_t>(tokens.size()));
    shared_pages.push_back(static_cast<int32_t>(sample.pages.size()));
  }
  for (int64_t row = chunk.first; row < chunk.first + chunk.count; ++row) {
    tokens.push_back(sample.token(row));
    positions.push_back(static_cast<int32_t>(row));
    const int64_t page = sample.pages[static_cast<size_t>(row / kPageRows)];
    cache_rows.push_back(static_cast<int32_t>(page * kPageRows + row % kPageRows));
    lengths.push_back(static_cast<int32_t>(row) + 1);
    page_starts.push_back(first_page);
  }
}

PagedLayout Generator::Rows::layout() const {
  return {static_cast<int32_t>(tokens.size()),
          static_cast<int32_t>(shared_pages.size()),
          group_starts.data(),
          shared_pages.data(),
          page_starts.data(),
          pages.data(),
          lengths.data()};
}

void Generator::run_layers(const Rows& rows) {
  const auto count = std::ssize(rows.tokens);
  const size_t bytes = rows.tokens.size() * sizeof(int32_t);
  backend_.copy_to_device(activations_.tokens, rows.tokens.data(), bytes);
  backend_.copy_to_device(activations_.positions, rows.positions.data(), bytes);
  const PagedLayout layout = rows.layout();
  decoder_.forward_inference(count, [&](int64_t index, const LayerActivations& a) {
    const KvCacheView& layer = cache_.layers[static_cast<size_t>(index)];
    backend_.kv_cache_append(layer, a.qkv, rows.cache_rows.data(), count, shape_);
    backend_.attention_paged(a.attention_out, a.qkv, layer, layout, shape_, scratch_.attention);
  });
}

void Generator::draw(const std::vector<Drawing>& drawings) {
  const int64_t V = options_.architecture.vocab_size;
  const auto most = static_cast<size_t>(options_.generation_head_rows());
  for (size_t next = 0; next < drawings.size();) {
    std::vector<int32_t> rows;
    std::vector<SampleRow> sample_rows;
    std::vector<RunningSample*> samples;
    for (; next < drawings.size(); ++next) {
      const Drawing& drawing = drawings[next];
      if (rows.empty() || rows.back() != drawing.row) {
        if (rows.size() == most) break;
        rows.push_back(drawing.row);
      }
      SampleRow row;
      if (!sample_row(*drawing.sample, static_cast<int32_t>(rows.size()) - 1, row)) continue;
      sample_rows.push_back(row);
      samples.push_back(drawing.sample);
    }
    const auto count = std::ssize(rows);
    backend_.copy_to_device(activations_.scored, rows.data(), rows.size() * sizeof(int32_t));
    decoder_.final_norm(count);
    decoder_.logits(scratch_.logits, count, scratch_.logits_workspace);
    std::vector<Draw> draws(samples.size());
    backend_.sample(draws.data(), scratch_.logits, sample_rows.data(), std::ssize(samples), V,
                    scratch_.sample);
    for (size_t i = 0; i < samples.size(); ++i) book(*samples[i], draws[i]);
  }
}

bool Generator::sample_row(RunningSample& sample, int32_t logits_row, SampleRow& row) {
  RunningRequest& request = *sample.request;
  const SamplingOptions& o = request.asked.sampling;
  if (request.constraint) {
    row.allowed = request.constraint->allowed(sample.state);
    if (row.allowed == nullptr) {
      end(sample, request.constraint->accepting(sample.state) ? Finish::kStop : Finish::kLength);
      return false;
    }
  }
  row.logits_row = logits_row;
  row.temperature = o.temperature;
  row.top_k = o.top_k;
  row.top_p = o.top_p;
  row.min_p = o.min_p;
  row.repetition_penalty = o.repetition_penalty;
  row.seen = sample.seen.data();
  row.num_seen = std::ssize(sample.seen);
  const PhiloxBlock bits = philox(
      o.seed, {static_cast<uint32_t>(sample.tokens.size()), static_cast<uint32_t>(sample.index), 0, 0});
  row.uniform = uniform(bits[0], bits[1]);
  return true;
}

void Generator::book(RunningSample& sample, const Draw& draw) {
  RunningRequest& request = *sample.request;
  sample.tokens.push_back(draw.token);
  sample.observe(draw.token);
  if (request.constraint) sample.state = request.constraint->advance(sample.state, draw.token);
  updates_.push_back({request.id, sample.index, draw.token, draw.log_prob});
  const std::vector<int32_t>& stops = request.asked.sampling.stop_tokens;
  if (std::find(stops.begin(), stops.end(), draw.token) != stops.end()) {
    end(sample, Finish::kStop);
  } else if (request.constraint && request.constraint->complete(sample.state)) {
    end(sample, Finish::kStop);
  } else if (std::ssize(sample.tokens) >= request.limit) {
    end(sample, Finish::kLength);
  }
}

void Generator::end(RunningSample& sample, Finish finish) {
  scheduler_.finish(sample);
  GenerationUpdate update{sample.request->id, sample.index};
  update.finished = true;
  update.finish = finish;
  updates_.push_back(update);
}

}  // namespace anneal
