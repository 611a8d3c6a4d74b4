/* syncs: how many 4 KiB files a second the disk makes durable, without any mail
 * system: what bounds them all.
 *
 *     syncs -d DIR -w WRITERS -s SECONDS [-r]
 *
 * Each writer is a thread with a directory of its own: a new file, written,
 * synced, removed; with -r always the same file, written over (its size and
 * blocks stay: only data goes to the disk).  Prints one line of JSON. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "t/lib/wire.h"

#define SIZE 4096

struct writer {
    pthread_t thread;
    const char *dir;
    int number, reuse;
    int64_t end_us;
    unsigned long count;
};

static void write_once(int fd, const char *text, int reuse)
{
    if (pwrite(fd, text, SIZE, 0) != SIZE || (reuse ? fdatasync(fd) : fsync(fd)) < 0)
        die("write");
}

static void *run(void *arg)
{
    struct writer *w = arg;
    char text[SIZE], path[4096];
    int fd = -1;

    memset(text, 'x', sizeof text);
    snprintf(path, sizeof path, "%s/%d", w->dir, w->number);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/%d/file", w->dir, w->number);
    while (clock_us() < w->end_us) {
        if (fd < 0 && (fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600)) < 0)
            die(path);
        text[0] = (char)('a' + w->count % 26);
        write_once(fd, text, w->reuse);
        w->count++;
        if (w->reuse)
            continue;
        close(fd);
        unlink(path);
        fd = -1;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    const char *dir = ".";
    int c, writers = 1, reuse = 0;
    double seconds = 1;
    unsigned long total = 0;

    while ((c = getopt(argc, argv, "d:w:s:r")) != -1)
        switch (c) {
        case 'd': dir = optarg; break;
        case 'w': writers = atoi(optarg); break;
        case 's': seconds = atof(optarg); break;
        case 'r': reuse = 1; break;
        default: return 2;
        }
    struct writer *w = calloc((size_t)(writers > 0 ? writers : 1), sizeof *w);
    if (!w)
        die("memory");
    int64_t start = clock_us();
    for (int i = 0; i < writers; i++) {
        w[i] = (struct writer){ .dir = dir, .number = i, .reuse = reuse, .end_us = start + (int64_t)(seconds * 1e6) };
        if (pthread_create(&w[i].thread, NULL, run, &w[i]) != 0)
            die("thread");
    }
    for (int i = 0; i < writers; i++) {
        pthread_join(w[i].thread, NULL);
        total += w[i].count;
    }
    printf("{\"writers\":%d,\"reused\":%d,\"rate\":%.0f}\n", writers, reuse, (double)total * 1e6 / (double)(clock_us() - start));
    free(w);
    return 0;
}
