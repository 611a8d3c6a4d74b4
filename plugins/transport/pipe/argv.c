/* argv: the command line.  Each argument is one argument of the command, whatever
 * a macro in it holds: nothing is ever split, joined or given to a shell. */
#include <stdio.h>
#include <string.h>
#include <posthorn/address.h>
#include <posthorn/error.h>
#include "pipe.h"

#define ARG_MAX_BYTES (64u << 10)

/* Whom an expansion is for. */
struct subject {
    struct ph_scope *scope;
    const struct pipe_attr *attr;
    const struct ph_delivery *d;
    const struct ph_recipient *rcpt;
    ph_str delimiters;
};

static ph_str lower_if(const struct subject *x, uint32_t flag, ph_str v)
{
    return x->attr->flags & flag ? ph_str_lower(x->scope, v) : v;
}

/* A whole recipient address: folded and quoted as the flags say. */
static ph_str whole(const struct subject *x, ph_str address)
{
    ph_str local, domain;

    ph_address_split(address, &local, &domain);
    local = lower_if(x, PIPE_LOW_LOCAL, local);
    domain = lower_if(x, PIPE_LOW_DOMAIN, domain);
    ph_str full = domain.n ? ph_str_printf(x->scope, "%.*s@%.*s", PH_FMT(local), PH_FMT(domain)) : local;
    return x->attr->flags & PIPE_QUOTE ? ph_address_external(x->scope, full) : full;
}

ph_str pipe_sender(const struct pipe_attr *a, const struct ph_delivery *d)
{
    return d->message->sender.n ? d->message->sender : a->null_sender;
}

static ph_str do_sender(const struct subject *x)
{
    ph_str sender = pipe_sender(x->attr, x->d);

    return x->attr->flags & PIPE_QUOTE && sender.n ? ph_address_external(x->scope, sender) : sender;
}

static ph_str do_recipient(const struct subject *x)
{
    return whole(x, x->rcpt->address);
}

static ph_str do_original(const struct subject *x)
{
    return whole(x, x->rcpt->original.n ? x->rcpt->original : x->rcpt->address);
}

static ph_str local_of(const struct subject *x, ph_str *domain)
{
    ph_str local;

    ph_address_split(x->rcpt->address, &local, domain);
    return lower_if(x, PIPE_LOW_LOCAL, local);
}

static ph_str do_mailbox(const struct subject *x)
{
    ph_str domain;

    return local_of(x, &domain);
}

static ph_str do_domain(const struct subject *x)
{
    ph_str domain;

    local_of(x, &domain);
    return lower_if(x, PIPE_LOW_DOMAIN, domain);
}

static ph_str split_local(const struct subject *x, ph_str *ext)
{
    ph_str user;
    char delimiter;

    ph_address_extension(do_mailbox(x), x->delimiters, &user, ext, &delimiter);
    return user;
}

static ph_str do_user(const struct subject *x)
{
    ph_str ext;

    return split_local(x, &ext);
}

static ph_str do_extension(const struct subject *x)
{
    ph_str ext;

    split_local(x, &ext);
    return ext;
}

static ph_str do_nexthop(const struct subject *x)
{
    return lower_if(x, PIPE_LOW_DOMAIN, x->d->nexthop);
}

static ph_str do_size(const struct subject *x)
{
    return ph_str_printf(x->scope, "%llu", (unsigned long long)ph_message_bytes(x->d->message));
}

#define MEMBER(name) static ph_str do_##name(const struct subject *x) { return x->d->message->name; }
MEMBER(client_address)
MEMBER(client_helo)
MEMBER(client_name)
MEMBER(client_port)
MEMBER(client_protocol)
MEMBER(envelope_id)
MEMBER(queue_id)
MEMBER(sasl_method)
MEMBER(sasl_sender)
MEMBER(sasl_username)

/* `each`: an argument that holds it is repeated for each recipient. */
static const struct macro { const char *name; int each; ph_str (*value)(const struct subject *); } macros[] = {
    { "recipient", 1, do_recipient }, { "original_recipient", 1, do_original }, { "user", 1, do_user },
    { "extension", 1, do_extension }, { "mailbox", 1, do_mailbox }, { "domain", 1, do_domain },
    { "nexthop", 0, do_nexthop }, { "sender", 0, do_sender }, { "size", 0, do_size }, { "queue_id", 0, do_queue_id },
    { "envid", 0, do_envelope_id }, { "client_address", 0, do_client_address }, { "client_helo", 0, do_client_helo },
    { "client_hostname", 0, do_client_name }, { "client_port", 0, do_client_port }, { "client_protocol", 0, do_client_protocol },
    { "sasl_method", 0, do_sasl_method }, { "sasl_sender", 0, do_sasl_sender }, { "sasl_username", 0, do_sasl_username },
};

static const struct macro *find_macro(ph_str name)
{
    for (size_t i = 0; i < sizeof macros / sizeof *macros; i++)
        if (ph_str_eq(name, ph_cstr(macros[i].name)))
            return &macros[i];
    return NULL;
}

/* The macro at *text, which begins behind a '$': PH_FOUND and *m, or PH_CONF.
 * $name, ${name}, $(name). */
static int take_macro(ph_str *text, const struct macro **m)
{
    char open = text->n ? text->p[0] : 0, close = open == '{' ? '}' : open == '(' ? ')' : 0;
    ph_str name;

    if (close) {
        ph_str rest = ph_str_from(*text, 1);
        ptrdiff_t end = ph_str_find(rest, close);

        if (end < 0)
            return ph_fail(PH_CONF, "no '%c' ends the macro $%.*s", close, PH_FMT(*text));
        name = ph_str_first(rest, (size_t)end);
        *text = ph_str_from(rest, (size_t)end + 1);
    } else {
        size_t n = 0;

        while (n < text->n && (ph_is_alnum(text->p[n]) || text->p[n] == '_'))
            n++;
        name = ph_str_first(*text, n);
        *text = ph_str_from(*text, n);
    }
    *m = find_macro(name);
    return *m ? PH_FOUND : ph_fail(PH_CONF, "unknown macro name \"%.*s\"", PH_FMT(name));
}

/* Expand one argument: 0 and out, PH_CONF.  x NULL: only look; *each is set when
 * some macro of it is of the recipient. */
static int expand(const struct subject *x, ph_str text, struct ph_buf *out, int *each)
{
    while (text.n) {
        const struct macro *m = NULL;
        ptrdiff_t dollar = ph_str_find(text, '$');
        ph_str plain = ph_str_first(text, dollar < 0 ? text.n : (size_t)dollar);

        if (x)
            ph_buf_str(out, plain);
        text = ph_str_from(text, plain.n + 1);
        if (dollar < 0)
            break;
        if (text.n && text.p[0] == '$') {
            if (x)
                ph_buf_putc(out, '$');
            text = ph_str_from(text, 1);
            continue;
        }
        int rc = take_macro(&text, &m);
        if (rc < 0)
            return rc;
        *each |= m->each;
        if (x)
            ph_buf_str(out, m->value(x));
    }
    return 0;
}

static int expand_for(struct subject *x, const struct ph_recipient *r, const char *text, const char **arg, size_t *bytes)
{
    struct ph_buf b;
    int each = 0, rc;

    x->rcpt = r;
    ph_buf_init(&b, x->scope, ARG_MAX_BYTES);
    if ((rc = expand(x, ph_cstr(text), &b, &each)) < 0)
        return rc;
    if (b.full)
        return ph_fail(PH_TEMP, "an argument of the command is longer than %u bytes", ARG_MAX_BYTES);
    /* A NUL cannot be told in an argument. */
    if (memchr(b.p, 0, b.n))
        return ph_fail(PH_PERM, "a NUL byte in an argument of the command");
    *arg = b.p;
    *bytes += b.n + 1;
    return 0;
}

int pipe_argv_expand(struct ph_scope *s, const struct pipe_attr *a, ph_str delimiters, const struct ph_delivery *d,
                     uint32_t first, uint32_t count, const char ***argv, size_t *bytes)
{
    struct subject x = { .scope = s, .attr = a, .d = d, .delimiters = delimiters };
    const char **v = ph_alloc_array(s, (size_t)a->argc * count + 1, sizeof *v);
    size_t n = 0;

    *bytes = 0;
    for (uint32_t i = 0; i < a->argc; i++) {
        int each = 0, rc = expand(NULL, ph_cstr(a->argv[i]), NULL, &each);

        for (uint32_t k = 0; rc == 0 && k < (each ? count : 1); k++)
            rc = expand_for(&x, &d->rcpt[first + k], a->argv[i], &v[n++], bytes);
        if (rc < 0)
            return rc;
    }
    *argv = v;
    return 0;
}
