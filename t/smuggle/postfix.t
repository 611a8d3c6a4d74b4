#!/usr/bin/perl
# Debian's Postfix in front of us and behind us: never more messages than it, or we, took.
use strict;
use warnings;
use lib 't/lib';
use PeerPostfix;
use Smuggle::Peers;

Smuggle::Peers::both_ways('PeerPostfix', 1);
