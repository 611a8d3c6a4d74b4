/* cmd: what every command does alike.  See cmd.h. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>
#include <posthorn/error.h>
#include "core/cmd/cmd.h"
#include "core/run/log.h"

#define PAUSE_S 1                      /* before the end: what fails in a loop shall not fill the log */

static const char *name = "posthorn", *log_name = "posthorn";
static char long_name[200];
static const char *subject = "";
static int fatal_status = 1;
static void (*before_fatal)(void);
static int logs;

void ph_cmd_start(const char *argv0)
{
    const char *slash = argv0 ? strrchr(argv0, '/') : NULL;
    int fd;

    /* A closed descriptor 2 would be given to the next file opened. */
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= 2);
    if (fd > 2)
        close(fd);
    if (argv0 && argv0[0])
        name = log_name = slash ? slash + 1 : argv0;
    ph_log_program(name);
}

const char *ph_cmd_name(void)
{
    return name;
}

void ph_cmd_before_fatal(void (*fn)(void))
{
    before_fatal = fn;
}

void ph_cmd_fatal_status(int status)
{
    fatal_status = status;
}

const char *ph_cmd_log_tag(struct ph_conf *c, struct ph_scope *s)
{
    const char *tag = getauxval(AT_SECURE) ? NULL : getenv("MAIL_LOGTAG");
    char *clean;

    if (!tag || !tag[0])
        return ph_cstr_dup(s, ph_conf_value(c, s, "syslog_name"));
    clean = (char *)(uintptr_t)ph_cstr_dup(s, ph_cstr(tag));
    for (char *p = clean; *p; p++)
        if (*p <= ' ' || *p == 0x7f)
            *p = '?';
    return clean;
}

void ph_cmd_log_open(struct ph_conf *c)
{
    PH_SCOPED(step, NULL);
    const char *file = ph_cstr_dup(step, ph_conf_value(c, step, "maillog_file"));
    struct ph_log_options o = {
        .file = getauxval(AT_SECURE) || access(file, W_OK) < 0 ? "" : file,
        .syslog_name = ph_cmd_log_tag(c, step),
        .service = log_name,
        .host = ph_cstr_dup(step, ph_conf_value(c, step, "myhostname")),
    };

    logs = ph_log_open(&o) == 0;
}

void ph_cmd_log_as(struct ph_conf *c, const char *as)
{
    PH_SCOPED(step, NULL);
    const char *file = "";
    int mode = 0, rc = ph_conf_log_file(c, step, &file, &mode);
    const char *tag = ph_cmd_log_tag(c, step);
    struct ph_log_options o = {
        .file = file, .syslog_name = tag, .service = as, .mode = mode,
        .host = ph_cstr_dup(step, ph_conf_value(c, step, "myhostname")),
    };

    snprintf(long_name, sizeof long_name, "%s/%s", tag, as);
    name = long_name;
    log_name = as;
    /* A log that is our own standard output would say everything twice. */
    logs = rc == 0 && strncmp(file, "/dev/", 5) != 0 && ph_log_open(&o) == 0;
    if (rc < 0)
        ph_cmd_fatal("%s", ph_error());
}

static void say(const char *severity, const char *fmt, va_list ap) PH_PRINTF(2, 0);
static void say(const char *severity, const char *fmt, va_list ap)
{
    PH_SCOPED(step, NULL);
    ph_str text = ph_str_vprintf(step, fmt, ap), whole = ph_str_printf(step, "%s%.*s", severity, PH_FMT(text));

    /* What files and users say does not reach a terminal as it stands. */
    ph_make_shown((char *)(uintptr_t)whole.p, whole.n);
    fflush(stdout);
    fprintf(stderr, "%s: %.*s\n", name, PH_FMT(whole));
    if (logs)
        ph_log_for(log_name, whole.p);
}

void ph_cmd_subject(const char *text)
{
    subject = text;
}

void ph_cmd_fatal(const char *fmt, ...)
{
    PH_SCOPED(step, NULL);
    const char *severity = ph_str_printf(step, "fatal: %s", subject).p;
    va_list ap;

    va_start(ap, fmt);
    say(severity, fmt, ap);
    va_end(ap);
    fflush(NULL);
    if (before_fatal)
        before_fatal();
    if (fatal_status == 1)
        sleep(PAUSE_S);
    _exit(fatal_status);           /* from anywhere, a task too: nothing is taken down */
}

void ph_cmd_info(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say("", fmt, ap);
    va_end(ap);
}

void ph_cmd_warn(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say("warning: ", fmt, ap);
    va_end(ap);
}

static void put_json_text(ph_str text)
{
    putchar('"');
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];

        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    putchar('"');
}

void ph_cmd_put_json(ph_str key, ph_str value)
{
    putchar('{');
    put_json_text(key);
    fputs(": ", stdout);
    put_json_text(value);
    fputs("}\n", stdout);
}

struct ph_conf *ph_cmd_conf(struct ph_scope *s, const char *dir)
{
    struct ph_conf *c;

    if (ph_conf_open(s, dir, &c) < 0)
        ph_cmd_fatal("%s", ph_error());
    if (dir && setenv("MAIL_CONFIG", dir, 1) < 0)
        ph_die("out of memory");
    ph_conf_identity(c, name, name);
    return c;
}
