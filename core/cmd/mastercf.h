/* core/cmd/mastercf.h: a service as a line of master.cf: the text that scripts
 * read and write, whatever file holds it.  Made from the definition in
 * master.yaml, and turned into keys of it.
 *
 * mastercf.c lines, mastercf_yaml.c keys of master.yaml */
#ifndef CORE_CMD_MASTERCF_H
#define CORE_CMD_MASTERCF_H

#include <posthorn/buf.h>
#include "core/conf/master.h"

#define MASTERCF_FIELDS 8
enum mastercf_field { MCF_SERVICE, MCF_TYPE, MCF_PRIVATE, MCF_UNPRIVILEGED, MCF_CHROOT, MCF_WAKEUP, MCF_LIMIT, MCF_COMMAND };

struct mastercf {
    ph_str field[MASTERCF_FIELDS]; /* "-" where it says so; MCF_COMMAND is not used */
    ph_str *words;                 /* program, options ("-o" and "name=value" are two), arguments */
    size_t count;
    size_t options;                /* words[1 .. options) are options */
    int enabled;                   /* 0: a line that is commented out */
};

extern const char *const mastercf_field_names[MASTERCF_FIELDS];

/* A logical line: 0 and *m, PH_CONF with what is wrong.  Memory on s, also that of line. */
int mastercf_parse(struct ph_scope *s, ph_str line, struct mastercf *m);
/* The last field alone. */
int mastercf_parse_command(struct ph_scope *s, ph_str text, struct mastercf *m);
/* One field: 0, or PH_CONF 'invalid NAME field "X" in "LINE"'. */
int mastercf_check_field(enum mastercf_field f, ph_str value, ph_str line);
/* That of a definition; its settings as `value` says (NULL: as they stand). */
void mastercf_of(struct ph_scope *s, const struct ph_service_def *d, ph_str (*value)(void *, const struct ph_setting *), void *arg,
                 struct mastercf *m);
/* Program and arguments, single blanks between them. */
ph_str mastercf_command(struct ph_scope *s, const struct mastercf *m);
/* The same behind what stands in out: each -o on a line of its own, others up to column 80. */
void mastercf_put_folded(struct ph_buf *out, struct ph_scope *s, const struct mastercf *m);
/* The whole line, without its end: the fields in columns, or (columns == 0) with single
 * blanks; fold as above. */
void mastercf_put(struct ph_buf *out, const struct mastercf *m, int columns, int fold);
/* Set or (value.p NULL) remove a setting.  Settings behind options other than -o stay there. */
void mastercf_set(struct ph_scope *s, struct mastercf *m, ph_str name, ph_str value);

/* A key of master.yaml and its value as YAML text of one line. */
struct mastercf_key {
    ph_str key, value;
};
#define MASTERCF_KEYS 16
struct mastercf_yaml {
    struct mastercf_key keys[MASTERCF_KEYS];
    size_t count;
    struct mastercf_key *settings;
    size_t settings_count;
};

/* The keys of a line: 0; PH_CONF when it cannot be written so.  Registered plugins (the
 * registry must be open) say what can run; others become `program:`. */
int mastercf_keys(struct ph_scope *s, const struct mastercf *m, struct mastercf_yaml *y);
/* A whole item of services, without the leading "- ": on one line, or with lines that
 * are `indent` deep. */
void mastercf_put_item(struct ph_buf *out, const struct mastercf_yaml *y, unsigned indent, int one_line);
/* Text as a scalar that reads as that text; PH_CONF when it is not UTF-8. */
int mastercf_scalar(struct ph_scope *s, ph_str text, ph_str *yaml);

#endif
