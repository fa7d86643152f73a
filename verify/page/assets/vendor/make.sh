#!/bin/sh
# Makes the vendored scripts of this folder again, from npm: `sh make.sh` needs npm, awk and sed, and
# nothing of it is run when the tool is built or used.  `npm pack` holds each package to the digest that
# the registry states for this version; `git diff` then shows nothing.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm pack --silent fzstd@0.1.1 @noble/hashes@2.4.0 >/dev/null
mkdir fzstd noble
tar -xzf fzstd-0.1.1.tgz -C fzstd --strip-components 1
tar -xzf noble-hashes-2.4.0.tgz -C noble --strip-components 1

licence() {
	printf '/*\n'
	sed -e 's/^/ * /' -e 's/ *$//' "$1"
	printf '\n */\n'
}

# piece FILE PATTERN: the declaration that begins with PATTERN, to the line that ends it, without `export`.
piece() {
	awk -v begin="$2" 'index($0, begin) == 1 { on = 1 } on { print } on && /^(}|\]\);|.*;$)/ && /^[^ ]/ { exit }' "$1" |
		sed -e 's/^export //'
	printf '\n'
}

{
	cat <<'END'
// fzstd 0.1.1 (npm, https://github.com/101arrowz/fzstd), esm/index.mjs, without the keyword `export`:
// zstd, which no browser decompresses for a page.  Made by make.sh; not to be edited.
END
	licence fzstd/LICENSE
	printf 'const fzstd = (() => {\n'
	sed -e 's/^export { Decompress };$//' -e 's/^export //' fzstd/esm/index.mjs
	printf '\nreturn { Decompress };\n})();\n'
} >"$here/fzstd.js"

{
	cat <<'END'
// SHA-256 of @noble/hashes 2.4.0 (npm, https://github.com/paulmillr/noble-hashes), from _md.js, _u64.js,
// sha2.js and utils.js, without `import` and `export`: hashes at once, where the digest of WebCrypto
// comes later and so takes three times as long for many short lines.  Made by make.sh; not to be edited.
END
	licence noble/LICENSE
	printf 'const nobleSha256 = (() => {\n'
	piece noble/utils.js 'const atitle ='
	for name in isBytes anumber abytes aexists aoutput clean createView rotr; do
		piece noble/utils.js "export function $name("
	done
	piece noble/_u64.js 'const fromNumH ='
	piece noble/_u64.js 'const fromNumL ='
	piece noble/_u64.js 'function setU64FromNum('
	piece noble/_md.js 'export function Chi('
	piece noble/_md.js 'export function Maj('
	piece noble/_md.js 'export class HashMD '
	piece noble/_md.js 'export const SHA256_IV ='
	piece noble/sha2.js 'const SHA256_K ='
	piece noble/sha2.js 'const SHA256_W ='
	piece noble/sha2.js 'class SHA2_32B '
	piece noble/sha2.js 'export class _SHA256 '
	printf 'return { _SHA256 };\n})();\n'
} >"$here/sha256.js"
