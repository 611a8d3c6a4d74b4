#!/usr/bin/python3
# fold_table.py > fold_table.h: Unicode case folding as Python's library has it.
single, many = {}, {}
for c in range(0x80, 0x110000):
    if 0xd800 <= c < 0xe000 or chr(c).casefold() == chr(c):
        continue
    to = chr(c).casefold()
    if len(to) == 1:
        single[c] = ord(to)
    else:
        many[c] = to

rows, used = [], set()
for c in sorted(single):
    if c in used:
        continue
    delta, count, step = single[c] - c, 1, 1
    for s in (1, 2):
        n = 1
        while single.get(c + n * s) == c + n * s + delta and c + n * s not in used:
            n += 1
        if n > count:
            count, step = n, s
    used.update(c + i * step for i in range(count))
    rows.append('{ 0x%x, 0x%x, %d, %d },' % (c, c + (count - 1) * step, step, delta))


def put(items):
    line = '   '
    for item in items:
        if len(line) + 1 + len(item) > 150:
            print(line)
            line = '   '
        line += ' ' + item
    print(line)
    print('};')


print('''/* fold_table: Unicode case folding (status C and F) beyond ASCII; made by fold_table.py.
 * First and last code point, the step between those that fold, and what is added. */
static const struct fold_run runs[] = {''')
put(rows)
print('''
/* Code points that become several, in UTF-8. */
static const struct fold_many several[] = {''')
put('{ 0x%x, "%s" },' % (c, ''.join('\\%03o' % b for b in many[c].encode())) for c in sorted(many))
