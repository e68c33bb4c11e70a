package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math"
	"os"
	"regexp"

	"golang.org/x/sys/unix"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

var hexDigest = regexp.MustCompile(`^[0-9a-f]{64}$`)

// incoming is a file that is being received, under a name that nothing reads.
type incoming struct {
	dir  *durable.Dir
	name string
	file *os.File
	done bool
}

// validIncoming refuses what can't be received, before anything is claimed for it.
func validIncoming(size uint64, sha256Hex string) error {
	if !hexDigest.MatchString(sha256Hex) {
		return fault.New(agentpb.Reason_INVALID, "%q is no SHA-256 in lower-case hexadecimal", sha256Hex)
	}
	if size > math.MaxInt64 {
		return fault.New(agentpb.Reason_INVALID, "%d bytes are too many for a file", size)
	}
	return nil
}

// openIncoming makes the file and reserves its space, so that a full disk is found before the
// bytes are sent and not after. What a killed agent has left under the name is removed; what a
// living one is receiving is not.
func openIncoming(d *durable.Dir, name string, size uint64) (*incoming, error) {
	f, err := d.CreateNew(name)
	if errors.Is(err, unix.EEXIST) {
		if err := removeLeftover(d, name); err != nil {
			return nil, err
		}
		f, err = d.CreateNew(name)
	}
	if err != nil {
		return nil, err
	}
	in := &incoming{dir: d, name: name, file: f}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil && size > 0 {
		err = unix.Fallocate(int(f.Fd()), 0, 0, int64(size))
		if errors.Is(err, unix.EOPNOTSUPP) { // the space can't be reserved there
			err = nil
		}
	}
	if err != nil {
		in.close()
		return nil, err
	}
	return in, nil
}

func removeLeftover(d *durable.Dir, name string) error {
	f, _, err := d.OpenFile(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return errors.New("another agent is receiving it now")
	}
	return d.Remove(name)
}

// receive writes what next returns until io.EOF, and checks it.
func (in *incoming) receive(size uint64, sha256Hex string, next func() ([]byte, error)) error {
	sum := sha256.New()
	var got uint64
	for {
		data, err := next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if got += uint64(len(data)); got > size {
			return fault.New(agentpb.Reason_DIGEST_MISMATCH, "more than the %d bytes that were promised have arrived", size)
		}
		sum.Write(data)
		if _, err := in.file.Write(data); err != nil {
			return err
		}
	}
	if got != size {
		return fault.New(agentpb.Reason_DIGEST_MISMATCH, "%d bytes have arrived of the %d that were promised", got, size)
	}
	if is := hex.EncodeToString(sum.Sum(nil)); is != sha256Hex {
		return fault.New(agentpb.Reason_DIGEST_MISMATCH, "what has arrived has the SHA-256 %s and not %s", is, sha256Hex).
			With("sha256", is)
	}
	return nil
}

// publish gives the file its attributes and its name.
func (in *incoming) publish(name string, a durable.Attributes) error {
	err := in.dir.Publish(in.file, in.name, name, a)
	in.done = err == nil
	return err
}

// close removes the file unless it was published.
func (in *incoming) close() {
	if !in.done {
		in.dir.Remove(in.name)
	}
	in.file.Close()
}
