#!/bin/sh
# A newcomer's way: from the clone to the first result of an own action, by the README alone. Prints the seconds.
#
#   bench/newcomer.sh [REPOSITORY]
#
# A directory of its own, a virtual environment of its own; nothing is left behind. What is typed is what README.md says.
set -eu
repository=$(cd "${1:-.}" && pwd)
place=$(mktemp -d)
dev=
trap 'test -z "$dev" || kill "$dev" 2>/dev/null || true; rm -rf "$place"' EXIT
began=$(date +%s)
git clone --quiet "$repository" "$place/arbd"
cd "$place/arbd"
python3 -m venv .venv
.venv/bin/pip install --quiet --disable-pip-version-check -e '.[examples]'
echo "installed after $(($(date +%s) - began)) s"
. .venv/bin/activate
sed -n '/^Save this as `prices.py`/,/^```$/p' README.md | sed -n '/^```python$/,/^```$/p' | sed '/^```/d' > prices.py
arbd check prices.py
arbd dev prices.py --listen 127.0.0.1:50181 2> dev.log &
dev=$!
until grep -q hub_connected dev.log; do sleep 0.1; done
arbd submit total --hub 127.0.0.1:50181 --wait --timeout 30 \
  --payload '{"items": [{"product": "tea", "quantity": 2, "price": 4.5}]}'
echo "the first result after $(($(date +%s) - began)) s"
