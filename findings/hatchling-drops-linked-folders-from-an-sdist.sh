#!/usr/bin/env bash
# hatchling 1.33.0: a package of links to sibling folders, as a project makes that keeps its folders at the top
# and wants one import name, is whole in the wheel and not in the sdist.  Of `pkg/alpha -> ../alpha` and
# `pkg/zulu -> ../zulu`, with `include = ["/pkg"]`, the sdist holds zulu and silently lacks alpha: a folder that
# was walked before `pkg`, by name, is not walked again through the link.  Building goes without a warning, and
# the wheel that is built from such an sdist lacks the modules, too.
# Seen: "wheel from the tree: alpha zulu", "sdist: zulu", "wheel from the sdist: zulu".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check hatchling==1.33.0 2>"$work/pip.log" ||
    { cat "$work/pip.log"; exit 1; }
mkdir -p "$work/tree/pkg" "$work/tree/alpha" "$work/tree/zulu"
cd "$work/tree"
touch pkg/__init__.py alpha/__init__.py zulu/__init__.py
ln -s ../alpha pkg/alpha
ln -s ../zulu pkg/zulu
cat >pyproject.toml <<'TOML'
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "pkg"
version = "1"
[tool.hatch.build.targets.wheel]
packages = ["pkg"]
[tool.hatch.build.targets.sdist]
include = ["/pkg"]
TOML
folders() { grep -oE '(alpha|zulu)/__init__' | cut -d/ -f1 | sort -u | xargs; }
listed() { "$work/env/bin/python" -c 'import sys, zipfile; print("\n".join(zipfile.ZipFile(sys.argv[1]).namelist()))' "$1"; }
"$work/env/bin/python" -m hatchling build -d "$work/tree-dist" -t wheel 2>/dev/null >&2
"$work/env/bin/python" -m hatchling build -d "$work/dist" -t sdist 2>/dev/null >&2
mkdir "$work/unpacked"
tar -xzf "$work"/dist/pkg-1.tar.gz -C "$work/unpacked"
(cd "$work/unpacked/pkg-1" && "$work/env/bin/python" -m hatchling build -d "$work/sdist-dist" -t wheel 2>/dev/null >&2)
tree=$(listed "$work"/tree-dist/*.whl | folders)
sdist=$(tar -tzf "$work"/dist/pkg-1.tar.gz | folders)
again=$(listed "$work"/sdist-dist/*.whl | folders)
echo "wheel from the tree: $tree"
echo "sdist: $sdist"
echo "wheel from the sdist: $again"
[[ "$tree/$sdist/$again" == "alpha zulu/zulu/zulu" ]] || { echo "the behaviour has changed"; exit 1; }
