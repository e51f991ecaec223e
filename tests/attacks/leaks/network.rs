//! Ways to anything beyond the container: the engine, the network, names (I08, I09, I10).

use serde_json::json;

use crate::stage::Stage;
use crate::support::Engine;

/// No socket of the engine's, nor of anybody else, by file, by abstract name or by address.
fn i08_the_engine_is_nowhere(engine: Engine) {
    let script = "
import errno, json, os, socket, subprocess
find = 'find / -path /proc -prune -o -path /sys -prune -o -type s -print 2>/dev/null'
print(subprocess.run(find, shell=True, capture_output=True, text=True).stdout.split())
print(open('/proc/net/unix').readlines()[1:])
def attempt(family, address):
    try:
        with socket.socket(family, socket.SOCK_STREAM) as s:
            s.settimeout(1)
            s.connect(address)
            return 'connected'
    except OSError as e:
        return errno.errorcode.get(e.errno, str(e))
places = json.loads(os.environ['PLACES'])
print({attempt(socket.AF_UNIX, path) for path in places['paths']})
print({attempt(socket.AF_INET, (host, port)) for host in ('172.17.0.1', '172.18.0.1', '192.168.65.2', '10.0.2.2')
    for port in (2375, 2376)})
print({attempt(socket.AF_INET, ('127.0.0.1', port)) for port in (2375, 2376, places['port'])})
resolved = []
for name in 'host.docker.internal', 'gateway.docker.internal', 'docker', 'dockerd':
    try:
        resolved += socket.getaddrinfo(name, 2375)
    except OSError:
        pass
print(resolved)
";
    let mut paths = vec![
        "/var/run/docker.sock".to_owned(),
        "/run/docker.sock".to_owned(),
        "/run/user/1000/docker.sock".to_owned(),
        "/run/containerd/containerd.sock".to_owned(),
        "/run/docker/containerd/containerd.sock".to_owned(),
        "/run/podman/podman.sock".to_owned(),
        "/run/crio/crio.sock".to_owned(),
        "\0/containerd-shim/shim.sock@".to_owned(),
    ];
    let used = std::env::var("DOCKER_HOST").unwrap_or_default();
    paths.extend(used.strip_prefix("unix://").map(ToOwned::to_owned));
    let stage = Stage::get(engine);
    let places = json!({"paths": paths, "port": stage.service().address().port()});
    let request = json!({
        "script": script, "language": "python", "timeout": 60, "cpu_limit": 1,
        "env": {"PLACES": places.to_string()},
    });
    let answer = stage.attack(&request);
    let [sockets, abstracts, files, gateways, loopback, names] =
        answer.text().lines().map(ToOwned::to_owned).collect::<Vec<_>>().try_into().expect("lines");
    assert_eq!((&*sockets, &*abstracts), ("[]", "[]"), "{}", answer.0);
    let refused = ["'ENOENT'", "'ECONNREFUSED'"];
    assert!(!files.contains("connected"), "{files}");
    // An abstract name that nobody has is refused, and not missing.
    assert!(files.trim_matches(['{', '}']).split(", ").all(|e| refused.contains(&e)), "{files}");
    assert_eq!((&*gateways, &*loopback), ("{'ENETUNREACH'}", "{'ECONNREFUSED'}"), "{}", answer.0);
    assert_eq!(names, "[]");
}

/// There is no network but loopback: no interface, no route, and an answer at once.
fn i09_no_address_is_reached(engine: Engine) {
    let script = "
import errno, socket, time
print([name for _, name in socket.if_nameindex()])
print([line.split(':')[0].strip() for line in open('/proc/net/dev').readlines()[2:]])
print(open('/proc/net/route').readlines()[1:])
print({line.split()[-1] for line in open('/proc/net/ipv6_route')} - {'lo'})
v4 = ['169.254.169.254', '10.0.0.1', '172.16.0.1', '172.17.0.1', '192.168.0.1', '100.100.100.200', '8.8.8.8']
v6 = ['fd00:ec2::254', 'fe80::1', 'fe80::a9fe:a9fe', '2001:4860:4860::8888']
told, slowest = set(), 0
for family, addresses in (socket.AF_INET, v4), (socket.AF_INET6, v6):
    for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM:
        for address in addresses:
            began = time.monotonic()
            try:
                with socket.socket(family, kind) as s:
                    s.settimeout(5)
                    target = (address, 80, 0, 1) if address.startswith('fe80') else (address, 80)
                    s.connect(target)
                told.add((address, 'connected'))
            except OSError as e:
                told.add(errno.errorcode.get(e.errno, str(e)))
            slowest = max(slowest, time.monotonic() - began)
print(told)
print(slowest < 0.1 or slowest)
";
    let told = Stage::get(engine).python(script);
    assert_eq!(told, "['lo']\n['lo']\n[]\nset()\n{'ENETUNREACH'}\nTrue\n");
}

/// No name is resolved by any means, nobody waits for that, and no packet is made for it.
fn i10_no_name_is_resolved(engine: Engine) {
    let python = "
import errno, socket, struct, time
def packets():
    lines = [line.split() for line in open('/proc/net/snmp') if line.startswith('Ip:')]
    v6 = dict(line.split() for line in open('/proc/net/snmp6'))
    return int(dict(zip(*lines))['OutRequests']) + int(v6['Ip6OutRequests'])
query = struct.pack('>6H', 1, 0x100, 1, 0, 0, 0) + b'\\7example\\3com\\0' + struct.pack('>2H', 1, 1)
before, told = packets(), []
for family, kind, address, port in [
    (socket.AF_INET, socket.SOCK_DGRAM, '8.8.8.8', 53), (socket.AF_INET, socket.SOCK_STREAM, '8.8.8.8', 53),
    (socket.AF_INET6, socket.SOCK_DGRAM, '2001:4860:4860::8888', 53),
    (socket.AF_INET, socket.SOCK_STREAM, '1.1.1.1', 443), (socket.AF_INET, socket.SOCK_STREAM, '1.1.1.1', 853),
    (socket.AF_INET, socket.SOCK_DGRAM, '224.0.0.251', 5353), (socket.AF_INET6, socket.SOCK_DGRAM, 'ff02::fb', 5353),
    (socket.AF_INET, socket.SOCK_DGRAM, '255.255.255.255', 53)]:
    try:
        with socket.socket(family, kind) as s:
            s.settimeout(5)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            if kind == socket.SOCK_STREAM:
                s.connect((address, port))
            else:
                s.sendto(query, (address, port))
        told.append((address, 'sent'))
    except OSError as e:
        if e.errno != errno.ENETUNREACH:
            told.append((address, errno.errorcode.get(e.errno)))
print(told, packets() - before)
began = time.monotonic()
for resolve in (lambda: socket.getaddrinfo('example.com', 443), lambda: socket.gethostbyaddr('8.8.8.8')):
    try:
        print(resolve())
    except OSError:
        pass
took = time.monotonic() - began
print(took < 1 or took)
print([line.split(':')[0].strip() for line in open('/proc/net/dev').readlines()[2:]])
";
    let node = "
const dns = require('dns'), began = process.hrtime.bigint();
dns.resolve4('example.com', (error, found) => dns.lookup('example.com', (failed, address) =>
    console.log(!error, !failed, Number(process.hrtime.bigint() - began) < 1e9)));
";
    let stage = Stage::get(engine);
    assert_eq!(stage.python(python), "[] 0\nTrue\n['lo']\n");
    let answer = stage.attack(&json!({"script": node, "language": "node", "timeout": 20}));
    assert_eq!(answer.text(), "false false true\n", "{}", answer.0);
}

on_both_engines! {
    together: i08_the_engine_is_nowhere, i09_no_address_is_reached, i10_no_name_is_resolved
}
