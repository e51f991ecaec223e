"""Sockets on loopback: TCP, UDP, IPv6, Unix, and the servers that are made of them."""
import array
import http.client
import http.server
import os
import select
import selectors
import socket
import socketserver
import ssl
import threading
import urllib.request
import xmlrpc.client
import xmlrpc.server

socket.setdefaulttimeout(30)


def serve(listener, answer):
    def loop():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                answer(connection)
    thread = threading.Thread(target=loop, daemon=True)
    thread.start()


def echo(connection):
    while data := connection.recv(65536):
        connection.sendall(data)


for family, address in [(socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_INET6, ("::1", 0)),
                        (socket.AF_UNIX, "stream.sock"), (socket.AF_UNIX, "\0abstract")]:
    listener = socket.socket(family, socket.SOCK_STREAM)
    if family != socket.AF_UNIX:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address)
    listener.listen(16)
    serve(listener, echo)
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.connect(listener.getsockname())
        if family != socket.AF_UNIX:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sent = os.urandom(300_000)
        threading.Thread(target=lambda: (client.sendall(sent), client.shutdown(socket.SHUT_WR))).start()
        got = b"".join(iter(lambda: client.recv(65536), b""))
        assert got == sent, family
    listener.close()

for family, address in [(socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_INET6, ("::1", 0)), (socket.AF_UNIX, "datagram.sock")]:
    receiver, sender = socket.socket(family, socket.SOCK_DGRAM), socket.socket(family, socket.SOCK_DGRAM)
    receiver.bind(address)
    for n in range(50):
        sender.sendto(b"datagram %d" % n, receiver.getsockname())
        assert receiver.recvfrom(100)[0] == b"datagram %d" % n
    receiver.close(), sender.close()

# A server of both kinds of addresses, names, and nobody there.
both = socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
serve(both, echo)
for host in ("127.0.0.1", "::1", "localhost", socket.gethostname()):
    with socket.create_connection((host, both.getsockname()[1])) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
try:
    socket.create_connection(("127.0.0.1", 1), timeout=5)
    raise AssertionError("somebody at port 1")
except ConnectionRefusedError:
    pass
assert socket.gethostbyname("localhost") == "127.0.0.1"
assert socket.if_nametoindex("lo") == 1 and ("lo" in dict(map(reversed, socket.if_nameindex())))

# Pairs, descriptors that travel, credentials, and waiting of every kind.
left, right = socket.socketpair()
reader, writer = os.pipe()
socket.send_fds(left, [b"take it"], [writer])
_, [taken], _, _ = socket.recv_fds(right, 100, 1)
os.write(taken, b"through it")
assert os.read(reader, 100) == b"through it"
right.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
left.send(b"who")
_, [(_, _, credentials)], *_ = right.recvmsg(10, socket.CMSG_SPACE(12))
assert array.array("i", credentials)[0] == os.getpid()
left.setblocking(False)
try:
    left.recv(1)
    raise AssertionError("nothing was sent")
except BlockingIOError:
    pass
right.send(b"!")
assert select.select([left], [], [], 20)[0] == [left]
poll, epoll = select.poll(), select.epoll()
poll.register(left, select.POLLIN), epoll.register(left, select.EPOLLIN | select.EPOLLET)
assert poll.poll(20_000) == [(left.fileno(), select.POLLIN)] and epoll.poll(20) == [(left.fileno(), select.EPOLLIN)]
with selectors.DefaultSelector() as selector:
    selector.register(left, selectors.EVENT_READ | selectors.EVENT_WRITE, "data")
    assert selector.select(20)[0][0].data == "data"
with open("sent", "wb") as file:
    file.write(b"file" * 10_000)
with open("sent", "rb") as file:
    left.setblocking(True)
    receive = []
    t = threading.Thread(target=lambda: receive.append(right.recv(40_000, socket.MSG_WAITALL)))
    t.start()
    assert left.sendfile(file) == 40_000
    t.join()
    assert receive[0] == b"file" * 10_000


# Servers of the library, over plain connections and over TLS.
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))[::-1]
        self.send_response(201)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
secure = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("server.pem", "server.key")
secure.socket = context.wrap_socket(secure.socket, server_side=True)
for one, scheme in ((server, "http"), (secure, "https")):
    threading.Thread(target=one.serve_forever, daemon=True).start()
    trusting = ssl.create_default_context(cafile="ca.pem")
    for n in range(10):
        url = f"{scheme}://localhost:{one.server_port}/"
        answer = urllib.request.urlopen(urllib.request.Request(url, data=b"body %d" % n), context=trusting if scheme == "https" else None)
        assert (answer.status, answer.read()[::-1]) == (201, b"body %d" % n)
keep = http.client.HTTPConnection("127.0.0.1", server.server_port)
for n in range(20):
    keep.request("POST", "/", body=b"kept")
    assert keep.getresponse().read() == b"tpek"
try:
    urllib.request.urlopen(f"https://localhost:{secure.server_port}/", data=b"x")
    raise AssertionError("a stranger's certificate was trusted")
except urllib.error.URLError as e:
    assert isinstance(e.reason, ssl.SSLCertVerificationError), e
with socket.create_connection(("localhost", secure.server_port)) as plain:
    with trusting.wrap_socket(plain, server_hostname="localhost") as wrapped:
        assert wrapped.version() in ("TLSv1.2", "TLSv1.3")
server.shutdown(), secure.shutdown()


class Upper(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line.upper())


with socketserver.ThreadingUnixStreamServer("upper.sock", Upper) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("upper.sock")
        client.sendall(b"one\ntwo\n"), client.shutdown(socket.SHUT_WR)
        assert client.makefile("rb").read() == b"ONE\nTWO\n"
    server.shutdown()
with xmlrpc.server.SimpleXMLRPCServer(("127.0.0.1", 0), logRequests=False) as server:
    server.register_function(lambda a, b: a + b, "add")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with xmlrpc.client.ServerProxy(f"http://127.0.0.1:{server.server_address[1]}") as proxy:
        assert proxy.add(40, 2) == 42
    server.shutdown()
print("all right")
