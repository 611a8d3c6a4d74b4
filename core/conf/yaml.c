/* yaml: libyaml's events to a tree.  libyaml's own document tree would resolve
 * aliases silently and guess types; here nothing is resolved or guessed. */
#include <string.h>
#include <yaml.h>
#include <posthorn/error.h>
#include "core/conf/yaml.h"

struct builder {
    struct ph_scope *scope;
    const char *file;
    ph_str text;
    yaml_parser_t parser;
    struct ph_yaml *stack[PH_YAML_DEPTH];
    struct ph_yaml **tail[PH_YAML_DEPTH];  /* where the next child goes */
    ph_str key[PH_YAML_DEPTH];             /* of a mapping: the key that waits for its value */
    struct ph_place key_place[PH_YAML_DEPTH];
    size_t key_from[PH_YAML_DEPTH];
    int depth;
    size_t chars, bytes;                   /* a position that was looked up, in both measures */
    size_t nodes, documents;
    struct ph_yaml *root;
};

int ph_yaml_fail(struct ph_place at, const char *fmt, ...)
{
    PH_SCOPED(step, NULL);
    va_list ap;

    va_start(ap, fmt);
    ph_str text = ph_str_vprintf(step, fmt, ap);
    va_end(ap);
    return ph_fail(PH_CONF, "%s:%u:%u: %.*s", at.file, at.line, at.column, PH_FMT(text));
}

static struct ph_place place(const struct builder *b, yaml_mark_t mark)
{
    return (struct ph_place){ b->file, (uint32_t)mark.line + 1, (uint32_t)mark.column + 1 };
}

/* The parser counts characters. */
static size_t byte_at(struct builder *b, yaml_mark_t mark)
{
    if (mark.index < b->chars)
        b->chars = b->bytes = 0;
    if (b->bytes == 0 && ph_str_starts(b->text, PH_STR("\xef\xbb\xbf")))
        b->bytes = 3;
    while (b->chars < mark.index && b->bytes < b->text.n) {
        b->bytes++;
        while (b->bytes < b->text.n && ((unsigned char)b->text.p[b->bytes] & 0xc0) == 0x80)
            b->bytes++;
        b->chars++;
    }
    return b->bytes;
}

/* Where the text of a scalar ends: a block's mark stands behind the empty lines that follow. */
static size_t end_of(struct builder *b, const yaml_event_t *e)
{
    size_t from = byte_at(b, e->start_mark), to = byte_at(b, e->end_mark);

    while (to > from && ph_is_space(b->text.p[to - 1]))
        to--;
    return to;
}

static int fail_syntax(const struct builder *b)
{
    const char *problem = b->parser.problem ? b->parser.problem : "not YAML";

    if (b->parser.error == YAML_READER_ERROR)
        return ph_fail(PH_CONF, "%s: byte %zu: %s", b->file, b->parser.problem_offset, problem);
    if (b->parser.error == YAML_MEMORY_ERROR)
        ph_die("out of memory");
    if (b->parser.context)
        return ph_yaml_fail(place(b, b->parser.problem_mark), "%s, %s", b->parser.context, problem);
    return ph_yaml_fail(place(b, b->parser.problem_mark), "%s", problem);
}

/* A node at its place in the tree: value of the waiting key, item, or root. */
static int add_node(struct builder *b, struct ph_yaml *n)
{
    struct ph_yaml *parent = b->depth ? b->stack[b->depth - 1] : NULL;

    if (++b->nodes > PH_YAML_NODES)
        return ph_yaml_fail(n->place, "more than %u values", PH_YAML_NODES);
    if (!parent) {
        b->root = n;
        return 0;
    }
    if (parent->kind == PH_YAML_MAPPING) {
        n->key = b->key[b->depth - 1];
        n->key_place = b->key_place[b->depth - 1];
        n->key_from = b->key_from[b->depth - 1];
        b->key[b->depth - 1] = (ph_str){ NULL, 0 };
    }
    *b->tail[b->depth - 1] = n;
    b->tail[b->depth - 1] = &n->next;
    parent->count++;
    return 0;
}

static int waits_for_key(const struct builder *b)
{
    return b->depth && b->stack[b->depth - 1]->kind == PH_YAML_MAPPING && !b->key[b->depth - 1].p;
}

static int take_key(struct builder *b, ph_str text, struct ph_place at)
{
    for (const struct ph_yaml *i = b->stack[b->depth - 1]->first; i; i = i->next)
        if (ph_str_eq(i->key, text))
            return ph_yaml_fail(at, "\"%.*s\" is given twice (first in line %u)", PH_FMT(text), i->key_place.line);
    b->key[b->depth - 1] = text;
    b->key_place[b->depth - 1] = at;
    return 0;
}

static int take_scalar(struct builder *b, const yaml_event_t *e)
{
    ph_str text = { (const char *)e->data.scalar.value, e->data.scalar.length };
    struct ph_place at = place(b, e->start_mark);

    if (ph_str_find(text, '\0') >= 0)
        return ph_yaml_fail(at, "the text holds a NUL byte");
    text = ph_str_dup(b->scope, text);
    if (waits_for_key(b)) {
        b->key_from[b->depth - 1] = byte_at(b, e->start_mark);
        return take_key(b, text, at);
    }
    struct ph_yaml *n = ph_new(b->scope, struct ph_yaml);

    n->kind = PH_YAML_SCALAR;
    n->quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    n->text = text;
    n->place = at;
    n->from = byte_at(b, e->start_mark);
    n->to = end_of(b, e);
    return add_node(b, n);
}

static int open_node(struct builder *b, const yaml_event_t *e, uint32_t kind)
{
    struct ph_yaml *n = ph_new(b->scope, struct ph_yaml);
    int rc;

    n->kind = kind;
    n->place = place(b, e->start_mark);
    n->from = n->to = byte_at(b, e->start_mark);
    n->flow = kind == PH_YAML_SEQUENCE ? e->data.sequence_start.style == YAML_FLOW_SEQUENCE_STYLE
                                       : e->data.mapping_start.style == YAML_FLOW_MAPPING_STYLE;
    if (waits_for_key(b))
        return ph_yaml_fail(n->place, "a key must be text");
    if (b->depth == PH_YAML_DEPTH)
        return ph_yaml_fail(n->place, "nested too deeply");
    if ((rc = add_node(b, n)) < 0)
        return rc;
    b->key[b->depth] = (ph_str){ NULL, 0 };
    b->tail[b->depth] = &n->first;
    b->stack[b->depth++] = n;
    return 0;
}

/* A block ends with its last child. */
static void close_node(struct builder *b, const yaml_event_t *e)
{
    struct ph_yaml *n = b->stack[--b->depth];

    if (n->flow)
        n->to = byte_at(b, e->end_mark);
    for (const struct ph_yaml *i = n->first; i && !n->flow; i = i->next)
        n->to = i->to > n->to ? i->to : n->to;
}

static int refuse_extras(const struct builder *b, const yaml_event_t *e)
{
    const yaml_char_t *anchor = NULL, *tag = NULL;

    if (e->type == YAML_ALIAS_EVENT)
        return ph_yaml_fail(place(b, e->start_mark), "aliases (*name) are not allowed");
    if (e->type == YAML_SCALAR_EVENT) {
        anchor = e->data.scalar.anchor;
        tag = e->data.scalar.tag;
    } else if (e->type == YAML_SEQUENCE_START_EVENT) {
        anchor = e->data.sequence_start.anchor;
        tag = e->data.sequence_start.tag;
    } else if (e->type == YAML_MAPPING_START_EVENT) {
        anchor = e->data.mapping_start.anchor;
        tag = e->data.mapping_start.tag;
    }
    if (anchor)
        return ph_yaml_fail(place(b, e->start_mark), "anchors (&name) are not allowed");
    if (tag)
        return ph_yaml_fail(place(b, e->start_mark), "tags (!name) are not allowed");
    return 0;
}

static int take_event(struct builder *b, const yaml_event_t *e)
{
    int rc = refuse_extras(b, e);

    if (rc < 0)
        return rc;
    switch (e->type) {
    case YAML_DOCUMENT_START_EVENT:
        return b->documents++ ? ph_yaml_fail(place(b, e->start_mark), "a second document begins") : 0;
    case YAML_SCALAR_EVENT:
        return take_scalar(b, e);
    case YAML_SEQUENCE_START_EVENT:
        return open_node(b, e, PH_YAML_SEQUENCE);
    case YAML_MAPPING_START_EVENT:
        return open_node(b, e, PH_YAML_MAPPING);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        close_node(b, e);
        return 0;
    default:
        return 0;
    }
}

static int build(struct builder *b)
{
    yaml_event_t event;
    int rc = 0, end = 0;

    while (rc == 0 && !end) {
        if (!yaml_parser_parse(&b->parser, &event))
            return fail_syntax(b);
        end = event.type == YAML_STREAM_END_EVENT;
        rc = take_event(b, &event);
        yaml_event_delete(&event);
    }
    if (rc == 0 && !b->root)
        return ph_yaml_fail((struct ph_place){ b->file, 1, 1 }, "the file is empty");
    return rc;
}

int ph_yaml_parse(struct ph_scope *s, const char *file, ph_str text, struct ph_yaml **root)
{
    struct builder b = { .scope = s, .file = ph_cstr_dup(s, ph_cstr(file)), .text = text };
    int rc;

    if (!yaml_parser_initialize(&b.parser))
        ph_die("out of memory");
    yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&b.parser, (const unsigned char *)text.p, text.n);
    rc = build(&b);
    yaml_parser_delete(&b.parser);
    if (rc == 0)
        *root = b.root;
    return rc;
}

const struct ph_yaml *ph_yaml_member(const struct ph_yaml *mapping, const char *key)
{
    for (const struct ph_yaml *i = mapping->first; i; i = i->next)
        if (ph_str_eq(i->key, ph_cstr(key)))
            return i;
    return NULL;
}

const char *ph_yaml_kind(const struct ph_yaml *n)
{
    return n->kind == PH_YAML_SCALAR ? "text" : n->kind == PH_YAML_SEQUENCE ? "a list" : "a mapping";
}

int ph_yaml_text(const struct ph_yaml *n, ph_str *value)
{
    if (n->kind != PH_YAML_SCALAR)
        return ph_yaml_fail(n->place, "%.*s must be text, not %s", PH_FMT(n->key), ph_yaml_kind(n));
    *value = n->text;
    return 0;
}

int ph_yaml_bool(const struct ph_yaml *n, int32_t *value)
{
    static const struct { const char *word; int32_t value; } words[] = {
        { "true", 1 }, { "yes", 1 }, { "on", 1 }, { "y", 1 }, { "false", 0 }, { "no", 0 }, { "off", 0 }, { "n", 0 },
    };
    ph_str text = { "", 0 };
    int rc = ph_yaml_text(n, &text);

    for (size_t i = 0; rc == 0 && i < sizeof words / sizeof *words; i++)
        if (ph_str_eq_nocase(text, ph_cstr(words[i].word))) {
            *value = words[i].value;
            return 0;
        }
    return rc < 0 ? rc : ph_yaml_fail(n->place, "%.*s must be true or false, not \"%.*s\"", PH_FMT(n->key), PH_FMT(text));
}

int ph_yaml_texts(struct ph_scope *s, const struct ph_yaml *n, const ph_str **list, size_t *count)
{
    const struct ph_yaml *item = n->kind == PH_YAML_SEQUENCE ? n->first : n;
    size_t room = n->kind == PH_YAML_SEQUENCE ? n->count : 1, used = 0;
    ph_str *texts = ph_alloc_array(s, room + 1, sizeof *texts);

    for (; used < room; item = item->next) {
        if (item->kind != PH_YAML_SCALAR)
            return ph_yaml_fail(item->place, "%.*s must hold texts, not %s", PH_FMT(n->key), ph_yaml_kind(item));
        texts[used++] = item->text;
    }
    *list = texts;
    *count = used;
    return 0;
}

int ph_yaml_unknown_key(const struct ph_yaml *n, const char *const *known, size_t count)
{
    const char *near = ph_nearest(n->key, known, count);

    return ph_yaml_fail(n->key_place, "unknown key \"%.*s\"%s%s%s", PH_FMT(n->key), near ? " (did you mean \"" : "",
                        near ? near : "", near ? "\"?)" : "");
}
