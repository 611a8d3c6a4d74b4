/* t/unit/note.c: the note behind a message: what is whole and this message's is read,
 * nothing else. */
#include "core/queue/note.h"
#include "tap.h"

#define CRC 0x12345678u

static ph_str format(struct ph_scope *s, const struct ph_note *note)
{
    struct ph_buf *b = ph_new(s, struct ph_buf);

    ph_buf_init(b, s, PH_NOTE_BYTES);
    return ph_note_format(b, CRC, note) == 0 ? ph_buf_view(b) : PH_STR("");
}

static void test_words(struct ph_scope *s)
{
    struct ph_note note = { 0 }, again;

    is_int(ph_note_set(&note, 3, PH_STR("busy")), 0, "a word about recipient 3");
    is_int(ph_note_set(&note, 70000, PH_STR("")), 0, "none about 70000");
    is_int(ph_note_set(&note, 3, PH_STR("connection refused")), 0, "a later one about 3");
    is_int(note.n, 2, "the last counts");
    ph_str bytes = format(s, &note);
    is_int(ph_note_parse(bytes, CRC, &again), PH_FOUND, "it is read");
    is_int(again.n, 2, "both");
    is_bytes(*ph_note_find(&again, 3), "connection refused", "the words");
    is_int((long long)ph_note_find(&again, 70000)->n, 0, "and none");
    ok(!ph_note_find(&again, 4), "of another nothing is said");
    is_int(ph_note_parse(bytes, CRC + 1, &again), PH_NONE, "the note of a message that had the slot before is none");
}

static void test_damage(struct ph_scope *s)
{
    struct ph_note note = { 0 }, again;
    unsigned taken = 0;

    for (uint32_t i = 0; i < 3; i++)
        ph_note_set(&note, i, PH_STR("host example.com[192.0.2.1] said: 450 later"));
    ph_str bytes = ph_str_dup(s, format(s, &note));
    char *p = (char *)(uintptr_t)bytes.p;

    for (size_t n = 0; n < bytes.n; n++)
        taken += ph_note_parse(ph_str_dup(s, ph_str_first(bytes, n)), CRC, &again) != PH_NONE;
    is_int(taken, 0, "cut short anywhere: none");
    for (size_t i = 0; i < bytes.n; i++)
        for (int bit = 0; bit < 8; bit++) {
            p[i] = (char)(p[i] ^ 1 << bit);
            taken += ph_note_parse(bytes, CRC, &again) != PH_NONE;
            p[i] = (char)(p[i] ^ 1 << bit);
        }
    is_int(taken, 0, "any bit wrong: none");
    is_int(ph_note_parse(bytes, CRC, &again), PH_FOUND, "and whole again: read");
}

static void test_limits(struct ph_scope *s)
{
    struct ph_note note = { 0 }, again;
    char *text = ph_alloc(s, PH_NOTE_BYTES);

    memset(text, 'x', PH_NOTE_BYTES);
    ph_note_set(&note, 0, (ph_str){ text, PH_NOTE_BYTES - 22 });
    is_int((long long)format(s, &note).n, PH_NOTE_BYTES, "as long as it may be");
    is_int(ph_note_parse(format(s, &note), CRC, &again), PH_FOUND, "it is read");
    ph_note_set(&note, 0, (ph_str){ text, PH_NOTE_BYTES - 21 });
    is_int((long long)format(s, &note).n, 0, "one more: none");
    ph_note_set(&note, 0, PH_STR("x"));
    for (uint32_t i = 1; i < PH_NOTE_RCPTS; i++)
        ph_note_set(&note, i, PH_STR("y"));
    is_int(ph_note_set(&note, PH_NOTE_RCPTS, PH_STR("z")), PH_NONE, "too many recipients");
    is_int(ph_note_set(&note, 5, PH_STR("z")), 0, "those that are there are still changed");
    is_int(ph_note_parse(format(s, &note), CRC, &again), PH_FOUND, "it is read");
    is_bytes(*ph_note_find(&again, 5), "z", "as changed");
}

int main(void)
{
    struct ph_scope *s = ph_scope_new(NULL);

    test_words(s);
    test_damage(s);
    test_limits(s);
    ph_scope_free(s);
    return done_testing();
}
