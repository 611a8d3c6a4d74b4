/* postwhy: what changes between two configurations.  Each has a process of its own,
 * since plugins and services are one set per process; both are asked for each address,
 * at first without the lines of indexed tables, which take long to find.  See postwhy.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <posthorn/error.h>
#include "core/cmd/postwhy.h"
#include "core/run/loop.h"

#define STREAM_BYTES 65536u
#define REPORT_MAX (32u << 20)

/* ---- a child: one configuration ---- */

struct child {
    const struct postwhy *o;
    const char *dir;
    int fd;
};

static int answer(struct why_engine *e, struct ph_scope *s, struct ph_stream *io, const struct ph_frame *in)
{
    struct why_report *r = why_engine_ask(e, s, ph_frame_value(in, "address"), ph_frame_value(in, "lines").n > 0);
    int rc = ph_frame_send(io, why_report_pack(s, r));

    return rc < 0 ? rc : ph_stream_flush(io);
}

static int serve(void *arg)
{
    struct child *c = arg;
    struct ph_scope *s = ph_scope_new(NULL), *step = ph_scope_new(s);
    struct why_engine *e = why_engine_open(c->o, c->dir);
    struct ph_stream *io = ph_stream_fd(s, c->fd, STREAM_BYTES);
    struct ph_frame *in;
    int rc;

    while ((rc = ph_frame_recv(io, step, REPORT_MAX, &in)) > 0 && (rc = answer(e, step, io, in)) >= 0)
        ph_scope_reset(step);
    why_engine_close(e);
    ph_scope_free(s);
    return rc == PH_EOF ? 0 : rc;
}

/* The parent's end of a socket whose other end answers for that configuration. */
static int start_child(const struct postwhy *o, const char *dir, int other_fd)
{
    int fd[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) < 0)
        ph_cmd_fatal("socketpair: %s", strerror(errno));
    pid_t pid = fork();
    if (pid < 0)
        ph_cmd_fatal("fork: %s", strerror(errno));
    if (pid > 0) {
        close(fd[1]);
        return fd[0];
    }
    close(fd[0]);
    if (other_fd >= 0)
        close(other_fd);
    struct child c = { .o = o, .dir = dir, .fd = fd[1] };
    if (ph_run_main(serve, &c) < 0)
        ph_cmd_fatal("%s", ph_error());
    _exit(0);
}

/* ---- the parent ---- */

struct diff {
    const struct postwhy *o;
    int fd[2];
    struct ph_scope *scope, *step;
    struct ph_stream *io[2];
    size_t asked, changed, undecided;
};

static int ask(struct diff *d, int side, ph_str address, int lines, struct why_report **r)
{
    struct ph_frame *f = ph_frame_new(d->step);

    ph_frame_str(f, "address", address);
    if (lines)
        ph_frame_cstr(f, "lines", "1");
    int rc = ph_frame_send(d->io[side], f);
    if (rc < 0 || (rc = ph_stream_flush(d->io[side])) < 0 || (rc = ph_frame_recv(d->io[side], d->step, REPORT_MAX, &f)) < 0)
        return rc;
    *r = why_report_unpack(d->step, f);
    return *r ? 0 : ph_fail(PH_TEMP, "no report");
}

static int ask_both(struct diff *d, ph_str address, int lines, struct why_report *r[2])
{
    int rc = ask(d, 0, address, lines, &r[0]);

    return rc < 0 ? rc : ask(d, 1, address, lines, &r[1]);
}

static int is_same_result(const struct why_result *x, const struct why_result *y)
{
    return ph_str_eq(x->recipient, y->recipient) && ph_str_eq(x->transport, y->transport) && ph_str_eq(x->nexthop, y->nexthop) &&
           ph_str_eq(x->generic_sender, y->generic_sender) && ph_str_eq(x->generic_recipient, y->generic_recipient);
}

static int is_same(const struct why_report *a, const struct why_report *b)
{
    const struct why_result *x = a->result, *y = b->result;

    for (; x && y; x = x->next, y = y->next)
        if (!is_same_result(x, y))
            return 0;
    return !x && !y && a->status == b->status && ph_str_eq(a->reply, b->reply) && ph_str_eq(a->refusal, b->refusal);
}

/* A path: up to what cannot stand in one here. */
static ph_str take_path(ph_str *rest)
{
    size_t n = 0;

    while (n < rest->n && !ph_is_space(rest->p[n]) && rest->p[n] != ',' && rest->p[n] != '}')
        n++;
    ph_str path = ph_str_first(*rest, n);
    *rest = ph_str_from(*rest, n);
    return path;
}

static ph_str base_of(ph_str path)
{
    return ph_str_from(path, (size_t)ph_str_rfind(path, '/') + 1);
}

/* Two configurations may keep the files of one name in two directories. */
static int is_same_table(ph_str a, ph_str b)
{
    while (a.n && b.n) {
        if (a.p[0] == '/' && b.p[0] == '/') {
            if (!ph_str_eq(base_of(take_path(&a)), base_of(take_path(&b))))
                return 0;
            continue;
        }
        if (a.p[0] != b.p[0])
            return 0;
        a = ph_str_from(a, 1);
        b = ph_str_from(b, 1);
    }
    return a.n == b.n;
}

/* Steps about one question with one answer. */
static int is_same_step(const struct why_line *a, const struct why_line *b)
{
    return a->kind == b->kind && (a->answer < 0 ? -1 : a->answer) == (b->answer < 0 ? -1 : b->answer) && ph_str_eq(a->what, b->what) &&
           ph_str_eq(a->key, b->key) && ph_str_eq(a->value, b->value) && is_same_table(a->table, b->table);
}

/* The first steps that differ; NULL where one side has no more. */
static void first_difference(const struct why_report *const r[2], const struct why_line *out[2])
{
    out[0] = r[0]->first;
    out[1] = r[1]->first;
    while (out[0] && out[1] && is_same_step(out[0], out[1])) {
        out[0] = out[0]->next;
        out[1] = out[1]->next;
    }
}

/* Of an alias with many recipients those that changed are wanted: how many did not. */
static size_t set_aside(struct why_report *const r[2])
{
    size_t n = 0;

    for (struct why_result *x = r[0]->result; x; x = x->next) {
        struct why_result *y = r[1]->result;

        while (y && (y->is_same || !is_same_result(x, y)))
            y = y->next;
        if (y)
            x->is_same = y->is_same = 1;
        n += y != NULL;
    }
    return n;
}

static void show_text(struct diff *d, struct why_report *const r[2])
{
    const struct why_report *both[2] = { r[0], r[1] };
    const struct why_line *step[2];

    size_t same = set_aside(r);
    first_difference(both, step);
    printf("%s", d->changed > 1 ? "\n" : "");
    ph_str name = why_text_name(d->step, r[0]->address);
    printf("%.*s\n", PH_FMT(name));
    for (int i = 0; i < 2; i++) {
        ph_str verdict = why_text_verdict(d->step, r[i], i ? " + " : " - ");

        fwrite(verdict.p, 1, verdict.n, stdout);
        if (step[i])
            why_text_line(step[i], "     ");
    }
    if (same)
        printf("   %zu more recipient%s as before\n", same, same > 1 ? "s" : "");
}

static void show_json(struct diff *d, struct why_report *const r[2])
{
    struct ph_buf b;

    ph_buf_init(&b, d->step, 2 * REPORT_MAX);
    ph_buf_puts(&b, "{\"old\":");
    why_json_object(&b, r[0], 1);
    ph_buf_puts(&b, ",\"new\":");
    why_json_object(&b, r[1], 1);
    ph_buf_puts(&b, "}\n");
    fwrite(b.p, 1, b.n, stdout);
}

/* A reply that defers is one, too; but not when it stands for a table's failure. */
static int is_undecided(const struct why_report *r)
{
    return r->status == WHY_TEMP && r->failed;
}

static int compare(void *arg, ph_str address)
{
    struct diff *d = arg;
    struct why_report *r[2];
    int rc = ask_both(d, address, 0, r);

    if (rc < 0)
        return rc;
    d->asked++;
    d->undecided += is_undecided(r[0]) || is_undecided(r[1]);
    if (!is_same(r[0], r[1])) {
        d->changed++;
        if ((rc = ask_both(d, address, 1, r)) < 0)
            return rc;
        if (d->o->json)
            show_json(d, r);
        else
            show_text(d, r);
    }
    ph_scope_reset(d->step);
    return 0;
}

static int run(void *arg)
{
    struct diff *d = arg;

    for (int i = 0; i < 2; i++)
        d->io[i] = ph_stream_fd(d->scope, d->fd[i], STREAM_BYTES);
    int rc = why_each_address(d->o, compare, d);
    for (int i = 0; i < 2; i++)
        ph_stream_close(d->io[i]);
    return rc;
}

/* The children say themselves what is wrong with their configuration. */
static int reap(void)
{
    int status, worst = 0;

    while (wait(&status) > 0)
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            worst = WHY_TROUBLE;
    return worst;
}

static void show_summary(const struct diff *d)
{
    if (d->o->json)
        printf("{\"addresses\":%zu,\"different\":%zu,\"undecided\":%zu}\n", d->asked, d->changed, d->undecided);
    else
        printf("%s%zu of %zu addresses differ%s\n", d->changed ? "\n" : "", d->changed, d->asked, d->undecided ? "; some could not be decided now" : "");
}

int why_diff(const struct postwhy *o)
{
    struct diff d = { .o = o, .scope = ph_scope_new(NULL) };

    d.step = ph_scope_new(d.scope);
    d.fd[0] = start_child(o, o->dir, -1);
    d.fd[1] = start_child(o, o->other, d.fd[0]);
    int rc = ph_run_main(run, &d);
    char why[500];
    snprintf(why, sizeof why, "%s", rc < 0 ? ph_error() : "");
    ph_scope_free(d.scope);
    if (reap() != 0)
        return WHY_TROUBLE;
    if (rc < 0)
        ph_cmd_fatal("%s", why);
    show_summary(&d);
    return d.undecided ? WHY_TEMP : d.changed ? 1 : 0;
}
