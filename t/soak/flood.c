/* flood: one client that sends more than anybody should take.  It begins as an
 * honest one, then repeats one piece until so many bytes are sent, the server
 * ends the session, or `count` replies have come. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "load.h"

#define PIECE 65536u
#define MAIL "MAIL FROM:<flood@soak.test>\r\n"
#define RCPT "RCPT TO:<flood@example.test>\r\n"
#define FLOOD_IDLE_MS 20000        /* nothing moves: the server has stopped reading, or hangs */

enum how {
    STREAM,                        /* as fast as the server reads; replies are read beside it */
    STEP,                          /* the next piece when the one before is answered */
    DEAF,                          /* replies are never read */
};

static const struct flood_kind {
    const char *name;
    enum how how;
    const char *begin[5];          /* commands, each answered before the next */
    const char *head;              /* sent once before the pieces */
    const char *piece;             /* repeated to PIECE bytes (STREAM, DEAF), or as it is (STEP); %u: a counter */
    const char *end;               /* sent after the last one: the server must still understand */
} kinds[] = {
    { "line", STREAM, { 0 }, "", "x", NULL },
    { "line-greeted", STREAM, { "EHLO f.test\r\n" }, "NOOP ", "x", NULL },
    { "headers", STREAM, { "EHLO f.test\r\n", MAIL, RCPT, "DATA\r\n" }, "", "X-Header-Of-Many: with some text behind it\r\n", "\r\n.\r\n" },
    { "header", STREAM, { "EHLO f.test\r\n", MAIL, RCPT, "DATA\r\n" }, "Subject: ", "one line without end ", "\r\n.\r\n" },
    { "folded", STREAM, { "EHLO f.test\r\n", MAIL, RCPT, "DATA\r\n" }, "Subject: many\r\n", " lines of one header\r\n", "\r\n.\r\n" },
    { "names", STREAM, { "EHLO f.test\r\n", MAIL, RCPT, "DATA\r\n" }, "", "Message-Id: <a@b.test>\r\nContent-Transfer-Encoding: 8bit\r\n", "\r\n.\r\n" },
    { "body", STREAM, { "EHLO f.test\r\n", MAIL, RCPT, "DATA\r\n" }, "Subject: body\r\n\r\n", "A line of a body that does not end.\r\n", "\r\n.\r\n" },
    { "body-line", STREAM, { "EHLO f.test\r\n", MAIL, RCPT, "DATA\r\n" }, "Subject: body\r\n\r\n", "one line without end ", "\r\n.\r\n" },
    { "dots", STREAM, { "EHLO f.test\r\n", MAIL, RCPT, "DATA\r\n" }, "Subject: dots\r\n\r\n", "..\r\n.x\r\n", "\r\n.\r\n" },
    { "stray", STREAM, { "EHLO f.test\r\n", MAIL, RCPT, "DATA\r\n" }, "Subject: stray\r\n\r\n", "\r\r\n\n", "\r\n.\r\n" },
    { "bdat", STREAM, { "EHLO f.test\r\n", MAIL, RCPT }, "", "BDAT 65000\r\n", NULL },
    { "bdat-huge", STREAM, { "EHLO f.test\r\n", MAIL, RCPT }, "BDAT 2147483648\r\n", "y", NULL },
    { "bdat-max", STREAM, { "EHLO f.test\r\n", MAIL, RCPT }, "BDAT 9223372036854775807\r\n", "y", NULL },
    { "bdat-no-mail", STREAM, { "EHLO f.test\r\n" }, "", "BDAT 65000\r\n", NULL },
    { "bdat-small", STREAM, { "EHLO f.test\r\n", MAIL, RCPT }, "", "BDAT 1\r\nz", NULL },
    { "unknown", STEP, { "EHLO f.test\r\n" }, "", "FOO%u\r\n", NULL },
    { "rset", STEP, { "EHLO f.test\r\n" }, "", "RSET\r\n", NULL },
    { "noop", STEP, { "EHLO f.test\r\n" }, "", "NOOP %u\r\n", NULL },
    { "vrfy", STEP, { "EHLO f.test\r\n" }, "", "VRFY flood%u@example.test\r\n", NULL },
    { "ehlo", STEP, { 0 }, "", "EHLO %u.a-long-name-a-long-name-a-long-name-a-long-name-a-long-name-a-long-name-a-long-name-a-long-name-a-long-name.test\r\n", NULL },
    { "mail-rset", STEP, { "EHLO f.test\r\n" }, "", "MAIL FROM:<flood%u@soak.test>\r\nRCPT TO:<flood@example.test>\r\nRSET\r\n", NULL },
    { "rcpt", STEP, { "EHLO f.test\r\n", MAIL }, "", "RCPT TO:<flood%u@example.test>\r\n", NULL },
    { "rcpt-refused", STEP, { "EHLO f.test\r\n", MAIL }, "", "RCPT TO:<flood%u@elsewhere.test>\r\n", NULL },
    { "empty", STREAM, { "EHLO f.test\r\n" }, "", "\r\n", NULL },
    { "help", STREAM, { "EHLO f.test\r\n" }, "", "HELP\r\n", NULL },
    { "pipelined", STREAM, { "EHLO f.test\r\n" }, "", "NOOP\r\n", NULL },
    { "deaf", DEAF, { "EHLO f.test\r\n" }, "", "HELP\r\n", NULL },
};

struct flood {
    const struct flood_kind *k;
    int fd;
    uint64_t limit, sent;
    char piece[PIECE + 4096];
    size_t piece_n, at;            /* sent of it */
    unsigned count, replies[600], last;
    struct reply reply;
    const char *ended;             /* how, NULL: not yet */
};

static void note(struct flood *f, int code)
{
    f->last = (unsigned)code;
    if (code > 0 && code < 600)
        f->replies[code]++;
}

/* Whatever is there now; 0 when the server has gone. */
static int hear(struct flood *f)
{
    char buf[16384];
    ssize_t n = recv(f->fd, buf, sizeof buf, MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 1;
    if (n <= 0) {
        f->ended = n < 0 ? "reset" : "closed";
        return 0;
    }
    for (size_t at = 0, used; at < (size_t)n; at += used) {
        int code = reply_take(&f->reply, buf + at, (size_t)n - at, &used);

        if (code)
            note(f, code);
    }
    return 1;
}

static void fill_piece(struct flood *f)
{
    size_t n = strlen(f->k->piece);
    int chunk = strcmp(f->k->piece, "BDAT 65000\r\n") == 0;

    if (f->k->how == STEP) {
        f->piece_n = (size_t)snprintf(f->piece, sizeof f->piece, f->k->piece, f->count++);
    } else if (chunk) {
        memcpy(f->piece, f->k->piece, n);
        memset(f->piece + n, 'c', 65000);
        f->piece_n = n + 65000;
    } else {
        for (f->piece_n = 0; f->piece_n + n <= PIECE; f->piece_n += n)
            memcpy(f->piece + f->piece_n, f->k->piece, n);
    }
    f->at = 0;
}

/* Some of the piece; 0 when the server has gone. */
static int push(struct flood *f)
{
    ssize_t n = send(f->fd, f->piece + f->at, f->piece_n - f->at, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 1;
    if (n < 0) {
        /* What it said last is still to be read. */
        while (hear(f) && poll(&(struct pollfd){ .fd = f->fd, .events = POLLIN }, 1, 1000) > 0)
            ;
        if (!f->ended)
            f->ended = "reset";
        return 0;
    }
    f->at += (size_t)n;
    f->sent += (uint64_t)n;
    if (f->at == f->piece_n)
        fill_piece(f);
    return 1;
}

static void stream(struct flood *f)
{
    short in = f->k->how == DEAF ? 0 : POLLIN;

    fill_piece(f);
    while (!f->ended && (f->sent < f->limit || f->at)) {
        struct pollfd p = { .fd = f->fd, .events = (short)(POLLOUT | in) };
        int n = poll(&p, 1, FLOOD_IDLE_MS);

        if (n == 0)
            f->ended = "stuck";
        if (n > 0 && (p.revents & POLLIN) && !hear(f))
            return;
        if (n > 0 && (p.revents & (POLLOUT | POLLERR | POLLHUP)) && !push(f))
            return;
    }
}

/* Whole commands, each answered before the next: the junk and error limits. */
static void steps(struct flood *f)
{
    while (!f->ended && f->sent < f->limit) {
        unsigned lines = 0;

        fill_piece(f);
        for (size_t i = 0; i < f->piece_n; i++)
            lines += f->piece[i] == '\n';
        f->sent += f->piece_n;
        if (!send_all(f->fd, f->piece, f->piece_n))
            f->ended = "reset";
        while (lines-- && !f->ended) {
            int code = await_reply(f->fd, &f->reply);

            if (code)
                note(f, code);
            if (code == 0 || code == 421)
                f->ended = "closed";
        }
    }
}

static void begin(struct flood *f)
{
    struct reply r = { 0 };
    int code = await_reply(f->fd, &r);

    for (size_t i = 0; code / 100 == 2 && i < 5 && f->k->begin[i]; i++) {
        send_all(f->fd, f->k->begin[i], strlen(f->k->begin[i]));
        code = await_reply(f->fd, &r);
    }
    if (code / 100 > 3 || code == 0)
        f->ended = "refused";
    f->sent = strlen(f->k->head);
    send_all(f->fd, f->k->head, strlen(f->k->head));
}

/* The end of the message, its answer, and one more command. */
static void finish(struct flood *f)
{
    const char *text[] = { f->k->end, "QUIT\r\n" };

    for (int i = 0; i < 2 && !f->ended; i++) {
        int code = send_all(f->fd, text[i], strlen(text[i])) ? await_reply(f->fd, &f->reply) : 0;

        if (code)
            note(f, code);
        else
            f->ended = "closed";
    }
    if (!f->ended)
        f->ended = "answered";
}

static void print(const struct flood *f, int64_t us)
{
    printf("{\"kind\":\"%s\",\"sent\":%llu,\"ended\":\"%s\",\"last\":%u,\"ms\":%lld,\"replies\":{", f->k->name, (unsigned long long)f->sent,
           f->ended ? f->ended : "limit", f->last, (long long)us / 1000);
    for (int i = 0, n = 0; i < 600; i++)
        if (f->replies[i])
            printf("%s\"%d\":%u", n++ ? "," : "", i, f->replies[i]);
    printf("}}\n");
}

int flood_main(int argc, char **argv)
{
    static struct flood f;         /* large */
    int64_t t0 = clock_us();

    for (size_t i = 0; argc == 4 && i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(argv[2], kinds[i].name) == 0)
            f.k = &kinds[i];
    if (!f.k)
        return 2;
    f.limit = strtoull(argv[3], NULL, 10);
    f.fd = dial(atoi(argv[1]), 1);
    begin(&f);
    if (!f.ended && f.k->how == STEP)
        steps(&f);
    else if (!f.ended)
        stream(&f);
    if (!f.ended && f.k->end)
        finish(&f);
    print(&f, clock_us() - t0);
    close(f.fd);
    return 0;
}
