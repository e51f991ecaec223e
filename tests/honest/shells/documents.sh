# Here-documents of every kind.
name=world
cat <<END
Hello $name, $(echo nested), $((6 * 7)), \$name, \`tick\`, back\\slash
  indented "quoted" 'single'
END
cat <<'END'
Hello $name, $(not run), $((6 * 7)), \$name
END
cat <<-END
	tabs go
		all of them
    spaces stay
	END

# Two for one command, and one in another one's substitution.
{ cat; cat <&3; } <<FIRST 3<<SECOND
the first
FIRST
the second
SECOND
echo "$(cat <<END
inside of $(cat <<INNER
an inner one
INNER
)
END
)"

# In a loop, in a function, in a pipeline.
for word in a b; do
    while read -r line; do echo "$word: $line"; done <<END
$word one
$word two
END
done
page() {
    cat <<END
<title>$1</title>
<p>${2:-nothing}</p>
END
}
page one; page two more | tr a-z A-Z
cat <<END | sed 's/x/y/g' | tac 2>/dev/null || true
x1
x2
END

# Expansions with documents in them.
unset none
cat <<END
${none:-by default} ${name:+set} ${name#wo} ${#name} "$*"
joined \
line
END

# An empty one, and one larger than a pipe.
cat <<END
END
cat >large <<END
$(i=0; while [ $i -lt 3000 ]; do echo "line $i of the large document, which is longer than a pipe"; i=$((i + 1)); done)
END
wc -lc <large | awk '{ print $1, $2 }'; tail -n 1 large
