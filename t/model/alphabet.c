/* alphabet: the commands that sequences are made of.  Those of the deep alphabet
 * are marked IS_CORE; the others are variants, tried to a smaller depth. */
#include <stdlib.h>
#include <string.h>
#include <posthorn/error.h>
#include "t/model/model.h"

#define X10   "xxxxxxxxxx"
#define X100  X10 X10 X10 X10 X10 X10 X10 X10 X10 X10
#define LINE  "line " X10 X10 X10 X10 X10 X10 X10 "\r\n"      /* 77 bytes */
#define LINES LINE LINE LINE LINE LINE LINE LINE LINE LINE LINE
#define HEAD  "Subject: x\r\n\r\n"                            /* 14 bytes */
#define BIG   HEAD LINES LINES LINES LINES                   /* 3094 bytes */
#define LFS   "\n\n\n\n\n\n\n\n\n\n"
#define LF100 LFS LFS LFS LFS LFS LFS LFS LFS LFS LFS
#define LF1600 LF100 LF100 LF100 LF100 LF100 LF100 LF100 LF100 LF100 LF100 LF100 LF100 LF100 LF100 LF100 LF100
/* DIE makes cleanup go away; the rest is more than the pipe to it holds. */
#define DEAD  "X-DIE: 1\r\n\r\n" LINES LINES LINE LINE LINE LINE      /* 1860 bytes */

struct symbol alphabet[] = {
    { "EHLO", A_EHLO, "EHLO c.test\r\n", NULL, "c.test", NULL, IS_CORE | IS_MUST_END, 0, 0 },
    { "HELO", A_HELO, "helo c.test\r\n", NULL, "c.test", NULL, IS_CORE | IS_MUST_END, 0, 0 },
    { "MAILok", A_MAIL, "MAIL FROM:<s@x.test> SIZE=100\r\n", NULL, "s@x.test", NULL, IS_CORE, 0, 0 },
    { "MAILno", A_MAIL, "MAIL FROM:<no@x.test>\r\n", "550 5.7.1", "no@x.test", NULL, IS_CORE | IS_LATE, 0, 0 },
    { "RCPTok", A_RCPT, "RCPT TO:<a@x.test>\r\n", NULL, "a@x.test", NULL, IS_CORE, 0, 0 },
    { "RCPTno", A_RCPT, "RCPT TO:<no@x.test>\r\n", "550 5.1.1", NULL, NULL, IS_CORE, 0, 0 },
    { "RCPTlater", A_RCPT, "RCPT TO:<later@x.test>\r\n", "450 4.2.0", NULL, NULL, IS_CORE, 0, 0 },
    { "DATAok", A_DATA, "DATA\r\n", NULL, NULL, HEAD "hello\r\n", IS_CORE | IS_MUST_END, 0, 0 },
    { "DATAno", A_DATA, "DATA\r\n", NULL, NULL, HEAD LINE "12\r\n\r\n", IS_CORE | IS_MUST_END, 0, 0 },
    { "DATAbig", A_DATA, "DATA\r\n", NULL, NULL, BIG, IS_CORE | IS_MUST_END, 0, 0 },
    { "BDAT", A_BDAT, "BDAT 5\r\n", NULL, NULL, "X: 1\r", IS_CORE | IS_FREE, 0, 0 },
    { "BDATlast", A_BDAT, "BDAT 7 LAST\r\n", NULL, NULL, "\n\r\nlast", IS_CORE | IS_LAST | IS_FREE, 0, 0 },
    { "BDATno", A_BDAT, "BDAT 97 LAST\r\n", NULL, NULL, HEAD LINE "12\r\n\r\n", IS_CORE | IS_LAST | IS_FREE, 0, 0 },
    { "BDATbig", A_BDAT, "BDAT 3094\r\n", NULL, NULL, BIG, IS_CORE | IS_FREE, 0, 0 },
    { "RSET", A_RSET, "RSET\r\n", NULL, NULL, NULL, IS_CORE, 0, 0 },
    { "QUIT", A_QUIT, "QUIT\r\n", NULL, NULL, NULL, IS_CORE, 0, 0 },

    { "NOOP", A_JUNK, "NOOP x\r\n", "250 2.0.0", NULL, NULL, IS_MUST_END, 0, 0 },
    { "VRFY", A_VRFY, "VRFY a@x.test\r\n", "252 2.0.0", NULL, NULL, IS_MUST_END, 0, 0 },
    { "UNKNOWN", A_OTHER, "XYZZY 1\r\n", "500 5.5.2", NULL, NULL, IS_FREE, 0, 0 },
    { "LONG", A_OTHER, "NOOP " X100 X100 X100 X100 X100 X100 "\r\n", "500 5.5.2", NULL, NULL, IS_FREE, 0, 0 },
    { "EMPTY", A_OTHER, "\r\n", "500 5.5.2", NULL, NULL, IS_FREE, 0, 0 },
    { "HELP", A_OTHER, "HELP\r\n", "214 2.0.0", NULL, NULL, 0, 0, 0 },
    { "STARTTLS", A_OTHER, "STARTTLS\r\n", "502 5.5.1", NULL, NULL, 0, 0, 0 },
    { "AUTH", A_OTHER, "AUTH PLAIN AGEAYg==\r\n", "503 5.5.1", NULL, NULL, 0, 0, 0 },
    { "XCLIENT", A_XCLIENT, "XCLIENT HELO=h.test\r\n", NULL, "h.test", NULL, 0, 0, 0 },
    { "XFORWARD", A_XFORWARD, "XFORWARD ADDR=192.0.2.77 IDENT=AB\r\n", NULL, NULL, NULL, 0, 0, 0 },
    { "XFORWARDbad", A_XFORWARD, "XFORWARD SOURCE=MARS\r\n", "501 5.5.4", NULL, NULL, 0, 0, 0 },
    { "HEADER", A_CLOSE, "Subject: x\r\n", "221 2.7.0", NULL, NULL, IS_FREE, 0, 0 },
    { "EHLObad", A_JUNK, "EHLO\r\n", "501", NULL, NULL, IS_MUST_END, 0, 0 },
    { "EHLOno", A_EHLO, "EHLO no.test\r\n", "550 5.7.1", "no.test", NULL, IS_MUST_END, 0, 0 },
    { "RSETbad", A_JUNK, "RSET x\r\n", "501 5.5.4", NULL, NULL, 0, 0, 0 },
    { "MAILnull", A_MAIL, "MAIL FROM:<> BODY=8BITMIME\r\n", NULL, "", NULL, 0, 0, 0 },
    { "MAILbig", A_MAIL, "MAIL FROM:<s@x.test> SIZE=3001\r\n", "552 5.3.4", NULL, NULL, 0, 0, 0 },
    { "MAILbad", A_MAIL, "MAIL FROM:<s@x.test\r\n", "501 5.1.7", NULL, NULL, 0, 0, 0 },
    { "MAILsyntax", A_MAIL, "MAIL s@x.test\r\n", "501 5.5.4", NULL, NULL, 0, 0, 0 },
    { "MAILopt", A_MAIL, "MAIL FROM:<s@x.test> X=1\r\n", "555 5.5.4", NULL, NULL, 0, 0, 0 },
    { "MAILpicky", A_MAIL, "MAIL FROM:<picky@x.test>\r\n", NULL, "picky@x.test", NULL, IS_PICKY, 0, 0 },
    { "MAILnoslot", A_MAIL, "MAIL FROM:<noslot@x.test>\r\n", NULL, "noslot@x.test", NULL, IS_NO_SLOT, 0, 0 },
    { "RCPTb", A_RCPT, "RCPT TO:<b@x.test>\r\n", NULL, "b@x.test", NULL, 0, 0, 0 },
    { "RCPTpm", A_RCPT, "RCPT TO:<Postmaster>\r\n", NULL, "Postmaster", NULL, 0, 0, 0 },
    { "RCPTbad", A_RCPT, "RCPT TO:<a@x.test\r\n", "501 5.1.3", NULL, NULL, IS_EARLY, 0, 0 },
    { "RCPTopt", A_RCPT, "RCPT TO:<a@x.test> X=1\r\n", "555 5.5.4", NULL, NULL, IS_EARLY, 0, 0 },
    { "RCPTfail", A_RCPT, "RCPT TO:<fail@x.test>\r\n", "451 4.3.0", NULL, NULL, 0, 0, 0 },
    { "RCPT421", A_RCPT, "RCPT TO:<leave@x.test>\r\n", "421 4.7.0", NULL, NULL, 0, 0, 0 },
    { "RCPTnoslot", A_RCPT, "RCPT TO:<noslot@x.test>\r\n", NULL, "noslot@x.test", NULL, IS_NO_SLOT, 0, 0 },
    { "DATAarg", A_DATA, "DATA x\r\n", "501 5.5.4", NULL, NULL, IS_MUST_END, 0, 0 },
    { "DATAhops", A_DATA, "DATA\r\n", NULL, NULL, "Received: 1\r\nReceived: 2\r\n" HEAD "loop\r\n", IS_MUST_END | IS_HOPS, 0, 0 },
    { "DATAdisk", A_DATA, "DATA\r\n", NULL, NULL, HEAD "DISK full\r\n", IS_MUST_END | IS_DISK, 0, 0 },
    { "DATAsync", A_DATA, "DATA\r\n", NULL, NULL, HEAD "SYNC fails\r\n", IS_MUST_END | IS_DISK, 0, 0 },
    { "DATAdead", A_DATA, "DATA\r\n", NULL, NULL, DEAD, IS_MUST_END | IS_DEAD, 0, 0 },
    { "DATAlost", A_DATA, "DATA\r\n", NULL, NULL, HEAD "half a li", IS_MUST_END | IS_LOST, 0, 0 },
    { "BDAT0last", A_BDAT, "BDAT 0 LAST\r\n", NULL, NULL, "", IS_LAST | IS_FREE, 0, 0 },
    { "BDAT0", A_BDAT, "BDAT 0\r\n", NULL, NULL, "", IS_NULL | IS_FREE, 0, 0 },
    { "BDATgrow", A_BDAT, "BDAT 1600\r\n", NULL, NULL, LF1600, IS_FREE, 0, 0 },
    { "BDATgrowlast", A_BDAT, "BDAT 1600 LAST\r\n", NULL, NULL, LF1600, IS_LAST | IS_FREE, 0, 0 },
    { "BDATbiglast", A_BDAT, "BDAT 3094 LAST\r\n", NULL, NULL, BIG, IS_LAST | IS_FREE, 0, 0 },
    { "BDATdead", A_BDAT, "BDAT 1860\r\n", NULL, NULL, DEAD, IS_FREE | IS_DEAD, 0, 0 },
    { "BDATdisk", A_BDAT, "BDAT 11\r\n", NULL, NULL, "X-DISK: 1\r\n", IS_FREE | IS_DISK, 0, 0 },
    { "BDATbad", A_CLOSE, "BDAT 5 FIRST\r\n", "521 5.5.4", NULL, NULL, IS_FREE, 0, 0 },
    { "BDATlost", A_BDAT, "BDAT 500 LAST\r\n", NULL, NULL, HEAD "half a chu", IS_LAST | IS_LOST | IS_FREE, 0, 0 },
};
const size_t alphabet_count = sizeof alphabet / sizeof *alphabet;

void alphabet_open(void)
{
    for (size_t i = 0; i < alphabet_count; i++) {
        alphabet[i].wire_n = strlen(alphabet[i].wire);
        alphabet[i].content_n = alphabet[i].content ? strlen(alphabet[i].content) : 0;
        /* A chunk is what its command says. */
        ph_assert(alphabet[i].act != A_BDAT || alphabet[i].is & IS_LOST || strtoul(alphabet[i].wire + 5, NULL, 10) == alphabet[i].content_n);
    }
}

int alphabet_find(ph_str name)
{
    for (size_t i = 0; i < alphabet_count; i++)
        if (ph_str_eq(name, ph_cstr(alphabet[i].name)))
            return (int)i;
    return -1;
}
