/* complete: the rewriting of incomplete addresses. */
#include <posthorn/why.h>
#include "rewrite.h"

/* @a,@b:user@dom: what stands behind the colon. */
static void drop_route(struct text *t)
{
    ptrdiff_t colon;

    while (text_at(t, 0) == '@' && (colon = text_find(t, ':')) > 0)
        text_drop_first(t, (size_t)colon + 1);
}

/* No '@' yet: turn an operator, or append the origin. */
static void find_domain(const struct rewriter *w, struct text *t, ph_str origin)
{
    if (rewrite_turn(w, t) || !w->p.append_origin || !origin.n)
        return;
    text_append(t, PH_STR("@"));
    text_append(t, origin);
    ph_why("append_at_myorigin", "%.*s", PH_FMT(text_external(t)));
}

/* The domain at `from`: a bare host gets ours, not so a literal; one trailing dot goes. */
static void complete_domain(const struct rewriter *w, struct text *t, size_t from, ph_str domain)
{
    int dots = 0;

    for (size_t i = from; i < t->n; i++)
        dots |= text_at(t, i) == '.' || text_byte(t, i) == '[';
    if (from == t->n)
        return;
    if (w->p.append_domain && domain.n && !dots) {
        text_append(t, PH_STR("."));
        text_append(t, domain);
        ph_why("append_dot_mydomain", "%.*s", PH_FMT(text_external(t)));
    } else {
        text_drop_dot(t);
    }
}

int rewrite_turn(const struct rewriter *w, struct text *t)
{
    ptrdiff_t at;

    if (w->p.swap_bang && (at = text_find(t, '!')) >= 0) {
        text_turn_bang(t, (size_t)at);
        ph_why("swap_bangpath", "%.*s", PH_FMT(text_external(t)));
    } else if (w->p.percent && (at = text_rfind(t, '%')) >= 0) {
        text_turn_percent(t, (size_t)at);
        ph_why("allow_percent_hack", "%.*s", PH_FMT(text_external(t)));
    } else {
        return 0;
    }
    return 1;
}

void rewrite_text(const struct rewriter *w, struct text *t, const struct rewrite_context *x)
{
    ptrdiff_t at;

    drop_route(t);
    if (t->n == 1 && text_at(t, 0) == '@')
        t->n = 0;
    if (t->n == 0)
        return;
    if (text_rfind(t, '@') < 0)
        find_domain(w, t, x->origin);
    if ((at = text_rfind(t, '@')) >= 0)
        complete_domain(w, t, (size_t)at + 1, x->domain);
    else
        text_drop_dot(t);
}

ph_str rewrite_address(const struct rewriter *w, struct ph_scope *s, ph_str address, const struct rewrite_context *x)
{
    struct text t;

    if (address.n == 0 || address.n > REWRITE_ADDRESS_MAX)
        return address;            /* resolve calls it an error */
    text_of_external(&t, s, address, x->origin.n + x->domain.n + 2);
    rewrite_text(w, &t, x);
    return text_external(&t);
}
