/* t/unit/queueid.c: queue ids, both forms. */
#include "core/queue/id.h"
#include "tap.h"

static const struct { const char *name, *id; int is_long, good; uint64_t inode; const char *hash; } cases[] = {
    { "a long id of the documentation", "3Pt2mN2VXxznjll", 1, 1, 0, NULL },
    { "short", "C3CD21F3E90", 0, 1, 0x1F3E90, "C3CD2" },
    { "short, lower case", "c3cd21f3e90", 0, 0, 0, NULL },
    { "short without an inode", "C3CD2", 0, 0, 0, NULL },
    { "long with a vowel", "3Pt2mN2VAxznjll", 0, 0, 0, NULL },
    { "long without an inode", "3Pt2mN2VXxz", 0, 0, 0, NULL },
    { "long with too few digits of time", "2mN2VXxznjll", 0, 0, 0, NULL },
    { "long with an inode beyond 64 bits", "3Pt2mN2VXxzyyyyyyyyyyyyyyyy", 0, 0, 0, NULL },
    { "too long", "3Pt2mN2VXxz111111111111111111111111111", 0, 0, 0, NULL },
    { "a path", "../3Pt2mN2VXxznjll", 0, 0, 0, NULL },
    { "empty", "", 0, 0, 0, NULL },
};

static void test_cases(void)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t inode = 0;
        char hash[6];

        is_int(ph_id_parse(ph_cstr(cases[i].id), &inode), cases[i].good, "%s: parsed", cases[i].name);
        is_int(ph_id_is_long(ph_cstr(cases[i].id)), cases[i].is_long, "%s: long", cases[i].name);
        if (cases[i].inode)
            is_int(inode, cases[i].inode, "%s: inode", cases[i].name);
        if (cases[i].hash) {
            ph_id_hash(ph_cstr(cases[i].id), hash);
            is_bytes(ph_cstr(hash), cases[i].hash, "%s: hash", cases[i].name);
        }
    }
}

/* What is formatted is parsed back, at the edges of every field. */
static void test_round(void)
{
    static const int64_t times[] = { 0, 1, 999999, 1000000, 1763985600123456, INT64_MAX };
    static const uint64_t inodes[] = { 1, 50, 51, 52, 131072, UINT32_MAX, UINT64_MAX };
    char id[PH_ID_MAX + 1], want[6], got[6];
    int bad = 0;

    for (size_t t = 0; t < sizeof times / sizeof *times; t++)
        for (size_t i = 0; i < sizeof inodes / sizeof *inodes; i++)
            for (int is_long = 0; is_long < 2; is_long++) {
                uint64_t inode = 0;
                size_t n = ph_id_format(id, times[t], inodes[i], is_long);

                snprintf(want, sizeof want, "%05X", (unsigned)(times[t] % 1000000));
                ph_id_hash(ph_cstr(id), got);
                if (n != strlen(id) || !ph_id_parse(ph_cstr(id), &inode) || inode != inodes[i] ||
                    ph_id_is_long(ph_cstr(id)) != is_long || !ph_id_is_name(ph_cstr(id)) || strcmp(want, got) != 0) {
                    bad++;
                    printf("# %s is read back differently\n", id);
                }
            }
    is_int(bad, 0, "every id formed is read back");
}

static void test_names(void)
{
    is_int(ph_id_is_name(PH_STR("a/b")), 0, "a slash is no name");
    is_int(ph_id_is_name(PH_STR("..")), 0, "dots are no name");
    is_int(ph_id_is_name(PH_STR("ALL")), 1, "letters are a name");
    is_int(ph_id_is_name((ph_str){ "a\0b", 3 }), 0, "a NUL is no name");
}

int main(void)
{
    test_cases();
    test_round();
    test_names();
    return done_testing();
}
