#!/bin/sh
# Build the site of mkdocs.yml into build/site, or into another folder: tools/build_docs.sh [FOLDER]
# Pages and what they show or link to keep their paths, so that each link is the same here and there. They are copied,
# since MkDocs wants them below a folder of its own.
set -eu
cd "$(dirname "$0")/.."
export NO_MKDOCS_2_WARNING=1  # Material's advertisement of its successor
rm -rf build/pages
mkdir -p build/pages
find ./*.md docs devices export examples edgedst/agents edgedst/study/paper.toml LICENSE \
    -path 'docs/results/*/runs' -prune -o -name __pycache__ -prune -o -type f -exec cp --parents -t build/pages {} +
exec "${MKDOCS:-mkdocs}" build --strict --site-dir "${1:-build/site}"
