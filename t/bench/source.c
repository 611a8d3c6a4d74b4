/* source: sends messages over many sessions at once and says how long each took.
 *
 *     source -s SESSIONS -m MESSAGES -l BYTES|mix [-p] [-P] [-i RUN] [-f FROM] [-t TO -r RECIPIENTS] [-S SEED] PORT
 *
 * One message per session unless -p (persistent); -P sends MAIL RCPT DATA at
 * once.  What is refused for now, or lost with its connection, is sent again.
 * Prints one line of JSON; ends with 1 when not all was accepted. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include "load.h"

#define STALL_US 60000000          /* nothing accepted for so long: give up */

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static uint32_t percentile(const struct source *s, unsigned percent)
{
    return s->accepted ? s->latency_us[(uint64_t)(s->accepted - 1) * percent / 100] : 0;
}

static void print(struct source *s)
{
    qsort(s->latency_us, s->accepted, sizeof *s->latency_us, by_value);
    printf("{\"messages\":%u,\"accepted\":%u,\"rejected\":%u,\"retried\":%u,\"uncertain\":%u,\"connections\":%llu,\"bytes\":%llu,"
           "\"start_us\":%lld,\"last_us\":%lld,\"p50_us\":%u,\"p90_us\":%u,\"p99_us\":%u,\"max_us\":%u,\"cpu_us\":%lld,\"trouble\":\"%s\"}\n",
           s->messages, s->accepted, s->rejected, s->retried, s->uncertain, (unsigned long long)s->connections, (unsigned long long)s->bytes,
           (long long)s->start_us, (long long)s->last_us, percentile(s, 50), percentile(s, 90), percentile(s, 99), percentile(s, 100),
           (long long)cpu_us(), s->trouble);
}

/* Connect those that have something to send; milliseconds until others may, -1: none waits. */
static int start_idle(struct source *s)
{
    int64_t now = clock_us(), soonest = -1;

    for (unsigned i = 0; s->live < s->sessions && i < s->sessions && source_has_work(s); i++) {
        struct session *x = &s->session[i];

        if (x->step == IDLE && x->again_us <= now)
            session_start(s, x);
        else if (x->step == IDLE && (soonest < 0 || x->again_us < soonest))
            soonest = x->again_us;
    }
    return soonest < 0 ? -1 : (int)((soonest - now) / 1000) + 1;
}

/* Once a second or so: 0 when nothing gets on any more. */
static int check(struct source *s, int64_t now)
{
    for (unsigned i = 0; i < s->sessions; i++)
        session_check(s, &s->session[i], now);
    return now - (s->last_us ? s->last_us : s->start_us) < STALL_US;
}

static void run(struct source *s)
{
    struct epoll_event ev[256];

    int64_t now = s->start_us = clock_us(), checked = now;

    while (now - checked < 1000000 || check(s, checked = now)) {
        int wait = start_idle(s);

        if (!s->live && wait < 0)
            return;
        int n = epoll_wait(s->epoll, ev, 256, wait < 0 || wait > 1000 ? 1000 : wait);
        for (int i = 0; i < n; i++) {
            struct session *x = &s->session[(uint32_t)ev[i].data.u64];

            if (x->fd >= 0 && x->gen == ev[i].data.u64 >> 32)
                session_ready(s, x, ev[i].events);
        }
        now = clock_us();
    }
    snprintf(s->trouble, sizeof s->trouble, "nothing accepted for %d s", STALL_US / 1000000);
}

static void allocate(struct source *s)
{
    s->session = calloc(s->sessions, sizeof *s->session);
    s->again = calloc(s->messages, sizeof *s->again);
    s->latency_us = calloc(s->messages, sizeof *s->latency_us);
    if (!s->session || !s->again || !s->latency_us)
        die("memory");
    for (unsigned i = 0; i < s->sessions; i++) {
        s->session[i].fd = -1;
        s->session[i].number = NO_MESSAGE;
    }
    plan_init(&s->plan);
}

static int options(struct source *s, int argc, char **argv)
{
    struct message_plan *p = &s->plan;
    int c, known = 1;

    while ((c = getopt(argc, argv, "s:m:l:pPi:f:t:r:S:")) != -1)
        switch (c) {
        case 's': s->sessions = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'm': s->messages = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'l': p->size = strcmp(optarg, "mix") == 0 ? 0 : strtoul(optarg, NULL, 10); break;
        case 'p': s->persistent = 1; break;
        case 'P': s->pipeline = 1; break;
        case 'i': p->run = optarg; break;
        case 'f': p->from = optarg; break;
        case 't': p->to = optarg; break;
        case 'r': p->recipients = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'S': p->seed = strtoull(optarg, NULL, 10); break;
        default: known = 0;
        }
    s->port = optind < argc ? atoi(argv[optind]) : 0;
    return known && s->port > 0 && s->sessions && s->messages && p->recipients;
}

int main(int argc, char **argv)
{
    static struct source s = { .sessions = 1, .messages = 1, .plan = { .run = "run", .from = "source@bench.test", .to = "sink@sink.test", .recipients = 1, .size = 4096 } };

    if (!options(&s, argc, argv)) {
        fprintf(stderr, "usage: source -s SESSIONS -m MESSAGES -l BYTES|mix [-p] [-P] [-i RUN] [-f FROM] [-t TO] [-r RECIPIENTS] [-S SEED] PORT\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    raise_limits();
    if ((s.epoll = epoll_create1(EPOLL_CLOEXEC)) < 0)
        die("epoll");
    allocate(&s);
    run(&s);
    print(&s);
    return s.accepted != s.messages;
}
