/* core/conf/yaml.h: the subset of YAML that our files use, as a tree of nodes
 * that know their place.  No anchors, aliases, tags, second documents or
 * repeated keys, and no types: every scalar is text. */
#ifndef CORE_CONF_YAML_H
#define CORE_CONF_YAML_H

#include "core/conf/conf.h"

#define PH_YAML_SCALAR   1
#define PH_YAML_SEQUENCE 2
#define PH_YAML_MAPPING  3
#define PH_YAML_DEPTH    16
#define PH_YAML_NODES    100000

struct ph_yaml {
    uint32_t kind;                 /* PH_YAML_* */
    uint32_t quoted;               /* scalar: it stood in quotes or as a block */
    ph_str text;                   /* scalar; NUL-terminated, without a NUL inside */
    ph_str key;                    /* member of a mapping: its key */
    struct ph_place place;         /* of the node */
    struct ph_place key_place;
    size_t from, to;               /* the node's bytes in the text; `to` stands behind the last */
    size_t key_from;               /* where its key begins */
    uint32_t flow;                 /* mapping, sequence: in brackets, not one line each */
    size_t count;                  /* of children */
    struct ph_yaml *first, *next;  /* children; next sibling */
};

/* The tree of text, on s.  0; PH_CONF with file:line:column. */
int ph_yaml_parse(struct ph_scope *s, const char *file, ph_str text, struct ph_yaml **root);
/* The member of a mapping, or NULL. */
const struct ph_yaml *ph_yaml_member(const struct ph_yaml *mapping, const char *key);
/* PH_CONF, "file:line:column: fmt". */
int ph_yaml_fail(struct ph_place at, const char *fmt, ...) PH_PRINTF(2, 3);
/* PH_CONF for a member whose key is none of the known ones, with a suggestion. */
int ph_yaml_unknown_key(const struct ph_yaml *n, const char *const *known, size_t count);
/* What the words are, for messages: "text", "a list", "a mapping". */
const char *ph_yaml_kind(const struct ph_yaml *n);
/* Scalars to values by the schema: 0, or PH_CONF naming the place. */
int ph_yaml_bool(const struct ph_yaml *n, int32_t *value);
int ph_yaml_text(const struct ph_yaml *n, ph_str *value);
/* A list of texts; one text alone is a list of one. */
int ph_yaml_texts(struct ph_scope *s, const struct ph_yaml *n, const ph_str **list, size_t *count);

#endif
