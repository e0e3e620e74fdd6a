// The instruction sets that code written with Highway is compiled for, each in turn.
#pragma once

#include <hwy/highway.h>

#include <string>

namespace anneal::test {

/// While it lives, one target runs.
class UseTarget {
 public:
  explicit UseTarget(int64_t target) { set(target); }
  ~UseTarget() { set(0); }
  UseTarget(const UseTarget&) = delete;
  UseTarget& operator=(const UseTarget&) = delete;

 private:
  static void set(int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().DeInit();
  }
};

/// Calls f(name) with AVX-512, AVX2 and what every machine has, of those that this machine has.
template <typename F>
void for_each_target(const F& f) {
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    if (target != HWY_AVX3 && target != HWY_AVX2 && target != HWY_STATIC_TARGET) continue;
    const UseTarget use(target);
    f(std::string(hwy::TargetName(target)));
  }
}

}  // namespace anneal::test
