/* postwhy: a report as JSON (RFC 8259).  The members are documented in postwhy(1) and
 * always there.  Text that is not UTF-8 has each byte over 127 as \u00XX. */
#include <stdio.h>
#include "core/cmd/postwhy.h"

#define OBJECT_MAX (64u << 20)

static void put_text(struct ph_buf *b, ph_str text)
{
    int utf8 = ph_str_is_utf8(text);

    ph_buf_putc(b, '"');
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];

        if (c == '"' || c == '\\')
            ph_buf_printf(b, "\\%c", c);
        else if (c < 0x20 || c == 0x7f || (c >= 0x80 && !utf8))
            ph_buf_printf(b, "\\u%04x", c);
        else
            ph_buf_putc(b, text.p[i]);
    }
    ph_buf_putc(b, '"');
}

static void put_member(struct ph_buf *b, const char *name, ph_str text)
{
    ph_buf_printf(b, "%s\"%s\":", b->n && b->p[b->n - 1] != '{' ? "," : "", name);
    put_text(b, text);
}

static const char *answer_of(const struct why_line *l)
{
    if (l->kind != PH_WHY_LOOKUP && l->kind != PH_WHY_MATCH)
        return "";
    return l->answer == PH_FOUND ? "found" : l->answer < 0 ? "failed" : "none";
}

static void put_step(struct ph_buf *b, const struct why_line *l)
{
    static const char *const kinds[] = { "", "lookup", "match", "rule", "note", "log" };
    const struct { const char *name; ph_str value; } texts[] = {
        { "stage", l->stage }, { "kind", ph_cstr(l->kind < sizeof kinds / sizeof *kinds ? kinds[l->kind] : "") }, { "parameter", l->what },
        { "parameter_file", l->parameter_file }, { "table", l->table }, { "key", l->key }, { "answer", ph_cstr(answer_of(l)) }, { "value", l->value },
        { "file", l->file }, { "remark", l->remark },
    };

    ph_buf_putc(b, '{');
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        put_member(b, texts[i].name, texts[i].value);
    ph_buf_printf(b, ",\"parameter_line\":%u,\"line\":%u,\"depth\":%u}", l->parameter_line, l->line, l->depth);
}

static void put_result(struct ph_buf *b, const struct why_result *n)
{
    ph_buf_putc(b, '{');
    put_member(b, "recipient", n->recipient);
    put_member(b, "class", n->class_);
    put_member(b, "transport", n->transport);
    put_member(b, "nexthop", n->nexthop);
    put_member(b, "generic_sender", n->generic_sender);
    put_member(b, "generic_recipient", n->generic_recipient);
    ph_buf_putc(b, '}');
}

void why_json_object(struct ph_buf *b, const struct why_report *r, int steps)
{
    static const char *const words[] = { [WHY_OK] = "ok", [WHY_REFUSED] = "refused", [WHY_TEMP] = "temporary", [WHY_TROUBLE] = "trouble" };

    ph_buf_putc(b, '{');
    put_member(b, "address", r->address);
    put_member(b, "sender", r->sender);
    put_member(b, "status", ph_cstr(words[r->status]));
    ph_buf_printf(b, ",\"failed\":%s", r->failed ? "true" : "false");
    put_member(b, "reply", r->reply);
    put_member(b, "refusal", r->refusal);
    ph_buf_puts(b, ",\"results\":[");
    for (const struct why_result *n = r->result; n; n = n->next) {
        put_result(b, n);
        if (n->next)
            ph_buf_putc(b, ',');
    }
    ph_buf_puts(b, "]");
    if (steps) {
        ph_buf_puts(b, ",\"steps\":[");
        for (const struct why_line *l = r->first; l; l = l->next) {
            put_step(b, l);
            if (l->next)
                ph_buf_putc(b, ',');
        }
        ph_buf_printf(b, "],\"omitted\":%zu", r->omitted);
    }
    ph_buf_putc(b, '}');
}

void why_json(const struct why_report *r)
{
    struct ph_buf b;
    PH_SCOPED(s, NULL);

    ph_buf_init(&b, s, OBJECT_MAX);
    why_json_object(&b, r, 1);
    fwrite(b.p, 1, b.n, stdout);
    putchar('\n');
}
