/* posthorn/error.h: the words that go with a negative code.
 *
 * The text is kept per task (per thread outside tasks).  ph_fail* starts it,
 * ph_wrap adds where, in front: "queue file X: write: No space left".  Log it
 * once, where you decide; never where you pass on.  No call yields. */
#ifndef POSTHORN_ERROR_H
#define POSTHORN_ERROR_H

#include <posthorn/str.h>

PH_BEGIN

/* Set the text and return code (which must be negative). */
int ph_fail(int code, const char *fmt, ...) PH_PRINTF(2, 3);
/* The same with ": strerror(err)" behind; err is an errno value. */
int ph_fail_errno(int code, int err, const char *fmt, ...) PH_PRINTF(3, 4);
/* Put "fmt: " in front of the text and return code unchanged. */
int ph_wrap(int code, const char *fmt, ...) PH_PRINTF(2, 3);
/* The text of this task's last failure; "" when none.  Valid until the next
 * failure in this task. */
const char *ph_error(void);

/* Broken invariant: logs file, line and the expression, then aborts; the
 * master restarts us and the queue survives. */
#define ph_assert(x) ((x) ? (void)0 : ph_assert_failed(#x, __FILE__, __LINE__))
void ph_assert_failed(const char *what, const char *file, int line) PH_NORETURN;
/* End the process: memory ended, or an input made a size overflow. */
void ph_die(const char *fmt, ...) PH_PRINTF(1, 2) PH_NORETURN;

PH_END
#endif
