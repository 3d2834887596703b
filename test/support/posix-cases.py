# Evaluates expressions about a file system and prints what came of each as JSON: a value, or the name of an error.
# usage: posix-cases.py TOP USER < [expression, ...]
import ctypes, errno, fcntl, json, mmap, os, signal, socket, stat, struct, subprocess, sys, tempfile

TOP, USER = sys.argv[1], sys.argv[2]
libc = ctypes.CDLL(None, use_errno=True)
libc.opendir.restype = libc.readdir.restype = ctypes.c_void_p
libc.opendir.argtypes = [ctypes.c_char_p]
libc.telldir.restype = ctypes.c_long
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
for call in (libc.readdir, libc.telldir, libc.closedir, libc.rewinddir):
    call.argtypes = [ctypes.c_void_p]

def P(path): return os.path.join(TOP, path)
def fd(path='file', flags=os.O_RDONLY): return os.open(P(path), flags)
def opens(path, flags=os.O_RDONLY): os.close(fd(path, flags)); return 'opened'
def read(path, count=100): return os.read(fd(path), count).decode('latin1')
def st(path): return os.lstat(P(path))
def does(*ignored): return 'done'
def failing(result):
    if result < 0: raise OSError(ctypes.get_errno(), '')
    return result

def entry(directory):
    """The next name: d_name is at offset 19 of struct dirent."""
    at = libc.readdir(directory)
    return ctypes.string_at(at + 19).decode('latin1') if at else None

def names(directory): return list(iter(lambda: entry(directory), None))

def seeks(path):
    """Every position that telldir() gives leads back to the same rest of the listing."""
    directory = libc.opendir(os.fsencode(P(path)))
    seen = []
    while True:
        position, name = libc.telldir(directory), entry(directory)
        if name is None: break
        seen.append((position, name))
    for index in range(len(seen) - 1, -1, -1 - len(seen) // 100):
        libc.seekdir(directory, seen[index][0])
        if names(directory) != [name for _, name in seen[index:]]: return f'wrong after {index}'
    libc.rewinddir(directory)
    return len(names(directory)) == len(seen)

def mapped(path, flags, prot, count=7):
    with mmap.mmap(fd(path), count, flags, prot) as memory: return memory[:].decode('latin1')

def changed_privately(path):
    with mmap.mmap(fd(path), 7, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE) as memory:
        memory[0:1] = b'C'
        return memory[:].decode('latin1') + ' ' + read(path)

def direct(path, count):
    with mmap.mmap(-1, 1 << 20) as memory:
        got = os.readv(fd(path, os.O_RDONLY | os.O_DIRECT), [memory])
        return got == count and memory[:got] == os.pread(fd(path), count, 0)

def in_child(work):
    """What an expression is in another process, which has opened nothing yet."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, repr(outcome(work)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    return eval(os.read(reading, 1000))

def locked(how):
    descriptor = fd()
    fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    try: return in_child(lambda: does(fcntl.flock(fd(), fcntl.LOCK_EX | fcntl.LOCK_NB)))
    finally: os.close(descriptor)

def record_locked(kind):
    descriptor = fd()
    fcntl.lockf(descriptor, kind | fcntl.LOCK_NB)
    return 'locked'

def to_temporary(copy):
    with tempfile.TemporaryFile() as other:
        copy(fd(), other.fileno())
        other.seek(0)
        return other.read().decode('latin1')

def handle(path):
    """struct file_handle: size, type, bytes; opened again through the top of the mount."""
    buffer = ctypes.create_string_buffer(struct.pack('Ii', 128, 0) + bytes(128), 136)
    mount_id = ctypes.c_int()
    failing(libc.name_to_handle_at(-100, os.fsencode(P(path)), buffer, ctypes.byref(mount_id), 0))
    return buffer

def by_handle(path):
    opened = failing(libc.open_by_handle_at(os.open(TOP, os.O_RDONLY), handle(path), os.O_RDONLY))
    return os.fstat(opened).st_ino == st(path).st_ino

def run(path, *args): return subprocess.run([P(path), *args], capture_output=True, text=True).stdout.strip()

def outcome(work):
    try: return work()
    except OSError as error: return errno.errorcode.get(error.errno, str(error))

if USER != 'root':
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
results = []
for expression in json.load(sys.stdin):
    code = compile(expression, expression, 'eval')
    results.append(outcome(lambda: eval(code)))
print(json.dumps(results))
