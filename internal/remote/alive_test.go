package remote

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/llmhost/llmhost/internal/lab"
)

func ownOptions() Options {
	return Options{Unprivileged: true, SSHConfig: os.DevNull, ConnectTimeout: time.Second}.withDefaults()
}

// A host that vanishes without a word, as one whose power fails, must be found out.
func TestVanishedHostIsNoticed(t *testing.T) {
	server, err := lab.StartSSHD(context.Background(), t.TempDir(), lab.SSHDOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	address := net.JoinHostPort(server.Address, strconv.Itoa(server.Port))
	front, vanish := stallingProxy(t, address)

	c := connector{options: ownOptions(), target: Target{
		Address: "127.0.0.1", Port: front, User: server.User, Identity: server.IdentityFile, HostKey: server.HostKey,
	}}
	link, err := c.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer link.close()
	go link.keepAlive(20 * time.Millisecond)
	vanish()
	awaitEnd(t, link.done())
	if why := link.cause(); why == nil || !strings.Contains(why.Error(), "no sign of life") {
		t.Errorf("it died of %v", why)
	}
}

func TestHangingAgentIsNoticed(t *testing.T) {
	target := Target{Local: true, StateDir: t.TempDir()}
	s, err := openSession(t.Context(), "local", newLocalLink(), target, ownOptions(), func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	pid := agentOf(t, target.StateDir)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	go s.heartbeat(20 * time.Millisecond)
	awaitEnd(t, s.dead)
	if why := s.cause(); why == nil || !strings.Contains(why.Error(), "no sign of life") {
		t.Errorf("it died of %v", why)
	}
}

func awaitEnd(t *testing.T, end <-chan struct{}) {
	t.Helper()
	select {
	case <-end:
	case <-time.After(time.Minute):
		t.Fatal("nobody has noticed")
	}
}

// stallingProxy passes connections on until vanish is called; then it is silent, and the
// connections stay open.
func stallingProxy(t *testing.T, to string) (port int, vanish func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone, end := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() {
		l.Close()
		close(end)
	})
	pass := func(to io.Writer, from io.Reader) {
		buffer := make([]byte, 32<<10)
		for {
			n, err := from.Read(buffer)
			select {
			case <-gone:
				<-end
				return
			default:
			}
			if _, writeErr := to.Write(buffer[:n]); err != nil || writeErr != nil {
				return
			}
		}
	}
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			go func() {
				defer near.Close()
				defer far.Close()
				var both sync.WaitGroup
				both.Go(func() { pass(far, near) })
				both.Go(func() { pass(near, far) })
				both.Wait()
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port, func() { close(gone) }
}

// agentOf is the process of the agent whose binary lies below a state folder.
func agentOf(t *testing.T, state string) int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		program, err := os.Readlink("/proc/" + e.Name() + "/exe")
		if err == nil && strings.HasPrefix(program, state+"/") {
			pid, _ := strconv.Atoi(e.Name())
			return pid
		}
	}
	t.Fatal("the agent is not running")
	return 0
}

// The scripts must mean the same to every shell that is /bin/sh somewhere.
func TestScriptsInEveryShell(t *testing.T) {
	launcherScript, err := launcher()
	if err != nil {
		t.Fatal(err)
	}
	scripts := map[string]string{
		"greet": greetScript, "start": startScript, "launcher": launcherScript,
		"ascend": ascendScript, "prepare": prepareScript,
	}
	tried := 0
	for _, shell := range [][]string{{"dash"}, {"bash", "--posix"}, {"busybox", "sh"}} {
		path, err := exec.LookPath(shell[0])
		if err != nil {
			continue
		}
		tried++
		for name, text := range scripts {
			cmd := exec.Command(path, append(shell[1:], "-n")...)
			cmd.Stdin = strings.NewReader(text)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s is not understood by %s: %s", name, shell[0], out)
			}
		}
	}
	if tried == 0 {
		t.Fatal("this needs one of dash, bash and busybox")
	}
}
