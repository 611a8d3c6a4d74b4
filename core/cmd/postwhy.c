/* postwhy: why mail for an address goes where it goes, step by step.
 *
 *     postwhy [-c DIR] [-v] [--json] [--sender S] [--client IP [--client-name NAME]
 *             [--helo H] [--service NAME]] ADDRESS ...
 *     postwhy ... --diff DIR2 FILE | ADDRESS ...
 *
 * The configuration's own services answer, in this process.  See postwhy.h. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <posthorn/error.h>
#include <posthorn/net.h>
#include "core/cmd/postwhy.h"
#include "core/plugin/tables.h"
#include "core/run/loop.h"

#define STDIO_BYTES 65536

static void usage(void) PH_NORETURN;
static void usage(void)
{
    ph_cmd_fatal("usage: %s [-c config_dir] [-v] [--json] [--sender address] [--client address [--client-name name] [--helo name] "
                 "[--service name]] [--diff config_dir] address...", ph_cmd_name());
}

enum { OPT_SENDER = 256, OPT_CLIENT, OPT_NAME, OPT_HELO, OPT_SERVICE, OPT_JSON, OPT_DIFF };

static const struct option options[] = {
    { "sender", required_argument, NULL, OPT_SENDER }, { "client", required_argument, NULL, OPT_CLIENT },
    { "client-name", required_argument, NULL, OPT_NAME }, { "helo", required_argument, NULL, OPT_HELO },
    { "service", required_argument, NULL, OPT_SERVICE }, { "json", no_argument, NULL, OPT_JSON }, { "diff", required_argument, NULL, OPT_DIFF },
    { NULL, 0, NULL, 0 },
};

static void take_option(struct postwhy *o, int c)
{
    switch (c) {
    case 'c': o->dir = optarg; break;
    case 'v': o->verbose = 1; break;
    case OPT_SENDER: o->sender = ph_cstr(optarg); break;
    case OPT_CLIENT: o->client = optarg; break;
    case OPT_NAME: o->client_name = optarg; break;
    case OPT_HELO: o->helo = optarg; break;
    case OPT_SERVICE: o->service = optarg; break;
    case OPT_JSON: o->json = 1; break;
    case OPT_DIFF: o->other = optarg; break;
    default: usage();
    }
}

static void check_options(const struct postwhy *o)
{
    struct ph_ip ip;

    if (o->arg_count == 0)
        usage();
    if (!o->client && (o->client_name || o->helo || o->service))
        ph_cmd_fatal("--client-name, --helo and --service go with --client");
    if (o->client && !ph_ip_parse(ph_cstr(o->client), &ip))
        ph_cmd_fatal("--client %s: an IP address is wanted", o->client);
}

/* ---- addresses ---- */

static int each_line(FILE *f, const char *name, int (*fn)(void *arg, ph_str address), void *arg)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t n;
    int rc = 0;

    errno = 0;
    while (rc >= 0 && (n = getline(&line, &size, f)) >= 0) {
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
            n--;
        if (n > 0 && line[0] != '#')
            rc = fn(arg, (ph_str){ line, (size_t)n });
    }
    if (ferror(f))
        ph_cmd_fatal("read %s: %s", name, strerror(errno));
    free(line);
    return rc;
}

static int each_of_file(const char *path, int (*fn)(void *arg, ph_str address), void *arg)
{
    FILE *f = fopen(path, "re");

    if (!f)
        ph_cmd_fatal("open %s: %s", path, strerror(errno));
    int rc = each_line(f, path, fn, arg);
    fclose(f);
    return rc;
}

/* With --diff an argument without "@" is a file of addresses. */
int why_each_address(const struct postwhy *o, int (*fn)(void *arg, ph_str address), void *arg)
{
    int rc = 0;

    for (int i = 0; rc >= 0 && i < o->arg_count; i++) {
        const char *a = o->args[i];

        if (strcmp(a, "-") == 0)
            rc = each_line(stdin, "standard input", fn, arg);
        else if (o->other && !strchr(a, '@'))
            rc = each_of_file(a, fn, arg);
        else
            rc = fn(arg, ph_cstr(a));
    }
    return rc;
}

/* ---- one configuration ---- */

struct run {
    const struct postwhy *o;
    struct ph_scope *step;
    struct why_engine *engine;
    enum why_status worst;
    int count;
};

static int one(void *arg, ph_str address)
{
    struct run *x = arg;
    const struct why_report *r = why_engine_ask(x->engine, x->step, address, 1);

    if (x->count++ && !x->o->json)
        putchar('\n');
    if (x->o->json)
        why_json(r);
    else
        why_text(x->o, r);
    if (r->status > x->worst)
        x->worst = r->status;
    ph_scope_reset(x->step);
    return 0;
}

static int run(void *arg)
{
    struct run *x = arg;

    x->engine = why_engine_open(x->o, x->o->dir);
    why_each_address(x->o, one, x);
    why_engine_close(x->engine);
    return 0;
}

static int explain(const struct postwhy *o)
{
    struct run x = { .o = o, .step = ph_scope_new(NULL) };

    if (ph_run_main(run, &x) < 0)
        ph_cmd_fatal("%s", ph_error());
    ph_scope_free(x.step);
    return (int)x.worst;
}

int main(int argc, char **argv)
{
    struct postwhy o = { 0 };
    int c;

    ph_cmd_start(argv[0]);
    ph_cmd_fatal_status(WHY_TROUBLE);
    argv[0] = (char *)(uintptr_t)ph_cmd_name();
    signal(SIGPIPE, SIG_IGN);
    while ((c = getopt_long(argc, argv, "c:v", options, NULL)) != -1)
        take_option(&o, c);
    o.args = argv + optind;
    o.arg_count = argc - optind;
    check_options(&o);
    ph_tables_here();              /* what may block keeps nobody else waiting */
    setvbuf(stdout, NULL, _IOFBF, STDIO_BYTES);
    int status = o.other ? why_diff(&o) : explain(&o);
    if (fflush(stdout) != 0 && errno != EPIPE)
        ph_cmd_fatal("output write error: %s", strerror(errno));
    return status;
}
