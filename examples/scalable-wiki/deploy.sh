#!/bin/sh
# A wiki that can grow: two units of MediaWiki behind a balancer, a database with a copy, a cache.
set -eu

encanto deploy mysql -n 2
encanto deploy memcached
encanto deploy mediawiki -n 2 --config name="Scalable wiki"
encanto deploy haproxy

encanto add-relation mysql mediawiki
encanto add-relation memcached mediawiki
encanto add-relation mediawiki haproxy
encanto expose haproxy

encanto wait --timeout 15m
encanto status --format tabular haproxy
