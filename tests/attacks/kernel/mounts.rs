//! Devices, mounts and other roots (K04, K05, K07).

use super::python;
use crate::stage::Stage;
use crate::support::Engine;

/// Five nodes that nothing hides behind, and no more can be made.
fn k04_devices_are_the_harmless_ones(engine: Engine) {
    let script = "
import stat
nodes, others = set(), set()
for top, folders, files in os.walk('/dev'):
    for name in files + folders:
        path = os.path.join(top, name)
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode):
            others.add((os.path.relpath(path, '/dev'), 'to ' + os.readlink(path)))
        elif stat.S_ISCHR(found.st_mode):
            nodes.add((name, os.major(found.st_rdev), os.minor(found.st_rdev)))
        elif not stat.S_ISDIR(found.st_mode):
            others.add((os.path.relpath(path, '/dev'), stat.filemode(found.st_mode)))
nodes -= {('null', 1, 3), ('zero', 1, 5), ('full', 1, 7), ('random', 1, 8), ('urandom', 1, 9)}
# Whoever has no terminal can't open it.
nodes -= {('tty', 5, 0)}
print(nodes, opened('/dev/tty', os.O_RDWR) in ('ENXIO', 'ENOENT'))
links = {('fd', 'to /proc/self/fd')} | {('std' + name, 'to /proc/self/fd/%d' % n) for n, name in enumerate(('in', 'out', 'err'))}
links |= {('std' + name, 'to fd/%d' % n) for n, name in enumerate(('in', 'out', 'err'))}
# They lead to what is hidden.
links |= {('ptmx', 'to pts/ptmx'), ('core', 'to /proc/kcore')}
print(others - links)
print([path for path in ('/dev/ptmx', '/dev/core', '/dev/kmsg', '/dev/mem', '/dev/kvm', '/dev/fuse', '/dev/net/tun', '/dev/console')
    if opened(path, os.O_RDWR) not in ('ENOENT', 'EACCES', 'EROFS')])
writable = ['/tmp', '/tmp/work', '/dev/shm']
null = os.makedev(1, 3)
print(unlike('EPERM', [('mknodat', -100, (top + '/node').encode(), kind | 0o666, null)
    for top in writable for kind in (stat.S_IFCHR, stat.S_IFBLK)]))
print(len(os.urandom(4)), open('/dev/zero', 'rb').read(2), opened('/dev/null', os.O_RDWR))
";
    assert_eq!(
        python(&Stage::get(engine), script),
        "set() True\nset()\n[]\n[]\n4 b'\\x00\\x00' opened\n"
    );
}

/// Nothing can be mounted, moved or uncovered, by any of the kernel's two interfaces.
fn k05_nothing_can_be_mounted(engine: Engine) {
    let script = "
BIND, REMOUNT, MOVE, DETACH = 4096, 32, 8192, 2
print(unlike('EPERM', [
    ('mount', 0, 0, 0, 0, 0),
    ('mount bind', b'/tmp', b'/dev/shm', 0, BIND, 0),
    ('mount remounting', 0, b'/', 0, REMOUNT, 0),
    ('mount remounting a bind', 0, b'/', 0, REMOUNT | BIND, 0),
    ('mount remounting a read-only path', 0, b'/proc/sys', 0, REMOUNT | BIND, 0),
    ('mount moving', b'/tmp', b'/dev/shm', 0, MOVE, 0),
    ('umount2', 0, 0),
    ('umount2 of a masked path', b'/proc/kcore', 0),
    ('umount2 of another', b'/proc/keys', DETACH),
    ('umount2 of a read-only path', b'/proc/sys', DETACH),
    ('fsopen', 0, 0), ('fspick', -1, 0, 0), ('fsconfig', -1, 0, 0, 0, 0), ('fsmount', -1, 0, 0),
    ('open_tree', -1, 0, 0), ('move_mount', -1, 0, -1, 0, 0), ('mount_setattr', -1, 0, 0, 0, 0),
]))
# statmount, listmount, open_tree_attr: newer than the list.
print([number for number in (457, 458, 467) if made(number, 0, 0, 0, 0, 0) != 'ENOSYS'])
print([top for top in ('/', '/usr', '/proc/sys') if not os.statvfs(top).f_flag & os.ST_RDONLY])
print([path for path in ('/x', '/usr/x', '/etc/x', '/root/x')
    if opened(path, os.O_WRONLY | os.O_CREAT) not in ('EROFS', 'EACCES', 'ENOENT')])
";
    assert_eq!(python(&Stage::get(engine), script), "[]\n[]\n[]\n[]\n");
}

fn k07_there_is_no_other_root(engine: Engine) {
    let script = "
print(unlike('EPERM', [
    ('chroot', 0), ('chroot to a folder of its own', b'/tmp/work'),
    ('pivot_root', 0, 0), ('open_by_handle_at', -1, 0, 0), ('name_to_handle_at', -1, 0, 0, 0, 0),
]))
";
    assert_eq!(python(&Stage::get(engine), script), "[]\n");
}

on_both_engines! {
    together: k04_devices_are_the_harmless_ones, k05_nothing_can_be_mounted,
        k07_there_is_no_other_root
}
