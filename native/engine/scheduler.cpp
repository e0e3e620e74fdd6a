#include "engine/scheduler.h"

#include <algorithm>
#include <set>
#include <utility>

namespace anneal {
namespace {

/// The order of service.
bool younger(const RunningSample& a, const RunningSample& b) {
  return std::pair(a.request->id, a.index) > std::pair(b.request->id, b.index);
}

int64_t prompt_rows(const RunningSample& sample) { return std::ssize(sample.request->asked.prompt); }

/// The sample of a request that computes the prompt for all.
RunningSample& leader(RunningRequest& request) {
  return *std::find_if(request.samples.begin(), request.samples.end(),
                       [](const RunningSample& sample) { return !sample.finished; });
}

/// Rows of prompts that one pass takes beside `decoding` samples.
int64_t prompt_budget(int64_t decoding, int64_t pass_rows) {
  constexpr int64_t kFewest = 64;
  const int64_t wanted = decoding == 0 ? pass_rows : std::max(kFewest, 2 * decoding);
  return std::min(wanted, pass_rows - decoding);
}

}  // namespace

int64_t RunningSample::rows() const { return std::ssize(request->asked.prompt) + std::ssize(tokens); }

int32_t RunningSample::token(int64_t row) const {
  const std::vector<int32_t>& prompt = request->asked.prompt;
  return row < std::ssize(prompt) ? prompt[static_cast<size_t>(row)]
                                  : tokens[static_cast<size_t>(row - std::ssize(prompt))];
}

void RunningSample::observe(int32_t token) {
  if (is_seen.empty() || is_seen[static_cast<size_t>(token)]) return;
  is_seen[static_cast<size_t>(token)] = true;
  seen.push_back(token);
}

Scheduler::Scheduler(const SessionOptions& options)
    : options_(options), pass_rows_(options.generation_pass_rows()), pool_(options.generation_pages()) {}

void Scheduler::submit(int64_t id, GenerationRequest request, std::shared_ptr<const TokenTrie> trie) {
  auto running = std::make_unique<RunningRequest>();
  running->id = id;
  running->limit =
      std::min(request.sampling.max_new_tokens, options_.generation_length - std::ssize(request.prompt));
  if (request.constraint) {
    running->constraint =
        std::make_unique<Constraint>(request.constraint, std::move(trie), request.sampling.stop_tokens);
  }
  running->asked = std::move(request);
  running->samples.resize(static_cast<size_t>(running->asked.samples));
  const bool penalised = running->asked.sampling.repetition_penalty != 1.0f;
  for (size_t i = 0; i < running->samples.size(); ++i) {
    RunningSample& sample = running->samples[i];
    sample.request = running.get();
    sample.index = static_cast<int32_t>(i);
    if (!penalised) continue;
    sample.is_seen.resize(static_cast<size_t>(options_.architecture.vocab_size), false);
    for (const int32_t token : running->asked.prompt) sample.observe(token);
  }
  requests_.emplace(id, std::move(running));
}

void Scheduler::cancel(int64_t id, std::vector<GenerationUpdate>& updates) {
  const auto found = requests_.find(id);
  if (found == requests_.end()) return;
  for (RunningSample& sample : found->second->samples) {
    if (sample.finished) continue;
    finish(sample);
    updates.push_back({id, sample.index, -1, 0.0f, true, Finish::kCancelled});
  }
  requests_.erase(found);
}

std::vector<RunningSample*> Scheduler::candidates() {
  // Room for rows of a prompt is left in every pass.
  const auto most = static_cast<size_t>(std::min(options_.generation_slots, pass_rows_ - kPageRows));
  std::vector<RunningSample*> all;
  for (const auto& [id, request] : requests_) {
    for (RunningSample& sample : request->samples) {
      if (all.size() == most) return all;
      if (!sample.finished) all.push_back(&sample);
    }
  }
  return all;
}

Pass Scheduler::plan() {
  const std::vector<RunningSample*> all = candidates();
  // One adapter a pass, each in its turn.
  std::set<int32_t> adapters;
  for (const RunningSample* sample : all) adapters.insert(sample->request->asked.adapter);
  std::vector<int32_t> turns(adapters.upper_bound(last_adapter_), adapters.end());
  turns.insert(turns.end(), adapters.begin(), adapters.upper_bound(last_adapter_));
  for (const int32_t adapter : turns) {
    Pass pass;
    pass.adapter = adapter;
    plan_adapter(all, pass);
    std::erase_if(pass.chunks, [](const Chunk& chunk) { return chunk.count == 0; });
    if (pass.chunks.empty()) continue;
    last_adapter_ = adapter;
    return pass;
  }
  return {};
}

void Scheduler::plan_adapter(const std::vector<RunningSample*>& candidates, Pass& pass) {
  std::vector<RunningSample*> prompts;
  for (RunningSample* sample : candidates) {
    if (sample->request->asked.adapter != pass.adapter) continue;
    if (sample->length > 0 && sample->length + 1 == sample->rows()) {
      pass.chunks.push_back({sample, sample->length, 1});
    } else {
      prompts.push_back(sample);
    }
  }
  // Only now: a reservation may take the pages, and the row, of a younger sample.
  for (size_t i = 0; i < pass.chunks.size(); ++i) {
    if (pass.chunks[i].count > 0) pass.chunks[i].count = reserve(*pass.chunks[i].sample, 1, pass);
  }
  const auto decoding = std::count_if(pass.chunks.begin(), pass.chunks.end(),
                                      [](const Chunk& chunk) { return chunk.count > 0; });
  int64_t budget = prompt_budget(decoding, pass_rows_);
  for (RunningSample* sample : prompts) {
    if (budget == 0) break;
    if (!may_start(*sample)) continue;
    if (sample->length == 0 && sample != candidates.front() && !has_room_to_start(*sample)) break;
    const int64_t count = reserve(*sample, std::min(budget, sample->rows() - sample->length), pass);
    if (count > 0) pass.chunks.push_back({sample, sample->length, count});
    budget -= count;
  }
}

bool Scheduler::may_start(RunningSample& sample) {
  if (sample.length > 0) return true;
  RunningSample& first = leader(*sample.request);
  if (&first == &sample) return true;
  if (first.length < prompt_rows(sample)) return false;
  const int64_t whole = prompt_rows(sample) / kPageRows;
  sample.pages.assign(first.pages.begin(), first.pages.begin() + whole);
  for (const int32_t page : sample.pages) pool_.hold(page);
  sample.length = whole * kPageRows;
  return true;
}

bool Scheduler::has_room_to_start(const RunningSample& sample) const {
  // One page for each sample that runs, and for each sibling: they will want it soon.
  int64_t reserved = pages_of(sample.rows()) + sample.request->asked.samples;
  int64_t running = 0;
  for (const auto& [id, request] : requests_) {
    for (const RunningSample& other : request->samples) running += other.pages.empty() ? 0 : 1;
  }
  return running == 0 || pool_.free() >= reserved + running;
}

int64_t Scheduler::reserve(RunningSample& sample, int64_t count, Pass& pass) {
  const int64_t end = sample.length + count;
  const auto first = static_cast<size_t>(sample.length / kPageRows);
  if (first < sample.pages.size() && pool_.shared(sample.pages[first])) {
    const int32_t page = page_for(sample, pass);
    // Finding one may have ended the sharing.
    if (!pool_.shared(sample.pages[first])) {
      if (page >= 0) pool_.release(page);
    } else if (page >= 0) {
      pass.copies.push_back({page, sample.pages[first]});
      pool_.release(sample.pages[first]);
      sample.pages[first] = page;
    } else {
      return 0;
    }
  }
  while (std::ssize(sample.pages) < pages_of(end)) {
    const int32_t page = page_for(sample, pass);
    if (page < 0) break;
    sample.pages.push_back(page);
  }
  return std::min(end, std::ssize(sample.pages) * kPageRows) - sample.length;
}

int32_t Scheduler::page_for(const RunningSample& sample, Pass& pass) {
  for (auto request = requests_.rbegin(); pool_.free() == 0 && request != requests_.rend(); ++request) {
    std::vector<RunningSample>& samples = request->second->samples;
    for (auto other = samples.rbegin(); pool_.free() == 0 && other != samples.rend(); ++other) {
      if (!younger(*other, sample)) return -1;
      if (other->pages.empty()) continue;
      give_up(*other);
      for (Chunk& chunk : pass.chunks) {
        if (chunk.sample == &*other) chunk.count = 0;
      }
    }
  }
  return pool_.free() == 0 ? -1 : pool_.take();
}

void Scheduler::give_up(RunningSample& sample) {
  pool_.release(sample.pages);
  sample.length = 0;
}

bool Scheduler::computed(const Chunk& chunk) {
  chunk.sample->length += chunk.count;
  return chunk.sample->length == chunk.sample->rows();
}

std::vector<RunningSample*> Scheduler::drawing(RunningSample& sample) {
  std::vector<RunningSample*> all{&sample};
  if (!sample.tokens.empty()) return all;
  for (RunningSample& sibling : sample.request->samples) {
    if (&sibling == &sample) continue;
    sibling.pages = sample.pages;
    for (const int32_t page : sibling.pages) pool_.hold(page);
    sibling.length = sample.length;
    all.push_back(&sibling);
  }
  return all;
}

void Scheduler::finish(RunningSample& sample) {
  sample.finished = true;
  give_up(sample);
}

void Scheduler::sweep() {
  std::erase_if(requests_, [](const auto& entry) {
    const std::vector<RunningSample>& samples = entry.second->samples;
    return std::all_of(samples.begin(), samples.end(),
                       [](const RunningSample& sample) { return sample.finished; });
  });
}

void Scheduler::forget_rows() {
  for (const auto& [id, request] : requests_) {
    for (RunningSample& sample : request->samples) give_up(sample);
  }
}

}  // namespace anneal
