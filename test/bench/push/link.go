package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	linkRate  = 100e6 / 8 // bytes a second, in each direction
	linkDelay = 25 * time.Millisecond
	linkLoss  = 0.01
	linkQueue = 1000 // packets that wait for their turn; more are lost
	linkText  = "100 Mbit/s, 50 ms round trip, 1 % of packets lost in each direction, TCP cubic"

	nearIP = "198.18.0.1" // of the range that RFC 2544 keeps for benchmarks
	farIP  = "198.18.0.2"
)

// link is a slow link between two network namespaces. Its packets pass through this process,
// which is what netem does in kernels that have it; TCP at both ends is the kernel's own.
type link struct {
	near, far string
	cards     []*os.File
}

func newLink(ctx context.Context, name string, seed uint64) (_ *link, err error) {
	name = fmt.Sprintf("%s-%d", name, os.Getpid())
	l := &link{near: "bench-near-" + name, far: "bench-far-" + name}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	for _, end := range []struct{ ns, ip, peer string }{{l.near, nearIP, farIP}, {l.far, farIP, nearIP}} {
		file, card, err := newCard()
		if err != nil {
			return nil, err
		}
		l.cards = append(l.cards, file)
		for _, line := range []string{
			"netns add " + end.ns,
			"link set " + card + " netns " + end.ns,
			"-n " + end.ns + " addr add " + end.ip + " dev " + card,
			"-n " + end.ns + " link set " + card + " mtu 1500 up",
			// What Linux uses unless somebody has chosen: BBR hardly minds this loss, and few have it.
			"-n " + end.ns + " route add " + end.peer + " dev " + card + " congctl cubic",
			"-n " + end.ns + " link set lo up",
		} {
			if out, err := exec.CommandContext(ctx, "ip", strings.Fields(line)...).CombinedOutput(); err != nil {
				return nil, fmt.Errorf("ip %s: %w: %s", line, err, out)
			}
		}
	}
	go carry(l.cards[1], l.cards[0], seed)
	go carry(l.cards[0], l.cards[1], seed+1)
	return l, nil
}

// newCard makes a network card whose cable is the file.
func newCard() (file *os.File, name string, err error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, "", &os.PathError{Op: "open", Path: "/dev/net/tun", Err: err}
	}
	request, err := unix.NewIfreq("bench%d") // the kernel finds a number that is free
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		unix.Close(fd)
		return nil, "", fmt.Errorf("making a network card: %w", err)
	}
	return os.NewFile(uintptr(fd), request.Name()), request.Name(), nil
}

// carry is one direction of the link.
func carry(to, from *os.File, seed uint64) {
	type packet struct {
		due   time.Time
		bytes []byte
	}
	queue := make(chan packet, linkQueue)
	defer close(queue)
	go func() {
		for p := range queue {
			time.Sleep(time.Until(p.due))
			_, _ = to.Write(p.bytes) // a far end that is gone takes nothing
		}
	}()
	chance := rand.New(rand.NewPCG(seed, 1))
	buf := make([]byte, 2000)
	var free time.Time // when the link has sent what waits
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if chance.Float64() < linkLoss {
			continue
		}
		now := time.Now()
		if free.Before(now) {
			free = now
		}
		free = free.Add(time.Duration(float64(n) / linkRate * float64(time.Second)))
		if free.Sub(now) > time.Duration(linkQueue*1500/linkRate*float64(time.Second)) {
			continue
		}
		select {
		case queue <- packet{free.Add(linkDelay), append([]byte(nil), buf[:n]...)}:
		default:
		}
	}
}

func (l *link) close() error {
	var errs []error
	for _, card := range l.cards {
		errs = append(errs, card.Close())
	}
	for _, ns := range []string{l.near, l.far} {
		if _, err := os.Stat("/run/netns/" + ns); err == nil {
			errs = append(errs, exec.Command("ip", "netns", "del", ns).Run())
		}
	}
	return errors.Join(errs...)
}

// inside has a command run at the near end.
func (l *link) inside(c command) command {
	c.args = append([]string{"ip", "netns", "exec", l.near}, c.args...)
	return c
}
