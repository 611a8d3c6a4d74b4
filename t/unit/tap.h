/* t/unit/tap.h: the Test Anything Protocol for unit tests; run by prove. */
#ifndef T_TAP_H
#define T_TAP_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <posthorn/buf.h>

static int tap_count, tap_bad;

__attribute__((format(printf, 2, 3), unused))
static int ok(int good, const char *fmt, ...)
{
    va_list ap;

    tap_count++;
    if (!good)
        tap_bad++;
    printf("%sok %d - ", good ? "" : "not ", tap_count);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    fflush(stdout);
    return good;
}

__attribute__((unused))
static void diag_bytes(const char *what, const char *p, size_t n)
{
    printf("#  %s: \"", what);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)p[i] >= 0x20 && (unsigned char)p[i] < 0x7f)
            putchar(p[i]);
        else
            printf("\\x%02x", (unsigned char)p[i]);
    printf("\" (%zu)\n", n);
}

/* is_bytes(view, "text", "name %d", n) */
#define is_bytes(got_, want_, ...) do { \
        ph_str got__ = (got_), want__ = ph_cstr(want_); \
        if (!ok(ph_str_eq(got__, want__), __VA_ARGS__)) { \
            diag_bytes("got ", got__.p, got__.n); \
            diag_bytes("want", want__.p, want__.n); \
        } \
    } while (0)
#define is_str(buf_, want_, ...) is_bytes(ph_buf_view(&(buf_)), want_, __VA_ARGS__)
#define is_int(got_, want_, ...) do { \
        long long got__ = (long long)(got_), want__ = (long long)(want_); \
        if (!ok(got__ == want__, __VA_ARGS__)) \
            printf("#  got: %lld\n#  want: %lld\n", got__, want__); \
    } while (0)

/* The build directory this program stands in (tests run from anywhere). */
__attribute__((unused))
static const char *build_dir(void)
{
    static char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    char *end;

    path[n < 0 ? 0 : n] = 0;
    if ((end = strstr(path, "/t/unit/")) || (end = strstr(path, "/t/plugin/")))
        *end = 0;
    return path;
}

__attribute__((unused))
static int done_testing(void)
{
    printf("1..%d\n", tap_count);
    return tap_bad ? 1 : 0;
}

#endif
