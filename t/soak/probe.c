/* probe: whole messages one after the other, each in a session of its own, and
 * how long the replies took.  With several ports one message goes to each in
 * turn: what else the machine does then meets all of them alike. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "load.h"

#define PORTS_MAX 8

enum { BANNER, MAIL, END_OF_DATA, WHOLE, STAGES };
static const char *const stage_name[STAGES] = { "banner", "mail", "eod", "whole" };

struct probe {
    int port, count;
    char rcpt[320];
    int64_t *us[STAGES];
    int failed;
};

/* Send, wait for the reply of that class; its time goes to *us unless NULL. */
static int step(int fd, const char *text, int class, int64_t *us)
{
    struct reply r = { 0 };
    int64_t t0 = clock_us();

    if (!send_all(fd, text, strlen(text)))
        return 0;
    int code = await_reply(fd, &r);
    if (us)
        *us = clock_us() - t0;
    if (code / 100 != class)
        fprintf(stderr, "load: %d to %.20s\n", code, text);
    return code / 100 == class;
}

static int message(const struct probe *p, int i)
{
    struct reply r = { 0 };
    int64_t t0 = clock_us();
    int fd = dial(p->port, 1), ok = await_reply(fd, &r) == 220;

    p->us[BANNER][i] = clock_us() - t0;
    ok = ok && step(fd, "EHLO probe.test\r\n", 2, NULL) && step(fd, "MAIL FROM:<probe@soak.test>\r\n", 2, &p->us[MAIL][i]) &&
         step(fd, p->rcpt, 2, NULL) && step(fd, "DATA\r\n", 3, NULL) &&
         step(fd, "From: probe@soak.test\r\nSubject: probe\r\n\r\nAre you there?\r\n.\r\n", 2, &p->us[END_OF_DATA][i]) &&
         step(fd, "QUIT\r\n", 2, NULL);
    p->us[WHOLE][i] = clock_us() - t0;
    close(fd);
    return ok;
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

static void print(const struct probe *p)
{
    printf("{\"port\":%d,\"count\":%d,\"failed\":%d", p->port, p->count, p->failed);
    for (int s = 0; s < STAGES; s++) {
        qsort(p->us[s], (size_t)p->count, sizeof *p->us[s], by_size);
        printf(",\"%s\":{\"p50\":%lld,\"p99\":%lld,\"max\":%lld}", stage_name[s], (long long)p->us[s][p->count / 2],
               (long long)p->us[s][(p->count * 99 + 99) / 100 - 1], (long long)p->us[s][p->count - 1]);
    }
    printf("}");
}

static void init(struct probe *p, int port, int count, const char *rcpt)
{
    *p = (struct probe){ .port = port, .count = count };
    snprintf(p->rcpt, sizeof p->rcpt, "RCPT TO:<%s>\r\n", rcpt);
    for (int s = 0; s < STAGES; s++)
        if (!(p->us[s] = calloc((size_t)count, sizeof *p->us[s])))
            die("memory");
}

int probe_main(int argc, char **argv)
{
    static struct probe p[PORTS_MAX];
    int ports = argc - 3, count = argc > 1 ? atoi(argv[1]) : 0, failed = 0;

    if (count <= 0 || ports < 1 || ports > PORTS_MAX)
        return 2;
    for (int k = 0; k < ports; k++)
        init(&p[k], atoi(argv[3 + k]), count, argv[2]);
    for (int i = 0; i < count; i++)
        for (int k = 0; k < ports; k++)
            p[k].failed += !message(&p[k], i);
    for (int k = 0; k < ports; k++) {
        printf("%c", k ? ',' : '[');
        print(&p[k]);
        failed += p[k].failed;
    }
    printf("]\n");
    return failed != 0;
}
