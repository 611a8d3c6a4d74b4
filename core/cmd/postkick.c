/* postkick: sends a request to a service of the running system, for scripts.
 *
 *     postkick [-v] [-c config_dir] class service request
 *
 * class: public or private, the directory of the service's socket.  For most
 * services connecting is the request, and its bytes mean nothing.  The queue
 * manager has requests of letters: with A and D in it, all deferred mail is tried
 * now; any other only asks whether it is there, since it finds new mail itself. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <posthorn/error.h>
#include "core/cmd/queue_client.h"
#include "core/run/loop.h"

struct postkick {
    struct ph_scope *scope;
    struct ph_conf *conf;
    const char *directory, *service, *request;
};

static int ask_qmgr(struct postkick *p)
{
    struct ph_frame *f = ph_frame_new(p->scope), *reply;
    struct ph_stream *io;
    int rc = ph_queue_client_control(p->scope, p->conf, &io);

    if (rc < 0)
        return rc;
    if (strchr(p->request, 'A') && strchr(p->request, 'D')) {
        ph_frame_cstr(f, "op", "flush");
    } else {
        ph_frame_cstr(f, "op", "exists");
        ph_frame_cstr(f, "queue_id", "0");
    }
    return ph_queue_client_ask(p->scope, io, f, &reply);
}

/* The bytes, and wait until the service closes: then it has read them. */
static int kick(struct postkick *p)
{
    int64_t limit_s = 0;
    struct ph_stream *io;
    ph_str answer;
    int rc = ph_conf_get_time(p->conf, "application_event_drain_time", 's', &limit_s);

    if (rc < 0 || (rc = ph_queue_client_dial_in(p->scope, p->conf, p->directory, p->service, &io)) < 0)
        return rc;
    ph_stream_deadline(io, ph_in_ms(limit_s * 1000));
    /* A service that closes without reading has been woken all the same. */
    if (ph_stream_str(io, ph_cstr(p->request)) < 0 || ph_stream_flush(io) < 0)
        return 0;
    shutdown(ph_stream_fileno(io), SHUT_WR);
    while (ph_stream_peek(io, &answer) > 0 && answer.n)
        ph_stream_skip(io, answer.n);
    return 0;
}

static int run(void *arg)
{
    struct postkick *p = arg;
    ph_str qmgr = ph_conf_value(p->conf, p->scope, "queue_service_name");
    int is_qmgr = !strcmp(p->directory, "public") && ph_str_eq(ph_cstr(p->service), qmgr);
    int rc = is_qmgr ? ask_qmgr(p) : kick(p);

    if (rc >= 0)
        return 0;
    ph_cmd_warn("%s", ph_error());
    ph_cmd_warn("Cannot contact class %s service %s - perhaps the mail system is down", p->directory, p->service);
    return 1;
}

/* They become a path below queue_directory. */
static int is_name(const char *text)
{
    return text[0] && text[0] != '.' && !strchr(text, '/');
}

static void usage(void) PH_NORETURN;
static void usage(void)
{
    ph_cmd_fatal("usage: postkick [-c config_dir] [-v] class service request");
}

int main(int argc, char **argv)
{
    struct postkick p = { 0 };
    const char *dir = NULL;
    int option;

    ph_cmd_start(argv[0]);
    signal(SIGPIPE, SIG_IGN);
    while ((option = getopt(argc, argv, "+c:v")) > 0)
        switch (option) {
        case 'c': dir = optarg; break;
        case 'v': break;
        default: usage();
        }
    if (argc - optind != 3)
        usage();
    p.directory = argv[optind];
    p.service = argv[optind + 1];
    p.request = argv[optind + 2];
    if (!is_name(p.directory) || !is_name(p.service))
        ph_cmd_fatal("%s/%s: not the name of a service", p.directory, p.service);
    p.scope = ph_scope_new(NULL);
    p.conf = ph_cmd_conf(p.scope, dir);
    option = ph_run_main(run, &p);
    ph_scope_free(p.scope);
    if (option < 0)
        ph_cmd_fatal("%s", ph_error());
    return option;
}
