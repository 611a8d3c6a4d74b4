/* t/ipc/feed: feeds one socket with everything that no client of it would say.
 *
 *     feed [-s SEED] [-n ROUNDS] [-e EVERY] [-l LODGERS] [-w WAIT_MS] [-f FILE] [-q QUESTIONS -a ANSWER] -p PID SOCKET TALK...
 *
 * TALK and QUESTIONS: files of frames (talk_read).  QUESTIONS: what the connection
 * of old says first, and last what it asks again and again, ANSWER a text in the
 * answer.  FILE is passed where a conversation passes a descriptor.
 * EVERY: one in so many of the frames by rule (truncations, lengths, values ...).
 * Prints "frames N asked M open K", and exits with 0 when the server lived. */
#include "feed.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void open_old(struct feed *f, const char *file)
{
    static struct talk t;

    talk_read(&t, file);
    f->question = &t.part[t.n - 1];
    f->old = dial(f);
    for (unsigned i = 0; i + 1 < t.n; i++)
        if (say(f->old, &t.part[i], now_ms() + f->wait_ms) < 0)
            die(f, "the first connection is refused");
}

static void put_fd(const struct feed *f, struct talk *t)
{
    for (unsigned i = 0; i < t->n; i++)
        for (unsigned k = 0; k < t->part[i].fds; k++)
            t->part[i].fd[k] = f->shown_fd;
}

static void feed_talk(struct feed *f, const char *file)
{
    static struct talk t;
    static void (*const families[])(struct feed *, const struct talk *) = {
        feed_shapes, feed_values, feed_orders, feed_fds, feed_random, feed_peers };

    talk_read(&t, file);
    put_fd(f, &t);
    struct lodgers *l = lodgers_in(f, &t);
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        families[i](f, &t);
        for (int k = 0; k < 40; k++)
            lodgers_turn(l);
    }
    lodgers_out(l);
    check_server(f);
}

int main(int argc, char **argv)
{
    struct feed f = { .seed = 1, .rounds = 100, .every = 1, .wait_ms = 10000, .lodgers = LODGERS, .shown_fd = -1, .old = -1, .what = "start" };
    const char *questions = NULL;
    int c;

    signal(SIGPIPE, SIG_IGN);
    while ((c = getopt(argc, argv, "s:n:e:l:w:f:q:a:p:")) != -1)
        switch (c) {
        case 's': f.seed = strtoull(optarg, NULL, 10); break;
        case 'n': f.rounds = (unsigned)atoi(optarg); break;
        case 'e': f.every = (unsigned)atoi(optarg); break;
        case 'l': f.lodgers = (unsigned)atoi(optarg); break;
        case 'w': f.wait_ms = atoi(optarg); break;
        case 'f': f.shown_fd = open(optarg, O_RDONLY | O_CLOEXEC); break;
        case 'q': questions = optarg; break;
        case 'a': f.answer = optarg; break;
        case 'p': f.pid = atoi(optarg); break;
        default: return 2;
        }
    if (f.pid <= 0 || !f.every || f.lodgers > LODGERS || argc - optind < 2 || !questions != !f.answer)
        return 2;
    f.random_state = f.seed * 0x9e3779b97f4a7c15u + 1;
    f.path = argv[optind];
    if (questions)
        open_old(&f, questions);
    for (int i = optind + 1; i < argc; i++)
        feed_talk(&f, argv[i]);
    printf("frames %lu asked %lu open %lu\n", f.cases, f.asked, f.open);
    return f.open ? 1 : 0;
}
