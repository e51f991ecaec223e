# The programs that scripts are made of: find, sed, awk, sort, tar and their friends.
mkdir all && cd all || exit
mkdir -p src/deep/er docs; cd src || exit
for n in 1 2 3; do echo "int f$n() { return $n; } // TODO $n" >f$n.c; echo "# Title $n" >../docs/t$n.md; done
echo 'x' >deep/x.h; printf 'needle\n' >deep/er/hay.c; ln -s f1.c link.c; chmod 600 f2.c
cd .. || exit
find . -type f -name '*.c' | sort
find . -type f ! -name '*.c' -print | sort
find . -type l; find src -type d | sort | sed 's/^/dir /'
find . -name '*.c' -type f -exec grep -l TODO {} + | sort
find . -type f -perm 600; find . -name '*.md' | sort | xargs cat
find . -type f -print0 | xargs -0 grep -c e | sort | tail -n 3
find src -depth -name 'er' | cat; find . -type f -size -2 | wc -l | tr -d ' '

sed -e 's/int/long/' -e 's#//.*##' -e 's/[[:space:]]*$//' src/f1.c
sed -n 's/.*f\([0-9]\).*return \([0-9]\).*/\2 from \1/p' src/*.c
printf '1\n2\n3\n4\n5\n' | sed -n -e '2{p;d;}' -e '/4/,$p'
printf 'a\nb\nc\n' | sed -e '1!G;h;$!d'
printf 'k=v\n' | sed 's/\(.*\)=\(.*\)/\2=\1/; y/vk/VK/; a\
appended'
printf 'one\n\n\ntwo\n' | sed '/^$/d' | sed '$!N;s/\n/ & /;s/\n/+/'

printf 'ann 30 5000\nbob 25 4000\ncid 35 6000\n' >people
awk '{ total += $3; if ($2 > most) { most = $2; who = $1 } } END { printf "%d %s %.1f\n", total, who, total / NR }' people
awk -F' ' -v limit=26 '$2 > limit { print toupper($1), length($1), substr($1, 2) }' people
awk '{ for (i = NF; i > 0; i--) printf "%s%s", $i, i > 1 ? OFS : ORS }' OFS=- people
awk 'function fact(n) { return n <= 1 ? 1 : n * fact(n - 1) } BEGIN { print fact(10); n = split("a:b:c", part, ":"); print n, part[2]; s = "banana"; print gsub(/a/, "o", s), s, index(s, "n"), match(s, /n.n/) }'
awk 'BEGIN { while (("echo x; echo y" | getline line) > 0) print "got", line; print "sorted" | "sort"; close("sort"); exit 3 }'; echo "awk: $?"
awk '{ count[$1 % 3]++ } END { for (k = 0; k < 3; k++) print k, count[k] }' <<END
1
2
3
4
END

printf 'a\nb\nc\n' >one; printf 'b\nc\nd\n' >two
sort -k3 -n -r people | head -n 1; sort -t' ' -k2,2n people | cut -d' ' -f1 | paste -s -d, -

diff one two >/dev/null; echo "diff: $?"; diff one one && echo same; cmp one two >/dev/null || echo differ
paste one two | tr '\t' '/' ; nl -ba one 2>/dev/null | tr -s ' \t' ' ' ; fold -w 2 <<END
abcdef
END
dd if=one bs=2 count=1 2>/dev/null
tail -n +2 one | head -n 1; tail -c 2 one; wc -w people | awk '{ print $1 }'
tar -cf all.tar src docs && mkdir out && tar -xf all.tar -C out && diff -r src out/src && echo "unpacked the same"
gzip -c people | gzip -dc | cmp - people && echo "packed and unpacked"
basename /a/b.txt .txt; dirname /a/b.txt; echo 'a b' | tr ' ' '\n' | od -An -c | tr -s ' '
cp -r src copy && mv copy moved && rm -rf moved/deep && ls moved | tr '\n' ' '; rmdir moved 2>/dev/null || echo "not empty"
touch -t 200001010000 old; find . -name old -mtime +1000; [ people -nt old ] && echo newer
readlink src/link.c; test -L src/link.c && [ -s people ] && [ ! -e nowhere ] && echo tested
sleep 0.01; date -u -d @0 +%Y-%m-%dT%H:%M:%SZ; TZ=UTC0 date -u -d @86400 +%j
