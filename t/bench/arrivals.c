/* arrivals: what sink is for a network, for maildirs: it knows which messages of
 * a run lie in them.
 *
 *     arrivals [-i RUN] [-m MESSAGES] MAILDIR...
 *
 * Prints 0 (it has no port) when it watches; a line of JSON when so many files
 * have come; and another at the end of standard input, for which every file is
 * read: only that one tells numbers.  Files of the run are then removed, so that
 * the next one finds the directories as this one did. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>
#include "load.h"

struct arrivals {
    const char *run;
    uint32_t messages, files;      /* files: that came while watching */
    int64_t first_us, last_us;
    uint8_t *seen;
    uint32_t distinct;
    uint64_t duplicates, foreign, bytes;
    int said;
};

static void print(const struct arrivals *a)
{
    printf("{\"messages\":%u,\"files\":%u,\"distinct\":%u,\"duplicates\":%llu,\"foreign\":%llu,\"bytes\":%llu,\"first_us\":%lld,\"last_us\":%lld,\"cpu_us\":%lld}\n",
           a->messages, a->files, a->distinct, (unsigned long long)a->duplicates, (unsigned long long)a->foreign, (unsigned long long)a->bytes,
           (long long)a->first_us, (long long)a->last_us, (long long)cpu_us());
    fflush(stdout);
}

/* Events in the order in which they happened; 0 when there is none now. */
static int take_events(struct arrivals *a, int fd)
{
    _Alignas(struct inotify_event) char buf[65536];
    ssize_t n = read(fd, buf, sizeof buf);

    if (n <= 0)
        return 0;
    for (ssize_t at = 0; at < n;) {
        const struct inotify_event *e = (const void *)(buf + at);

        if (e->mask & IN_Q_OVERFLOW) {
            fprintf(stderr, "arrivals: the kernel dropped events\n");
            exit(1);
        }
        a->last_us = clock_us();
        if (!a->files++)
            a->first_us = a->last_us;
        at += (ssize_t)(sizeof *e + e->len);
    }
    return 1;
}

static void watch(struct arrivals *a, int fd)
{
    struct pollfd p[2] = { { .fd = fd, .events = POLLIN }, { .fd = STDIN_FILENO, .events = POLLIN } };
    char buf[64];

    for (;;) {
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            die("poll");
        if (p[0].revents)
            take_events(a, fd);
        if (a->files >= a->messages && !a->said) {
            a->said = 1;
            print(a);
        }
        if (p[1].revents && read(STDIN_FILENO, buf, sizeof buf) == 0)
            return;
    }
}

/* Its number, if the message is of this run. */
static uint32_t number_of(const struct arrivals *a, const char *text)
{
    const char *p = strstr(text, "\n" BENCH_ID);
    size_t n = strlen(a->run);
    char *end;

    if (!p || strncmp(p += sizeof BENCH_ID, a->run, n) != 0 || p[n] != '-')
        return NO_MESSAGE;
    unsigned long number = strtoul(p + n + 1, &end, 10);
    return (*end == '\n' || *end == '\r') && number < a->messages ? (uint32_t)number : NO_MESSAGE;
}

static void read_file(struct arrivals *a, int dir, const char *name)
{
    char text[8192];
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    off_t size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
    uint32_t number;

    if (n < 0)
        die(name);
    close(fd);
    text[n] = 0;
    if ((number = number_of(a, text)) == NO_MESSAGE) {
        a->foreign++;
        return;
    }
    a->bytes += (uint64_t)size;
    if (a->seen[number]++)
        a->duplicates++;
    else
        a->distinct++;
    unlinkat(dir, name, 0);
}

static void read_maildir(struct arrivals *a, const char *path)
{
    DIR *d = opendir(path);

    if (!d)
        die(path);
    for (const struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.')
            read_file(a, dirfd(d), e->d_name);
    syncfs(dirfd(d));
    closedir(d);
}

int main(int argc, char **argv)
{
    static struct arrivals a = { .run = "run", .messages = 1 };
    char path[4096];
    int c, fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

    while ((c = getopt(argc, argv, "i:m:")) != -1)
        if (c == 'i')
            a.run = optarg;
        else if (c == 'm')
            a.messages = (uint32_t)strtoul(optarg, NULL, 10);
    if (fd < 0 || !(a.seen = calloc(a.messages + 1, 1)))
        die("start");
    for (int i = optind; i < argc; i++) {
        snprintf(path, sizeof path, "%s/new", argv[i]);
        if (inotify_add_watch(fd, path, IN_CREATE | IN_MOVED_TO) < 0)
            die(path);
    }
    puts("0");
    fflush(stdout);
    watch(&a, fd);
    while (take_events(&a, fd))
        ;
    for (int i = optind; i < argc; i++) {
        snprintf(path, sizeof path, "%s/new", argv[i]);
        read_maildir(&a, path);
    }
    print(&a);
    return 0;
}
