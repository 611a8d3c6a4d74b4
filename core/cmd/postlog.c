/* postlog: log lines of scripts, in the place and form of our own.
 *
 *     postlog [-iv] [-c config_dir] [-p priority] [-t tag] [text ...]
 *
 * The text, or without it each line of stdin, is one record.  Set-gid where it is
 * to reach the log of the system for every user; it opens no file then. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>
#include <posthorn/buf.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "core/cmd/cmd.h"
#include "core/cmd/setgid.h"
#include "core/run/log.h"

#define LINE_BYTES 2000                 /* a record of the log holds no more */

enum priority { INFO, WARN, ERROR, FATAL, PANIC };

static enum priority parse_priority(const char *text)
{
    static const char *const names[] = { "info", "warn", "error", "fatal", "panic" };

    if (!strcmp(text, "warning"))
        return WARN;
    for (int i = INFO; i <= PANIC; i++)
        if (!strcmp(text, names[i]))
            return (enum priority)i;
    ph_cmd_fatal("unknown log priority: %s", text);
}

static void log_one(enum priority p, const char *text)
{
    switch (p) {
    case INFO: ph_log("%s", text); break;
    case WARN: ph_log_warn("%s", text); break;
    case ERROR: ph_log_error("%s", text); break;
    case FATAL: ph_log("fatal: %s", text); break;
    case PANIC: ph_log("panic: %s", text); break;
    }
}

static void log_lines(enum priority p)
{
    char line[LINE_BYTES];

    /* A longer line becomes several records. */
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\r\n")] = 0;
        log_one(p, line);
    }
}

static void log_words(enum priority p, char **words)
{
    PH_SCOPED(step, NULL);
    struct ph_buf text;

    ph_buf_init(&text, step, LINE_BYTES);
    for (; *words; words++) {
        ph_buf_puts(&text, text.n ? " " : "");
        ph_buf_puts(&text, *words);
    }
    log_one(p, text.p);
}

/* "postfix/script" is the name and the program; a tag without '/' stands alone. */
static void open_log(struct ph_conf *c, struct ph_scope *s, const char *tag)
{
    const char *name = ph_cmd_log_tag(c, s), *service = ph_cmd_name();
    const char *slash = tag ? strrchr(tag, '/') : NULL;

    if (slash) {
        name = ph_cstr_dup(s, (ph_str){ tag, (size_t)(slash - tag) });
        service = slash + 1;
    } else if (tag) {
        name = tag;
        service = "";
    }
    struct ph_log_options o = {
        .syslog_name = name, .service = service, .program = ph_cmd_name(),
        .host = ph_cstr_dup(s, ph_conf_value(c, s, "myhostname")),
    };

    if (ph_conf_log_file(c, s, &o.file, &o.mode) < 0)
        ph_cmd_fatal("%s", ph_error());
    /* With the rights of a group no file is written, nor made. */
    if (!getauxval(AT_SECURE) && ph_log_open(&o) == 0)
        return;
    o.file = "";                           /* who may not write the file still has syslog */
    if (ph_log_open(&o) < 0)
        ph_cmd_fatal("%s", ph_error());
}

/* The tag comes from whoever calls us, and goes into the log. */
static const char *clean_tag(char *tag)
{
    for (char *p = tag; *p; p++)
        if (*p <= ' ' || *p == 0x7f)
            *p = '?';
    return tag;
}

int main(int argc, char **argv)
{
    struct ph_scope *scope = ph_scope_new(NULL);
    const char *dir = NULL, *tag = NULL;
    enum priority priority = INFO;
    int option;

    ph_cmd_start(argv[0]);
    if (getauxval(AT_SECURE))              /* with the rights of a group nothing of the caller's counts but -t */
        ph_setgid_clean_environment();
    while ((option = getopt(argc, argv, "+c:ip:t:v")) > 0)
        switch (option) {
        case 'c': dir = optarg; break;
        case 'i': case 'v': break;         /* the process id always stands in the tag */
        case 'p': priority = parse_priority(optarg); break;
        case 't': tag = clean_tag(optarg); break;
        default: ph_cmd_fatal("usage: postlog [-iv] [-c config_dir] [-p priority] [-t tag] [text...]");
        }
    if (getauxval(AT_SECURE) && getuid() != 0 && ph_setgid_check_config_dir(ph_conf_choose_dir(dir)) < 0)
        ph_cmd_fatal("%s", ph_error());
    open_log(ph_cmd_conf(scope, dir), scope, tag);
    if (argv[optind])
        log_words(priority, argv + optind);
    else
        log_lines(priority);
    ph_log_flush();
    if (priority >= FATAL)
        sleep(1);                          /* scripts that fail in a loop shall not fill the log */
    ph_scope_free(scope);
    return 0;
}
