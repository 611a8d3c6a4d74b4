/* postwhy: reports, and reports as frames between two processes.  See postwhy.h. */
#include "core/cmd/postwhy.h"

struct why_report *why_report_new(struct ph_scope *s, ph_str address, ph_str sender)
{
    struct why_report *r = ph_new(s, struct why_report);

    *r = (struct why_report){ .scope = s, .address = ph_str_dup(s, address), .sender = ph_str_dup(s, sender) };
    r->last = &r->first;
    r->result_last = &r->result;
    return r;
}

void why_report_step(struct why_report *r, const struct why_line *line)
{
    struct why_line *l;

    if (r->steps == WHY_STEPS_MAX) {
        r->omitted++;
        return;
    }
    r->steps++;
    l = ph_new(r->scope, struct why_line);
    *l = *line;
    l->next = NULL;
    ph_str *const all[] = { &l->stage, &l->what, &l->table, &l->key, &l->value, &l->file, &l->remark, &l->parameter_file };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        *all[i] = ph_str_dup(r->scope, *all[i]);
    *r->last = l;
    r->last = &l->next;
}

void why_report_result(struct why_report *r, const struct why_result *result)
{
    struct why_result *n = ph_new(r->scope, struct why_result);

    *n = (struct why_result){ .recipient = ph_str_dup(r->scope, result->recipient), .class_ = ph_str_dup(r->scope, result->class_),
                              .transport = ph_str_dup(r->scope, result->transport), .nexthop = ph_str_dup(r->scope, result->nexthop),
                              .generic_sender = ph_str_dup(r->scope, result->generic_sender), .generic_recipient = ph_str_dup(r->scope, result->generic_recipient) };
    *r->result_last = n;
    r->result_last = &n->next;
}

void why_report_refuse(struct why_report *r, enum why_status status, ph_str text)
{
    if (r->refusal.n == 0)
        r->refusal = ph_str_dup(r->scope, text);
    if (status > r->status)
        r->status = status;
}

/* Members as attributes: a step begins with "kind", a result with "recipient". */
static const struct { const char *name; size_t at; } step_texts[] = {
    { "stage", offsetof(struct why_line, stage) }, { "what", offsetof(struct why_line, what) }, { "table", offsetof(struct why_line, table) },
    { "key", offsetof(struct why_line, key) }, { "value", offsetof(struct why_line, value) }, { "file", offsetof(struct why_line, file) },
    { "remark", offsetof(struct why_line, remark) }, { "parameter_file", offsetof(struct why_line, parameter_file) },
};
static const struct { const char *name; size_t at; } step_numbers[] = {
    { "depth", offsetof(struct why_line, depth) }, { "line", offsetof(struct why_line, line) },
    { "parameter_line", offsetof(struct why_line, parameter_line) },
};
#define MEMBER(type, p, at) ((type *)(void *)((char *)(p) + (at)))

static void pack_step(struct ph_frame *f, const struct why_line *l)
{
    struct why_line copy = *l;

    ph_frame_u64(f, "kind", l->kind);
    ph_frame_i64(f, "answer", l->answer);
    for (size_t i = 0; i < sizeof step_texts / sizeof *step_texts; i++) {
        ph_str v = *MEMBER(ph_str, &copy, step_texts[i].at);

        if (v.n)
            ph_frame_str(f, step_texts[i].name, v);
    }
    for (size_t i = 0; i < sizeof step_numbers / sizeof *step_numbers; i++)
        ph_frame_u64(f, step_numbers[i].name, *MEMBER(uint32_t, &copy, step_numbers[i].at));
}

struct ph_frame *why_report_pack(struct ph_scope *s, const struct why_report *r)
{
    struct ph_frame *f = ph_frame_new(s);

    ph_frame_str(f, "address", r->address);
    ph_frame_str(f, "sender", r->sender);
    ph_frame_u64(f, "status", r->status);
    ph_frame_u64(f, "omitted", r->omitted);
    if (r->failed)
        ph_frame_cstr(f, "failed", "1");
    ph_frame_str(f, "reply", r->reply);
    ph_frame_str(f, "refusal", r->refusal);
    for (const struct why_result *n = r->result; n; n = n->next) {
        ph_frame_str(f, "recipient", n->recipient);
        ph_frame_str(f, "class", n->class_);
        ph_frame_str(f, "transport", n->transport);
        ph_frame_str(f, "nexthop", n->nexthop);
        ph_frame_str(f, "generic_sender", n->generic_sender);
        ph_frame_str(f, "generic_recipient", n->generic_recipient);
    }
    for (const struct why_line *l = r->first; l; l = l->next)
        pack_step(f, l);
    return f;
}

/* What is being read of a frame. */
struct unpacking {
    struct why_report *r;
    struct why_line line;
    struct why_result result;
    int in_line, in_result;
};

static void end_part(struct unpacking *u)
{
    if (u->in_line)
        why_report_step(u->r, &u->line);
    if (u->in_result)
        why_report_result(u->r, &u->result);
    u->in_line = u->in_result = 0;
    u->line = (struct why_line){ 0 };
    u->result = (struct why_result){ 0 };
}

static int64_t number(ph_str text)
{
    int negative = text.n && text.p[0] == '-';
    uint64_t v = 0;

    ph_str_u64(negative ? ph_str_from(text, 1) : text, &v);
    return negative ? -(int64_t)v : (int64_t)v;
}

static void take_step_member(struct unpacking *u, ph_str name, ph_str value)
{
    if (ph_str_eq(name, PH_STR("answer")))
        u->line.answer = (int32_t)number(value);
    for (size_t i = 0; i < sizeof step_texts / sizeof *step_texts; i++)
        if (ph_str_eq(name, ph_cstr(step_texts[i].name)))
            *MEMBER(ph_str, &u->line, step_texts[i].at) = value;
    for (size_t i = 0; i < sizeof step_numbers / sizeof *step_numbers; i++)
        if (ph_str_eq(name, ph_cstr(step_numbers[i].name)))
            *MEMBER(uint32_t, &u->line, step_numbers[i].at) = (uint32_t)number(value);
}

static void take_result_member(struct unpacking *u, ph_str name, ph_str value)
{
    if (ph_str_eq(name, PH_STR("class")))
        u->result.class_ = value;
    else if (ph_str_eq(name, PH_STR("transport")))
        u->result.transport = value;
    else if (ph_str_eq(name, PH_STR("nexthop")))
        u->result.nexthop = value;
    else if (ph_str_eq(name, PH_STR("generic_sender")))
        u->result.generic_sender = value;
    else if (ph_str_eq(name, PH_STR("generic_recipient")))
        u->result.generic_recipient = value;
}

static void take(struct unpacking *u, ph_str name, ph_str value)
{
    if (ph_str_eq(name, PH_STR("kind"))) {
        end_part(u);
        u->in_line = 1;
        u->line.kind = (uint32_t)number(value);
    } else if (ph_str_eq(name, PH_STR("recipient"))) {
        end_part(u);
        u->in_result = 1;
        u->result.recipient = value;
    } else if (u->in_line) {
        take_step_member(u, name, value);
    } else if (u->in_result) {
        take_result_member(u, name, value);
    }
}

struct why_report *why_report_unpack(struct ph_scope *s, const struct ph_frame *f)
{
    struct unpacking u = { .r = why_report_new(s, ph_frame_value(f, "address"), ph_frame_value(f, "sender")) };
    uint64_t status, omitted = 0;
    ph_str name, value;
    size_t at = 0;

    if (ph_frame_get_u64(f, "status", &status) != PH_FOUND || status > WHY_TROUBLE)
        return NULL;
    u.r->status = (enum why_status)status;
    if (ph_frame_get_u64(f, "omitted", &omitted) == PH_FOUND)
        u.r->omitted = omitted;
    u.r->failed = ph_frame_value(f, "failed").n > 0;
    u.r->reply = ph_str_dup(s, ph_frame_value(f, "reply"));
    u.r->refusal = ph_str_dup(s, ph_frame_value(f, "refusal"));
    while (ph_frame_next(f, &at, &name, &value))
        take(&u, name, value);
    end_part(&u);
    return u.r;
}
