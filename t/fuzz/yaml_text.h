/* yaml_text: writing trees and services as YAML that must read as the same. */
#ifndef T_FUZZ_YAML_TEXT_H
#define T_FUZZ_YAML_TEXT_H

#include <posthorn/buf.h>

/* Any UTF-8 without NUL as a double-quoted scalar of ASCII only. */
void put_text(struct ph_buf *b, ph_str text);
/* "FILE:LINE:COLUMN: words" (or what libyaml says of bytes that are no text). */
void has_place(ph_str in, const char *file);

#endif
