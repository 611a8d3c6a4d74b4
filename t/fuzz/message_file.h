/* t/fuzz/message_file.h: a message file as reception writes it. */
#ifndef T_FUZZ_MESSAGE_FILE_H
#define T_FUZZ_MESSAGE_FILE_H

#include "fuzz.h"

/* The bytes of a good one on s: so many recipients, the first half of the text as
 * header, the rest as body. */
ph_str fuzz_message_file(struct ph_scope *s, unsigned rcpts, ph_str text);
/* The same in a file of that inode. */
ph_str fuzz_message_for(struct ph_scope *s, unsigned rcpts, ph_str text, uint64_t inode);

#endif
