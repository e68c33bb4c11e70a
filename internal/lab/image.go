package lab

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// image is what hosts are started from: a disk with Debian on it, a kernel, an engine, and the
// keys of both sides of SSH. It is a folder of the cache and never changes once it's there.
type image struct {
	dir string
}

func (i image) disk() string     { return filepath.Join(i.dir, "disk.qcow2") }
func (i image) kernel() string   { return filepath.Join(i.dir, "vmlinuz") }
func (i image) initrd() string   { return filepath.Join(i.dir, "initrd") }
func (i image) engine() string   { return filepath.Join(i.dir, engineArchive) }
func (i image) identity() string { return filepath.Join(i.dir, "id_ed25519") }

// hostKey is the public key of every host of this image, as "ssh-ed25519 AAAA…".
func (i image) hostKey() (string, error) {
	content, err := os.ReadFile(filepath.Join(i.dir, "host_key"))
	if err != nil {
		return "", fmt.Errorf("the lab's image has no host key: %w", err)
	}
	return strings.TrimSpace(string(content)), nil
}

// ensureImage returns the image of the recipe, and builds it if the cache lacks it.
func ensureImage(ctx context.Context, p *progress) (image, error) {
	cache, err := cacheDir()
	if err != nil {
		return image{}, err
	}
	recipe := imageRecipe()
	img := image{filepath.Join(cache, recipe)}
	return img, once(ctx, p, img.dir, "the lab's image", func(temp string) error {
		return image{temp}.build(ctx, p)
	})
}

// once makes a folder of the cache unless it's there. It is built beside its place and renamed,
// under a lock, so that a folder which is there is whole, and is made by one process.
func once(ctx context.Context, p *progress, dir, what string, build func(temp string) error) error {
	there := func() bool { _, err := os.Stat(dir); return err == nil }
	if there() {
		return nil
	}
	lockFile, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	unlock, err := lock(ctx, lockFile, func() { p.say("another process builds %s: waiting for it", what) })
	if err != nil {
		return err
	}
	defer unlock()
	if there() {
		return nil
	}
	temp := dir + ".part"
	if err := discard(temp); err != nil {
		return err
	}
	if err := os.Mkdir(temp, 0o700); err != nil {
		return err
	}
	if err := build(temp); err != nil {
		return errors.Join(fmt.Errorf("building %s: %w", what, err), os.RemoveAll(temp))
	}
	return os.Rename(temp, dir)
}

// discard removes what a build left behind that was killed. A host of it may still run.
func discard(temp string) error {
	if vm, err := open(filepath.Join(temp, buildHost)); err == nil {
		if err := vm.end(); err != nil {
			return err
		}
	}
	return os.RemoveAll(temp)
}

func (i image) build(ctx context.Context, p *progress) error {
	if err := missingError(); err != nil {
		return err
	}
	m := machineMirror()
	done := p.step("llama.cpp from Debian " + engineSuites[0])
	err := buildEngine(ctx, m, i.engine())
	done()
	if err != nil {
		return err
	}
	key := exec.CommandContext(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "llmhost-lab", "-f", i.identity())
	if out, err := key.CombinedOutput(); err != nil {
		return fmt.Errorf("ssh-keygen: %w\n%s", err, out)
	}
	done = p.step("disk image with Debian " + suite + " (some 2 minutes)")
	defer done()
	return i.buildDisk(ctx, m)
}

// imageFiles are what the image script makes.
var imageFiles = []string{"vmlinuz", "initrd", "host_key", "disk.qcow2"}

// buildDisk runs the image script. It and this process talk through a socket, since in a user
// namespace it may open none of this user's files.
func (i image) buildDisk(ctx context.Context, m mirror) error {
	public, err := os.ReadFile(i.identity() + ".pub")
	if err != nil {
		return err
	}
	ours, its, err := socketPair()
	if err != nil {
		return err
	}
	defer ours.Close()
	talked := make(chan error, 1)
	go func() { talked <- i.talk(ours) }()
	build := &debootstrap{
		suite: suite, variant: "minbase", packages: packages, mirror: m, hook: imageScript, pipe: its,
		env: []string{"LAB_AUTHORIZED_KEY=" + strings.TrimSpace(string(public)), "LAB_INIT=" + initScript, "LAB_DISK_SIZE=" + diskSize},
	}
	err = build.run(ctx)
	its.Close() // the last one: what talks to it then ends too
	if talkErr := <-talked; err == nil {
		err = talkErr
	}
	return err
}

// talk gives the script the engine and takes what it makes.
func (i image) talk(script *net.UnixConn) error {
	sent := make(chan error, 1)
	go func() { sent <- sendFile(script, i.engine()) }()
	err := i.receive(script)
	io.Copy(io.Discard, script) // the script must not block on what isn't wanted
	return errors.Join(<-sent, err)
}

func sendFile(conn *net.UnixConn, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(conn, f); err != nil {
		return fmt.Errorf("giving the engine to the image script: %w", err)
	}
	return conn.CloseWrite()
}

// receive unpacks the script's tar.
func (i image) receive(r io.Reader) error {
	t := tar.NewReader(r)
	for _, name := range imageFiles {
		h, err := t.Next()
		if err == nil && h.Name != name {
			err = fmt.Errorf("it gave %q", h.Name)
		}
		if err != nil {
			return fmt.Errorf("the image script gave no %s: %w", name, err)
		}
		f, err := os.OpenFile(filepath.Join(i.dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, t)
		if err == nil {
			err = f.Sync()
		}
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			return fmt.Errorf("the image's %s: %w", name, err)
		}
	}
	return nil
}

// socketPair is a connection to a program that is yet to be started.
func socketPair() (ours *net.UnixConn, its *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("a socket for the image script: %w", err)
	}
	its = os.NewFile(uintptr(fds[1]), "socket")
	f := os.NewFile(uintptr(fds[0]), "socket")
	defer f.Close() // FileConn has its own
	conn, err := net.FileConn(f)
	if err != nil {
		its.Close()
		return nil, nil, fmt.Errorf("a socket for the image script: %w", err)
	}
	return conn.(*net.UnixConn), its, nil
}
