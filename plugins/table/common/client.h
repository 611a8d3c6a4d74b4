/* client: what tables with a database behind them have in common: their file of
 * settings, the templates of questions and answers, and how answers become one.
 *
 *     type:/etc/postfix/x.cf      a file: `name = value` lines; "$" is itself
 *     type:x                      settings x_name in main.cf (the old way)
 *
 * No call yields, but client_wants (a domain list may hold tables). */
#ifndef TABLE_CLIENT_H
#define TABLE_CLIENT_H

#include <posthorn/lookup.h>
#include <posthorn/map.h>
#include <posthorn/table.h>

#define CLIENT_ANSWER_MAX (1u << 20)

struct client {
    struct ph_table *table;        /* only while it is opened */
    struct ph_map *set;            /* of a file; NULL: main.cf */
    ph_str name;                   /* of the file, or x */
    ph_str result_format;
    struct ph_match *domains;      /* or NULL */
    int64_t expansion_limit;       /* 0: none */
    int has_key_letters;           /* result_format looks at the key */
};

/* Read the settings, and of them domain, result_format and expansion_limit: 0, or
 * PH_CONF, PH_TEMP. */
int client_open(struct ph_table *t, ph_str spec, struct client *c);
/* One setting: its value, or def. */
ph_str client_get(struct client *c, const char *name, const char *def);
/* A number from min to max: 0, or PH_CONF. */
int client_get_i64(struct client *c, const char *name, int64_t def, int64_t min, int64_t max, int64_t *v);
/* `query`, or what `table`, `select_field`, `where_field` and `additional_conditions`
 * (the old way) come to: 0, or PH_CONF. */
int client_get_query(struct client *c, ph_str *query);

/* A library opens these when it connects, which may be behind the seal: a file, and a
 * directory of files; either may be NULL.  In open. */
void client_opens_later(const struct client *c, const char *file, const char *directory);

/* Is the server asked for that key at all: PH_FOUND, PH_NONE; negative: the list of
 * domains cannot say. */
int client_wants(const struct client *c, ph_str key) PH_YIELDS;

/* Appends `in` quoted for where the text in *out ends: 1, or 0: it cannot stand there,
 * and the key is not asked for. */
typedef int client_quote(void *arg, ph_str in, struct ph_buf *out);
/* As it is. */
int client_quote_nothing(void *arg, ph_str in, struct ph_buf *out);
/* Every letter behind % is known: 0, or PH_CONF naming `what`. */
int client_check_template(const char *what, ph_str template);
/* %s whole key, %u its local part (all of it without @), %d its domain, %1..%9 labels
 * of the domain from the right, %% a percent sign.  1; 0: the key lacks such a part,
 * or it cannot stand where it would: not asked for. */
int client_expand(ph_str template, ph_str key, client_quote *quote, void *arg, struct ph_buf *out);
/* Has the key all parts that the template names: 1, or 0: client_expand would say so
 * too.  For who quotes with a connection, before there is one. */
int client_has_parts(ph_str template, ph_str key);
/* The next value of an answer to it: through result_format, joined by commas; empty
 * ones are passed over.  *count: of values so far.  0, or PH_TEMP (too many, too long). */
int client_add(const struct client *c, ph_str key, ph_str value, struct ph_buf *answer, int64_t *count);
/* PH_FOUND and *val, or PH_NONE: no value came. */
int client_answer(const struct ph_buf *answer, ph_str *val);

#endif
