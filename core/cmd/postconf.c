/* postconf: shows main.cf and the services.  Its lines are read by scripts, so
 * each form is part of the interface.  Needs no running system and no root.
 *
 * postconf.c what is done, and output    postconf_options.c  the command line
 * postconf_main.c    parameters              postconf_edit.c     -e -X -# on main.cf
 * postconf_check.c   names: unused, undefined
 * postconf_master.c  -M -F -P, export        postconf_services.c the same with -e -X -#
 * postconf_import.c  --import-master         mastercf.h          lines of master.cf
 * postconf_bounce.c  words of notices        postconf_lists.c    -m -l -a -A -T */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <posthorn/error.h>
#include "core/cmd/cmd.h"
#include "core/cmd/postconf.h"

#define FOLD_COLUMNS 80u
#define LINE_MAX_BYTES (2u * PH_CONF_VALUE_MAX)

void postconf_put_folded(const struct postconf *p, struct ph_buf *line, ph_str text)
{
    size_t column = 0;
    ph_str word;

    while (column < line->n && line->p[line->n - 1 - column] != '\n')
        column++;
    while ((word = ph_str_token(&text, " \t\r\n")).n) {
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
        if (!p->name_only)
            postconf_put_folded(p, &line, PH_STR("="));
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

/* No braces here: "{a" is a name, as in Postfix. */
static void override(struct postconf *p, const char *text)
{
    ph_str rest = ph_str_trim(ph_cstr(text)), name;
    size_t n = 0;

    while (n < rest.n && rest.p[n] != '=' && !ph_is_space(rest.p[n]))
        n++;
    name = ph_str_first(rest, n);
    rest = ph_str_trim(ph_str_from(rest, n));
    if (name.n == 0)
        ph_cmd_fatal("invalid parameter override: %s: missing attribute name", text);
    if (!ph_str_starts(rest, PH_STR("=")))
        ph_cmd_fatal("invalid parameter override: %s: missing '=' after attribute name", text);
    ph_conf_set(p->conf, ph_cstr_dup(p->scope, name), ph_str_trim(ph_str_from(rest, 1)));
}

static void open_files(const struct postconf_options *o, struct postconf *p)
{
    const char *from_environment = getenv("MAIL_CONFIG");

    p->dir_chosen = o->dir || (from_environment && from_environment[0]);
    if (p->defaults) {
        /* Defaults are asked for before there is a main.cf. */
        if (ph_conf_parse(p->scope, p->dir, "main.cf", (ph_str){ "", 0 }, &p->conf) < 0)
            ph_cmd_fatal("%s", ph_error());
        ph_conf_identity(p->conf, ph_cmd_name(), "");
    } else
        p->conf = ph_cmd_conf(p->scope, p->dir);
    ph_conf_identity(p->conf, ph_cmd_name(), "");
    for (size_t i = 0; i < o->override_count; i++)
        override(p, o->overrides[i]);
    if (ph_master_open(p->scope, p->conf, p->dir, &p->master) == 0)
        return;
    if (strchr("MFPE", o->mode))
        ph_cmd_fatal("%s", ph_error());
    if (!p->quiet)
        ph_cmd_warn("%s", ph_error());
}

static void run(struct postconf *p, const struct postconf_options *o, char **names)
{
    int on_main = o->mode == 'p';

    if (o->edit && on_main) {
        postconf_edit(p, o->edit, names);
        return;
    }
    if (strchr("laAT", o->mode)) {
        postconf_fixed_list(o->mode, o->tls);
        return;
    }
    if (o->mode == 'I' || o->edit) {
        p->conf = ph_cmd_conf(p->scope, p->dir);
        if (o->mode == 'I')
            postconf_import(p, o->import);
        else
            postconf_edit_services(p, o->mode, o->edit, names);
        return;
    }
    open_files(o, p);
    switch (o->mode) {
    case 'p': postconf_main(p, names); break;
    case 'm': postconf_tables(p); break;
    case 'b': case 't': postconf_bounce(p, o->mode == 'b', names[0]); break;
    case 'E': postconf_export(p); break;
    default: postconf_master(p, o->mode, names);
    }
}

int main(int argc, char **argv)
{
    struct ph_scope *scope = ph_scope_new(NULL);
    struct postconf p = { .scope = scope, .classes = CLASS_ALL };
    struct postconf_options o = { 0 };

    ph_cmd_start(argv[0]);
    char **names = postconf_read_options(&o, &p, argc, argv);

    p.dir = ph_conf_choose_dir(o.dir);
    run(&p, &o, names);
    if (fflush(stdout) != 0 || ferror(stdout))
        ph_cmd_fatal("write: the output cannot be written");
    ph_scope_free(scope);
    return 0;
}
