/* t/plugin/smtp_content.c: the message as it arrives: line ends, dots, long
 * lines, quoted-printable.  Run alone: make t/plugin/smtp_content.t && prove -v t/plugin/smtp_content.t */
#include "t/plugin/smtp_rig.h"
#include "t/unit/tap.h"

#define CTE8 "Content-Transfer-Encoding: 8bit"

/* What arrives when the message is not ordinary. */
static int contents(void *arg PH_UNUSED)
{
    static const struct { const char *name; uint32_t facts; const char *text, *want; } cases[] = {
        { "8-bit for a server without 8BITMIME", PH_FACT_8BIT, CTE8 "\r\n\r\n.\xa0\r\n", "Content-Transfer-Encoding: quoted-printable||..=A0|\n" },
        { "dots are stuffed", PH_FACT_LEADING_DOT, ".\r\n..a\r\nb.\r\n", "..|...a|b.|\n" },
        { "an empty message", 0, "", "\n" },
        { "no line end at the end", 0, "a: b\r\n\r\nx", "a: b||x|\n" },
        { "stray CR and LF become blanks", PH_FACT_BARE_CR | PH_FACT_BARE_LF, "a\rb\r\r\nc\nd\r\n.\r\n\r", "a b |c d|..| |\n" },
        { "long lines are broken", 0, "abcdefghijklmnopqrstuvwxyz\r\n.\r\n", "abcdefghij| klmnopqrs| tuvwxyz|..|\n" },
        { "but not inside a character", 0, "abcdefghi\xc3\xa4xyz\r\n", "abcdefghi| \xc3\xa4xyz|\n" },
        { "a line of the limit is not long", 0, "abcdefghij\r\nx\r\n", "abcdefghij|x|\n" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        PH_SCOPED(s, NULL);
        struct smtp self;
        struct ph_delivery *d = rig_delivery(s, "[10.0.0.1]", 1, cases[i].text);
        struct server v[2] = { { "10.0.0.1", GREET ">250-mx\n>250 PIPELINING\n" ACCEPT QUIT } };

        for (const char *p = cases[i].text, *e; (e = strstr(p, "\r\n")); p = e + 2)
            if ((uint64_t)(e - p) > d->message->longest_line)
                d->message->longest_line = (uint64_t)(e - p);
        d->message->facts = cases[i].facts;
        rig_forget(v);
        rig_agent(&self, s);
        self.p.line_length_limit = cases[i].facts & PH_FACT_8BIT ? 998 : 10;
        rig_start(s);
        rig_deliver(&self, d);
        ph_group_wait(rig.servers, ph_in_ms(5000));
        is_bytes(ph_cstr(rig.content), cases[i].want, "content: %s", cases[i].name);
    }
    return 0;
}

#define CHUNKING GREET ">250-mx\n>250-PIPELINING\n>250 CHUNKING\n<MAIL FROM:<s@x.test>\n<RCPT TO:<a@x.test>\n>250 2.1.0 ok\n"
#define TAKEN CHUNKING ">250 2.1.5 ok\n"
#define SAID_OK ">250 2.0.0 Ok: queued as 1\n"
#define SAID(status, dsn, text) "a " status R1 " dsn=" dsn " (host 10.0.0.1[10.0.0.1] said: " text " (in reply to BDAT command))\n"

static void long_lines(struct smtp *self, struct ph_delivery *d) { self->p.line_length_limit = 9; d->message->longest_line = 10; }
static void strays(struct smtp *self PH_UNUSED, struct ph_delivery *d) { d->message->facts |= PH_FACT_BARE_CR; }
static void no_chunking(struct smtp *self, struct ph_delivery *d PH_UNUSED) { self->p.discard_keywords = PH_STR("chunking"); }
static void probe(struct smtp *self PH_UNUSED, struct ph_delivery *d) { d->probe = 1; }

/* RFC 3030: one chunk when it was offered and the size is known beforehand. */
static int chunks(void *arg PH_UNUSED)
{
#define BY_DATA CHUNKING ">250 2.1.5 ok\n<DATA\n>354 go\n.\n" SAID_OK QUIT
    static const struct { struct test t; const char *want; } cases[] = {
        { { "one chunk", "[10.0.0.1]", 1, { { "10.0.0.1", TAKEN "=BDAT 21 LAST\nb21\n" SAID_OK QUIT } }, SENT1, NULL, NULL }, "Subject: x||hello|\n" },
        { { "without PIPELINING", "[10.0.0.1]", 1, { { "10.0.0.1", GREET ">250-mx\n>250 CHUNKING\n<MAIL FROM:<s@x.test>\n>250 ok\n<RCPT TO:<a@x.test>\n>250 ok\n=BDAT 21 LAST\nb21\n" SAID_OK QUIT } },
            SENT1, NULL, NULL }, "Subject: x||hello|\n" },
        { { "no recipient: nothing is sent", "[10.0.0.1]", 1, { { "10.0.0.1", CHUNKING ">550 5.1.1 no\n" QUIT } },
            "a bounced" R1 " dsn=5.1.1 (host 10.0.0.1[10.0.0.1] said: 550 5.1.1 no (in reply to RCPT TO command))\n", NULL, NULL }, "" },
        { { "refused for now", "[10.0.0.1]", 1, { { "10.0.0.1", TAKEN "=BDAT 21 LAST\nb21\n>452 4.3.1 full\n" QUIT } }, SAID("deferred", "4.3.1", "452 4.3.1 full"), NULL, NULL }, "Subject: x||hello|\n" },
        { { "refused for good: the session ends, it may read content as commands", "[10.0.0.1]", 1, { { "10.0.0.1", TAKEN "=BDAT 21 LAST\nb21\n>550 5.7.1 spam\n" } },
            SAID("bounced", "5.7.1", "550 5.7.1 spam"), NULL, NULL }, "Subject: x||hello|\n" },
        { { "hangs up in the chunk", "[10.0.0.1]", 1, { { "10.0.0.1", TAKEN "=BDAT 21 LAST\nb5\n" } },
            "a deferred" R1 " dsn=4.4.2 dead (lost connection with 10.0.0.1[10.0.0.1] while sending end of data -- message may be sent more than once)\n", NULL, NULL }, "Subje\n" },
        { { "lines to break: DATA", "[10.0.0.1]", 1, { { "10.0.0.1", BY_DATA } }, SENT1, NULL, long_lines }, "Subject: | x||hello|\n" },
        { { "stray CR: DATA", "[10.0.0.1]", 1, { { "10.0.0.1", BY_DATA } }, SENT1, NULL, strays }, "Subject: x||hello|\n" },
        { { "discarded: DATA", "[10.0.0.1]", 1, { { "10.0.0.1", BY_DATA } }, SENT1, NULL, no_chunking }, "Subject: x||hello|\n" },
        { { "a probe ends before", "[10.0.0.1]", 1, { { "10.0.0.1", CHUNKING ">250 2.1.5 ok\n<RSET\n>250 ok\n" QUIT } }, "a sent" R1 " dsn=2.1.5 (250 2.1.5 ok)\n", NULL, probe }, "" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int good = rig_case(&cases[i].t, 0);

        ok(good, "chunking: %s", cases[i].t.name);
        if (!good)
            rig_explain(&cases[i].t);
        is_bytes(ph_cstr(rig.content), cases[i].want, "its content");
    }
    return 0;
}

/* A chunk has no dots to stuff. */
static int chunk_of_dots(void *arg PH_UNUSED)
{
    static const struct server v[] = { { "10.0.0.1", TAKEN "=BDAT 9 LAST\nb9\n" SAID_OK QUIT }, { NULL, NULL } };
    PH_SCOPED(s, NULL);
    struct smtp self;
    struct ph_delivery *d = rig_delivery(s, "[10.0.0.1]", 1, ".\r\n..a\r\n.");

    d->message->facts = PH_FACT_LEADING_DOT;
    rig_forget(v);
    rig_agent(&self, s);
    rig_start(s);
    rig_deliver(&self, d);
    ph_group_wait(rig.servers, ph_in_ms(5000));
    is_bytes(ph_cstr(rig.content), ".|..a|.\n", "chunking: dots stay as they are");
    is_bytes(ph_cstr(rig.outcomes), SENT1, "and it is sent");
    return 0;
}

/* For servers without 8BITMIME. */
static int downgrade(void *arg PH_UNUSED)
{
#define CTE "Content-Transfer-Encoding: "
    static const struct { const char *name, *in, *want; } cases[] = {
        { "one 8-bit body", CTE "8bit\r\nSubject: \xc3\xa4\r\n\r\n\xc3\xa4= x \r\n.\r\n", "Subject: \xc3\xa4\r\n" CTE "quoted-printable\r\n\r\n=C3=A4=3D x=20\r\n.\r\n" },
        { "labelled 7bit: its own fault", CTE "7bit\r\n\r\n\xc3\xa4\r\n", CTE "7bit\r\n\r\n\xc3\xa4\r\n" },
        { "no label", "A: b\r\n\r\n\xc3\xa4\r\n", "A: b\r\n\r\n\xc3\xa4\r\n" },
        { "folded label, any case", "a: b\r\ncontent-transfer-ENCODING:\r\n 8BIT\r\n\r\n\t\r\nx", "a: b\r\n" CTE "quoted-printable\r\n\r\n=09\r\nx" },
        { "stray CR and LF", CTE "binary\r\n\r\na\rb\nc\r", CTE "quoted-printable\r\n\r\na=0Db=0Ac=0D" },
        { "parts", "Content-Type: multipart/mixed; x=y; boundary=\"b b\"\r\n" CTE "8bit\r\n\r\npre\xa0\r\n--b b\r\n" CTE "8bit\r\n\r\n\xa0\r\n--b bx\r\n--b b \r\n"
          "A: b\r\n\r\n\xa0\r\n--b b--\r\npost\xa0\r\n",
          "Content-Type: multipart/mixed; x=y; boundary=\"b b\"\r\n" CTE "7bit\r\n\r\npre\xa0\r\n--b b\r\n" CTE "quoted-printable\r\n\r\n=A0\r\n--b bx\r\n--b b \r\n"
          "A: b\r\n\r\n\xa0\r\n--b b--\r\npost\xa0\r\n" },
        { "a message inside", "Content-Type: message/rfc822\r\n" CTE "8bit\r\n\r\nA: b\r\n" CTE "8bit\r\n\r\n\xa0\r\n",
          "Content-Type: message/rfc822\r\n" CTE "7bit\r\n\r\nA: b\r\n" CTE "quoted-printable\r\n\r\n=A0\r\n" },
        { "inner levels end with the outer", "Content-Type: multipart/a; boundary=o\r\n\r\n--o\r\nContent-Type: multipart/digest; boundary=i\r\n\r\n--i\r\n\r\n"
          CTE "8bit\r\n\r\n\xa0\r\n--o\r\n" CTE "8bit\r\n\r\n\xa1\r\n--o--\r\n",
          "Content-Type: multipart/a; boundary=o\r\n\r\n--o\r\nContent-Type: multipart/digest; boundary=i\r\n\r\n--i\r\n\r\n"
          CTE "quoted-printable\r\n\r\n=A0\r\n--o\r\n" CTE "quoted-printable\r\n\r\n=A1\r\n--o--\r\n" },
        { "delivery status is never encoded", "Content-Type: message/delivery-status\r\n" CTE "8bit\r\n\r\n\xa0\r\n", "Content-Type: message/delivery-status\r\n" CTE "8bit\r\n\r\n\xa0\r\n" },
        { "soft line breaks", CTE "8bit\r\n\r\n"
          "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggggggggg1234\xa0\xa1\r\n",
          CTE "quoted-printable\r\n\r\naaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggggggggg1234=\r\n=A0=A1\r\n" },
        { "a soft line break begins no delimiter", CTE "8bit\r\n\r\n"
          "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggggggggg12345--b\xa0\r\n",
          CTE "quoted-printable\r\n\r\naaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggggggggg12345=\r\n=2D-b=A0\r\n" },
        { "a bare LF begins none", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" CTE "8bit\r\n\r\n\xa0\n--b\r\n--b--\r\n",
          "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" CTE "quoted-printable\r\n\r\n=A0=0A--b\r\n--b--\r\n" },
        { "comments", "Content-Type: multipart/mixed (a \\) b); boundary=(x \"y)b(z)\r\n\r\n--b\r\n" CTE "(one) 8bit (two)\r\n\r\n\xa0\r\n--b--\r\n",
          "Content-Type: multipart/mixed (a \\) b); boundary=(x \"y)b(z)\r\n\r\n--b\r\n" CTE "quoted-printable\r\n\r\n=A0\r\n--b--\r\n" },
        { "a boundary like a comment", "Content-Type: multipart/mixed; boundary = \"(b\\\"\"; x=y\r\n\r\n--(b\"\r\n" CTE "8bit\r\n\r\n\xa0\r\n",
          "Content-Type: multipart/mixed; boundary = \"(b\\\"\"; x=y\r\n\r\n--(b\"\r\n" CTE "quoted-printable\r\n\r\n=A0\r\n" },
        { "two labels: the last counts, one is left", CTE "7bit\r\n" CTE "8bit\r\nA: b\r\n\r\n\xa0\r\n", "A: b\r\n" CTE "quoted-printable\r\n\r\n=A0\r\n" },
        { "a delimiter may have more behind it", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--bb\r\n" CTE "8bit\r\n\r\n\xa0\r\n",
          "Content-Type: multipart/mixed; boundary=b\r\n\r\n--bb\r\n" CTE "quoted-printable\r\n\r\n=A0\r\n" },
        { "but an exact one of another level is that level's", "Content-Type: multipart/mixed; boundary=bb\r\n\r\n--bb\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--bb\r\n"
          CTE "8bit\r\n\r\n\xa0\r\n--b\r\n" CTE "8bit\r\n\r\n\xa1\r\n", "Content-Type: multipart/mixed; boundary=bb\r\n\r\n--bb\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--bb\r\n"
          CTE "quoted-printable\r\n\r\n=A0\r\n--b\r\n" CTE "8bit\r\n\r\n=A1\r\n" },
        { "headers only", CTE "8bit\r\n", CTE "8bit\r\n" },
        { "what is no header stays as it is", CTE "8bit\r\nnonsense\r\n\r\n\xa0\r\n", CTE "8bit\r\nnonsense\r\n\r\n\xa0\r\n" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = strlen(cases[i].in), bad = 0;

        for (size_t cut = 0; cut <= n; cut++) {
            PH_SCOPED(s, NULL);
            struct smtp_mime *m = ph_new(s, struct smtp_mime);
            struct ph_buf out;

            ph_buf_init(&out, s, 65536);
            smtp_mime_init(m, s);
            smtp_mime_convert(m, cases[i].in, cut, 0, &out);
            smtp_mime_convert(m, cases[i].in + cut, n - cut, 1, &out);
            if (!ph_str_eq(ph_buf_view(&out), ph_cstr(cases[i].want)) && bad++ == 0) {
                printf("# cut at %zu\n", cut);
                diag_bytes("got ", out.p, out.n);
                diag_bytes("want", cases[i].want, strlen(cases[i].want));
            }
        }
        is_int(bad, 0, "downgrade, cut everywhere: %s", cases[i].name);
    }
    return 0;
}

#define TABLE "me@my.test=me@outside.test\nsome one@my.test=some.one@outside.test\nyou=you\n@in.test=@out.test\nbad@my.test=FAIL\n"

/* smtp_generic_maps, S-41. */
static int generic(void *arg PH_UNUSED)
{
    static const struct { const char *name, *in, *want; } cases[] = {
        { "a bare address", "From: me@my.test\r\n", "From: me@outside.test\r\n" },
        { "a phrase stays", "from: \"Me, <I>\" (a > b) < me@my.test > (c)\r\n", "from: \"Me, <I>\" (a > b) < me@outside.test > (c)\r\n" },
        { "a comment stays", "To: me@my.test (Me <me@my.test>)\r\n", "To: me@outside.test (Me <me@my.test>)\r\n" },
        { "lists, groups, folding", "Cc: a@x.test,\r\n\tme@my.test, G: <me@my.test>, b@x.test;,, B <b@in.test>\r\n",
          "Cc: a@x.test,\r\n\tme@outside.test, G: <me@outside.test>, b@x.test;,, B <b@out.test>\r\n" },
        { "a route goes", "To: <@r.test:me@my.test>\r\n", "To: <@r.test:me@outside.test>\r\n" },
        { "quoted local parts", "Reply-To: \"some one\"@my.test\r\n", "Reply-To: some.one@outside.test\r\n" },
        { "a user of ours", "Sender: you@my.test\r\n", "Sender: you@origin.test\r\n" },
        { "not of others", "Sender: you@x.test\r\n", "Sender: you@x.test\r\n" },
        { "resent", "Resent-To: me@my.test\r\n", "Resent-To: me@outside.test\r\n" },
        { "other headers stay", "Subject: me@my.test\r\nDelivered-To: me@my.test\r\n", "Subject: me@my.test\r\nDelivered-To: me@my.test\r\n" },
        { "what is no address list stays", "To: me@my.test <\r\nFrom: me@my.test\r\n", "To: me@my.test <\r\nFrom: me@outside.test\r\n" },
        { "empty ones", "To:\r\nCc: \r\nFrom: <>\r\n", "To:\r\nCc: \r\nFrom: <>\r\n" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        PH_SCOPED(s, NULL);
        struct smtp self;
        struct ph_delivery *d = rig_delivery(s, "[10.0.0.1]", 1, cases[i].in);
        struct smtp_job j = { .agent = &self, .d = d, .scope = s };

        rig_agent(&self, s);
        self.generic = RIG_GENERIC(TABLE);
        int rc = smtp_generic(&j);
        ok(rc == 0 && ph_str_eq(j.headers.p ? j.headers : ph_cstr(cases[i].in), ph_cstr(cases[i].want)), "generic: %s", cases[i].name);
        if (j.headers.p)
            ok(!ph_str_eq(j.headers, ph_cstr(cases[i].in)), "which is another");
    }
    return 0;
}

/* In the dialogue: envelope, size, headers, body; a table that fails. */
static int generic_dialogue(void *arg PH_UNUSED)
{
    static const char text[] = "From: me@my.test\r\nTo: a@x.test\r\n\r\nme@my.test\r\n.\r\n";
    static const struct server v[] = { { "10.0.0.1", GREET ">250-mx\n>250-SIZE\n>250 PIPELINING\n=MAIL FROM:<me@outside.test> SIZE=54\n=RCPT TO:<a@out.test>\n=DATA\n"
        ">250 ok\n>250 ok\n>354 go\n.\n>250 2.0.0 Ok: queued as 1\n" QUIT }, { NULL, NULL } };

    for (int bad = 0; bad < 2; bad++) {
        PH_SCOPED(s, NULL);
        struct smtp self;
        struct ph_delivery *d = rig_delivery(s, "[10.0.0.1]", 1, text);

        rig_forget(v);
        rig_agent(&self, s);
        rig_start(s);
        d->message->body_bytes = strlen(strstr(text, "\r\n\r\n") + 2);
        d->message->header_bytes -= d->message->body_bytes;
        d->message->facts = PH_FACT_LEADING_DOT;
        d->message->sender = bad ? PH_STR("bad@my.test") : PH_STR("me@my.test");
        d->rcpt[0].address = PH_STR("a@in.test");
        self.generic = RIG_GENERIC(TABLE);
        int rc = rig_deliver(&self, d);
        ph_group_wait(rig.servers, ph_in_ms(5000));
        if (bad) {
            ok(rc < 0 && rig.connects == 0 && strstr(ph_error(), "generic maps: the table is broken"), "a table that fails defers: %s", ph_error());
            continue;
        }
        is_bytes(ph_cstr(rig.outcomes), SENT1, "generic: the outcome is of the recipient as he is here");
        is_bytes(ph_cstr(rig.content), "From: me@outside.test|To: a@x.test||me@my.test|..|\n", "headers changed, the body not");
        is_bytes(ph_cstr(rig.complaints), "", "the envelope, and the size of what was sent");
    }
    return 0;
}

int main(void)
{
    ph_run_main(generic, NULL);
    ph_run_main(generic_dialogue, NULL);
    ph_run_main(contents, NULL);
    ph_run_main(chunks, NULL);
    ph_run_main(chunk_of_dots, NULL);
    ph_run_main(downgrade, NULL);
    return done_testing();
}
