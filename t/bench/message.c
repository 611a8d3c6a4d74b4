/* message: what the source sends; see load.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "load.h"

#define LINE 80u                   /* letters and CRLF */
#define MIX_LARGEST 300000u

/* Ten sizes in equal parts: the median is 30 KB, one in ten has 300 KB. */
static const uint32_t mix[10] = { 4000, 10000, 18000, 26000, 30000, 30000, 45000, 70000, 100000, MIX_LARGEST };

void plan_init(struct message_plan *p)
{
    time_t now = time(NULL);
    struct tm tm;

    p->body_size = (p->size ? p->size : MIX_LARGEST) + 2 * LINE;
    p->body_size -= p->body_size % LINE;
    if (!(p->body = malloc(p->body_size)))
        die("memory");
    for (size_t i = 0; i < p->body_size; i += LINE) {
        for (size_t k = 0; k < LINE - 2; k++)
            p->body[i + k] = (char)(k % 9 == 8 ? ' ' : 'a' + bench_mix(i + k) % 26);
        memcpy(p->body + i + LINE - 2, "\r\n", 2);
    }
    memcpy(p->end, "\r\n.\r\n", sizeof p->end);
    gmtime_r(&now, &tm);
    strftime(p->date, sizeof p->date, "%a, %d %b %Y %H:%M:%S +0000", &tm);
}

void plan_recipient(const struct message_plan *p, uint32_t n, char *out, size_t max)
{
    const char *at = strchr(p->to, '%');

    if (at)
        snprintf(out, max, "%.*s%u%s", (int)(at - p->to), p->to, n % p->recipients, at + 1);
    else
        snprintf(out, max, "%s", p->to);
}

/* Every ten messages in a row have all ten sizes, in an order of their own. */
static size_t size_of(const struct message_plan *p, uint32_t n)
{
    uint64_t turn = bench_mix(p->seed ^ (n / 10));

    return p->size ? p->size : mix[(n % 10 * 7 + turn % 10) % 10];
}

void message_make(struct message_plan *p, uint32_t n, struct message *m)
{
    char to[256];
    size_t size = size_of(p, n), head, body;

    plan_recipient(p, n, to, sizeof to);
    head = (size_t)snprintf(m->head, sizeof m->head,
                            "From: <%s>\r\nTo: <%s>\r\nSubject: message %u of %s\r\nDate: %s\r\nMessage-Id: <%s.%u@bench.test>\r\n" BENCH_ID "%s-%u\r\n\r\n",
                            p->from, to, n, p->run, p->date, p->run, n, p->run, n);
    if (head >= sizeof m->head)
        head = sizeof m->head - 1;
    body = size > head ? size - head : 0;
    if (body % LINE == LINE - 1)    /* would end between CR and LF */
        body--;
    m->part[0] = (struct iovec){ m->head, head };
    m->part[1] = (struct iovec){ p->body, body };
    m->part[2] = body % LINE ? (struct iovec){ p->end, 5 } : (struct iovec){ p->end + 2, 3 };
    m->size = head + body + m->part[2].iov_len;
}
