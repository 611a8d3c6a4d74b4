#!/usr/bin/perl
# Debian's OpenSMTPD in front of us and behind us: never more messages than it, or we, took.
use strict;
use warnings;
use lib 't/lib';
use PeerOpenSMTPD;
use Smuggle::Peers;

Smuggle::Peers::both_ways('PeerOpenSMTPD', 5);
