/* check: properties, outcomes, and the end of a run of the engine.  See fuzz.h. */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "core/run/log.h"
#include "fuzz.h"

static uint64_t seen;

void fuzz_failed(const char *what, const char *file, int line, const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "%s:%d: property broken: %s: ", file, line, what);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    abort();
}

void fuzz_saw(ph_str outcome)
{
    seen = seen * 0x100000001b3u ^ ph_str_hash(outcome) ^ outcome.n;
}

void fuzz_saw_number(int64_t outcome)
{
    seen = seen * 0x100000001b3u ^ (uint64_t)outcome;
}

uint64_t fuzz_seen(void)
{
    uint64_t was = seen;

    seen = 0;
    return was;
}

unsigned fuzz_byte(ph_str *in)
{
    unsigned c = in->n ? (unsigned char)in->p[0] : 0;

    *in = ph_str_from(*in, 1);
    return c;
}

unsigned fuzz_choice(ph_str *in, unsigned n)
{
    return (fuzz_byte(in) - '0' + 256) % 256 % n;
}

void fuzz_quiet(void)
{
    static int done;
    const struct ph_log_options o = { .file = "/dev/null", .service = "fuzz", .host = "mx.test" };

    if (!done && ph_log_open(&o) < 0) {
        perror(o.file);
        exit(1);
    }
    done = 1;
}

static void show(const char *which, ph_str s)
{
    fprintf(stderr, "%s (%zu): \"", which, s.n);
    for (size_t i = 0; i < s.n; i++)
        fprintf(stderr, ph_is_print(s.p[i]) ? "%c" : "\\x%02x", (unsigned char)s.p[i]);
    fputs("\"\n", stderr);
}

void fuzz_same(ph_str a, ph_str b, const char *what, const char *file, int line)
{
    if (ph_str_eq(a, b))
        return;
    show("one", a);
    show("other", b);
    fuzz_failed("same", file, line, "%s", what);
}

#ifdef PH_FUZZING
/* libFuzzer counts time on the wall; a run here is so many seconds of CPU.  On
 * SIGUSR1 it prints its figures and ends. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc PH_UNUSED, char ***argv PH_UNUSED)
{
    struct sigevent on = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
    struct itimerspec when = { 0 };
    const char *s = getenv("FUZZ_CPU_SECONDS");
    timer_t t;

    when.it_value.tv_sec = s ? atol(s) : 0;
    if (when.it_value.tv_sec > 0 && (timer_create(CLOCK_PROCESS_CPUTIME_ID, &on, &t) < 0 || timer_settime(t, 0, &when, NULL) < 0)) {
        perror("timer of the run");
        exit(1);
    }
    return 0;
}
#endif
