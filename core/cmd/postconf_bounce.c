/* postconf_bounce: the words of notices (-t as source, -b with their values). */
#include <stdio.h>
#include <posthorn/bounce_template.h>
#include <posthorn/error.h>
#include "core/cmd/cmd.h"
#include "core/cmd/postconf.h"

#define TEXT_BYTES 8000000u

static void warn(void *arg PH_UNUSED, const char *text)
{
    ph_cmd_warn("%s", text);
}

static void put_expanded(struct postconf *p, struct ph_buf *out, const struct ph_bounce_template *t)
{
    ph_str text;

    if (ph_bounce_template_expand(p->scope, p->conf, t, &text) < 0)
        ph_cmd_fatal("%s", ph_error());
    ph_buf_printf(out, "expanded_%s_text = <<EOF\n%.*s%sEOF\n", t->name, PH_FMT(text), ph_str_ends(text, PH_STR("\n")) ? "" : "\n");
}

void postconf_bounce(struct postconf *p, int expanded, const char *file)
{
    ph_str path = file ? ph_cstr(file) : ph_conf_value(p->conf, p->scope, "bounce_template_file");
    struct ph_bounce_template t[PH_TEMPLATES];
    struct ph_buf out;

    if (ph_bounce_templates_load(p->scope, path, warn, NULL, t) < 0)
        ph_cmd_fatal("%s", ph_error());
    ph_buf_init(&out, p->scope, TEXT_BYTES);
    for (int i = 0; i < PH_TEMPLATES; i++) {
        if (i)
            ph_buf_putc(&out, '\n');
        if (expanded)
            put_expanded(p, &out, &t[i]);
        else
            ph_bounce_template_print(&out, &t[i]);
    }
    if (out.full)
        ph_cmd_fatal("the templates are too large");
    fwrite(out.p, 1, out.n, stdout);
}
