#!/bin/sh
# A pipeline as an HTTP service, from its deployment to its end. To be run in this folder; it needs curl and Python.
set -eu

field() {
    python3 -c 'import functools, json, sys; print(functools.reduce(dict.get, sys.argv[1:], json.load(sys.stdin)))' "$@"
}

# Deploy it. The key is shown here, once.
penstock pipeline deploy pipeline.py:flowers --name flowers --generate-key -o json >made.json
key=$(field key <made.json)
url=$(field deployment url <made.json)
rm made.json

# Ask it, as any other system would.
ask() {
    curl --silent --show-error --fail-with-body -X POST "$url/$1" \
        -H "Authorization: Bearer $key" -H 'Content-Type: application/json' -d "$2"
    echo
}
ask invoke '{"parameters": {"petal_length": 1.4, "petal_width": 0.2}}'

# The same later: accepted now, looked after by its id.
id=$(ask submit '{"parameters": {"petal_length": 6.0, "petal_width": 2.5}}' | field run_id)
curl --silent --fail -H "Authorization: Bearer $key" -H 'Prefer: wait=30' "$url/submit/$id"
echo

# Without the key nobody is answered.
curl --silent -o /dev/null -w '%{http_code}\n' -X POST "$url/invoke" -H 'Content-Type: application/json' -d '{}'

# What it does is on record; what it looks like, and where it is, too.
penstock run list
penstock deployment describe flowers

# Serve the code as it is now: what serves goes on until the new revision is ready. `penstock deployment rollback` goes back.
penstock pipeline deploy pipeline.py:flowers --name flowers --update

# Take it down (the record stays), bring it back, and end it.
penstock deployment deprovision flowers
penstock deployment provision flowers
ask invoke '{"parameters": {}}'
penstock deployment delete flowers
