/* postcat: shows message files: the envelope, headers and body.
 *
 *     postcat [-bdefhnoqrv] [-c config_dir] [-s offset] [file ...]
 *
 * -q: the arguments are queue ids; the running qmgr hands out read-only
 * descriptors, else the files are looked for in the queue directory.
 *
 * postcat.c which files, postcat_show.c a file as text, postcat_maildrop.c one
 * that was only submitted. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <posthorn/error.h>
#include "core/cmd/postcat.h"
#include "core/queue/queue.h"
#include "core/queue/id.h"
#include "core/run/loop.h"

static void usage(void) PH_NORETURN;
static void usage(void)
{
    ph_cmd_fatal("usage: postcat [-bdefhnoqrv] [-c config_dir] [-s offset] [file...]");
}

/* ---- by queue id ---- */

/* Path as people know it, below queue_directory. */
static const char *name_of(struct ph_scope *s, ph_str queue, const char *id)
{
    char hash[6];

    ph_id_hash(ph_cstr(id), hash);
    if (ph_str_eq(queue, PH_STR("deferred")))
        return ph_str_printf(s, "deferred/%c/%s", hash[0], id).p;
    return ph_str_printf(s, "%.*s/%s", PH_FMT(queue), id).p;
}

/* From the running qmgr: descriptor, PH_PERM (no such message), PH_TEMP (not running). */
static int open_running(struct postcat *p, struct ph_scope *s, const char *id, const char **name)
{
    struct ph_frame *f = ph_frame_new(s), *reply;
    struct ph_stream *io;
    int rc = ph_queue_client_control(s, p->conf, &io);

    if (rc == PH_PERM)
        ph_cmd_fatal("open queue file %s: %s", id, ph_error());
    if (rc < 0)
        return rc;
    ph_frame_cstr(f, "op", "open");
    ph_frame_cstr(f, "queue_id", id);
    if ((rc = ph_queue_client_ask(s, io, f, &reply)) < 0)
        ph_cmd_fatal("open queue file %s: %s", id, ph_error());
    if (rc == PH_NONE)
        return PH_PERM;
    *name = name_of(s, ph_frame_value(reply, "queue"), id);
    return ph_frame_take_fd(reply, 0);
}

static int open_stopped(struct postcat *p, struct ph_scope *s, const char *id, const char **name)
{
    struct ph_queue *q;
    struct ph_qmsg *m;
    int in_memory, rc;

    if ((rc = ph_queue_open_read(s, p->conf, &q)) < 0)
        ph_cmd_fatal("%s", ph_error());
    if ((rc = ph_queue_find(q, ph_cstr(id), &m, &in_memory)) != PH_FOUND)
        return rc < 0 ? rc : PH_PERM;
    *name = name_of(s, ph_cstr(m->place == PH_PLACE_SLOT ? "incoming" : ph_place_name(m->place)), id);
    return ph_queue_open_reader(q, m);
}

static int open_maildrop(struct postcat *p, struct ph_scope *s, const char *id, const char **name)
{
    ph_str dir = ph_conf_value(p->conf, s, "queue_directory");
    int fd = open(ph_str_printf(s, "%.*s/maildrop/%s", PH_FMT(dir), id).p, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    *name = ph_str_printf(s, "maildrop/%s", id).p;
    return fd < 0 ? PH_PERM : fd;
}

static void show_id(struct postcat *p, const char *id)
{
    PH_SCOPED(s, NULL);
    const char *name = id;
    int fd;

    if (!ph_id_is_name(ph_cstr(id)))
        ph_cmd_fatal("bad mail queue ID: %s", id);
    if ((fd = open_running(p, s, id, &name)) == PH_TEMP)
        fd = open_stopped(p, s, id, &name);
    if (fd == PH_PERM)
        fd = open_maildrop(p, s, id, &name);
    if (fd == PH_PERM)
        ph_cmd_fatal("open queue file %s: No such file or directory", id);
    if (fd < 0)
        ph_cmd_fatal("open queue file %s: %s", id, ph_error());
    postcat_show(p, name, fd);
    close(fd);
}

/* ---- files ---- */

static void show_file(struct postcat *p, const char *name)
{
    int fd = open(name, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        ph_cmd_fatal("open %s: %s", name, strerror(errno));
    postcat_show(p, name, fd);
    close(fd);
}

/* A pipe cannot be read twice: it is kept in memory. */
static void show_stdin(struct postcat *p)
{
    int fd = memfd_create("postcat", MFD_CLOEXEC);
    char chunk[8192];
    ssize_t n;

    if (fd < 0)
        ph_cmd_fatal("memfd_create: %s", strerror(errno));
    while ((n = read(STDIN_FILENO, chunk, sizeof chunk)) > 0)
        if (write(fd, chunk, (size_t)n) != n)
            ph_cmd_fatal("copy input: %s", strerror(errno));
    postcat_show(p, "stdin", fd);
    close(fd);
}

static int run(void *arg)
{
    struct postcat *p = arg;

    for (int i = 0; i < p->count; i++)
        if (p->by_id)
            show_id(p, p->names[i]);
        else
            show_file(p, p->names[i]);
    if (p->count == 0 && !p->by_id)
        show_stdin(p);
    return 0;
}

static void take_options(struct postcat *p, int argc, char **argv)
{
    int option;

    while ((option = getopt(argc, argv, "+bc:defhnoqrs:v")) > 0)
        switch (option) {
        case 'b': p->body = 1; break;
        case 'c': p->dir = optarg; break;
        case 'd': p->show_type = 1; break;
        case 'e': p->envelope = 1; break;
        case 'f': p->show_file = 1; break;
        case 'h': p->header = 1; break;
        case 'n': break;
        case 'o': p->show_offset = 1; break;
        case 'q': p->by_id = 1; break;
        case 'r': p->file_order = 1; break;
        case 's':
            if (!ph_str_u64(ph_cstr(optarg), &p->skip))
                ph_cmd_fatal("bad offset: %s", optarg);
            break;
        case 'v': p->verbose = 1; break;
        default: usage();
        }
    if (!p->body && !p->envelope && !p->header)
        p->body = p->envelope = p->header = 1;
    p->names = argv + optind;
    p->count = argc - optind;
}

int main(int argc, char **argv)
{
    struct postcat p = { 0 };

    ph_cmd_start(argv[0]);
    take_options(&p, argc, argv);
    tzset();
    p.scope = ph_scope_new(NULL);
    p.conf = ph_cmd_conf(p.scope, p.dir);
    if (ph_run_main(run, &p) < 0)
        ph_cmd_fatal("%s", ph_error());
    ph_scope_free(p.scope);
    if (fflush(stdout) != 0 && errno != EPIPE)
        ph_cmd_fatal("output write error: %s", strerror(errno));
    return 0;
}
