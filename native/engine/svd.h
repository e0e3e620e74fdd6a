// The largest singular values of a matrix and their vectors.
#pragma once

#include <cstdint>
#include <vector>

namespace anneal {

/// u [rows, rank], s [rank] from the largest down, v [rank, columns]; row-major.
struct SingularValues {
  std::vector<double> u, s, v;
};

/// The `rank` largest singular values of w [rows, columns], by block power iteration from a random start
/// (Halko et al. 2011) in double precision. The same arguments give the same bits whatever the threads.
/// Vectors of values that are nearly equal to the first left out may mix with theirs. rank <= min(rows,
/// columns).
SingularValues largest_singular_values(const std::vector<float>& w, int64_t rows, int64_t columns,
                                       int64_t rank, uint64_t seed, int threads);

}  // namespace anneal
