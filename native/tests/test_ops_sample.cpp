// Drawing tokens from logits: frequencies, filters, log-probs; and the random numbers beneath.
#include <doctest/doctest.h>

#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "engine/philox.h"
#include "op_harness.h"

namespace anneal::test {
namespace {

/// Draws from one row of logits `count` times, with evenly spread random numbers.
std::vector<Draw> draws(Backend& backend, const Floats& logits, SampleRow row, int count) {
  Run run(backend);
  const auto V = static_cast<int64_t>(logits.size());
  std::vector<SampleRow> rows(static_cast<size_t>(count), row);
  for (int i = 0; i < count; ++i) rows[static_cast<size_t>(i)].uniform = (i + 0.5) / count;
  std::vector<Draw> drawn(rows.size());
  backend.sample(drawn.data(), run.floats(logits), rows.data(), count, V,
                 run.scratch(backend.sample_workspace(V)));
  return drawn;
}

std::map<int32_t, double> frequencies(Backend& backend, const Floats& logits, const SampleRow& row,
                                      int count = 4000) {
  std::map<int32_t, double> found;
  for (const Draw& draw : draws(backend, logits, row, count)) found[draw.token] += 1.0 / count;
  return found;
}

std::set<int32_t> support(Backend& backend, const Floats& logits, const SampleRow& row) {
  std::set<int32_t> tokens;
  for (const auto& [token, frequency] : frequencies(backend, logits, row)) tokens.insert(token);
  return tokens;
}

Floats log_of(const Doubles& probabilities) {
  Floats logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p)) + 3.0f);
  return logits;
}

SampleRow at_temperature(float temperature) {
  SampleRow row;
  row.temperature = temperature;
  return row;
}

}  // namespace

TEST_CASE("sample: frequencies follow the distribution, log-probs are of the tempered softmax") {
  const Doubles shares = {0.05, 0.4, 0.1, 0.25, 0.2};
  const Floats logits = log_of(shares);
  for_each_backend([&](Backend& backend, const std::string& name) {
    CAPTURE(name);
    for (const auto& [token, share] : frequencies(backend, logits, at_temperature(1.0f))) {
      CHECK(share == doctest::Approx(shares[static_cast<size_t>(token)]).epsilon(0.01));
    }
    for (const float temperature : {0.5f, 1.0f, 1.7f}) {
      double sum = 0.0;
      for (const double p : shares) sum += std::pow(p, 1.0 / static_cast<double>(temperature));
      // Filters change what is drawn, not the log-prob.
      SampleRow row = at_temperature(temperature);
      row.top_k = 2;
      for (const Draw& draw : draws(backend, logits, row, 50)) {
        const double p =
            std::pow(shares[static_cast<size_t>(draw.token)], 1.0 / static_cast<double>(temperature));
        CHECK(draw.log_prob == doctest::Approx(std::log(p / sum)).epsilon(1e-5));
      }
    }
    const Draw greedy = draws(backend, logits, SampleRow(), 1)[0];
    CHECK(greedy.token == 1);
    CHECK(greedy.log_prob == doctest::Approx(std::log(0.4)).epsilon(1e-5));
  });
}

TEST_CASE("sample: each filter keeps its tokens, and they follow each other") {
  const Floats logits = log_of({0.05, 0.4, 0.1, 0.25, 0.2});
  using Set = std::set<int32_t>;
  for_each_backend([&](Backend& backend, const std::string& name) {
    CAPTURE(name);
    const auto kept = [&](const auto& set) {
      SampleRow row = at_temperature(1.0f);
      set(row);
      return support(backend, logits, row);
    };
    CHECK(kept([](SampleRow& r) { r.top_k = 2; }) == Set{1, 3});
    CHECK(kept([](SampleRow& r) { r.top_k = 9; }) == Set{0, 1, 2, 3, 4});
    CHECK(kept([](SampleRow& r) { r.top_p = 0.39f; }) == Set{1});
    CHECK(kept([](SampleRow& r) { r.top_p = 0.6f; }) == Set{1, 3});
    CHECK(kept([](SampleRow& r) { r.top_p = 0.7f; }) == Set{1, 3, 4});
    CHECK(kept([](SampleRow& r) { r.min_p = 0.3f; }) == Set{1, 3, 4});
    // Top-p works on what top-k left: of 0.4 and 0.25, 0.4 is 62%.
    CHECK(kept([](SampleRow& r) { r.top_k = 2, r.top_p = 0.6f; }) == Set{1});
    const uint64_t allowed = 0b10101;
    CHECK(kept([&](SampleRow& r) { r.allowed = &allowed; }) == Set{0, 2, 4});
    CHECK(kept([&](SampleRow& r) { r.allowed = &allowed, r.top_k = 1; }) == Set{4});
    CHECK(kept([&](SampleRow& r) { r.allowed = &allowed, r.temperature = 0.0f; }) == Set{4});
  });
}

TEST_CASE("sample: thresholds over a large vocabulary, against sorting it") {
  const Floats logits = random_floats(5003, 7, -4.0, 4.0);
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)];
  });
  double total = 0.0;
  for (const float logit : logits) total += std::exp(static_cast<double>(logit));
  for_each_backend([&](Backend& backend, const std::string& name) {
    CAPTURE(name);
    SampleRow row = at_temperature(1.0f);
    row.top_k = 40;
    CHECK(support(backend, logits, row) == std::set<int32_t>(order.begin(), order.begin() + 40));
    row.top_k = 0;
    row.top_p = 0.1f;
    double mass = 0.0;
    std::set<int32_t> expected;
    for (size_t i = 0; mass < 0.1 * total; ++i) {
      expected.insert(order[i]);
      mass += std::exp(static_cast<double>(logits[static_cast<size_t>(order[i])]));
    }
    CHECK(support(backend, logits, row) == expected);
  });
}

TEST_CASE("sample: the repetition penalty pushes seen tokens down whatever their sign") {
  for_each_backend([&](Backend& backend, const std::string&) {
    const auto drawn = [&](const Floats& logits, const Ints& seen) {
      SampleRow row;
      row.repetition_penalty = 2.0f;
      row.seen = seen.data();
      row.num_seen = static_cast<int64_t>(seen.size());
      return draws(backend, logits, row, 1)[0];
    };
    CHECK(drawn({3.0f, 2.0f}, {}).token == 0);
    CHECK(drawn({3.0f, 2.0f}, {0}).token == 1);    // 3 / 2
    CHECK(drawn({-1.0f, -1.5f}, {0}).token == 1);  // -1 * 2
    CHECK(drawn({-1.0f, -2.5f}, {0}).token == 0);
    CHECK(drawn({3.0f, 2.0f}, {0}).log_prob == doctest::Approx(-std::log(1.0 + std::exp(1.0))));
  });
}

TEST_CASE("philox: the published test vectors") {
  CHECK(philox(0, {0, 0, 0, 0}) == PhiloxBlock{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u});
  CHECK(philox(UINT64_MAX, {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX}) ==
        PhiloxBlock{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu});
  CHECK(philox(0x299f31d0a4093822u, {0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}) ==
        PhiloxBlock{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u});
}

}  // namespace anneal::test
