/* core/conf/internal.h: what the files of core/conf share. */
#ifndef CORE_CONF_INTERNAL_H
#define CORE_CONF_INTERNAL_H

#include "core/conf/conf.h"
#include <posthorn/buf.h>
#include <posthorn/error.h>
#include <posthorn/map.h>

/* Where a stretch of a logical line came from: continuation lines start anew. */
struct segment {
    uint32_t offset;               /* in the value */
    uint32_t line, column;
};

struct entry {
    ph_str name, value;
    const char *file;              /* NULL: set by the program */
    const struct segment *segments;
    size_t segment_count;
};

struct ph_conf {
    struct ph_scope *scope;
    struct ph_conf *base;          /* what the settings of a service stand on, or NULL */
    const char *dir;
    const char *process_name, *service_name;
    struct ph_map *entries;        /* name -> struct entry */
    struct warning *warnings, **warnings_end;
    const char *host;              /* of the kernel, once asked */
    struct ph_map *used;           /* used.c: names that values refer to, once noted */
    struct ph_map *undefined;      /* names told to be undefined; NULL: not told */
    const char *undefined_file;    /* where it is told to be so */
    int finding_domain;            /* shared.c: breaks the circle of myhostname and mydomain */
    int finding_networks;          /* shared.c: what mynetworks is made from must not refer to it */
};

struct warning {
    struct warning *next;
    ph_str text;
};

/* One row of the table of all parameters. */
struct ph_known {
    const char *name;              /* a template: "_recipient_limit" */
    const char *def;
    uint32_t type;                 /* PH_TYPE_* */
    int64_t min, max;
    uint8_t computed;              /* shared.c has its default */
    uint8_t built;                 /* some source uses it */
    uint8_t old;                   /* a former name: it exists where it is set */
};

/* conf.c */
const struct entry *ph_conf_find(const struct ph_conf *c, ph_str name);
void ph_conf_put(struct ph_conf *c, struct entry *e);
void ph_conf_warn(struct ph_conf *c, const char *fmt, ...) PH_PRINTF(2, 3);
struct ph_conf *ph_conf_new(struct ph_scope *s, const char *dir);
/* The place of a byte of the value; file NULL when it has none. */
struct ph_place ph_entry_place(const struct entry *e, size_t offset);
/* The text that holds for name: PH_FOUND and *text, *e (NULL: a default), PH_NONE, or PH_CONF. */
int ph_conf_text(struct ph_conf *c, struct ph_scope *s, ph_str name, ph_str *text, const struct entry **e);
/* The bytes of a file, at most max: 0, PH_TEMP, PH_CONF. */
int ph_conf_read_file(struct ph_scope *s, const char *path, size_t max, ph_str *text);
/* The same of an open file; path names it in messages. */
int ph_conf_read_fd(struct ph_scope *s, int fd, const char *path, size_t max, ph_str *text);
/* Start an error text with where and what: "FILE:LINE:COLUMN: fmt". */
int ph_conf_fail_at(struct ph_place at, const char *fmt, ...) PH_PRINTF(2, 3);

/* reader.c: add the lines of text to the dictionary. */
int ph_conf_read_text(struct ph_conf *c, const char *file, ph_str text);

/* expand.c: like ph_conf_expand; e is where the text stands (or NULL), `name`
 * what it is the value of (for messages). */
int ph_conf_expand_at(struct ph_conf *c, struct ph_scope *s, ph_str name, ph_str text,
                const struct entry *e, ph_str *value);

/* shared.c: the default of a computed parameter. */
int ph_conf_computed(struct ph_conf *c, struct ph_scope *s, ph_str name, ph_str *text);
/* While the default of a computed parameter is made: why this name cannot be asked for, or NULL. */
const char *ph_conf_circle(const struct ph_conf *c, ph_str name);

/* known.c */
const struct ph_known *ph_known_find(ph_str name);
/* The template that name is an instance of ("smtp_recipient_limit"), or NULL. */
const struct ph_known *ph_known_template(ph_str name);
size_t ph_known_count(void);
/* A name that goes away: what to set instead, or "" (leave it unset); NULL for all others. */
const char *ph_known_instead(ph_str name);
const struct ph_known *ph_known_at(size_t i);
const struct ph_param *ph_registered_find(ph_str name);

/* check.c: has the expanded value of a parameter the form that it must have?  0, or PH_CONF. */
int ph_conf_check_form(ph_str name, ph_str value);

/* value.c: text to the member's type; *out is int64_t or int32_t. */
char ph_value_unit(const char *unit, const char *def);

/* idn.c; absent (NULL) in the small programs, which do not link libidn2. */
int ph_conf_idn(struct ph_scope *s, ph_str name, int to_ascii, ph_str *out) __attribute__((weak));

#endif
