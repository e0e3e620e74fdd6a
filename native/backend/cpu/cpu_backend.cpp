// Memory of the CPU backend, and what it is called.
#include "backend/cpu/cpu_backend.h"

#include <cblas.h>
#include <hwy/highway.h>
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>

#include "backend/cpu/parallel.h"

namespace anneal {
namespace cpu {
namespace {
constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = 2 << 20;
constexpr size_t kMinHugeBytes = 4 << 20;
constexpr int64_t kMinCopyBytes = 1 << 18;  // below this, a second thread costs more than it brings
}  // namespace

CpuBackend::CpuBackend(int threads) : threads_(threads), partial_sums_(1024) {
  if (threads < 1) throw std::invalid_argument("make_cpu_backend: threads must be at least 1");
}

void* CpuBackend::allocate(size_t bytes) {
  const bool huge = bytes >= kMinHugeBytes;
  void* memory = nullptr;
  if (posix_memalign(&memory, huge ? kHugePage : kAlignment, bytes) != 0) throw std::bad_alloc();
  // Huge pages: rows of one head lie a page apart, so that small ones would miss the translation cache at
  // each row. Only advice: where the system says no, ordinary pages serve.
  if (huge) (void)madvise(memory, bytes, MADV_HUGEPAGE);
  return memory;
}

void CpuBackend::release(void* memory) { std::free(memory); }

void CpuBackend::copy_to_device(void* dst, const void* src, size_t bytes) { copy(dst, src, bytes); }

void CpuBackend::copy_to_host(void* dst, const void* src, size_t bytes) { copy(dst, src, bytes); }

void CpuBackend::copy(void* dst, const void* src, size_t bytes) {
  parallel_ranges(threads_, static_cast<int64_t>(bytes), kMinCopyBytes, [&](int64_t begin, int64_t end, int) {
    if (begin < end) {
      std::memcpy(static_cast<char*>(dst) + begin, static_cast<const char*>(src) + begin,
                  static_cast<size_t>(end - begin));
    }
  });
}

void CpuBackend::zero(void* dst, size_t bytes) {
  parallel_ranges(threads_, static_cast<int64_t>(bytes), kMinCopyBytes, [&](int64_t begin, int64_t end, int) {
    if (begin < end) std::memset(static_cast<char*>(dst) + begin, 0, static_cast<size_t>(end - begin));
  });
}

}  // namespace cpu

std::unique_ptr<Backend> make_cpu_backend(int threads) { return std::make_unique<cpu::CpuBackend>(threads); }

std::string cpu_backend_description() {
  const int64_t targets = hwy::SupportedTargets();
  const char* simd = (targets & HWY_AVX3) != 0 ? "avx512" : (targets & HWY_AVX2) != 0 ? "avx2" : "baseline";
  return std::string(simd) + ", OpenBLAS " + openblas_get_corename();
}

}  // namespace anneal
