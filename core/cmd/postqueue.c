/* postqueue: shows the queue and asks for delivery.  Set-gid: the group may
 * connect to the sockets in public/; it loads no plugin and opens no queue file.
 *
 *     postqueue [-v] [-c config_dir] -p | -j | -f | -i queue_id | -s site */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>
#include <posthorn/address.h>
#include <posthorn/error.h>
#include "core/cmd/postqueue.h"
#include "core/cmd/queue_client.h"
#include "core/cmd/setgid.h"
#include "core/cmd/usermap.h"
#include "core/queue/id.h"
#include "core/run/loop.h"

struct postqueue {
    struct ph_scope *scope;
    struct ph_conf *conf;
    int action;                    /* p j f i s */
    const char *argument, *dir;
};

static void usage(void) PH_NORETURN;
static void usage(void)
{
    ph_cmd_fatal("usage: postqueue -f | postqueue -i queueid | postqueue -j | postqueue -p | postqueue -s site");
}

static void check_user(struct postqueue *p, const char *parameter, const char *what)
{
    uid_t uid = getuid();
    ph_str login = ph_setgid_login(p->scope, uid);
    int rc;

    if (uid == 0 || ph_str_eq(ph_conf_value(p->conf, p->scope, "mail_owner"), login))
        return;
    if ((rc = ph_usermap_listed(ph_conf_value(p->conf, p->scope, parameter), login)) < 0)
        ph_cmd_fatal("%s: %s", parameter, ph_error());
    if (!rc)
        ph_cmd_fatal("User %.*s(%ld) is not allowed to %s the mail queue", PH_FMT(login), (long)uid, what);
}

static void check_output(const struct listing *l)
{
    if (l->broken && l->broken != EPIPE)       /* a pager that was left is no error */
        ph_cmd_fatal("output write error: %s", strerror(l->broken));
}

/* Frames of showq, each printed as it comes. */
static void read_listing(struct postqueue *p, struct ph_stream *io, struct listing *l)
{
    PH_SCOPED(first, p->scope);
    struct ph_frame *f;
    int rc = ph_frame_recv(io, first, 0, &f);

    if (rc < 0 || !ph_str_eq(ph_frame_value(f, "protocol"), PH_STR("mail_queue_list_protocol")))
        ph_cmd_fatal("Queue report unavailable - mail system is down");
    while (!l->broken) {
        PH_SCOPED(s, NULL);

        if ((rc = ph_frame_recv(io, s, 0, &f)) < 0)
            ph_cmd_fatal("Queue report unavailable - lost connection with showq");
        if (ph_frame_value(f, "end").n) {
            ph_str reason = ph_frame_value(f, "reason");

            ph_listing_end(l);
            if (reason.n)
                ph_cmd_fatal("Queue report incomplete: %.*s", PH_FMT(reason));
            break;
        }
        ph_listing_frame(l, f);
    }
}

static void show(struct postqueue *p)
{
    struct listing l = { .json = p->action == 'j' };
    struct ph_stream *io;
    int32_t yes = 1;
    int rc;

    check_user(p, "authorized_mailq_users", "view");
    ph_conf_get_bool(p->conf, "enable_long_queue_ids", &yes);
    l.long_ids = yes;
    ph_conf_get_bool(p->conf, "smtputf8_enable", &yes);
    l.ascii = !yes;
    l.null_sender = ph_conf_value(p->conf, p->scope, "empty_address_recipient");
    if ((rc = ph_queue_client_dial(p->scope, p->conf, "showq", &io)) == PH_PERM)
        ph_cmd_fatal("%s", ph_error());
    if (rc == 0) {
        read_listing(p, io, &l);
    } else if (getuid() == 0) {
        ph_cmd_warn("Mail system is down -- accessing queue directly");
        if (postqueue_direct(p->scope, p->conf, &l) < 0)
            ph_cmd_fatal("%s", ph_error());
    } else {
        ph_cmd_fatal("Queue report unavailable - mail system is down");
    }
    check_output(&l);
}

/* Connecting is the word. */
static void wake_pickup(struct postqueue *p)
{
    struct ph_stream *io;
    ph_str name = ph_conf_value(p->conf, p->scope, "pickup_service_name");

    if (ph_queue_client_dial(p->scope, p->conf, ph_cstr_dup(p->scope, name), &io) == 0)
        ph_stream_close(io);
}

static void flush(struct postqueue *p, const char *id)
{
    struct ph_frame *f = ph_frame_new(p->scope), *reply;
    struct ph_stream *io;
    int rc;

    check_user(p, "authorized_flush_users", "flush");
    if (id && !ph_id_is_name(ph_cstr(id)))
        ph_cmd_fatal("Cannot flush queue ID - invalid name: \"%s\"", id);
    ph_frame_cstr(f, "op", "flush");
    if (id)
        ph_frame_cstr(f, "queue_id", id);
    if ((rc = ph_queue_client_control(p->scope, p->conf, &io)) < 0 ||
        (rc = ph_queue_client_ask(p->scope, io, f, &reply)) < 0)
        ph_cmd_fatal("Cannot flush mail queue - mail system is down");
    if (!id)
        wake_pickup(p);
}

static void flush_site(struct postqueue *p)
{
    ph_str site = ph_cstr(p->argument);

    check_user(p, "authorized_flush_users", "flush");
    if (!ph_hostname_valid(site) && !ph_domain_literal_valid(site))
        ph_cmd_fatal("Cannot flush mail queue - invalid destination: \"%s\"", p->argument);
    /* There is no flush service in this release, so no site is eligible. */
    ph_cmd_fatal("Flush service is not configured for destination \"%s\"", p->argument);
}

static int run(void *arg)
{
    struct postqueue *p = arg;

    switch (p->action) {
    case 'f': flush(p, NULL); break;
    case 'i': flush(p, p->argument); break;
    case 's': flush_site(p); break;
    default: show(p);
    }
    return 0;
}

static void take_options(struct postqueue *p, int argc, char **argv)
{
    int option;

    while ((option = getopt(argc, argv, "+c:fi:jps:v")) > 0)
        switch (option) {
        case 'c': p->dir = optarg; break;
        case 'v': break;
        case '?': usage();
        default:
            if (p->action)
                usage();
            p->action = option;
            p->argument = optarg;
        }
    if (!p->action || optind < argc)
        usage();
}

int main(int argc, char **argv)
{
    struct postqueue p = { 0 };

    ph_cmd_start(argv[0]);
    ph_cmd_fatal_status(EX_UNAVAILABLE);
    signal(SIGPIPE, SIG_IGN);
    take_options(&p, argc, argv);
    if (getauxval(AT_SECURE)) {
        ph_setgid_clean_environment();
        if (getuid() != 0 && ph_setgid_check_config_dir(ph_conf_choose_dir(p.dir)) < 0)
            ph_cmd_fatal("%s", ph_error());
    }
    tzset();
    p.scope = ph_scope_new(NULL);
    p.conf = ph_cmd_conf(p.scope, p.dir);
    if (ph_run_main(run, &p) < 0)
        ph_cmd_fatal("%s", ph_error());
    ph_scope_free(p.scope);
    return 0;
}
