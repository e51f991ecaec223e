# Whole numbers, as POSIX has them.
echo $((1 + 2 * 3)) $(((1 + 2) * 3)) $((7 / 2)) $((-7 / 2)) $((7 % 3)) $((-7 % 3))
echo $((0x1f)) $((017)) $((1 << 10)) $((1024 >> 3)) $((6 & 3)) $((6 | 3)) $((6 ^ 3)) $((~5))
echo $((3 < 4)) $((3 == 4)) $((3 != 4)) $((3 >= 3)) $((1 && 0)) $((1 || 0)) $((!1)) $((!0))
echo $((5 > 3 ? 10 : 20)) $((0 ? 10 : 20))
x=5; echo $((x += 3)) $((x -= 1)) $((x *= 2)) $((x /= 7)) $((x %= 2)) $x
x=6; echo $((x <<= 2)) $((x >>= 1)) $((x &= 10)) $((x |= 3)) $((x ^= 1))
echo $((x = y = 4)) "$x" "$y"
a=3 b=4; echo $((a * a + b * b)) $(( $a + $b )) $((a+b))
echo $((9223372036854775807)) $((9223372036854775807 + 1)) $((-9223372036854775807 - 1))
unset none; echo $((none + 1))
(echo $((1 / 0))) 2>/dev/null || echo "no division by zero"

gcd() { a=$1 b=$2; while [ "$b" -ne 0 ]; do t=$((a % b)); a=$b; b=$t; done; echo "$a"; }
gcd 1071 462; gcd 1000000007 998244353
power() { base=$1 left=$2 result=1; while [ "$left" -gt 0 ]; do [ $((left & 1)) = 1 ] && result=$((result * base % 1000007)); base=$((base * base % 1000007)); left=$((left >> 1)); done; echo $result; }
power 3 100000
collatz() { n=$1 steps=0; while [ "$n" -ne 1 ]; do n=$((n % 2 ? 3 * n + 1 : n / 2)); steps=$((steps + 1)); done; echo $steps; }
collatz 27; collatz 837799

# Primes up to 200, with a variable for each number.
n=2; while [ $n -le 200 ]; do eval "c_$n=0"; n=$((n + 1)); done
n=2; primes=; while [ $n -le 200 ]; do
    eval "composite=\$c_$n"
    if [ "$composite" = 0 ]; then
        primes="$primes $n"; m=$((n * n)); while [ $m -le 200 ]; do eval "c_$m=1"; m=$((m + n)); done
    fi
    n=$((n + 1))
done
echo $primes

# The square root of two by integers: 2 * 10^16.
root() { n=$1 r=$1; while :; do next=$(((r + n / r) / 2)); [ $next -ge $r ] && break; r=$next; done; echo $r; }
root 20000000000000000

# To other bases and back.
to_base() { n=$1 digits=; while [ "$n" -gt 0 ]; do digits=$((n % $2))$digits; n=$((n / $2)); done; echo "${digits:-0}"; }
to_base 255 2; to_base 255 8; to_base 0 2
printf '%x %o %d\n' 255 255 0xff

# A generator of random numbers that gives the same everywhere.
seed=42; i=0; while [ $i -lt 5 ]; do seed=$(((seed * 1103515245 + 12345) % 2147483648)); printf '%s ' $((seed % 1000)); i=$((i + 1)); done; echo
expr 6 \* 7; expr length "twelve chars" 2>/dev/null; expr abc : 'a\(.*\)'
[ 10 -gt 9 ] && [ 010 -eq 10 ] && [ abc \< abd ] && echo compared
awk 'BEGIN { printf "%.3f %d %s\n", 22 / 7, 2 * 512 * 1024, 1e6 }'
