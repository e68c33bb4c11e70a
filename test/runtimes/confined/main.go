// Command confined tries from inside a sandbox what a sandbox forbids, and says what came of it.
//
// The tests on the VM put it in the place of a server: each line that it prints is an attempt and
// its result, the name of an error or "done". It is a program of its own because only a process in
// the sandbox can tell what the sandbox lets through.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "confined attempts [SOCKET…] | memory MIB | forks | abort")
		os.Exit(2)
	}
	switch os.Args[1] {
	case "attempts":
		attempt(os.Args[2:])
	case "memory":
		fill(os.Args[2])
	case "forks":
		fork()
	case "abort":
		debug.SetTraceback("crash") // with the signal that leaves a core dump
		panic("on purpose")
	}
}

func attempt(sockets []string) {
	say := func(name string, err error) {
		var errno unix.Errno
		switch {
		case err == nil:
			fmt.Printf("%s done\n", name)
		case os.IsTimeout(err) && !errors.As(err, &errno):
			fmt.Printf("%s unheard\n", name)
		case errors.As(err, &errno):
			fmt.Printf("%s %s\n", name, unix.ErrnoName(errno))
		default:
			fmt.Printf("%s %v\n", name, err)
		}
	}
	for name, path := range map[string]string{
		"write-etc": "/etc/x", "write-usr": "/usr/x", "write-root": "/x", "write-models": "/models/x", "write-var": "/var/x",
		"write-sysctl": "/proc/sys/kernel/printk", "write-cgroup": "/sys/fs/cgroup/cgroup.procs",
	} {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
		if err == nil {
			f.Close()
		}
		say(name, err)
	}
	say("write-tmp", os.WriteFile("/tmp/x", nil, 0o700))
	say("exec-tmp", program("/tmp/probe"))
	for name, path := range map[string]string{
		"read-memory": "/dev/mem", "read-kernel-log": "/dev/kmsg", "read-disk": "/dev/vda", "read-init": "/proc/1/environ", "read-keys": "/proc/keys",
		"read-shadow": "/etc/shadow", "read-other-model": "/srv/models/tiny.gguf", "read-agent-state": "/var/lib/llmhost/owned",
	} {
		f, err := os.Open(path)
		if err == nil {
			f.Close()
		}
		say(name, err)
	}
	say("see-processes", others())
	for name, family := range map[string]int{
		"socket-inet": unix.AF_INET, "socket-inet6": unix.AF_INET6, "socket-netlink": unix.AF_NETLINK, "socket-packet": unix.AF_PACKET, "socket-vsock": unix.AF_VSOCK,
	} {
		fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if family == unix.AF_NETLINK || family == unix.AF_PACKET {
			fd, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		}
		if err == nil {
			unix.Close(fd)
		}
		say(name, err)
	}
	for i, path := range sockets {
		conn, err := net.Dial("unix", path)
		if err == nil {
			conn.Close()
		}
		say(fmt.Sprintf("connect-%d", i), err)
	}
	_, err := net.Listen("tcp", "127.0.0.1:9999")
	say("listen-elsewhere", err)
	_, err = net.DialTimeout("tcp", "10.0.2.2:22", 2*time.Second)
	say("connect-out", err)
	say("load-module", call(unix.SYS_INIT_MODULE, 0, 0, 0))
	say("become-root", call(unix.SYS_SETUID, 0, 0, 0))
	say("user-namespace", call(unix.SYS_UNSHARE, unix.CLONE_NEWUSER, 0, 0))
	say("mount-namespace", call(unix.SYS_UNSHARE, unix.CLONE_NEWNS, 0, 0))
	say("raise-capability", unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, unix.CAP_SYS_ADMIN, 0, 0))
	say("mount", unix.Mount("none", "/tmp", "tmpfs", 0, ""))
	say("ptrace", call(unix.SYS_PTRACE, unix.PTRACE_ATTACH, 1, 0))
	say("set-clock", unix.ClockSettime(unix.CLOCK_REALTIME, &unix.Timespec{}))
	say("set-hostname", unix.Sethostname([]byte("x")))
	say("reboot", unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF))
	say("swap-on", call(unix.SYS_SWAPON, 0, 0, 0))
	say("load-bpf", call(unix.SYS_BPF, 0, 0, 0))
	say("performance-events", call(unix.SYS_PERF_EVENT_OPEN, 0, 0, 0))
	say("personality", call(unix.SYS_PERSONALITY, 0x0040000, 0, 0)) // no address randomization
	priority := struct{ n int32 }{1}
	say("real-time", call(unix.SYS_SCHED_SETSCHEDULER, 0, unix.SCHED_FIFO, uintptr(unsafe.Pointer(&priority))))
	say("make-set-user-id", unix.Chmod("/tmp/x", 0o4755))
	say("make-device", unix.Mknod("/tmp/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	_, err = unix.Mmap(-1, 0, 4096, unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
	say("write-and-run-memory", err)
	page, err := unix.Mmap(-1, 0, 4096, unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err == nil {
		err = unix.Mprotect(page, unix.PROT_READ|unix.PROT_EXEC)
	}
	say("run-written-memory", err)
	say("raise-limit", unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: 1 << 20, Max: 1 << 20}))
	status()
	fmt.Println("end done")
}

func call(number, a, b, c uintptr) error {
	if _, _, errno := unix.Syscall(number, a, b, c); errno != 0 {
		return errno
	}
	return nil
}

// program makes a copy of this program at a path and runs it.
func program(path string) error {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, self, 0o700); err != nil {
		return err
	}
	defer os.Remove(path)
	_, err = os.StartProcess(path, []string{path}, &os.ProcAttr{})
	return err
}

// others is an error that says there are none if no process but this one is seen.
func others() error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.Trim(e.Name(), "0123456789") == "" && e.Name() != fmt.Sprint(os.Getpid()) {
			if owner, err := os.Stat(filepath.Join("/proc", e.Name())); err == nil && owner.Sys() != nil {
				return nil
			}
		}
	}
	return unix.ESRCH
}

// status prints what the kernel says of this process.
func status() {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		switch name {
		case "Seccomp", "NoNewPrivs", "CapEff", "CapBnd", "CapPrm", "CapAmb":
			fmt.Printf("%s %s\n", name, strings.TrimSpace(value))
		}
	}
}

// fill uses memory until it has so many MiB, each page of it written.
func fill(mib string) {
	var n int
	fmt.Sscan(mib, &n)
	var all [][]byte
	for range n {
		block := make([]byte, 1<<20)
		for i := 0; i < len(block); i += 4096 {
			block[i] = 1
		}
		all = append(all, block)
	}
	fmt.Printf("memory done %d\n", len(all))
}

// fork makes processes that wait, until it can't.
func fork() {
	for n := 0; ; n++ {
		pid, _, errno := unix.RawSyscall(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0)
		switch {
		case errno != 0:
			fmt.Printf("forks %s after %d\n", unix.ErrnoName(errno), n)
			return
		case pid == 0:
			for { // a copy of a Go program with one thread, which may make no call of Go's
				unix.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
			}
		case n == 5000:
			fmt.Println("forks done")
			return
		}
	}
}
