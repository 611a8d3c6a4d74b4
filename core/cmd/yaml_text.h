/* core/cmd/yaml_text.h: changing the text of master.yaml and nothing else in it:
 * comments, order and spelling of what is not meant stay.  Each call reads the
 * text anew, changes one place and leaves the new text; the caller checks and
 * stores the result. */
#ifndef CORE_CMD_YAML_TEXT_H
#define CORE_CMD_YAML_TEXT_H

#include "core/conf/yaml.h"

struct yaml_text {
    struct ph_scope *scope;
    const char *file;              /* for messages */
    ph_str text;
};

/* Item number `item` of services: set a key (value: YAML of one line), in its mapping
 * `sub` when not NULL.  All: 0, or PH_CONF. */
int yaml_text_set(struct yaml_text *y, size_t item, const char *sub, ph_str key, ph_str value);
/* Remove a key; one that is not there is no error. */
int yaml_text_delete(struct yaml_text *y, size_t item, const char *sub, ph_str key);
int yaml_text_delete_item(struct yaml_text *y, size_t item);
/* Add an item at the end.  put writes it: on one line, or with its further lines
 * `indent` deep. */
int yaml_text_append(struct yaml_text *y, void (*put)(struct ph_buf *out, const void *arg, unsigned indent, int one_line), const void *arg);

#endif
