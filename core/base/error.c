/* error: codes with words.  See posthorn/error.h. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <posthorn/error.h>
#include "core/base/errtext.h"

_Thread_local struct ph_errtext *ph_errtext_current;
static _Thread_local struct ph_errtext thread_own;

static struct ph_errtext *current(void)
{
    return ph_errtext_current ? ph_errtext_current : &thread_own;
}

static char *text_of(struct ph_errtext *e)
{
    if (!e->text && !(e->text = calloc(1, PH_ERRTEXT_MAX)))
        ph_die("out of memory");
    return e->text;
}

void ph_errtext_fini(struct ph_errtext *e)
{
    free(e->text);
    e->text = NULL;
}

void ph_errtext_set(const char *text)
{
    snprintf(text_of(current()), PH_ERRTEXT_MAX, "%s", text);
}

/* The arguments may point into the old text, so format beside it. */
static int set(int code, const char *tail, const char *fmt, va_list ap)
{
    char line[PH_ERRTEXT_MAX];
    int n = ph_vformat(line, sizeof line, fmt, ap);
    size_t at = n < 0 ? 0 : (size_t)n < sizeof line ? (size_t)n : sizeof line - 1;

    if (tail)
        snprintf(line + at, sizeof line - at, ": %s", tail);
    memcpy(text_of(current()), line, sizeof line);
    ph_assert(code < 0);
    return code;
}

int ph_fail(int code, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    set(code, NULL, fmt, ap);
    va_end(ap);
    return code;
}

int ph_fail_errno(int code, int err, const char *fmt, ...)
{
    char why[128];
    va_list ap;

    va_start(ap, fmt);
    set(code, strerror_r(err, why, sizeof why), fmt, ap);
    va_end(ap);
    return code;
}

int ph_wrap(int code, const char *fmt, ...)
{
    char old[PH_ERRTEXT_MAX];
    va_list ap;

    snprintf(old, sizeof old, "%s", ph_error());
    va_start(ap, fmt);
    set(code, old[0] ? old : NULL, fmt, ap);
    va_end(ap);
    return code;
}

const char *ph_error(void)
{
    const char *text = current()->text;

    return text ? text : "";
}

/* Both end the process: straight to descriptor 2, which the master logs.  They
 * must work when memory ended and inside a pool thread. */
static void last_words(const char *line, int n, size_t size)
{
    size_t len = n < 0 ? 0 : (size_t)n < size ? (size_t)n : size - 1;

    if (write(2, line, len) < 0)
        _exit(1);
}

void ph_assert_failed(const char *what, const char *file, int line)
{
    char text[512];

    last_words(text, snprintf(text, sizeof text, "panic: %s:%d: %s does not hold\n", file, line, what), sizeof text);
    abort();
}

void ph_die(const char *fmt, ...)
{
    char text[512], all[560];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    last_words(all, snprintf(all, sizeof all, "fatal: %s\n", text), sizeof all);
    _exit(1);
}
