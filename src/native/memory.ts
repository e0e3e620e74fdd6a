/** Giving back large memory when its last use is known. */

/**
 * Empties arrays and frees their memory now, together with all other views of it. The collector frees it as well, but
 * only when tens of megabytes of the like have gathered outside its heap.
 */
export function release(...arrays: ArrayBufferView[]): void {
  for (const { buffer } of arrays) (buffer as ArrayBuffer).transfer(0);
}
