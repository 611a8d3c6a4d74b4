/* main: the life of a worker.  See worker.h. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/error.h>
#include "core/ipc/client.h"
#include "core/net/dns.h"
#include "core/plugin/registry.h"
#include "core/run/log.h"
#include "core/run/loop.h"
#include "core/sched/qmgr.h"
#include "core/ipc/channel.h"
#include "core/worker/worker.h"

static int usage(void)
{
    fprintf(stderr, "usage: worker -c CONFIG_DIR -n NAME -t inet|unix -l LISTENERS [-u UID:GID[:GID] [-a mail|net]] [-v]: started by the master only\n");
    return 2;
}

static int options(struct ph_worker *w, int argc, char **argv)
{
    int c;

    while ((c = getopt(argc, argv, "c:n:t:l:u:a:v")) != -1)
        switch (c) {
        case 'c': w->config_dir = optarg; break;
        case 'n': w->name = optarg; break;
        case 't': w->type = optarg; break;
        case 'l': w->listen_count = atoi(optarg); break;
        case 'u': w->identity = optarg; break;
        case 'a': w->account = optarg; break;
        case 'v': w->verbose++; break;
        default: return 0;
        }
    return w->config_dir && w->name && w->type && w->listen_count >= 0 && w->listen_count <= 64 && optind == argc;
}

static int open_log(struct ph_worker *w)
{
    PH_SCOPED(s, w->scope);
    struct ph_log_options o = { .verbosity = w->verbose };
    int rc = ph_conf_log_file(w->conf, s, &o.file, &o.mode);

    if (rc < 0)
        return rc;
    o.syslog_name = ph_cstr_dup(s, ph_conf_value(w->conf, s, "syslog_name"));
    o.service = ph_cstr_dup(s, w->def->code);
    o.host = ph_cstr_dup(s, ph_conf_value(w->conf, s, "myhostname"));
    return ph_log_open(&o);
}

static void read_directories(struct ph_worker *w, struct ph_seal *seal)
{
    ph_str base;

    seal->queue_directory = ph_conf_value(w->conf, w->scope, "queue_directory");
    seal->data_directory = ph_conf_value(w->conf, w->scope, "data_directory");
    seal->config_directory = ph_cstr(ph_conf_dir(w->base));
    /* Where it is not set nobody needs it, or virtual says that it does. */
    if (ph_conf_get(w->conf, w->scope, "virtual_mailbox_base", &base) == PH_FOUND)
        seal->mailbox_base = base;
}

/* Before the seal: libraries open files of theirs on first use. */
static int open_dns(struct ph_worker *w)
{
    PH_SCOPED(s, w->scope);
    int rc = ph_dns_open(ph_conf_value(w->conf, s, "dns_servers"));

    if (rc == 0)
        ph_dns_warmup();
    return rc;
}

static int seal_and_start(struct ph_worker *w)
{
    const char *needs = w->is_transport ? w->transport.ops->needs : w->is_builtin ? "queue-owner private" : w->service.ops->needs;
    struct ph_seal seal = { .needs = ph_needs_of(w->scope, ph_cstr(needs), w->name) };
    int64_t threads = 8;
    int rc;

    read_directories(w, &seal);
    if ((rc = ph_worker_check_account(w, seal.needs)) < 0)
        return rc;
    if (ph_needs(seal.needs, "network") && (rc = open_dns(w)) < 0)
        return rc;
    if (w->def->sandbox != 0 && (rc = ph_seal(&seal)) < 0)
        return rc;
    if ((rc = ph_conf_get_i64(w->conf, "disk_threads", &threads)) < 0)
        return rc;
    /* A delivery to a mailbox waits for the disk twice, file and name, where a commit
     * waits once; and syncs that wait together share a commit of the journal. */
    if (w->is_transport && ph_needs(seal.needs, "mailbox"))
        threads *= 2;
    if ((rc = ph_disk_start((unsigned)threads)) < 0)
        return rc;
    return w->is_builtin ? ph_qmgr_start(&w->service, w->tasks) : 0;
}

/* A stop that came to us and not through the master. */
static void terminate(int signo PH_UNUSED, void *arg)
{
    struct ph_worker *w = arg;

    w->draining = w->stopping = 1;
    ph_cond_broadcast(w->changed);
}

static int serve(void *arg)
{
    struct ph_worker *w = arg;
    int64_t ipc_timeout = 3600;
    int rc;

    w->tasks = ph_group_new(w->scope);
    w->sessions = ph_group_new(w->scope);
    w->changed = ph_cond_new(w->scope);
    w->idle_since = ph_now_ms();
    ph_log_join_loop();
    if (ph_conf_get_time(w->conf, "ipc_timeout", 's', &ipc_timeout) < 0)
        return PH_CONF;
    ph_client_setup(ph_conf_value(w->conf, w->scope, "queue_directory"), ipc_timeout * 1000);
    if (w->account && strcmp(w->account, "net") == 0)
        ph_client_places("net");
    ph_worker_sight(w);
    ph_signal_watch(SIGTERM, terminate, w);
    ph_signal_watch(SIGINT, terminate, w);
    ph_signal_watch(SIGHUP, NULL, NULL);
    ph_worker_limit(w);
    ph_worker_tables(w);
    if ((rc = ph_worker_load(w)) < 0 || (rc = seal_and_start(w)) < 0 || (rc = ph_worker_accept(w)) < 0 ||
        (rc = ph_worker_listen_to_master(w)) < 0)
        return rc;
    ph_worker_tell(w, PH_WORKER_READY);
    rc = ph_worker_wait(w);
    ph_client_forget();
    ph_group_cancel(w->tasks);
    ph_group_wait(w->tasks, ph_in_ms(2000));
    return rc == PH_CANCEL ? 0 : rc;
}

static int run(struct ph_worker *w)
{
    int rc;

    if ((rc = ph_worker_configure(w)) < 0 || (rc = open_log(w)) < 0 || (rc = ph_registry_open(w->base)) < 0)
        return rc;
    w->needs = ph_needs_of(w->scope, w->is_builtin ? PH_STR("") : ph_plugin_needs(ph_worker_kind(w), w->def->code), w->name);
    if ((rc = ph_worker_spawner(w)) < 0 || (rc = ph_worker_drop(w)) < 0)
        return rc;
    return ph_run_main(serve, w);
}

int ph_worker_main(int argc, char **argv)
{
    static struct ph_worker worker = { .channel = PH_WORKER_CHANNEL_FD };   /* as long as the process */
    struct ph_worker *w = &worker;

    if (!options(w, argc, argv))
        return usage();
    umask(077);
    signal(SIGPIPE, SIG_IGN);
    for (int fd = PH_WORKER_CHANNEL_FD; fd < PH_WORKER_LISTEN_FD + w->listen_count; fd++)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    w->scope = ph_scope_new(NULL);
    w->title = argv[0];
    w->title_size = (size_t)(argv[argc - 1] + strlen(argv[argc - 1]) - argv[0]);
    int rc = run(w);
    if (rc < 0)
        ph_log_error("fatal: %s", ph_error());
    ph_log_flush();
    /* Not ph_scope_free: its groups ended with the loop. */
    _exit(rc < 0 ? 1 : 0);
}
