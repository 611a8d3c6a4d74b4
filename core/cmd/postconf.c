/* postconf: shows main.cf and the services.  Its lines are read by scripts, so
 * each form is part of the interface.  Needs no running system and no root.
 *
 * postconf.c options and output, postconf_main.c parameters,
 * postconf_master.c services, postconf_bounce.c words of notices. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <posthorn/error.h>
#include "core/cmd/cmd.h"
#include "core/cmd/postconf.h"

#define FOLD_COLUMNS 80u
#define LINE_MAX_BYTES (2u * PH_CONF_VALUE_MAX)

void postconf_put_folded(const struct postconf *p, struct ph_buf *line, ph_str text)
{
    size_t column = line->n;
    ph_str word;

    while ((word = ph_str_word(&text)).n) {
        if (line->n == 0 || line->p[line->n - 1] == ' ')
            ;
        else if (p->fold && column + 1 + word.n > FOLD_COLUMNS) {
            ph_buf_puts(line, "\n    ");
            column = 4;
        } else {
            ph_buf_putc(line, ' ');
            column++;
        }
        ph_buf_str(line, word);
        column += word.n;
    }
}

void postconf_print(const struct postconf *p, ph_str name, ph_str value)
{
    struct ph_buf line;

    if (p->json) {
        ph_cmd_put_json(name, value);
        return;
    }
    ph_buf_init(&line, NULL, LINE_MAX_BYTES);
    if (!p->value_only) {
        ph_buf_str(&line, name);
        ph_buf_puts(&line, p->name_only ? "" : " =");
    }
    if (!p->name_only)
        postconf_put_folded(p, &line, value);
    printf("%s\n", line.p);
    ph_buf_fini(&line);
}

ph_str postconf_text(const struct postconf *p, struct ph_conf *c, ph_str name, ph_str raw)
{
    ph_str value;

    if (!p->expand)
        return raw;
    if (ph_conf_expand_as(c, p->scope, name, raw, &value) < 0)
        ph_cmd_fatal("%s", ph_error());
    return value;
}

static unsigned parse_classes(ph_str list)
{
    static const struct { const char *name; unsigned bit; } names[] = {
        { "builtin", CLASS_BUILTIN }, { "service", CLASS_SERVICE }, { "user", CLASS_USER }, { "all", CLASS_ALL },
    };
    unsigned classes = 0;
    ph_str word;

    while ((word = ph_str_token(&list, ", \t")).n) {
        unsigned bit = 0;

        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            if (ph_str_eq_nocase(word, ph_cstr(names[i].name)))
                bit = names[i].bit;
        if (!bit)
            ph_cmd_fatal("bad parameter class name: %.*s", PH_FMT(word));
        classes |= bit;
    }
    return classes;
}

static void usage(void)
{
    ph_cmd_fatal("usage: postconf [-dfhHjnoqx] [-c config_dir] [-C class] [-o name=value] [name ...] | "
                 "postconf -M|-F|-P [-fhHjx] [-c config_dir] [service[/type[/part]] ...]");
}

struct options {
    int mode;                      /* p M F P, or 0 */
    const char *dir;
    const char *overrides[64];
    size_t override_count;
};

static void set_mode(struct options *o, struct postconf *p, int mode)
{
    if (o->mode && (o->mode != mode || mode != 'P'))
        ph_cmd_fatal("specify one of -a, -A, -b, -l, -m, -M, -F, -p, -P, -t and -T");
    p->all_of_service = o->mode == 'P';
    o->mode = mode;
}

static void not_built(int option, const char *what)
{
    ph_cmd_fatal("option -%c: %s is not in this release yet; see the status table of the README", option, what);
}

static void take_option(struct options *o, struct postconf *p, int option, const char *value)
{
    switch (option) {
    case 'c': o->dir = value; break;
    case 'C': p->classes = parse_classes(ph_cstr(value)); break;
    case 'd': p->defaults = 1; break;
    case 'f': p->fold = 1; break;
    case 'h': p->value_only = 1; break;
    case 'H': p->name_only = 1; break;
    case 'j': p->json = 1; break;
    case 'n': p->only_set = 1; break;
    case 'o':
        if (o->override_count == sizeof o->overrides / sizeof *o->overrides)
            ph_cmd_fatal("too many -o options");
        o->overrides[o->override_count++] = value;
        break;
    case 'q': p->quiet = 1; break;
    case 'v': break;
    case 'x': p->expand = 1; break;
    case 'M': case 'F': case 'P': case 'p': case 'b': case 't': set_mode(o, p, option); break;
    case 'e': case 'X': case '#': not_built(option, "editing");
        break;
    case 'a': case 'A': case 'l': case 'm': case 'T': not_built(option, "this list");
        break;
    default: usage();
    }
}

static void check_options(const struct options *o, const struct postconf *p, char **names)
{
    if (p->value_only && p->name_only)
        ph_cmd_fatal("with option -h, do not specify -H");
    if (p->defaults && p->only_set)
        ph_cmd_fatal("with option -d, do not specify -n");
    if (p->defaults && o->override_count)
        ph_cmd_fatal("with option -d, do not specify -o");
    for (size_t i = 0; names[i]; i++)
        if (strchr(names[i], '='))
            not_built('e', "editing");
}

static void open_files(struct options *o, struct postconf *p)
{
    const char *from_environment = getenv("MAIL_CONFIG");

    p->dir = ph_conf_choose_dir(o->dir);
    p->dir_chosen = o->dir || (from_environment && from_environment[0]);
    if (p->defaults) {
        /* Defaults are asked for before there is a main.cf. */
        if (ph_conf_parse(p->scope, p->dir, "main.cf", (ph_str){ "", 0 }, &p->conf) < 0)
            ph_cmd_fatal("%s", ph_error());
        ph_conf_identity(p->conf, ph_cmd_name(), ph_cmd_name());
    } else
        p->conf = ph_cmd_conf(p->scope, p->dir);
    for (size_t i = 0; i < o->override_count; i++)
        if (ph_conf_override(p->conf, o->overrides[i]) < 0)
            ph_cmd_fatal("%s", ph_error());
    if (ph_master_open(p->scope, p->conf, p->dir, &p->master) == 0)
        return;
    if (o->mode == 'M' || o->mode == 'F' || o->mode == 'P')
        ph_cmd_fatal("%s", ph_error());
    if (!p->quiet && !p->defaults)
        ph_cmd_warn("%s", ph_error());
}

int main(int argc, char **argv)
{
    struct ph_scope *scope = ph_scope_new(NULL);
    struct postconf p = { .scope = scope, .classes = CLASS_ALL };
    struct options o = { 0 };
    int option;

    ph_cmd_start(argv[0]);
    opterr = 0;
    while ((option = getopt(argc, argv, "+aAbc:C:deEfFhHjlmMno:pPqtT:vxX#")) > 0)
        take_option(&o, &p, option, optarg);
    check_options(&o, &p, argv + optind);
    open_files(&o, &p);
    if (o.mode == 0 || o.mode == 'p')
        postconf_main(&p, argv + optind);
    else if (o.mode == 'b' || o.mode == 't')
        postconf_bounce(&p, o.mode == 'b', argv[optind]);
    else
        postconf_master(&p, o.mode, argv + optind);
    if (fflush(stdout) != 0 || ferror(stdout))
        ph_cmd_fatal("write: the output cannot be written");
    ph_scope_free(scope);
    return 0;
}
