# Notice.pm: a notice as a mail program sees it: read by Python's email package.
#
#     my $n = Notice->new($ph, $text);
#     $n->header('Subject'); $n->part(1)->{type}; $n->fields(0)->{'Reporting-MTA'};
package Notice;
use strict;
use warnings;
use JSON::PP ();
use Posthorn;

my $script = <<'PY';
import email, email.policy, json, sys
m = email.message_from_bytes(open(sys.argv[1], 'rb').read(), policy=email.policy.default)
def text(p):
    q = p.get_payload(decode=False)
    if isinstance(q, str):
        return q
    return ''.join(str(x) for x in q) if q else ''
def blocks(p):
    q = p.get_payload()
    if isinstance(q, list):
        return [[(k, ' '.join(str(v).split())) for k, v in b.items()] for b in q if list(b.keys())]
    out = []
    for block in q.replace('\r\n', '\n').strip().split('\n\n'):
        fields = []
        for line in block.split('\n'):
            if line[:1] in ' \t' and fields:
                fields[-1][1] += ' ' + line.strip()
            elif ':' in line:
                k, v = line.split(':', 1)
                fields.append([k, v.strip()])
        out.append(fields)
    return out
def status(p):
    return p.get_content_type() in ('message/delivery-status', 'message/global-delivery-status')
parts = []
for p in (m.iter_parts() if m.is_multipart() else []):
    raw = p.as_bytes().decode('utf-8', 'surrogateescape')
    parts.append({'type': p.get_content_type(), 'description': p['Content-Description'], 'charset': p.get_param('charset'),
                  'encoding': p['Content-Transfer-Encoding'], 'text': text(p).encode('utf-8', 'replace').decode('utf-8'),
                  'raw': raw.encode('utf-8', 'replace').decode('utf-8'), 'blocks': blocks(p) if status(p) else []})
print(json.dumps({'headers': [(k, ' '.join(str(v).split())) for k, v in m.items()], 'type': m.get_content_type(),
                  'report': m.get_param('report-type'), 'parts': parts, 'preamble': m.preamble,
                  'defects': [str(d) for p in m.walk() for d in p.defects]}))
PY

sub new {
    my ($class, $ph, $text) = @_;
    my $file = "$ph->{tmp}/notice." . ++$ph->{notices};
    Posthorn::spew($file, $text // '');
    my $json = Posthorn::run({}, 'python3', '-c', $script, $file);
    my $self = eval { JSON::PP->new->utf8->decode($json) } or die "python3: $json";
    $self->{source} = $text // '';
    return bless $self, $class;
}

sub source { $_[0]{source} }
sub defects { @{ $_[0]{defects} } }
sub header_names { map { $_->[0] } @{ $_[0]{headers} } }

sub header {
    my ($self, $name) = @_;
    my ($h) = grep { lc $_->[0] eq lc $name } @{ $self->{headers} };
    return $h && $h->[1];
}

sub type { "$_[0]{type}" . ($_[0]{report} ? "; $_[0]{report}" : '') }
sub part { $_[0]{parts}[ $_[1] ] }
sub types { join ' ', map { $_->{type} } @{ $_[0]{parts} } }
sub words { $_[0]{parts}[0]{text} // '' }

# Fields of the message (0), of a recipient (1..): a hash.
sub fields { my ($self, $i) = @_; return { map { @$_ } @{ $self->{parts}[1]{blocks}[$i] // [] } } }
sub field_names { my ($self, $i) = @_; return map { $_->[0] } @{ $self->{parts}[1]{blocks}[$i] // [] } }
sub recipients { my ($self) = @_; my @b = @{ $self->{parts}[1]{blocks} // [] }; return map { $self->fields($_) } 1 .. $#b }

# The recipient with that address.
sub recipient {
    my ($self, $address) = @_;
    my ($r) = grep { ($_->{'Final-Recipient'} // '') =~ /; ?\Q$address\E$/ } $self->recipients;
    return $r // {};
}

1;
