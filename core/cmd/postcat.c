/* postcat: shows message files: the envelope, headers and body.
 *
 *     postcat [-behqv] [-c config_dir] [file ...]
 *
 * -q: the arguments are queue ids; the running qmgr hands out read-only
 * descriptors, else the files are looked for in the queue directory.  Without
 * -b, -e, -h all is shown.  -v: the record itself too. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <posthorn/disk.h>
#include <posthorn/error.h>
#include <posthorn/message.h>
#include "core/cmd/queue_client.h"
#include "core/queue/queue.h"
#include "core/queue/record.h"
#include "core/run/loop.h"

struct postcat {
    struct ph_scope *scope;
    struct ph_conf *conf;
    const char *dir;
    char **names;
    int count, envelope, header, body, by_id, verbose;
};

static void usage(void) PH_NORETURN;
static void usage(void)
{
    ph_cmd_fatal("usage: postcat [-behqv] [-c config_dir] [file...]");
}

/* Control bytes of an envelope are not for terminals. */
static void put_label(const char *label, ph_str value)
{
    printf("%s: ", label);
    for (size_t i = 0; i < value.n; i++) {
        unsigned char c = (unsigned char)value.p[i];

        putchar(c < 0x20 || c == 0x7f ? '?' : c);
    }
    putchar('\n');
}

static void put_if(const char *label, ph_str value)
{
    if (value.n)
        put_label(label, value);
}

static void put_attribute(const char *name, ph_str value)
{
    PH_SCOPED(s, NULL);

    if (value.n)
        put_label("named_attribute", ph_str_printf(s, "%s=%.*s", name, PH_FMT(value)));
}

static void put_time(int64_t us)
{
    char text[64] = "";
    time_t t = (time_t)(us / 1000000);
    struct tm tm;

    if (localtime_r(&t, &tm))
        strftime(text, sizeof text, "%a %b %e %H:%M:%S %Y", &tm);
    printf("message_arrival_time: %s\n", text);
}

static void put_record(const struct ph_message *m)
{
    static const struct { uint32_t bit; const char *name; } facts[] = {
        { PH_FACT_8BIT, "8bit" }, { PH_FACT_UTF8_HEADER, "utf8_header" }, { PH_FACT_LEADING_DOT, "leading_dot" },
        { PH_FACT_NUL, "nul" }, { PH_FACT_BARE_CR, "bare_cr" }, { PH_FACT_BARE_LF, "bare_lf" },
        { PH_FACT_NO_FINAL_EOL, "no_final_eol" }, { PH_FACT_SMTPUTF8, "smtputf8" },
        { PH_FACT_BODY_8BIT, "body_8bit" }, { PH_FACT_BODY_7BIT, "body_7bit" },
    };

    printf("headers: %llu bytes at %llu\n", (unsigned long long)m->header_bytes, (unsigned long long)m->header_offset);
    printf("body: %llu bytes at %llu\n", (unsigned long long)m->body_bytes, (unsigned long long)m->body_offset);
    printf("longest_line: %llu\n", (unsigned long long)m->longest_line);
    printf("facts:");
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        if (m->facts & facts[i].bit)
            printf(" %s", facts[i].name);
    putchar('\n');
}

static void put_recipients(const struct ph_message *m)
{
    for (uint32_t i = 0; i < m->rcpt_count; i++) {
        const struct ph_message_rcpt *r = &m->rcpt[i];

        put_if("original_recipient", r->original);
        put_if("dsn_original_recipient", r->dsn_orcpt);
        put_if("dsn_notify_flags", r->dsn_notify);
        put_label(r->state == PH_STATE_PENDING ? "recipient"
                  : r->state == PH_STATE_FAILED ? "bounced_recipient" : "done_recipient", r->address);
    }
}

static void put_envelope(const struct postcat *p, const struct ph_message *m, uint32_t marks)
{
    printf("message_size: %llu\n", (unsigned long long)ph_message_bytes(m));
    put_time(m->arrival_us);
    if (p->verbose)
        put_record(m);
    put_attribute("rewrite_context", m->rewrite_context);
    put_if("sender_fullname", m->full_name);
    put_label("sender", m->sender);
    put_attribute("client_name", m->client_name);
    put_attribute("client_address", m->client_address);
    put_attribute("client_port", m->client_port);
    put_attribute("client_helo", m->client_helo);
    put_attribute("client_protocol", m->client_protocol);
    put_attribute("sasl_method", m->sasl_method);
    put_attribute("sasl_username", m->sasl_username);
    put_attribute("sasl_sender", m->sasl_sender);
    put_attribute("trace_flags", m->trace_flags);
    put_if("dsn_envelope_id", m->envelope_id);
    put_if("dsn_return_flags", m->dsn_ret);
    if (marks & PH_MARK_WARNED)
        printf("flags: delay warning sent\n");
    if (marks & PH_MARK_EXPIRED)
        printf("flags: forced to expire\n");
    put_recipients(m);
}

/* Content from..to with the line ends of this system. */
static int put_content(const struct ph_message *m, uint64_t from, uint64_t to)
{
    char chunk[8192];
    int cr = 0;

    while (from < to) {
        size_t want = to - from < sizeof chunk ? (size_t)(to - from) : sizeof chunk;
        int64_t n = ph_message_read(m, from, chunk, want);

        if (n <= 0)
            return n < 0 ? (int)n : ph_fail(PH_TEMP, "the file is cut short");
        for (int64_t i = 0; i < n; i++) {
            if (cr && chunk[i] != '\n')
                putchar('\r');
            if (!(cr = chunk[i] == '\r'))
                putchar(chunk[i]);
        }
        from += (uint64_t)n;
    }
    if (cr)
        putchar('\r');
    return 0;
}

static void show(const struct postcat *p, const char *name, const struct ph_message *m, uint32_t marks)
{
    uint64_t body = m->header_bytes + (p->header ? 0 : 2);
    int rc = 0;

    if (p->envelope) {
        printf("*** ENVELOPE RECORDS %s ***\n", name);
        put_envelope(p, m, marks);
        printf("*** MESSAGE CONTENTS %s ***\n", name);
    }
    if (p->header)
        rc = put_content(m, 0, m->header_bytes);
    if (rc == 0 && p->body)
        rc = put_content(m, body, ph_message_bytes(m));
    if (p->envelope) {
        printf("*** HEADER EXTRACTED %s ***\n", name);
        printf("*** MESSAGE FILE END %s ***\n", name);
    }
    if (rc < 0)
        ph_cmd_warn("%s: %s", name, ph_error());
}

static void show_fd(const struct postcat *p, const char *name, int fd, ph_str id)
{
    PH_SCOPED(s, NULL);
    struct ph_message *m;
    uint32_t marks;
    int rc = ph_message_verify(s, fd, id, &m, &marks);

    /* What does not verify is shown as far as it can be read: that is what
     * corrupt is looked at for. */
    if (rc < 0) {
        ph_cmd_warn("%s: %s", name, ph_error());
        marks = 0;
        if (ph_message_open(s, fd, id, &m) < 0)
            return;
    }
    show(p, name, m, marks);
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

/* From the running qmgr: descriptor, PH_NONE, PH_TEMP (not running), PH_PERM. */
static int open_running(struct postcat *p, struct ph_scope *s, const char *id, const char **name)
{
    struct ph_frame *f = ph_frame_new(s), *reply;
    struct ph_stream *io;
    int rc = ph_queue_client_control(s, p->conf, &io);

    if (rc < 0)
        return rc;
    ph_frame_cstr(f, "op", "open");
    ph_frame_cstr(f, "queue_id", id);
    if ((rc = ph_queue_client_ask(s, io, f, &reply)) < 0)
        ph_cmd_fatal("open queue file %s: %s", id, ph_error());
    if (rc == PH_NONE)
        return rc;
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
        return rc;
    *name = name_of(s, ph_cstr(m->place == PH_PLACE_SLOT ? "incoming" : ph_place_name(m->place)), id);
    return ph_queue_open_reader(q, m);
}

static int open_maildrop(struct postcat *p, struct ph_scope *s, const char *id, const char **name)
{
    ph_str dir = ph_conf_value(p->conf, s, "queue_directory");
    int fd = open(ph_str_printf(s, "%.*s/maildrop/%s", PH_FMT(dir), id).p, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    *name = ph_str_printf(s, "maildrop/%s", id).p;
    return fd < 0 ? PH_NONE : fd;
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
    if (fd == PH_NONE)
        fd = open_maildrop(p, s, id, &name);
    if (fd == PH_NONE)
        ph_cmd_fatal("open queue file %s: No such file or directory", id);
    if (fd < 0)
        ph_cmd_fatal("open queue file %s: %s", id, ph_error());
    show_fd(p, name, fd, ph_cstr(id));
    close(fd);
}

/* ---- files ---- */

static void show_file(struct postcat *p, const char *name)
{
    int fd = open(name, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        ph_cmd_fatal("open %s: %s", name, strerror(errno));
    show_fd(p, name, fd, PH_STR(""));
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
    show_fd(p, "stdin", fd, PH_STR(""));
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
    if (p->count == 0)
        show_stdin(p);
    return 0;
}

static void take_options(struct postcat *p, int argc, char **argv)
{
    int option;

    while ((option = getopt(argc, argv, "bc:ehqv")) > 0)
        switch (option) {
        case 'b': p->body = 1; break;
        case 'c': p->dir = optarg; break;
        case 'e': p->envelope = 1; break;
        case 'h': p->header = 1; break;
        case 'q': p->by_id = 1; break;
        case 'v': p->verbose = 1; break;
        default: usage();
        }
    if (!p->body && !p->envelope && !p->header)
        p->body = p->envelope = p->header = 1;
    p->names = argv + optind;
    p->count = argc - optind;
    if (p->by_id && p->count == 0)
        usage();
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
