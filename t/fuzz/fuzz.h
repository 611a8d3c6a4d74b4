/* t/fuzz/fuzz.h: what every fuzz target includes.  See README.md beside it. */
#ifndef T_FUZZ_H
#define T_FUZZ_H

#include <posthorn/scope.h>

/* The target: one input.  It owns its scope and leaves nothing behind: the same
 * input after any other must do the same.  Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A property that every input must keep; otherwise says which and aborts, and
 * the engine keeps the input (replay: the test fails and names it). */
#define FUZZ_CHECK(x, ...) ((x) ? (void)0 : fuzz_failed(#x, __FILE__, __LINE__, __VA_ARGS__))
void fuzz_failed(const char *what, const char *file, int line, const char *fmt, ...) PH_PRINTF(4, 5) PH_NORETURN;

/* What came out of the input.  Changes nothing but a sum that the replay
 * compares between two runs of one input: a target must be deterministic.
 * Leave out what may differ (pointers, clocks, ids, the order of a map). */
void fuzz_saw(ph_str outcome);
void fuzz_saw_number(int64_t outcome);
/* That sum; and it starts again. */
uint64_t fuzz_seen(void);

/* Take a byte off the front of the input (0 when it is empty): choices of the
 * target.  _choice: which of n modes, '0' the first, so that seeds can be read. */
unsigned fuzz_byte(ph_str *in);
unsigned fuzz_choice(ph_str *in, unsigned n);

/* Log lines are made and thrown away. */
void fuzz_quiet(void);

/* Both equal, any bytes, else FUZZ_CHECK fails and shows both. */
#define FUZZ_SAME(a, b, what) fuzz_same((a), (b), (what), __FILE__, __LINE__)
void fuzz_same(ph_str a, ph_str b, const char *what, const char *file, int line);

#endif
