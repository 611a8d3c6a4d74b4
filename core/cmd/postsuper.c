/* postsuper: maintains the queue: delete, hold, release, requeue, expire.
 *
 *     postsuper [-psSv] [-c config_dir] [-d ID] [-e ID] [-f ID] [-h ID] [-H ID] [-r ID] [queue ...]
 *
 * ID is a queue id, ALL, or - for ids on stdin.  While qmgr runs it is asked;
 * else this program becomes the owner of the queue for as long as it runs.
 *
 * postsuper.c what is asked; postsuper_store.c the store without qmgr;
 * postsuper_tree.c the directories (-s, -p). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "core/cmd/postsuper.h"
#include "core/queue/id.h"
#include "core/run/log.h"
#include "core/run/loop.h"

static const struct {
    char option;
    const char *op;                /* of qmgr's control */
    const char *queues;            /* by default */
    const char *one, *sum;         /* "ID: removed", "Deleted: 1 message" */
} verbs[VERBS] = {
    [VERB_REQUEUE] = { 'r', "requeue", "incoming active deferred hold", "requeued", "Requeued" },
    [VERB_DELETE] = { 'd', "delete", "maildrop incoming active deferred hold", "removed", "Deleted" },
    [VERB_EXPIRE] = { 'e', "expire", "incoming active deferred hold", "expired", "Force-expired" },
    [VERB_HOLD] = { 'h', "hold", "incoming active deferred", "placed on hold", "Placed on hold" },
    [VERB_RELEASE] = { 'H', "release", "hold", "released from hold", "Released from hold" },
};

struct wish {
    enum verb verb;
    const char *id;
};

struct job {
    struct postsuper p;
    struct wish *wishes;
    size_t count;
    int purge, structure;
};

int postsuper_selects(const struct postsuper *p, enum verb v, const char *queue)
{
    ph_str list = ph_cstr(verbs[v].queues), word;

    for (size_t i = 0; i < p->queue_count; i++)
        if (ph_str_eq(p->queues[i], ph_cstr(queue)))
            return 1;
    while (p->queue_count == 0 && (word = ph_str_word(&list)).n)
        if (ph_str_eq(word, ph_cstr(queue)))
            return 1;
    return 0;
}

/* ---- maildrop: pickup's, and nobody's while it waits there ---- */

static int64_t delete_submitted(struct postsuper *p, ph_str id)
{
    PH_SCOPED(s, NULL);

    return unlinkat(p->queue_dir, ph_str_printf(s, "maildrop/%.*s", PH_FMT(id)).p, 0) == 0;
}

/* All that is whole in maildrop. */
static int64_t delete_all_submitted(struct postsuper *p)
{
    int fd = openat(p->queue_dir, "maildrop", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *e;
    struct stat st;
    int64_t n = 0;

    if (!d) {
        if (fd >= 0)
            close(fd);
        return 0;
    }
    while ((e = readdir(d)) != NULL)
        if (e->d_name[0] != '.' && fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
            st.st_mode & S_IXUSR)
            n += unlinkat(fd, e->d_name, 0) == 0;
    closedir(d);
    return n;
}

/* ---- the running qmgr ---- */

static void put_queues(const struct postsuper *p, enum verb v, struct ph_frame *f)
{
    ph_str list = ph_cstr(verbs[v].queues), word;

    for (size_t i = 0; i < p->queue_count; i++)
        ph_frame_str(f, "queue", p->queues[i]);
    while (p->queue_count == 0 && (word = ph_str_word(&list)).n)
        ph_frame_str(f, "queue", word);
}

/* How many, or negative.  An empty id: all in the selected queues. */
static int64_t ask(struct postsuper *p, enum verb v, ph_str id)
{
    PH_SCOPED(s, NULL);
    struct ph_frame *f = ph_frame_new(s), *reply;
    uint64_t count = 0;
    int rc;

    ph_frame_cstr(f, "op", verbs[v].op);
    if (id.n)
        ph_frame_str(f, "queue_id", id);
    else
        ph_frame_cstr(f, "all", "1");
    put_queues(p, v, f);
    if ((rc = ph_queue_client_ask(s, p->qmgr, f, &reply)) != 0)
        return rc < 0 ? rc : 0;
    return ph_frame_get_u64(reply, "count", &count) == PH_FOUND ? (int64_t)count : 0;
}

/* ---- wishes ---- */

static int64_t do_all(struct postsuper *p, enum verb v)
{
    int64_t n = p->qmgr ? ask(p, v, PH_STR("")) : postsuper_store_all(p, v);

    if (n >= 0 && v == VERB_DELETE && postsuper_selects(p, v, "maildrop"))
        n += delete_all_submitted(p);
    return n;
}

static int64_t do_id(struct postsuper *p, enum verb v, ph_str id)
{
    int64_t n;

    if (!ph_id_is_name(id)) {
        ph_log_warn("invalid mail queue id: %.*s", PH_FMT(id));
        return 0;
    }
    n = p->qmgr ? ask(p, v, id) : postsuper_store_one(p, v, id);
    if (n == 0 && v == VERB_DELETE && postsuper_selects(p, v, "maildrop"))
        n = delete_submitted(p, id);
    if (n > 0)
        ph_log("%.*s: %s", PH_FMT(id), verbs[v].one);
    return n;
}

static int64_t do_stdin(struct postsuper *p, enum verb v)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t bytes;
    int64_t n = 0, one = 0;

    while (one >= 0 && (bytes = getline(&line, &size, stdin)) >= 0) {
        ph_str id = ph_str_trim((ph_str){ line, (size_t)bytes });

        one = do_id(p, v, id);
        n += one;
    }
    free(line);
    return one < 0 ? one : n;
}

static int do_wish(struct postsuper *p, const struct wish *w)
{
    int64_t n = strcmp(w->id, "ALL") == 0 ? do_all(p, w->verb)
                : strcmp(w->id, "-") == 0 ? do_stdin(p, w->verb) : do_id(p, w->verb, ph_cstr(w->id));

    p->asked[w->verb] = 1;
    if (n < 0)
        return (int)n;
    p->done[w->verb] += (uint64_t)n;
    return 0;
}

static void say_sums(const struct postsuper *p)
{
    for (int v = 0; v < VERBS; v++)
        if (p->asked[v])
            ph_log("%s: %llu message%s", verbs[v].sum, (unsigned long long)p->done[v], p->done[v] == 1 ? "" : "s");
}

/* Connecting is the word; without it pickup looks at its next scan. */
static void wake_pickup(struct postsuper *p)
{
    ph_str name = ph_conf_value(p->conf, p->scope, "pickup_service_name");
    struct ph_stream *io;

    if (ph_queue_client_dial(p->scope, p->conf, ph_cstr_dup(p->scope, name), &io) == 0)
        ph_stream_close(io);
}

static int run(void *arg)
{
    struct job *j = arg;
    struct postsuper *p = &j->p;
    int rc = ph_queue_client_control(p->scope, p->conf, &p->qmgr);

    if (rc == PH_PERM)
        return rc;
    if (j->purge || j->structure)
        postsuper_tree(p, j->structure, j->purge);
    if (rc < 0) {
        p->qmgr = NULL;
        /* Opening it makes missing directories and settles the pool. */
        if ((rc = postsuper_store_open(p)) < 0)
            return rc;
    }
    for (size_t i = 0; i < j->count && rc >= 0; i++)
        rc = do_wish(p, &j->wishes[i]);
    if (p->done[VERB_REQUEUE] > 0)
        wake_pickup(p);
    say_sums(p);
    return rc;
}

/* ---- start ---- */

static void usage(void) PH_NORETURN;
static void usage(void)
{
    ph_cmd_fatal("usage: postsuper [-c config_dir] [-d queue_id (delete)] [-e queue_id (expire)] "
                 "[-f queue_id (expire and release)] [-h queue_id (hold)] [-H queue_id (release)] [-p (purge)] "
                 "[-r queue_id (requeue)] [-s (structure)] [-S (structure)] [-v] [queue...]");
}

static void add_wish(struct job *j, enum verb v, const char *id)
{
    j->wishes[j->count++] = (struct wish){ v, id };
    j->p.asked[v] = 1;
}

static void take_options(struct job *j, int argc, char **argv)
{
    int option;

    j->wishes = ph_alloc_array(j->p.scope, 2 * (size_t)argc, sizeof *j->wishes);
    while ((option = getopt(argc, argv, "+c:d:e:f:h:H:pr:sSv")) > 0)
        switch (option) {
        case 'c':
            if (optarg[0] != '/')
                ph_cmd_fatal("-c requires absolute pathname");
            j->p.dir = optarg;
            break;
        case 'd': add_wish(j, VERB_DELETE, optarg); break;
        case 'e': add_wish(j, VERB_EXPIRE, optarg); break;
        case 'f':
            add_wish(j, VERB_EXPIRE, optarg);
            add_wish(j, VERB_RELEASE, optarg);
            break;
        case 'h': add_wish(j, VERB_HOLD, optarg); break;
        case 'H': add_wish(j, VERB_RELEASE, optarg); break;
        case 'r': add_wish(j, VERB_REQUEUE, optarg); break;
        case 'p': j->purge = 1; break;
        case 's': case 'S': j->structure = 1; break;
        case 'v': break;
        default: usage();
        }
    if (j->count == 0 && !j->structure && !j->purge)
        j->structure = j->purge = 1;
}

static void take_queues(struct job *j, int argc, char **argv)
{
    static const char *const known[] = { "maildrop", "incoming", "active", "deferred", "hold",
                                         "trace", "defer", "bounce", "flush" };
    struct postsuper *p = &j->p;

    p->queues = ph_alloc_array(p->scope, (size_t)argc, sizeof *p->queues);
    for (int i = optind; i < argc; i++) {
        size_t k = 0;

        while (k < sizeof known / sizeof *known && strcmp(known[k], argv[i]) != 0)
            k++;
        if (k == sizeof known / sizeof *known)
            ph_cmd_fatal("invalid directory name: %s", argv[i]);
        p->queues[p->queue_count++] = ph_cstr(argv[i]);
    }
}

/* Root works as the owner of the queue; the owner himself may (an instance of
 * an ordinary user). */
static void become_owner(struct postsuper *p)
{
    ph_str dir = ph_conf_value(p->conf, p->scope, "queue_directory");

    p->queue_dir = open(ph_cstr_dup(p->scope, dir), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (p->queue_dir < 0)
        ph_cmd_fatal("open queue_directory %.*s: %s", PH_FMT(dir), strerror(errno));
    if (getuid() != geteuid())
        ph_cmd_fatal("unauthorized privilege escalation");
    if (geteuid() != 0 && geteuid() != ph_queue_owner(p->queue_dir))
        ph_cmd_fatal("use of this command is reserved for the superuser");
    if (ph_queue_become_owner(p->queue_dir) < 0)
        ph_cmd_fatal("%s", ph_error());
}

static void open_log(struct postsuper *p)
{
    PH_SCOPED(s, NULL);
    struct ph_log_options o = {
        .syslog_name = ph_cmd_log_tag(p->conf, s),
        .service = ph_cmd_name(),
        .host = ph_cstr_dup(s, ph_conf_value(p->conf, s, "myhostname")),
        .program = ph_cmd_name(),
    };

    if (ph_conf_log_file(p->conf, s, &o.file, &o.mode) < 0 || ph_log_open(&o) < 0)
        ph_cmd_warn("%s", ph_error());
}

int main(int argc, char **argv)
{
    struct job j = { .p.queue_dir = -1 };
    int rc;

    ph_cmd_start(argv[0]);
    j.p.scope = ph_scope_new(NULL);
    take_options(&j, argc, argv);
    take_queues(&j, argc, argv);
    j.p.conf = ph_cmd_conf(j.p.scope, j.p.dir);
    open_log(&j.p);
    become_owner(&j.p);
    rc = ph_run_main(run, &j);
    ph_log_flush();
    if (rc < 0)
        ph_cmd_fatal("%s", ph_error());
    ph_scope_free(j.p.scope);
    return 0;
}
